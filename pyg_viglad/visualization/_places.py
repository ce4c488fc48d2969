"""Where in an image to look: positions, node numbers, the most anomalous patch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyg_viglad.scoring import peak
from pyg_viglad.visualization._graphs import PatchGraph

__all__ = ["XY", "Nodes", "as_places", "peak_of_map", "peak_of_scores"]

XY = tuple[float, float]
Nodes = Tensor | Sequence[int] | Sequence[XY] | XY | int


def as_places(nodes: Nodes, graphs: Sequence[PatchGraph]) -> list[XY]:
    """Positions in pixels of the pictures, from positions or node numbers, one a graph.

    Where there is one graph, a single number or position may stand without its list.
    """
    values = torch.as_tensor(nodes).detach().cpu()
    if len(graphs) == 1 and tuple(values.shape) in ((), (2,)):
        values = values[None]
    if tuple(values.shape) == (len(graphs), 2):
        for number, ((x, y), graph) in enumerate(zip(values.tolist(), graphs, strict=True)):
            height, width = graph.picture_size
            if not (0 <= x <= width and 0 <= y <= height):
                raise ValueError(
                    f"Expected nodes[{number}] inside the image of {width} x {height} pixels "
                    f"(got x={x:g}, y={y:g})"
                )
        return [(float(x), float(y)) for x, y in values.tolist()]
    if tuple(values.shape) != (len(graphs),) or values.is_floating_point():
        raise ValueError(
            f"Expected nodes to be positions [{len(graphs)}, 2] or node numbers [{len(graphs)}] "
            f"(got {values.dtype} {list(values.shape)})"
        )
    places = []
    for number, (node, graph) in enumerate(zip(values.tolist(), graphs, strict=True)):
        if not 0 <= node < graph.pos.size(0):
            raise ValueError(
                f"Expected nodes[{number}] to be a node of {graph.name}, "
                f"0 to {graph.pos.size(0) - 1} (got {node})"
            )
        x, y = graph.pos[node].tolist()
        places.append((float(x), float(y)))
    return places


def peak_of_map(values: Tensor, size: tuple[int, int]) -> XY:
    """The centre of a map's largest cell, in pixels of the picture."""
    height, width = size
    row, column = divmod(int(peak(values[None])), values.size(1))
    return (column + 0.5) * width / values.size(1), (row + 0.5) * height / values.size(0)


def peak_of_scores(graphs: Sequence[PatchGraph]) -> list[XY] | None:
    """The centres of the nodes with the largest scores; None where the graphs have no scores."""
    places: list[XY] = []
    for graph in graphs:
        if graph.scores is None:
            return None
        x, y = graph.pos[int(peak(graph.scores.view(1, *graph.grid_size)))].tolist()
        places.append((float(x), float(y)))
    return places
