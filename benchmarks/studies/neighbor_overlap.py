"""Do a node's neighbours tell anomalies? What Figure 5 of the paper claims, measured on Digit Anatomy.

The claim: of a normal image the autoencoder reproduces the graph, of an anomalous one it does not. So the
overlap of a node's neighbours before the encoder and after the decoder should be low inside wrong cells,
and low in anomalous images. Beside it stand the other measures of the graphs and the model's own scores.
Neighbours of equal parity of row and column show what the decoder's upsampling by two leaves behind.
AUROC in per cent with 95 % intervals (percentiles of a bootstrap over images); 50 is chance, and below
50 the opposite of what a score's name says tells anomalies.

    python -m benchmarks.studies.neighbor_overlap --model runs/demo/model
    python -m benchmarks.studies.neighbor_overlap --model runs/demo/model --untrained
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch
from tqdm import tqdm

from benchmarks.grid.viglad_detector import SCORES as IMAGE_SCORES
from pyg_viglad import ViGLAD
from pyg_viglad.datasets import DigitAnatomy
from pyg_viglad.graphs import SCORES as NODE_SCORES
from pyg_viglad.graphs import (
    connected_components,
    graph_measures,
    homophily,
    neighbor_overlap,
    record_graphs,
    select_graphs,
)
from pyg_viglad.nn import knn_graph

Scores = dict[str, np.ndarray]

GROUPS = {
    "disorder": ("disorder",),
    "flip": ("flip",),
    "missing": ("missing",),
    "novel": ("novel",),
    "logical": ("disorder", "flip"),
    "structural": ("missing", "novel"),
    "all": ("disorder", "flip", "missing", "novel"),
}
OVERLAP = "1 - overlap, input and decoder"
SAME_PLACE = "neighbours of the same parity"


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a trained model")
    parser.add_argument("--untrained", action="store_true", help="same model with random weights")
    parser.add_argument("--settle", action="store_true", help="... its batch norms run over images")
    parser.add_argument("--good", type=int, default=110, help="good test images")
    parser.add_argument("--anomalous", type=int, default=120, help="anomalous test images")
    parser.add_argument("--normal", type=int, default=360, help="normal images for --untrained")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(args)
    model = ViGLAD.from_pretrained(options.model)
    if options.untrained:
        model = draw_anew(model, options)
    side = model.image_size[0]
    counts = {"num_test_good": options.good, "num_test_anomalous": options.anomalous}
    test = DigitAnatomy("test", image_size=side, **counts)
    nodes, images, wrong = measure(model, test, options.batch_size)
    shares = {k: nodes.pop(k).mean() for k in list(nodes) if k.startswith(SAME_PLACE)}
    parity = pd.DataFrame(
        [[k.removeprefix(f"{SAME_PLACE}, "), f"{100 * v:.0f}"] for k, v in shares.items()],
        columns=["graph", "per cent"],
    )
    defects = np.array(test.defects)
    state = "untrained" if options.untrained else "trained"
    inside = {name: [v[w] for v, w in zip(of, wrong, strict=True)] for name, of in nodes.items()}
    rest = {name: [v[~w] for v, w in zip(of, wrong, strict=True)] for name, of in nodes.items()}
    single = {name: list(of[:, None]) for name, of in (summaries(nodes) | images).items()}
    tables = {
        "Mean overlap of input and decoder neighbourhoods (per cent)": mean_overlaps(
            nodes, wrong, defects, model.config["k"]
        ),
        "Neighbours in the node's own place of every 2 x 2 nodes (25 per cent by chance)": parity,
        "Nodes in wrong cells against the other nodes of the same images": aurocs(
            inside, rest, defects, options, same=True
        ),
        "Nodes in wrong cells against the nodes of good images": aurocs(
            inside, rest, defects, options
        ),
        "Anomalous images against good ones": aurocs(single, single, defects, options),
    }
    print(f"\n{len(test)} images of Digit Anatomy at {side} px, {state} model")
    for title, table in tables.items():
        print(f"\n{title}:\n\n{table.to_markdown(index=False, disable_numparse=True)}")


def draw_anew(model: ViGLAD, options: argparse.Namespace) -> ViGLAD:
    """Returns the same architecture with random weights and fitted statistics."""
    torch.manual_seed(options.seed)
    fresh = ViGLAD(**{**model.config, "teacher": model.teacher})
    side = model.image_size[0]
    train, validation = (
        DigitAnatomy(
            split, image_size=side, num_train=options.normal, num_val=min(60, options.normal)
        ).images
        for split in ("train", "val")
    )
    if options.settle:
        with torch.no_grad():
            fresh.fit_teacher_statistics(train)
            for images in train.split(options.batch_size):
                fresh.train().features(images)
    fresh.eval().fit_statistics(train, validation)
    return fresh


def measure(
    model: ViGLAD, test: DigitAnatomy, batch_size: int
) -> tuple[Scores, Scores, np.ndarray]:
    """Returns scores of nodes ``[B, N]`` and of images ``[B]``, and which nodes are wrong ``[B, N]``."""
    nodes: dict[str, list[Tensor]] = {}
    images: dict[str, list[Tensor]] = {}
    wrong = []
    for start in tqdm(range(0, len(test), batch_size), desc="Recording"):
        items = [test[place] for place in range(start, min(start + batch_size, len(test)))]
        pictures = torch.cat([item.img for item in items])
        graphs = select_graphs(record_graphs(model, pictures))
        output = output_graph(model, pictures, graphs["input"])
        shape = (len(items), -1)
        for name, values in node_scores(graphs, output).items():
            nodes.setdefault(name, []).append(values.double().view(shape))
        pos = graphs["input"].pos.view(len(items), -1, 2).long()
        wrong += [item.mask[0][p[:, 1], p[:, 0]] for item, p in zip(items, pos, strict=True)]
        count = connected_components(graphs["decoder"], per_graph=True)
        images.setdefault("components of the decoder graph", []).append(count)
        prediction = model.predict(pictures)
        for label, name in IMAGE_SCORES.items():
            if (values := getattr(prediction, name)) is not None:
                images.setdefault(f"model: {label}", []).append(values)
    return (
        {name: torch.cat(parts).numpy() for name, parts in nodes.items()},
        {name: torch.cat(parts).double().numpy() for name, parts in images.items()},
        torch.stack(wrong).numpy(),
    )


def output_graph(model: ViGLAD, images: Tensor, entering: Batch) -> Batch:
    """Returns the graph of the features that the decoder's last convolution computes."""
    with torch.no_grad():
        features = model.features(images).autoencoder
    x = features.permute(0, 2, 3, 1).flatten(0, 2)
    graph = entering.clone()
    graph.edge_index = knn_graph(x, model.config["k"], graph.batch, loop=True, cosine=True)
    return graph


