"""The nearest of many candidates, ties by index, pre-selected in nested groups."""

import torch
from torch import Tensor

__all__ = ["nested_groups", "places_in_groups", "select_nearest"]

_INDEX_BITS = 32


def nested_groups(candidates: int, count: int, dtype: torch.dtype) -> tuple[int, ...]:
    """Choose the sizes of the nested groups for the pre-selection, the innermost first."""
    if torch.compiler.is_exporting() or dtype != torch.float32 or candidates < 512:
        return ()
    if candidates >= 64 * count:
        return (8, 4)
    return (8,) if candidates >= 16 * count else ()


def places_in_groups(columns: int, groups: tuple[int, ...], device: torch.device) -> Tensor:
    """Give the column of each candidate.

    A group is a run of candidates, but its members stand far apart: the first members of all groups
    in a row, then the second ones. So the best of each group is an element-wise maximum of rows.
    """
    axes = tuple(range(len(groups) + 1))[::-1]
    return torch.arange(columns, device=device).view(*groups, -1).permute(axes).flatten()


def select_nearest(score: Tensor, offset: Tensor, count: int, groups: tuple[int, ...]) -> Tensor:
    """Give the candidates of the ``count`` smallest ``offset - score``, ties by index.

    Each of them is in one of the ``count`` groups whose best members, ties by index, are nearest.
    So groups are chosen first, from the outermost inwards, and only their members are compared.
    """
    if torch.compiler.is_exporting():
        # Sortable keys below need bit operations that runtimes lack; their top-k is stable anyway.
        return score.topk(count, dim=2).indices
    if score.dtype == torch.float64:
        return (offset - score).clamp_min_(0).sort(dim=2, stable=True).indices[:, :, :count]
    levels = [score]
    for size in groups:
        levels.append(levels[-1].view(*score.shape[:2], size, -1).amax(dim=2))
    score = levels.pop()
    index = torch.arange(score.size(2), device=score.device)
    for depth in range(len(groups) - 1, -1, -1):
        inner = groups[depth]
        members = torch.arange(inner, device=score.device)
        chosen = _smallest(offset - score, index, count, in_order=False)
        width = levels[depth].size(2) // inner
        place = places_in_groups(width, groups[depth + 1 :], score.device)[chosen]
        score = levels[depth].gather(2, (place[..., None] + members * width).flatten(2))
        index = (chosen[..., None] * inner + members).flatten(2)
    return _smallest(offset - score, index, count, in_order=True)


def _smallest(distance: Tensor, index: Tensor, count: int, in_order: bool) -> Tensor:
    """Give the indices of the smallest distances, ties by index.

    The bits of floats >= 0 sort as integers do. With the index behind them all keys differ, which
    makes top-k, that promises nothing about ties, exact.
    """
    keys = distance.clamp_min_(0).view(torch.int32).to(torch.int64)
    keys = keys.bitwise_left_shift_(_INDEX_BITS).bitwise_or_(index)
    nearest = keys.topk(count, dim=2, largest=False, sorted=in_order).values
    return nearest.bitwise_and_(2**_INDEX_BITS - 1)
