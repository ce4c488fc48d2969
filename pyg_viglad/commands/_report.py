"""Scores, metrics and pictures of a model on a labelled data set."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch

from pyg_viglad.files import write_json, write_text
from pyg_viglad.models import Prediction, ViGLAD

__all__ = ["SCORES", "format_table", "predict_all", "score_table", "write_pictures", "write_report"]

# Columns of scores.csv and rows of metrics.json, with what they are called in tables.
SCORES = {
    "score": "A + A_n (deciding score)",
    "paper_score": "A, the paper's score",
    "reconstruction_score": "A_r, maps alone",
    "feature_score": "A_f, Mahalanobis alone",
    "node_score": "A_n, nodes alone",
}


def predict_all(
    model: ViGLAD, dataset: Any, batch_size: int = 8, progress: bool = True
) -> Prediction:
    """Judge every image of a data set."""
    from torch.utils.data import DataLoader
    from tqdm import tqdm

    loader = DataLoader(dataset, batch_size, collate_fn=Batch.from_data_list)
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad(), tqdm(loader, desc="Scoring", disable=not progress) as bar:
        parts = [model(batch.img.to(device)) for batch in bar]
    return Prediction(*(None if v is None else v.cpu() for v in Prediction.cat(parts)))  # type: ignore[arg-type]


def score_table(prediction: Prediction, kinds: Sequence[str]) -> dict[str, dict[str, float]]:
    """Image AUROC of every score, by kind of anomaly."""
    from pyg_viglad.metrics import image_auroc

    table = {}
    for name in SCORES:
        scores = getattr(prediction, name)
        if scores is not None:
            table[name] = image_auroc(scores, list(kinds))
    if "node_score" not in table:
        del table["score"]  # it is the paper's
    return table


def format_table(rows: dict[str, dict[str, float]], header: bool = True) -> str:
    """Show AUROCs in per cent, one row a score."""
    columns = f"{'image AUROC (%)':32}{'logical':>10}{'structural':>12}{'mean':>8}{'pooled':>8}"
    lines = [columns] if header else []
    for name, row in rows.items():
        cells = [100 * row[key] for key in ("logical", "structural", "mean", "pooled")]
        label = SCORES.get(name, name)
        lines.append(
            f"{label:32}{cells[0]:>10.1f}{cells[1]:>12.1f}{cells[2]:>8.1f}{cells[3]:>8.1f}"
        )
    return "\n".join(lines)


def write_report(
    folder: Path,
    model: ViGLAD,
    dataset: Any,
    extra: dict[str, Any] | None = None,
) -> tuple[Prediction, dict[str, dict[str, float]]]:
    """Write ``metrics.json``, ``scores.csv`` and the pictures of a labelled test set.

    Returns:
        The prediction of every image, and the table of image AUROCs.
    """
    prediction = predict_all(model, dataset)
    kinds = list(dataset.kinds)
    table = score_table(prediction, kinds)
    flagged = {
        kind: sum(bool(a) for a, k in zip(prediction.is_anomalous, kinds, strict=True) if k == kind)
        for kind in dict.fromkeys(kinds)
    }
    metrics = {
        "image_auroc": table,
        "threshold": float(model.threshold),
        "above_threshold": flagged,
        "images": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        **(extra or {}),
    }
    write_json(folder / "metrics.json", metrics)
    write_scores(folder / "scores.csv", prediction, dataset.names, kinds, dataset.defects)
    write_pictures(folder, model, dataset, prediction)
    return prediction, table


def write_scores(
    path: Path,
    prediction: Prediction,
    names: Sequence[str],
    kinds: Sequence[str] | None = None,
    defects: Sequence[str] | None = None,
) -> None:
    """Write one line an image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [name for name in SCORES if getattr(prediction, name) is not None]
    labels = [] if kinds is None or defects is None else ["kind", "defect"]
    writer.writerow(["name", *labels, *columns, "is_anomalous"])
    for number, name in enumerate(names):
        row: list[Any] = [name]
        if kinds is not None and defects is not None:
            row += [kinds[number], defects[number]]
        row += [f"{float(getattr(prediction, column)[number]):.6g}" for column in columns]
        writer.writerow([*row, int(prediction.is_anomalous[number])])
    write_text(path, text.getvalue())


def examples_of(dataset: Any, prediction: Prediction, number: int = 1) -> list[int]:
    """Pick images to show: of each defect, and of the good, those of median score."""
    chosen = []
    defects = list(dataset.defects)
    for defect in dict.fromkeys(defects):
        places = [place for place, name in enumerate(defects) if name == defect]
        places.sort(key=lambda place: float(prediction.score[place]))
        middle = max(0, len(places) // 2 - number // 2)
        chosen += places[middle : middle + number]
    return chosen


def write_pictures(folder: Path, model: ViGLAD, dataset: Any, prediction: Prediction) -> None:
    """Draw Figure 5 and Figure 3 for one image of each defect, and the scores of all."""
    from pyg_viglad.visualization import plot_roc, plot_score_histogram

    chosen = examples_of(dataset, prediction)
    items = [dataset[place] for place in chosen]
    images = torch.cat([item.img for item in items])
    masks = torch.cat([item.mask for item in items]) if "mask" in items[0] else None
    titles = [item.defect or item.kind for item in items]
    draw(folder, model, images, prediction, chosen, titles, masks)
    kinds, threshold = list(dataset.kinds), float(model.threshold)
    histogram = plot_score_histogram(prediction.score, kinds, threshold=threshold)
    histogram.savefig(folder / "scores.png", dpi=110)
    if len(set(kinds)) > 1 and "good" in kinds:
        plot_roc(prediction.score, kinds, threshold).savefig(folder / "roc.png", dpi=110)


def draw(
    folder: Path,
    model: ViGLAD,
    images: Tensor,
    prediction: Prediction,
    chosen: list[int],
    titles: list[str],
    masks: Tensor | None = None,
) -> None:
    """Draw anomaly maps (``anomaly_maps.png``) and graphs (``node_graphs.png``) of chosen images."""
    from pyg_viglad.graphs import select_graphs
    from pyg_viglad.models import ViGAutoEncoder
    from pyg_viglad.visualization import plot_anomaly_maps, plot_node_graphs

    scores = prediction.score[chosen]
    maps = plot_anomaly_maps(
        images,
        {
            "local": prediction.local_map[chosen],
            "global": prediction.global_map[chosen],
            "combined": prediction.anomaly_map[chosen],
        },
        masks,
        scores=scores,
        titles=titles,
        node_maps=None if prediction.node_map is None else prediction.node_map[chosen],
    )
    maps.savefig(folder / "anomaly_maps.png", dpi=110)
    if isinstance(model.autoencoder, ViGAutoEncoder):
        device = next(model.parameters()).device
        graphs = select_graphs(model.graphs(images.to(device), blocks=True))
        figure = plot_node_graphs(
            images,
            {name: graph.cpu() for name, graph in graphs.items()},
            prediction.position[chosen],
            scores=scores,
            titles=titles,
            masks=masks,
        )
        figure.savefig(folder / "node_graphs.png", dpi=110)
