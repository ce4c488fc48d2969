"""The largest difference to the neighbours, for graphs with as many neighbours everywhere."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["first_largest", "max_relative", "total_by_row"]

# Features of neighbours held at once: few enough for a CPU's cache.
_GATHERED = 2**19


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
    if torch.compiler.is_exporting():
        gathered = source[neighbors]
        largest = gathered.max(dim=1).values if needs_gradient else gathered.amax(dim=1)
    elif torch.compiler.is_compiling():
        largest = _largest_in_chain(source, neighbors, needs_gradient)
    elif needs_gradient:
        largest = _MaxNeighbor.apply(source, neighbors)
    else:
        largest = _largest(source, neighbors)
    return largest - x


def first_largest(source: Tensor, neighbors: Tensor) -> tuple[Tensor, Tensor]:
    """Give the largest neighbour in each channel and which it is, the first of equal ones.

    Args:
        source: ``[M, C]``.
        neighbors: ``[N, k]``.

    Returns:
        Values ``[N, C]`` and ranks ``[N, C]``, of ``torch.uint8`` where k is at most 256.
    """
    count = neighbors.size(1)
    dtype = torch.uint8 if count <= 256 else torch.int32
    if source.device.type != "cpu":
        largest, ranks = source[neighbors].max(dim=1)
        return largest, ranks.to(dtype)
    values = source.new_empty(neighbors.size(0), source.size(1))
    ranks = torch.empty_like(values, dtype=dtype)
    rows = max(1, _GATHERED * torch.get_num_threads() // max(1, count * source.size(1)))
    buffer = source.new_empty(min(rows, neighbors.size(0)) * count, source.size(1))
    for first in range(0, neighbors.size(0), rows):
        part = slice(first, first + rows)
        index = neighbors[part].reshape(-1)
        gathered = torch.index_select(source, 0, index, out=buffer[: index.numel()])
        # As the width of an image whose channels come last: pooling then takes whole vectors of
        # channels at once, which no reduction that tells the place does.
        maps = gathered.view(-1, 1, count, source.size(1)).permute(0, 3, 1, 2)
        largest, places = F.max_pool2d(maps, (1, count), return_indices=True)
        values[part] = largest.flatten(1)
        ranks[part] = places.flatten(1)
    return values, ranks


def total_by_row(starts: Tensor, values: Tensor, rows: int) -> Tensor:
    """Add up values by row, in float32 at least.

    Args:
        starts: For each value the first place of its row, the number of the row times C: ``[N, C]``.
        values: ``[N, C]``.
        rows: Number of rows M.

    Returns:
        ``[M, C]``.
    """
    channels = values.size(1)
    # Along a single axis scatter_add is twice as fast.
    places = (starts + torch.arange(channels, device=starts.device)).flatten()
    dtype = torch.promote_types(values.dtype, torch.float32)
    total = torch.zeros(rows * channels, dtype=dtype, device=values.device)
    total = total.scatter_add(0, places, values.flatten().to(dtype))
    return total.view(rows, channels).to(values.dtype)


def _largest(source: Tensor, neighbors: Tensor) -> Tensor:
    if source.device.type != "cpu":
        return source[neighbors].amax(dim=1)
    # Neighbour by neighbour both arrays stay in the cache.
    largest = source.index_select(0, neighbors[:, 0])
    for rank in range(1, neighbors.size(1)):
        torch.maximum(largest, source.index_select(0, neighbors[:, rank]), out=largest)
    return largest


def _largest_in_chain(source: Tensor, neighbors: Tensor, needs_gradient: bool) -> Tensor:
    """Compute what a compiler fuses into one loop over vectors, unlike a reduction with places."""
    with torch.no_grad():
        largest = source[neighbors[:, 0]]
        rows = neighbors[:, :1].expand_as(largest)
        for rank in range(1, neighbors.size(1)):
            values = source[neighbors[:, rank]]
            larger = (values > largest) | values.isnan()
            rows = torch.where(larger, neighbors[:, rank : rank + 1], rows)
            largest = torch.maximum(largest, values)
    if not needs_gradient:
        return largest
    dtype = torch.promote_types(source.dtype, torch.float32)
    return source.to(dtype).gather(0, rows).to(source.dtype)


class _MaxNeighbor(torch.autograd.Function):
    """The largest neighbour in each channel; keeps its rank, one byte a value, for the gradient."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, neighbors: Tensor) -> Tensor:
        largest, ranks = first_largest(source, neighbors)
        ctx.save_for_backward(neighbors, ranks)
        ctx.size = source.size(0)
        return largest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        neighbors, ranks = ctx.saved_tensors
        starts = (neighbors * ranks.size(1)).gather(1, ranks.to(torch.int64))
        return total_by_row(starts, gradients[0], ctx.size), None
