"""Graphs as compact arrays, for the page of a viewer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_viglad.graphs import SCORES, select_graphs
from pyg_viglad.visualization._graphs import PatchGraph, split_graph

__all__ = ["graph_payload", "start_blocks"]

Array = NDArray[Any]
PARTS = ("input", "encoder", "decoder")


def _one_graph(
    graph: Data, name: str, number: int, size: tuple[int, int]
) -> tuple[PatchGraph, Data]:
    """Take one image's graph out of a batch, in pixels of the picture.

    Raises:
        ValueError: If a field is missing, or patches do not lie on a grid.
    """
    data: Data = graph[number] if hasattr(graph, "num_graphs") else graph
    (patches,) = split_graph(data, f"graphs[{name!r}]", [size])
    (rows, columns), (width, height) = patches.grid_size, patches.patch_size
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    offset = patches.pos / torch.tensor([width, height]) - torch.stack([x, y], 2).view(-1, 2) - 0.5
    if float(offset.abs().max()) > 0.02:
        raise ValueError(
            f"Expected graphs[{name!r}].pos on a grid of {rows} rows and {columns} columns"
        )
    nodes = rows * columns
    if (
        patches.edges.numel()
        and not 0 <= int(patches.edges.min()) <= int(patches.edges.max()) < nodes
    ):
        raise ValueError(f"Expected graphs[{name!r}].edge_index to join nodes 0 to {nodes - 1}")
    return patches, data


def graph_payload(
    graphs: Mapping[str, Data], number: int, size: tuple[int, int]
) -> tuple[list[dict[str, Any]], list[dict[str, Array]]]:
    """Pack graphs for the page: neighbours grouped by centre, distances in 16 bits.

    Args:
        graphs: Graphs by name: ``"input"``, and names that start with ``"encoder"``, ``"decoder"``.
        number: The image's place in the batches.
        size: Height and width of the picture.

    Returns:
        A dictionary a graph (``sources``: neighbours, nearest first, of node 0, of node 1, ...;
        ``degrees``: how many of each), and the scores by field, once for each grid that has its own.

    Raises:
        ValueError: If a part is missing or a name is unknown.
    """
    packed: list[dict[str, Any]] = []
    scores: list[dict[str, Array]] = []
    seen: dict[Any, int] = {}
    for name, graph in graphs.items():
        part = re.split(r"[. ]", name)[0]
        if part not in PARTS:
            raise ValueError(f"Expected names that start with {', '.join(PARTS)} (got {name!r})")
        patches, data = _one_graph(graph, name, number, size)
        nodes = patches.pos.size(0)
        found = {key: _score(data, key, name, nodes) for key in SCORES if key in data}
        key = (patches.grid_size, *(values.tobytes() for values in found.values()))
        if key not in seen:
            seen[key] = len(scores)
            scores.append(found)
        centres = patches.edges[1]
        order = torch.argsort(centres, stable=True)
        others = centres[patches.edges[0] != centres]
        small = np.uint16 if nodes <= 2**16 else np.uint32
        distances, unit = _distances(data, order, name)
        packed.append(
            {
                "name": name,
                "part": part,
                "label": _label(name, part),
                "rows": patches.grid_size[0],
                "columns": patches.grid_size[1],
                "sources": patches.edges[0, order].numpy().astype(small),
                "degrees": torch.bincount(centres, minlength=nodes).numpy().astype(small),
                "neighbors": int(torch.bincount(others, minlength=1).max()),
                "distances": distances,
                "unit": unit,
                "scores": seen[key],
            }
        )
    missing = [part for part in PARTS if all(graph["part"] != part for graph in packed)]
    if missing:
        raise ValueError(f"Expected graphs with an {missing[0]} graph (got {list(graphs)})")
    return packed, scores


def _label(name: str, part: str) -> str:
    block = re.fullmatch(part + r"\.(\d+)", name)
    if block:
        return f"block {int(block[1]) + 1}"
    return "before the first block" if name == "input" else name[len(part) + 1 :] or "output"


def _score(data: Data, key: str, name: str, nodes: int) -> Array:
    values = torch.as_tensor(data[key]).detach().cpu().float()
    if tuple(values.shape) != (nodes,) or not bool(values.isfinite().all()):
        raise ValueError(
            f"Expected finite graphs[{name!r}].{key} [{nodes}] (got {list(values.shape)})"
        )
    array: Array = values.numpy()
    return array


def _distances(data: Data, order: Tensor, name: str) -> tuple[Array | None, float]:
    """Distances in units of ``unit``, 65535 steps up to the largest."""
    if "distance" not in data:
        return None, 0.0
    values = data.distance.detach().cpu().double()
    if values.shape != order.shape or not bool((values.isfinite() & (values >= 0)).all()):
        raise ValueError(
            f"Expected graphs[{name!r}].distance [{order.numel()}], finite, at least 0 "
            f"(got {list(values.shape)})"
        )
    unit = (float(values.max()) if values.numel() else 0.0) / 65535 or 1.0
    return (values[order] / unit).round().numpy().astype(np.uint16), unit


def start_blocks(graphs: Mapping[str, Data], packed: list[dict[str, Any]]) -> dict[str, int]:
    """Give the place within its part of the graph that each part shows first."""
    chosen = []
    if all(part in graphs for part in PARTS):
        batches = {
            name: graph if hasattr(graph, "num_graphs") else Batch.from_data_list([graph])
            for name, graph in graphs.items()
        }
        names = select_graphs(batches)
        chosen = [re.sub(r" block (\d+)", lambda m: f".{int(m[1]) - 1}", name) for name in names]
    blocks = {}
    for part in PARTS:
        names_ = [graph["name"] for graph in packed if graph["part"] == part]
        blocks[part] = next((names_.index(n) for n in chosen if n in names_), len(names_) - 1)
    return blocks
