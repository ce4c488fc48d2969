"""Scores of every image of a test set, AUROC of every score, and pictures."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch

from pyg_viglad.files import write_json, write_text
from pyg_viglad.models import Prediction, ViGAutoEncoder, ViGLAD

__all__ = [
    "SCORES",
    "apply",
    "csv_text",
    "format_table",
    "median_images",
    "plot_images",
    "predict_all",
    "score_columns",
    "score_table",
    "write_csv",
    "write_report",
    "write_scores",
]

# Columns of scores.csv and rows of metrics.json, and their labels in tables.
SCORES = {
    "score": "final score",
    "paper_score": "A, the paper's score",
    "reconstruction_score": "A_r, maps alone",
    "feature_score": "A_f, Mahalanobis alone",
    "node_score": "A_n, nodes alone",
}


def predict_all(
    model: ViGLAD, dataset: Any, batch_size: int = 8, progress: bool = True
) -> Prediction:
    """Computes the predictions of all images of a data set, on the CPU."""
    from torch.utils.data import DataLoader
    from tqdm import tqdm

    loader = DataLoader(dataset, batch_size, collate_fn=Batch.from_data_list)
    with tqdm(loader, desc="Scoring", disable=not progress) as bar:
        parts = [apply(model.predict(batch.img, batch_size), Tensor.cpu) for batch in bar]
    return Prediction.cat(parts)


def apply(prediction: Prediction, function: Callable[[Tensor], Tensor]) -> Prediction:
    """Applies a function to every field of a prediction that is not None."""
    return Prediction(*(None if v is None else function(v) for v in prediction))  # type: ignore[arg-type]


def score_table(prediction: Prediction, kinds: Sequence[str]) -> dict[str, dict[str, float]]:
    """Computes the image AUROC of every score, by kind of anomaly.

    Args:
        prediction: The predictions of a test set.
        kinds: The kind of every image, ``"good"``, ``"logical"`` or ``"structural"``.
    """
    from pyg_viglad.metrics import image_auroc

    names = [name for name in SCORES if getattr(prediction, name) is not None]
    return {name: image_auroc(getattr(prediction, name), list(kinds)) for name in names}


def format_table(rows: dict[str, dict[str, float]], header: bool = True) -> str:
    """Formats AUROCs in per cent, one row per score."""
    widths = {"logical": 10, "structural": 12, "mean": 8, "pooled": 8}
    title = f"{'image AUROC (%)':32}" + "".join(f"{key:>{widths[key]}}" for key in widths)
    lines = [title] if header else []
    for name, row in rows.items():
        cells = (
            f"{100 * row[key]:.1f}".replace("nan", "-").rjust(width)
            for key, width in widths.items()
        )
        lines.append(f"{SCORES.get(name, name):32}" + "".join(cells))
    return "\n".join(lines)


def csv_text(rows: Sequence[dict[str, Any]], header: bool = True) -> str:
    """Formats rows of equal keys as CSV, floats with six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    if header:
        writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    return text.getvalue()


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes rows of equal keys as CSV, floats with six digits."""
    write_text(path, csv_text(rows))


def score_columns(prediction: Prediction) -> dict[str, list[Any]]:
    """Returns every score of every image, and whether it is anomalous, by column of scores.csv."""
    columns = {}
    for name in SCORES:
        scores = getattr(prediction, name)
        if scores is not None:
            columns[name] = scores.tolist()
    return {**columns, "is_anomalous": prediction.is_anomalous.int().tolist()}


def write_scores(
    path: Path, prediction: Prediction, names: Sequence[str], **labels: Sequence[str]
) -> None:
    """Writes every score of every image as CSV, with further columns after the name."""
    columns = {"name": names, **labels, **score_columns(prediction)}
    rows = zip(*columns.values(), strict=True)
    write_csv(path, [dict(zip(columns, row, strict=True)) for row in rows])


def write_report(
    folder: Path, model: ViGLAD, dataset: Any, extra: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Writes ``metrics.json``, ``scores.csv`` and the pictures of a labelled test set.

    Args:
        folder: Output folder.
        model: A fitted model.
        dataset: The test set.
        extra: Further entries of ``metrics.json``.

    Returns:
        What ``metrics.json`` holds; image AUROCs, see :func:`score_table`, as ``image_auroc``.
    """
    from pyg_viglad.visualization import plot_roc, plot_score_histogram, save_figure

    prediction = predict_all(model, dataset)
    kinds, defects = list(dataset.kinds), list(dataset.defects)
    # Written first: everything else can be recomputed from the scores.
    write_scores(folder / "scores.csv", prediction, dataset.names, kind=kinds, defect=defects)
    threshold = float(model.threshold)
    numbers = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    above = dict.fromkeys(numbers, 0)
    for kind, anomalous in zip(kinds, prediction.is_anomalous.tolist(), strict=True):
        above[kind] += anomalous
    metrics = {
        "image_auroc": score_table(prediction, kinds),
        "threshold": threshold,
        "above_threshold": above,
        "images": numbers,
        **(extra or {}),
    }
    write_json(folder / "metrics.json", metrics)

    chosen = median_images(defects, prediction.score.tolist())
    items = [dataset[number] for number in chosen]
    images = torch.cat([item.img for item in items])
    masks = torch.cat([item.mask for item in items]) if "mask" in items[0] else None
    titles = [item.defect or item.kind for item in items]
    plot_images(folder, model, images, apply(prediction, lambda v: v[chosen]), titles, masks)
    histogram = plot_score_histogram(prediction.score, kinds, threshold=threshold)
    save_figure(histogram, folder / "scores.png", dpi=110)
    if len(numbers) > 1:
        roc = plot_roc(prediction.score, kinds, threshold)
        save_figure(roc, folder / "roc.png", dpi=110)
    return metrics


