"""The data of a viewer's page: graphs, scores and maps as compact arrays, scales and where to start."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.graphs import (
    SCORES,
    graph_of_image,
    most_anomalous_node,
    patch_size,
    position_of,
    select_graphs,
)
from pyg_viglad.models import Prediction
from pyg_viglad.visualization.drawing import format_number
from pyg_viglad.visualization.inputs import Array, as_maps

__all__ = [
    "data_url",
    "map_scales",
    "pack_graph",
    "pack_graphs",
    "pack_maps",
    "start_blocks",
    "start_position",
    "verdict",
]

PARTS = ("input", "encoder", "decoder")
MAP_LIMITS = (0.0, 0.5)  # of the calibrated maps
NODE_LIMITS = (0.0, 6.0)  # of A_n, in standard deviations
NODE_MARK = 3.0
LARGEST = 2048  # pixels of the longer side: larger pictures are reduced, the axes keep their pixels
LARGEST_PNG = 1_500_000  # bytes


def pack_graphs(
    graphs: Mapping[str, Data], number: int | None, size: tuple[int, int]
) -> tuple[list[dict[str, Any]], list[dict[str, Array]], Data]:
    """Packs the graphs of the image at place ``number`` of their batches, for a picture of ``size``.

    Returns:
        A dictionary for each graph (see :func:`pack_graph`), the scores by field, once for each grid
        that has its own, and the first input graph in pixels of the picture.
    """
    packed: list[dict[str, Any]] = []
    scores: list[dict[str, Array]] = []
    seen: dict[Any, int] = {}
    inputs = []
    for name, graph in graphs.items():
        part, _, block = name.partition(".")
        if part not in PARTS:
            raise ValueError(f"Expected names that start with {', '.join(PARTS)} (got {name!r})")
        one = graph_of_image(graph, number, size=size, name=f"graphs[{name!r}]")
        found = {key: _score(one, key, name) for key in SCORES if key in one}
        same = (*one.grid_size[0].tolist(), *(values.tobytes() for values in found.values()))
        if same not in seen:
            seen[same] = len(scores)
            scores.append(found)
        label = f"block {int(block) + 1}" if block.isdigit() else block or "output"
        packed.append(
            {
                "name": name,
                "part": part,
                "label": "before the first block" if name == "input" else label,
                "scores": seen[same],
                **pack_graph(one, f"graphs[{name!r}]"),
            }
        )
        if part == "input":
            inputs.append(one)
    missing = [part for part in PARTS if all(graph["part"] != part for graph in packed)]
    if missing:
        raise ValueError(f"Expected a graph of the part '{missing[0]}' (got {list(graphs)})")
    grids = sorted((graph["rows"], graph["columns"]) for graph in packed)
    if sorted(columns for _, columns in grids) != [columns for _, columns in grids]:
        raise ValueError(
            f"Expected of any two grids one at least as fine in rows and in columns (got {grids})"
        )
    return packed, scores, inputs[0]


def pack_graph(graph: Data, name: str) -> dict[str, Any]:
    """Packs one image's graph: neighbours grouped by centre, distances in 16 bits.

    Returns:
        ``sources`` (the neighbours, nearest first, of node 0, of node 1, ...), ``degrees`` (how many of
        each), ``neighbors`` (most of a node, itself left out), ``distances`` in steps of ``unit`` (or
        None), ``rows`` and ``columns``.
    """
    rows, columns = graph.grid_size[0].tolist()
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    places = graph.pos / torch.tensor(patch_size(graph)) - 0.5
    if float((places - torch.stack([x, y], 2).view(-1, 2)).abs().max()) > 0.02:
        raise ValueError(f"Expected {name}.pos on a grid of {rows} rows and {columns} columns")
    nodes = rows * columns
    neighbors, centers = graph.edge_index
    order = centers.argsort(stable=True)
    small = np.uint16 if nodes <= 2**16 else np.uint32
    distances, unit = None, 0.0
    if "distance" in graph:
        values = graph.distance.double()
        if values.shape != order.shape or not bool((values.isfinite() & (values >= 0)).all()):
            raise ValueError(
                f"Expected {name}.distance [{len(order)}], finite, at least 0 "
                f"(got {list(values.shape)})"
            )
        unit = (float(values.max()) if values.numel() else 0.0) / 65535 or 1.0
        distances = (values[order] / unit).round().numpy().astype(np.uint16)
    return {
        "rows": rows,
        "columns": columns,
        "sources": neighbors[order].numpy().astype(small),
        "degrees": torch.bincount(centers, minlength=nodes).numpy().astype(small),
        "neighbors": int(torch.bincount(centers[neighbors != centers], minlength=1).max()),
        "distances": distances,
        "unit": unit,
    }


def _score(graph: Data, key: str, name: str) -> Array:
    values = torch.as_tensor(graph[key]).float()
    nodes = int(graph.num_nodes)
    if tuple(values.shape) != (nodes,) or not bool(values.isfinite().all()):
        raise ValueError(
            f"Expected finite graphs[{name!r}].{key} [{nodes}] (got {list(values.shape)})"
        )
    array: Array = values.numpy()
    return array


def start_blocks(graphs: Mapping[str, Data]) -> dict[str, int]:
    """Returns the place within its part of the graph that each part shows first."""
    chosen = select_graphs(graphs) if all(part in graphs for part in PARTS) else ()
    blocks = {}
    for part in PARTS:
        own = [name for name in graphs if name.partition(".")[0] == part]
        blocks[part] = next((n for n, name in enumerate(own) if name in chosen), len(own) - 1)
    return blocks


def start_position(
    node: int | Tensor | tuple[float, float] | None,
    graph: Data,
    prediction: Prediction | None,
    number: int,
) -> tuple[float, float]:
    """Returns the position (x, y) in the picture to start at.

    Default of ``node``: the most anomalous pixel of the prediction, else the most anomalous node, else the
    middle of the image.
    """
    height, width = graph.img_size[0].tolist()
    if node is None and prediction is not None:
        seen_height, seen_width = prediction.anomaly_map.shape[-2:]
        x, y = prediction.position[number].tolist()
        return x * width / seen_width, y * height / seen_height
    node = most_anomalous_node(graph) if node is None else node
    return (width / 2, height / 2) if node is None else position_of(graph, node)


def map_scales(
    threshold: float | None, quantiles: tuple[float, float]
) -> dict[str, dict[str, Any]]:
    """Returns for each score its name and unit, and for its map the limits and what to mark there."""
    low, high = (f"{100 * quantile:g} %" for quantile in quantiles)
    text = f"{low} of normal validation pixels lie below 0, {high} below 0.1"
    maps = {
        "unit": "",
        "limits": MAP_LIMITS,
        "mark": 0.1 if threshold is None else float(threshold),
        "markText": text
        + (" (mark)." if threshold is None else f". Mark: the threshold, {threshold:g}."),
    }
    sigma = "\N{GREEK SMALL LETTER SIGMA}"
    nodes = {
        "unit": f" ({sigma})",
        "limits": NODE_LIMITS,
        "mark": NODE_MARK,
        "markText": f"Standard deviations {sigma} above normal validation images; mark: "
        f"{NODE_MARK:g}\N{NO-BREAK SPACE}{sigma}.",
    }
    scales: dict[str, dict[str, Any]] = {}
    for key in SCORES:
        name = key.removesuffix("_score")
        kind = f"scores A\N{LATIN SUBSCRIPT SMALL LETTER N} ({sigma})"
        title = f"{name.capitalize()} {kind if key == 'node_score' else 'map (calibrated)'}"
        scales[key] = {"name": name, "title": title, **(nodes if key == "node_score" else maps)}
    return scales


def pack_maps(
    prediction: Prediction | None,
    number: int,
    graph: Data,
    scales: Mapping[str, Mapping[str, Any]],
) -> dict[str, Array]:
    """Returns each map in 256 steps over its scale, ``[h, w]``, by the name of its score.

    The maps of the prediction, or else the scores of the input graph's patches.
    """
    maps: dict[str, Array] = {}
    for key, field in SCORES.items():
        if prediction is None:
            grid = tuple(graph.grid_size[0].tolist())
            values = graph[key].view(grid).numpy() if key in graph else None
        else:
            batch = getattr(prediction, field)
            name = f"prediction.{field}"
            values = None if batch is None else as_maps([batch[number]], name, 1)[0]
        if values is not None:
            low, high = scales[key]["limits"]
            maps[key] = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return maps


def verdict(prediction: Prediction | None, number: int, threshold: float | None) -> str:
    """Returns a line with the image's score and what it means."""
    if prediction is None:
        return ""
    score = format_number(float(prediction.score[number]), 2)
    limit = "" if threshold is None else f" (threshold {format_number(threshold, 2)})"
    word = "anomalous" if bool(prediction.is_anomalous[number]) else "normal"
    return f"Score {score}{limit}: {word}"


def data_url(picture: Array) -> str:
    """Encodes a picture ``[H, W, 3]`` in [0, 1]: as PNG, or as JPEG where that is too large."""
    image = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    image.thumbnail((LARGEST, LARGEST))
    kind, stream = "png", io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    if stream.tell() > LARGEST_PNG:
        kind, stream = "jpeg", io.BytesIO()
        image.save(stream, "JPEG", quality=90)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
