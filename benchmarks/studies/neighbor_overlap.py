"""How well changes of neighbourhoods detect anomalies (Figure 5 of the paper), on trained models.

Of a normal image two graphs of a model should be the same, of an anomalous one they should differ. The
pairs: the graph that enters the autoencoder and the one of its decoder (as the paper draws them), and the
graphs of what the loss compares: the teacher's features, the autoencoder's output and the student's S'.
A node's score is how much its neighbourhood differs, in one of four ways; an image's is the mean over its
nodes, or the largest mean over a window of 5 x 5 of them.

Prints AUROC in per cent, by kind of anomaly, beside the model's own scores; mean ± standard deviation
where there are several models. The first table tells what the graphs are like: neighbours in the node's
own place of every 2 x 2 nodes show a lattice, which upsampling by two may leave.

    python -m benchmarks.studies.neighbor_overlap runs/demo
    python -m benchmarks.studies.neighbor_overlap MODEL --data transistor --options '{"logical": "misplaced"}'
    python -m benchmarks.studies.neighbor_overlap MODEL_0 MODEL_1 MODEL_2 --data mnist.npz --reseed
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch_geometric.data import Batch
from tqdm import tqdm

from benchmarks.grid.viglad_detector import SCORES as IMAGE_SCORES
from benchmarks.studies.digits import format_aurocs
from pyg_viglad import ViGLAD
from pyg_viglad.commands.data import Splits, open_data
from pyg_viglad.commands.run import open_model
from pyg_viglad.graphs import SCORES as NODE_SCORES
from pyg_viglad.graphs import connected_components, homophily, neighbor_overlap

PAIRS = (("input", "decoder"), ("teacher", "output"), ("output", "student"), ("teacher", "student"))
OVERLAP = "1 - overlap"
SAME_PLACE = "neighbours in the node's own place of every 2 x 2 nodes (per cent; 25 by chance)"
WINDOW = 5


class Measured(NamedTuple):
    """What one model says of the test images.

    Attributes:
        graphs: Mean over the images of each graph's measures, by measure and graph.
        nodes: Scores of nodes by name, ``[B, N]``.
        images: Scores of images by name, ``[B]``.
        wrong: Which nodes lie in an anomaly, ``[B, N]``; None without ground truth.
        kinds: Which images are good, of each kind of anomaly, and of any, ``[B]`` each.
    """

    graphs: dict[str, dict[str, float]]
    nodes: dict[str, np.ndarray]
    images: dict[str, np.ndarray]
    wrong: np.ndarray | None
    kinds: dict[str, np.ndarray]


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="folders of trained models or runs")
    parser.add_argument(
        "--data", default="digits", help="digits, an .npz file of MNIST or a folder"
    )
    parser.add_argument("--options", type=json.loads, default={}, help="of the data set, as JSON")
    parser.add_argument("--reseed", action="store_true", help="images of the n-th model by seed n")
    parser.add_argument("--untrained", action="store_true", help="same models with random weights")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(args)
    torch.set_num_threads(options.threads)
    found = []
    for seed, folder in enumerate(options.models):
        model = open_model(folder)
        given = {**options.options, **({"seed": seed} if options.reseed else {})}
        splits = open_data(options.data, model.image_size, given)
        if options.untrained:
            model = draw_anew(model, splits, seed)
        found.append(measure(model, splits.test, options.batch_size))
    state = "untrained" if options.untrained else "trained"
    print(f"\n{len(found)} {state} model(s), {len(splits.test)} test images of {options.data}")
    show("Graphs", graph_table(found))
    show("Mean overlap", format_rows([overlap_rows(one) for one in found]))
    show(
        "AUROC of anomalous images against good ones",
        format_rows([image_rows(one) for one in found]),
    )
    for others, good in (("the other nodes of the same", False), ("the nodes of good", True)):
        rows = [node_rows(one, good) for one in found if one.wrong is not None]
        if rows:
            show(f"AUROC of nodes in anomalies against {others} images", format_rows(rows))


def show(title: str, table: str) -> None:
    print(f"\n{title}:\n\n{table}")


def draw_anew(model: ViGLAD, splits: Splits, seed: int) -> ViGLAD:
    """Returns the same model with random weights, its batch norms run over the training images."""
    torch.manual_seed(seed)
    fresh = ViGLAD(**{**model.config, "teacher": model.teacher})
    fresh.teacher_normalization.load_state_dict(model.teacher_normalization.state_dict())
    with torch.no_grad():
        for start in range(0, len(splits.train), 8):
            places = range(start, min(start + 8, len(splits.train)))
            fresh.train().features(torch.cat([splits.train[place].img for place in places]))
    fresh.eval().fit_statistics(splits.train, splits.validation)
    return fresh


def measure(model: ViGLAD, test: Any, batch_size: int = 8) -> Measured:
    """Measures the graphs of all test images, and takes the model's own scores."""
    graphs: dict[str, dict[str, list[Tensor]]] = {}
    nodes: dict[str, list[Tensor]] = {}
    images: dict[str, list[Tensor]] = {}
    wrong = []
    for start in tqdm(range(0, len(test), batch_size), desc="Recording"):
        items = [test[place] for place in range(start, min(start + batch_size, len(test)))]
        pictures = torch.cat([item.img for item in items])
        recorded = model.feature_graphs(pictures) | model.graphs(pictures)
        grid = tuple(recorded["input"].grid_size[0].tolist())
        for name in dict.fromkeys(name for pair in PAIRS for name in pair):
            for label, values in (
                (SAME_PLACE, 100 * same_place(recorded[name])),
                ("connected components", connected_components(recorded[name], per_graph=True)),
            ):
                graphs.setdefault(label, {}).setdefault(name, []).append(values.double())
        for first, second in PAIRS:
            for label, values in changes(recorded[first], recorded[second]).items():
                name = f"{first}, {second}: {label}"
                nodes.setdefault(name, []).append(values.view(len(items), -1))
        prediction = model.predict(pictures)
        for name, source in NODE_SCORES.items():
            if (maps := getattr(prediction, source)) is not None:
                pooled = F.adaptive_max_pool2d(maps[:, None], grid).flatten(1)
                nodes.setdefault(f"model: {name.replace('_', ' ')}", []).append(pooled)
        for label, name in IMAGE_SCORES.items():
            if "A_n" not in label or prediction.node_score is not None:
                images.setdefault(f"model: {label}", []).append(getattr(prediction, name))
        for label, maps in (("local", prediction.local_map), ("global", prediction.global_map)):
            images.setdefault(f"model: {label} map", []).append(maps.amax((1, 2)))
        if "mask" in items[0]:
            masks = torch.stack([item.mask for item in items]).float()
            wrong.append(F.interpolate(masks, grid, mode="nearest-exact").flatten(1) > 0)
    of_nodes = {name: torch.cat(parts) for name, parts in nodes.items()}
    for name, values in of_nodes.items():
        if not name.startswith("model: "):
            maps = values.view(-1, 1, *grid)
            images[f"{name}, mean"] = [values.mean(1)]
            images[f"{name}, window"] = [F.avg_pool2d(maps, WINDOW, 1).flatten(1).amax(1)]
    kinds, defects = np.array(test.kinds), np.array(test.defects)
    anomalous = {name: defects == name for name in dict.fromkeys(test.defects) if name}
    for name in ("logical", "structural"):
        if len(set(test.kinds)) > 2:
            anomalous[name] = kinds == name
    good = kinds == "good"
    return Measured(
        {
            label: {graph: float(torch.cat(parts).mean()) for graph, parts in of_graphs.items()}
            for label, of_graphs in graphs.items()
        },
        {name: values.double().numpy() for name, values in of_nodes.items()},
        {name: torch.cat(parts).double().numpy() for name, parts in images.items()},
        torch.cat(wrong).numpy() if wrong else None,
        {"good": good, **anomalous, "all": ~good},
    )