def median_images(defects: Sequence[str], scores: Sequence[float]) -> list[int]:
    """Returns the image of median score of each defect, and of the good images.

    Example:
        >>> median_images(["", "", "", "flip"], [0.3, 0.1, 0.2, 0.9])
        [2, 3]
    """
    chosen = []
    for defect in dict.fromkeys(defects):
        places = [place for place, name in enumerate(defects) if name == defect]
        chosen.append(sorted(places, key=lambda place: scores[place])[len(places) // 2])
    return chosen


def plot_images(
    folder: Path,
    model: ViGLAD,
    images: Tensor,
    prediction: Prediction,
    titles: list[str],
    masks: Tensor | None = None,
) -> None:
    """Plots the anomaly maps and graphs of images as ``anomaly_maps.png`` and ``node_graphs.png``.

    Args:
        folder: Output folder.
        model: The model; one with a convolutional autoencoder has no graphs, and hyperedges are not
            drawn.
        images: The images, ``[n, 3, H, W]``.
        prediction: Their predictions.
        titles: A title per image.
        masks: Ground truth, ``[n, H, W]``.
    """
    from pyg_viglad.graphs import select_graphs
    from pyg_viglad.visualization import plot_anomaly_maps, plot_node_graphs, save_figure

    scores = prediction.score
    maps = {
        "local": prediction.local_map,
        "global": prediction.global_map,
        "combined": prediction.anomaly_map,
    }
    figure = plot_anomaly_maps(
        images,
        maps,
        masks,
        scores=scores,
        titles=titles,
        node_maps=prediction.node_map,
        quantiles=(model.local_calibration.start, model.local_calibration.end),
    )
    save_figure(figure, folder / "anomaly_maps.png", dpi=110)
    network = model.autoencoder
    if isinstance(network, ViGAutoEncoder) and not getattr(
        network.constructor.graph, "hypergraph", False
    ):
        graphs = select_graphs(model.graphs(images.to(model.device), blocks=True))
        figure = plot_node_graphs(
            images,
            {name: graph.cpu() for name, graph in graphs.items()},
            prediction.position,
            scores=scores,
            titles=titles,
            masks=masks,
        )
        save_figure(figure, folder / "node_graphs.png", dpi=110)
