"""Exact nearest neighbours of equal-sized graphs by matrix products, one tile at a time."""

import math
from collections.abc import Iterator
from typing import Optional

import torch
from torch import Tensor

from pyg_viglad.nn._knn_select import nested_groups, places_in_groups, select_nearest

__all__ = ["dense_neighbors", "effective_dilation", "number_wanted", "unit_features"]

# Distances held at once: few enough for a CPU's cache, enough to keep many cores or a GPU busy.
_SMALL_TILE = 2**19
_MEDIUM_TILE = 2**21
_LARGE_TILE = 2**24
# A product of fewer rows is slower for each: all candidates are read for one tile.
_FEWEST_ROWS = 128


def effective_dilation(candidates: int, k: int, dilation: int) -> int:
    """Lower the dilation to what the number of candidates allows."""
    return dilation if dilation == 1 else max(1, min(dilation, candidates // k))


def number_wanted(k: int, dilation: int, self_first: bool) -> int:
    """Count the nearest others from which ``k`` are taken, ``dilation`` apart."""
    return (k - 1) * dilation + 1 - int(self_first)


def unit_features(x: Tensor) -> tuple[Tensor, Tensor]:
    """Give the L2-normalised features and their squared norm: 1, or 0 where a vector is zero."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.nan_to_num(x / norm.clamp_min(1e-12)), (norm > 0).to(x.dtype)


@torch.no_grad()
def dense_neighbors(
    x: Tensor,
    k: int,
    dilation: int = 1,
    *,
    y: Tensor | None = None,
    loop: bool = True,
    cosine: bool = True,
    max_memory: int | None = None,
) -> Tensor:
    """Find the neighbours of :func:`~pyg_viglad.nn.knn_graph` for graphs of equal size.

    No value is read back to the host, so it can be compiled, as one operator, and exported.

    Args:
        x: Centres ``[B, M, C]``.
        k: Neighbours of each centre, at most the number of candidates.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest.
        y: Candidates ``[B, N, C]`` (default: the centres).
        loop: Without ``y``: the centre itself is its first neighbour, otherwise it is none.
        cosine: Compare L2-normalised features.
        max_memory: Bytes that the distances held at once may take (default: what is fast).

    Returns:
        Indices into each graph's candidates ``[B, M, k]``, nearest first.
    """
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        # A compiler would gain nothing from hundreds of small steps, and take long for them.
        found: Tensor = _neighbors_operator(x, y, k, dilation, loop, cosine, max_memory)
        return found
    return _neighbors(x, y, k, dilation, loop, cosine, max_memory)


def _neighbors(
    x: Tensor,
    y: Tensor | None,
    k: int,
    dilation: int,
    loop: bool,
    cosine: bool,
    max_memory: int | None,
) -> Tensor:
    own = y is None
    y = x if y is None else y
    self_first = own and loop
    dilation = effective_dilation(y.size(1) - int(own and not loop), k, dilation)
    # The centre itself never competes: rounding could rank a duplicate of it first.
    count = number_wanted(k, dilation, self_first)
    parts = []
    if self_first:
        parts.append(
            torch.arange(x.size(1), device=x.device).view(1, -1, 1).expand(x.size(0), -1, 1)
        )
    if count > 0:
        with torch.autocast(x.device.type, enabled=False):
            parts.append(_nearest(x, y, count, own, cosine, max_memory))
    return torch.cat(parts, dim=2)[:, :, ::dilation]


@torch.library.custom_op("pyg_viglad::dense_neighbors", mutates_args=())
def _neighbors_operator(
    x: Tensor,
    y: Optional[Tensor],  # noqa: UP045 (older versions of torch read no unions here)
    k: int,
    dilation: int,
    loop: bool,
    cosine: bool,
    max_memory: Optional[int],  # noqa: UP045
) -> Tensor:
    return _neighbors(x, y, k, dilation, loop, cosine, max_memory).contiguous()


@_neighbors_operator.register_fake
def _(
    x: Tensor,
    y: Tensor | None,
    k: int,
    dilation: int,
    loop: bool,
    cosine: bool,
    max_memory: int | None,
) -> Tensor:
    return x.new_empty(x.size(0), x.size(1), k, dtype=torch.int64)


def _nearest(
    x: Tensor,
    y: Tensor,
    count: int,
    exclude_self: bool,
    cosine: bool,
    max_memory: int | None,
) -> Tensor:
    """Give the ``count`` nearest candidates, by distance, then index: ``[B, M, count]``."""
    if x.dtype not in (torch.float32, torch.float64):
        x, y = x.float(), y.float()
    centres, candidates = x.size(1), y.size(1)
    if cosine:
        x, x_square = unit_features(x)
        y, y_square = unit_features(y)
        # <x, y> - |y|^2 / 2 in one product; the distance is |x|^2 / 2 minus that.
        x = torch.cat([x, torch.ones_like(x_square)], dim=2)
        y = torch.cat([y, y_square / -2], dim=2)
        offset = x_square / 2
    else:
        x, y = torch.nan_to_num(x), torch.nan_to_num(y)
        offset = x.new_zeros(x.size(0), centres, 1)
    groups = nested_groups(candidates, count, x.dtype)
    columns = -(-candidates // math.prod(groups)) * math.prod(groups)
    places = places_in_groups(columns, groups, x.device)
    unused = places[candidates:]
    if groups:
        y = y[:, places.argsort().clamp(max=candidates - 1)]

    tile = _tile(x, columns) if max_memory is None else max_memory // x.element_size()

    def find(graphs: slice, rows: slice) -> Tensor:
        a, b = x[graphs, rows], y[graphs]
        if cosine:
            score = torch.bmm(a, b.transpose(1, 2))
        else:
            # Differences, not products: coordinates far from the origin would lose their digits.
            score = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
            score = score.clamp_max_(torch.finfo(score.dtype).max).neg_()
        if groups:
            score.index_fill_(2, unused, -torch.inf)
        if exclude_self:
            itself = places[:candidates][rows].view(1, -1, 1).expand(a.size(0), -1, -1)
            score.scatter_(2, itself, -torch.inf)
        return select_nearest(score, offset[graphs, rows], count, groups)

    if torch.compiler.is_exporting():
        return find(slice(None), slice(None))
    # Written in place: small parts kept between tiles would scatter the memory of the next ones.
    nearest = torch.empty(x.size(0), centres, count, dtype=torch.int64, device=x.device)
    for graphs, rows in _tiles(x.size(0), centres, columns, tile):
        nearest[graphs, rows] = find(graphs, rows)
    return nearest


def _tile(x: Tensor, columns: int) -> int:
    """Choose the number of distances to hold at once."""
    if x.device.type != "cpu":
        return _LARGE_TILE
    tile = _SMALL_TILE if torch.get_num_threads() == 1 else _MEDIUM_TILE
    return max(tile, _FEWEST_ROWS * columns)


def _tiles(graphs: int, centres: int, columns: int, tile: int) -> Iterator[tuple[slice, slice]]:
    """Give as many graphs, or else as many rows of one graph, as a tile holds, and so on."""
    rows = max(1, tile // max(columns, 1))
    step = max(1, rows // max(centres, 1))
    for graph in range(0, graphs, step):
        for row in range(0, centres, rows):
            yield slice(graph, graph + step), slice(row, row + rows)
