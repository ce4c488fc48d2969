"""The largest difference to the neighbours, for regular and for any other graphs."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["max_by_edge", "max_relative"]


def max_relative(x: Tensor, neighbors: Tensor, source: Tensor | None = None) -> Tensor:
    r"""Compute :math:`\max_j (x_j - x_i)` over k neighbours each, channel by channel (Eq. 9).

    Neither the ``[N, k, C]`` features of the neighbours nor the differences are stored: the largest
    difference is the largest neighbour minus the node. Where several neighbours are largest, the
    gradient goes to the first of them.

    Args:
        x: Features of the nodes ``[N, C]``.
        neighbors: Neighbours of each node ``[N, k]``, k >= 1.
        source: Features in which ``neighbors`` count ``[M, C]`` (default: ``x``).

    Returns:
        ``[N, C]``.

    Example:
        >>> max_relative(torch.tensor([[1.0], [5.0]]), torch.tensor([[0, 1], [1, 0]]))
        tensor([[4.],
                [0.]])
    """
    source = x if source is None else source
    needs_gradient = torch.is_grad_enabled() and source.requires_grad
    if torch.compiler.is_compiling():
        # A compiler fuses gather and reduction itself.
        gathered = source[neighbors]
        largest = gathered.max(dim=1).values if needs_gradient else gathered.amax(dim=1)
    elif needs_gradient:
        largest = _MaxNeighbor.apply(source, neighbors)
    else:
        largest = _largest(source, neighbors)
    return largest - x


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


def _largest(source: Tensor, neighbors: Tensor) -> Tensor:
    if source.device.type != "cpu":
        return source[neighbors].amax(dim=1)
    largest = source.index_select(0, neighbors[:, 0])
    for rank in range(1, neighbors.size(1)):
        torch.maximum(largest, source.index_select(0, neighbors[:, rank]), out=largest)
    return largest


def _largest_and_rank(source: Tensor, neighbors: Tensor) -> tuple[Tensor, Tensor]:
    """Give the largest neighbour in each channel and which it is, the first of equal ones."""
    dtype = torch.uint8 if neighbors.size(1) <= 256 else torch.int32
    if source.device.type != "cpu":
        largest, ranks = source[neighbors].max(dim=1)
        return largest, ranks.to(dtype)
    # Neighbour by neighbour all arrays stay in the cache.
    largest = source.index_select(0, neighbors[:, 0])
    ranks = torch.zeros_like(largest, dtype=dtype)
    for rank in range(1, neighbors.size(1)):
        values = source.index_select(0, neighbors[:, rank])
        larger = (values > largest).to(dtype)
        torch.maximum(ranks, larger.mul_(rank), out=ranks)  # ranks only grow
        torch.maximum(largest, values, out=largest)
    return largest, ranks


class _MaxNeighbor(torch.autograd.Function):
    """The largest neighbour in each channel; keeps its rank, one byte a value, for the gradient."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, neighbors: Tensor) -> Tensor:
        largest, ranks = _largest_and_rank(source, neighbors)
        ctx.save_for_backward(neighbors, ranks)
        ctx.size = source.size(0)
        return largest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        neighbors, ranks = ctx.saved_tensors
        (gradient,) = gradients
        rows = neighbors.gather(1, ranks.to(torch.int64))
        total = gradient.new_zeros(ctx.size, gradient.size(1))
        return total.scatter_add(0, rows, gradient), None