def changes(first: Batch, second: Batch) -> dict[str, Tensor]:
    """Computes how much each node's neighbourhood differs in two graphs, in four ways, ``[N]`` each."""
    return {
        OVERLAP: 1 - neighbor_overlap(first, second),
        # How much less alike in one graph's features are the neighbours that the other one chose.
        "new edges": homophily(first) - homophily(second, first.x),
        "lost edges": homophily(second) - homophily(first, second.x),
        "1 - correlation": 1 - similarity_correlation(first, second),
    }


def similarity_correlation(first: Batch, second: Batch) -> Tensor:
    """Computes Pearson's correlation of a node's cosines to all nodes of its image in two graphs, ``[N]``."""
    centered = []
    for graph in (first, second):
        unit = F.normalize(graph.x.double()).view(graph.num_graphs, -1, graph.x.size(1))
        cosines = unit @ unit.mT
        centered.append(F.normalize(cosines - cosines.mean(2, keepdim=True), dim=2))
    return (centered[0] * centered[1]).sum(2).flatten().float()


def same_place(graph: Batch) -> Tensor:
    """Computes the share of neighbours with the node's own parity of row and column, ``[N]``."""
    columns = int(graph.grid_size[0, 1])
    nodes = torch.arange(graph.num_nodes) % int(graph.grid_size[0].prod())
    return homophily(graph, nodes // columns % 2 * 2 + nodes % columns % 2)


def graph_table(found: list[Measured]) -> str:
    """Formats the measures of the graphs, mean ± standard deviation over the models."""
    values = pd.concat([pd.DataFrame(one.graphs) for one in found]).groupby(level=0, sort=False)
    mean, deviation = values.mean(), values.std()
    texts = mean.map("{:.1f}".format)
    if len(found) > 1:
        texts += deviation.map(" ± {:.1f}".format)
    return texts.rename_axis("graph").reset_index().to_markdown(index=False, disable_numparse=True)


def format_rows(parts: list[pd.DataFrame]) -> str:
    """Formats rows of all models, a column per kind, in per cent."""
    rows = pd.concat([part.assign(seed=seed) for seed, part in enumerate(parts)])
    return format_aurocs(rows, ["score"], list(rows.kind.unique()))


def overlap_rows(found: Measured) -> pd.DataFrame:
    """Returns the mean overlap of each pair of graphs in the images of each kind."""
    return pd.DataFrame(
        {
            "score": name.removesuffix(f": {OVERLAP}"),
            "kind": kind,
            "value": 1 - values[chosen].mean(),
        }
        for name, values in found.nodes.items()
        if name.endswith(OVERLAP)
        for kind, chosen in found.kinds.items()
    )


def image_rows(found: Measured) -> pd.DataFrame:
    """Returns the AUROC of each score of images, by kind."""
    return pd.DataFrame(
        {"score": name, "kind": kind, "value": auroc(values[chosen], values[found.kinds["good"]])}
        for name, values in found.images.items()
        for kind, chosen in found.kinds.items()
        if kind != "good"
    )


def node_rows(found: Measured, good: bool) -> pd.DataFrame:
    """Returns the AUROC of each score of nodes, against the nodes of good or of the same images."""
    rows = []
    for name, values in found.nodes.items():
        for kind, chosen in found.kinds.items():
            if kind != "good":
                inside = values[chosen][found.wrong[chosen]]
                rest = values[found.kinds["good"]] if good else values[chosen][~found.wrong[chosen]]
                rows.append({"score": name, "kind": kind, "value": auroc(inside, rest)})
    return pd.DataFrame(rows)


def auroc(high: np.ndarray, low: np.ndarray) -> float:
    """Computes the AUROC of values that should be high among those that should be low."""
    truth = np.repeat([1, 0], [high.size, low.size])
    return float(roc_auc_score(truth, np.concatenate([high.ravel(), low.ravel()])))


if __name__ == "__main__":
    main()
