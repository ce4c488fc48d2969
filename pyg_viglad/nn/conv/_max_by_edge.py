"""The largest difference to the neighbours, and the largest message, for any edges."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyg_viglad.nn.conv._max_relative import first_largest, total_by_row

__all__ = ["max_by_edge", "max_relative_by_edge"]


def max_by_edge(messages: Tensor, centres: Tensor, num_nodes: int) -> Tensor:
    """Reduce the messages of each node's edges to their maximum, zero where there are none.

    The gradient goes to the first of equally large messages. PyG's ``scatter`` shares it among
    them, and loses a part of it where the maximum is exactly zero, as it is for constant images.

    Args:
        messages: ``[E, C]``.
        centres: The node of each edge ``[E]``.
        num_nodes: Number of nodes N.

    Returns:
        ``[N, C]``.

    Example:
        >>> max_by_edge(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]), num_nodes=2)
        tensor([[3.],
                [0.]])
    """
    edges, channels = messages.shape
    if edges == 0:
        return messages.new_zeros(num_nodes, channels)
    if torch.compiler.is_compiling() or messages.device.type != "cpu":
        return _max_by_scatter(messages, centres, num_nodes)
    return _MaxByEdge.apply(messages, centres, None, num_nodes)  # type: ignore[no-any-return]


def max_relative_by_edge(x: Tensor, edge_index: Tensor, source: Tensor | None = None) -> Tensor:
    r"""Compute :math:`\max_j (x_j - x_i)` over the edges of each node, zero where there are none.

    What :func:`~pyg_viglad.nn.conv._max_relative.max_relative` computes, for any edges, on a CPU.

    Args:
        x: Features of the nodes ``[N, C]``.
        edge_index: ``[2, E]``, row 0 the neighbour, row 1 the node.
        source: Features in which the neighbours count ``[M, C]`` (default: ``x``).

    Returns:
        ``[N, C]``.

    Example:
        >>> max_relative_by_edge(torch.tensor([[1.0], [5.0]]), torch.tensor([[0, 1], [0, 0]]))
        tensor([[4.],
                [0.]])
    """
    source = x if source is None else source
    largest: Tensor = _MaxByEdge.apply(source, edge_index[1], edge_index[0], x.size(0))
    lonely = torch.bincount(edge_index[1], minlength=x.size(0)) == 0
    return (largest - x).masked_fill(lonely[:, None], 0)


def _edges_by_degree(centres: Tensor, num_nodes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give nodes with similar numbers of edges, and a table of their edges ``[n, width]``.

    A row with fewer edges ends in repetitions of its last one, which is never the first largest.
    """
    order = None
    if bool((centres[1:] < centres[:-1]).any()):
        order = _stable_order(centres, num_nodes)
    degree = torch.bincount(centres, minlength=num_nodes)
    first = degree.cumsum(0) - degree
    # 0, 1, 2, ... 8, 10, 13, 16, 20, 25, ...: a table is at most a quarter larger than need be.
    widths = list(range(9))
    most = int(degree.max())
    while widths[-1] < most:
        widths.append(widths[-1] + widths[-4] // 2)
    kind = torch.bucketize(degree, torch.tensor(widths))
    for number in kind.unique().tolist():
        if number > 0:
            nodes = (kind == number).nonzero().view(-1)
            place = torch.minimum(torch.arange(widths[number]), degree[nodes, None] - 1)
            place += first[nodes, None]
            yield nodes, place if order is None else order[place]


def _stable_order(centres: Tensor, num_nodes: int) -> Tensor:
    """Sort, equal ones in the order they have."""
    if num_nodes > 2**16:
        return centres.argsort(stable=True)
    # Sixteen bits sort by counting, ten times as fast.
    return torch.from_numpy(centres.numpy().astype(np.uint16).argsort(kind="stable"))


class _MaxByEdge(torch.autograd.Function):
    """The largest value over the edges of each node; keeps where it came from for the gradient."""

    @staticmethod
    def forward(
        ctx: Any, source: Tensor, centres: Tensor, rows: Tensor | None, num_nodes: int
    ) -> Tensor:
        """Reduce ``source[rows]``, or ``source`` itself, which then has a row for every edge."""
        size, channels = source.shape
        values = source.new_zeros(num_nodes, channels)
        # A row behind the last one takes the gradient of nodes without edges.
        starts = torch.full_like(values, size * channels, dtype=torch.int64)
        for nodes, edges in _edges_by_degree(centres, num_nodes):
            table = edges if rows is None else rows[edges]
            values[nodes], ranks = first_largest(source, table)
            starts[nodes] = (table * channels).gather(1, ranks.to(torch.int64))
        ctx.save_for_backward(starts)
        ctx.size = size
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (starts,) = ctx.saved_tensors
        total = total_by_row(starts, gradients[0], ctx.size + 1)
        return total[: ctx.size], None, None, None


def _max_by_scatter(messages: Tensor, centres: Tensor, num_nodes: int) -> Tensor:
    """Reduce without asking the device for any number."""
    edges, channels = messages.shape
    with torch.no_grad():
        index = centres[:, None].expand(-1, channels)
        largest = messages.new_full((num_nodes, channels), -torch.inf)
        largest = largest.scatter_reduce(0, index, messages, "amax")
        is_largest = (messages == largest[centres]) | messages.isnan()
        number = torch.arange(edges, device=messages.device)[:, None]
        first = torch.where(is_largest, number, edges)
        chosen = index.new_full((num_nodes, channels), edges).scatter_reduce(
            0, index, first, "amin"
        )
    values = messages.gather(0, chosen.clamp(max=edges - 1))
    return values.masked_fill(chosen == edges, 0)
