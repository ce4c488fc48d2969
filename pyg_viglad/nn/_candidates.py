"""Two extras of Pyramid ViG for graphs on a grid: pooled candidates and positions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_viglad.nn._grid import to_maps, to_nodes
from pyg_viglad.nn._knn_dense import unit_features

__all__ = ["grid_coordinates", "pool_nodes", "with_position"]


def pool_nodes(x: Tensor, grid_size: tuple[int, int], ratio: int) -> Tensor:
    """Average the nodes of ``ratio`` x ``ratio`` cells; those at the border may be smaller.

    Args:
        x: Nodes ``[B * H * W, C]``.
        grid_size: Rows and columns (H, W).
        ratio: Side of the cells, at least 1.

    Returns:
        Nodes ``[B * ceil(H / ratio) * ceil(W / ratio), C]``.

    Example:
        >>> pool_nodes(torch.arange(6.0)[:, None], (2, 3), ratio=2)
        tensor([[2.0000],
                [3.5000]])
    """
    if ratio == 1:
        return x
    maps = F.avg_pool2d(to_maps(x, grid_size), ratio, ceil_mode=True, count_include_pad=False)
    return to_nodes(maps)


def grid_coordinates(grid_size: tuple[int, int], like: Tensor) -> Tensor:
    """Give row and column of each node ``[H * W, 2]``, as floats."""
    rows, columns = grid_size
    row = torch.arange(rows, device=like.device, dtype=like.dtype)
    column = torch.arange(columns, device=like.device, dtype=like.dtype)
    return torch.stack([row.repeat_interleave(columns), column.repeat(rows)], dim=1)


def with_position(x: Tensor, coordinates: Tensor) -> Tensor:
    r"""Append a position to unit features so that their distance becomes that of Pyramid ViG.

    Pyramid ViG subtracts from the squared distance of unit features the likeness
    :math:`2 \langle e_i, e_j \rangle / C` of two-dimensional sine-cosine embeddings. All embeddings
    have the same length, hence the same order comes from features with a scaled embedding behind.

    Args:
        x: Features ``[B, N, C]``, C divisible by 4.
        coordinates: Row and column of each node ``[N, 2]``.

    Returns:
        ``[B, N, 2 * C]``.
    """
    channels = x.size(2)
    quarter = torch.arange(channels // 4, device=x.device, dtype=x.dtype)
    angles = coordinates[:, :, None] * 10000 ** (-quarter / (channels // 4))
    embedding = torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)
    # |embedding|^2 = C / 2: the factor gives it the squared length 1 / 2.
    embedding = embedding / channels**0.5
    return torch.cat([unit_features(x)[0], embedding.expand(x.size(0), -1, -1)], dim=2)