def same_place(graph: Batch) -> Tensor:
    """Computes the share of neighbours with the node's own parity of row and column, ``[N]``."""
    columns = int(graph.grid_size[0, 1])
    nodes = torch.arange(graph.num_nodes) % int(graph.grid_size[0].prod())
    return homophily(graph, nodes // columns % 2 * 2 + nodes % columns % 2)


def node_scores(graphs: dict[str, Batch], output: Batch) -> dict[str, Tensor]:
    """Computes everything that could tell a wrong node, one value per node of the input graph."""
    entering, deep, leaving = graphs.values()
    name = list(graphs)[1]
    coarse = 1 - neighbor_overlap(entering, deep)
    rows, columns = deep.grid_size[0].tolist()
    grids = coarse.view(-1, 1, rows, columns)
    fine = F.interpolate(grids, tuple(entering.grid_size[0].tolist()), mode="nearest-exact")
    found = {
        OVERLAP: 1 - neighbor_overlap(entering, leaving),
        "1 - overlap, input and output": 1 - neighbor_overlap(entering, output),
        f"1 - overlap, input and {name}": fine.flatten(),
    }
    before, after = (
        graph_measures({"input": graph}, per_graph=False)["input"] for graph in (entering, leaving)
    )
    for name, label in (
        ("edge_length", "edge length"),
        ("in_degree", "in-degree"),
        ("homophily", "homophily"),
    ):
        found[f"{label}, decoder"] = after[name]
        found[f"{label}, decoder - input"] = after[name] - before[name]
    for label, graph in (("input", entering), ("decoder", leaving), ("output", output)):
        found[f"{SAME_PLACE}, {label}"] = same_place(graph)
    for name in NODE_SCORES:
        if name in entering:
            found[f"model: {name.replace('_', ' ')}"] = entering[name]
    return found


def summaries(nodes: Scores) -> Scores:
    """Computes scores of images: of the most anomalous node, the mean, and the largest."""
    own = "model: node score"
    worst = nodes[own if own in nodes else "model: combined score"].argmax(1)
    found = {}
    for name, values in nodes.items():
        if name.startswith("model: "):
            continue
        found[f"{name}: most anomalous node"] = values[np.arange(len(values)), worst]
        if not name.startswith("in-degree"):  # whose mean is the same in all images
            found[f"{name}: mean"] = values.mean(1)
        if name.startswith("1 - overlap"):
            found[f"{name}: largest"] = values.max(1)
    return found


def auroc_interval(
    positive: list[np.ndarray],
    negative: list[np.ndarray],
    resamples: int,
    seed: int,
    same: bool = False,
) -> tuple[float, float, float]:
    """Computes the AUROC of pooled values and a 95 % interval by a bootstrap over images.

    Args:
        positive: Values of each image that should be high.
        negative: Values of each image that should be low.
        resamples: How often images are drawn.
        seed: Seed of the bootstrap.
        same: Whether both are of the same images, which are then drawn together.
    """
    # Wins of each image's positive values over each image's negative ones: a resample is a weighted sum.
    pooled = np.concatenate(positive)
    starts = np.cumsum([0] + [len(p) for p in positive[:-1]])
    wins = np.empty((len(positive), len(negative)))
    for column, values in enumerate(negative):
        ordered = np.sort(values)
        below = np.searchsorted(ordered, pooled, "left") + np.searchsorted(ordered, pooled, "right")
        wins[:, column] = np.add.reduceat(below / 2, starts)
    sizes = np.array([len(p) for p in positive]), np.array([len(n) for n in negative])
    rng = np.random.default_rng(seed)
    counts = [rng.multinomial(n, np.full(n, 1 / n), resamples) for n in wins.shape]
    first = np.vstack([np.ones(len(positive)), counts[0]])
    second = first if same else np.vstack([np.ones(len(negative)), counts[1]])
    values = np.einsum("rp,pn,rn->r", first, wins, second, optimize=True)
    values /= (first @ sizes[0]) * (second @ sizes[1])
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return float(values[0]), float(low), float(high)


def chance_overlap(nodes: int, neighbors: int) -> float:
    """Computes the mean Jaccard index of two random sets of neighbours."""
    from scipy.stats import hypergeom

    common = np.arange(neighbors + 1)
    weights = hypergeom.pmf(common, nodes - 1, neighbors, neighbors)
    return float((weights * common / (2 * neighbors - common)).sum())


def mean_overlaps(nodes: Scores, wrong: np.ndarray, defects: np.ndarray, k: int) -> pd.DataFrame:
    """Tabulates what Figure 5 shows: how much overlap there is, where."""
    overlap = 100 * (1 - nodes[OVERLAP])
    worst = 100 * (1 - summaries(nodes)[f"{OVERLAP}: most anomalous node"])
    rows = []
    for label, group in {"good": ("",), **GROUPS}.items():
        chosen = np.isin(defects, group)
        parts = [worst[chosen], overlap[chosen][wrong[chosen]], overlap[chosen][~wrong[chosen]]]
        if chosen.any():
            rows.append([label, *(f"{part.mean():.1f}" if part.size else "-" for part in parts)])
    rows.append(["two random sets", *[f"{100 * chance_overlap(wrong.shape[1], k - 1):.1f}"] * 3])
    columns = ["images", "most anomalous node", "nodes in wrong cells", "other nodes"]
    return pd.DataFrame(rows, columns=columns)


def aurocs(
    positive: dict[str, list[np.ndarray]],
    negative: dict[str, list[np.ndarray]],
    defects: np.ndarray,
    options: argparse.Namespace,
    same: bool = False,
) -> pd.DataFrame:
    """Tabulates a row per score, a column per group of defects, against the same or good images."""
    rows = []
    for name in positive:
        row = {"score": name}
        for label, group in GROUPS.items():
            places = np.flatnonzero(np.isin(defects, group))
            others = places if same else np.flatnonzero(defects == "")
            if len(places):
                high = [positive[name][place] for place in places]
                low = [negative[name][place] for place in others]
                found = auroc_interval(high, low, options.resamples, options.seed, same)
                row[label] = "{:.1f} ({:.0f}-{:.0f})".format(*(100 * value for value in found))
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
