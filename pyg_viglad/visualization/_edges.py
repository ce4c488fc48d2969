"""Which edges of a graph to draw, and which of them another graph has too."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyg_viglad.visualization._graphs import PatchGraph

__all__ = ["Edges", "on_step", "select_edges", "split_edges", "thinning"]


class Edges(NamedTuple):
    """Edges of one kind.

    Attributes:
        name: The kind: ``"all"``, ``"kept"``, ``"lost"`` or ``"gained"``.
        links: The edges ``[2, E]``, row 0 the neighbour, row 1 the centre.
        whole: The number of edges of the graph that they are a part of.
        drawn: A mask ``[E]``, whether to draw them.
    """

    name: str
    links: Tensor
    whole: int
    drawn: Tensor


def split_edges(
    graph: PatchGraph, before: PatchGraph | None, step: int, nearest: int | None
) -> list[Edges]:
    """Split a graph's edges into those kept, lost and gained since another one.

    Args:
        graph: The graph.
        before: An earlier one on the same grid; without it, all edges are of one kind.
        step: See :func:`select_edges`.
        nearest: See :func:`select_edges`.
    """
    after, count = graph.links()[0], graph.pos.size(0)
    drawn = select_edges(after, graph, step, nearest)
    if before is None:
        return [Edges("all", after, after.size(1), drawn)]
    first = before.links()[0]
    numbers, first_numbers = (edges[1] * count + edges[0] for edges in (after, first))
    kept = torch.isin(numbers, first_numbers)
    lost = ~torch.isin(first_numbers, numbers)
    lost_drawn = select_edges(first, graph, step, nearest)[lost]
    return [
        Edges("kept", after[:, kept], first.size(1), drawn[kept]),
        Edges("lost", first[:, lost], first.size(1), lost_drawn),
        Edges("gained", after[:, ~kept], after.size(1), drawn[~kept]),
    ]


def thinning(graph: PatchGraph, most: float) -> int:
    """Return the smallest step between centres that leaves at most so many edges."""
    links, _ = graph.links()
    for step in range(1, max(graph.grid_size)):
        if int(on_step(links[1], graph, step).sum()) <= most:
            return step
    return max(graph.grid_size)


def on_step(nodes: Tensor, graph: PatchGraph, step: int) -> Tensor:
    """Whether nodes lie in every so many-th row and column, beginning half a step from the edge."""
    rows, columns = graph.grid_size
    row, column = nodes // columns, nodes % columns
    # Of a grid smaller than half a step, the middle.
    first = min(step // 2, rows // 2), min(step // 2, columns // 2)
    return (row % step == first[0]) & (column % step == first[1])


def select_edges(links: Tensor, graph: PatchGraph, step: int, nearest: int | None) -> Tensor:
    """Whether to draw edges: of every so many-th centre in rows and columns, its nearest.

    Args:
        links: Edges ``[2, E]`` in order of rank for each centre, without self-loops.
        graph: The graph, for its grid.
        step: See :func:`on_step`.
        nearest: Draw only so many neighbours of a centre; all where ``None``.

    Returns:
        A mask ``[E]``.
    """
    chosen = on_step(links[1], graph, step)
    if nearest is not None:
        order = torch.argsort(links[1], stable=True)
        centers = links[1, order]
        starts = torch.searchsorted(centers, centers)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(order.numel()) - starts
        chosen &= rank < nearest
    return chosen
