"""Which patch lies at a position, and who its neighbours are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric import EdgeIndex

__all__ = ["neighbors_of", "node_at"]


def node_at(
    pos: Tensor,
    grid_size: tuple[int, int],
    img_size: tuple[float, float],
    xy: tuple[float, float],
) -> int:
    """Return the number of the node whose patch contains a position.

    A patch reaches half its size to each side of its centre; its left and upper edges belong to
    it, its right and lower ones to the next patch (at the border of the image: to it as well).

    Args:
        pos: Patch centres ``[N, 2]`` in pixels (x right, y down).
        grid_size: Rows and columns of the grid of patches.
        img_size: Height and width of the image in pixels, the unit of ``pos`` and ``xy``.
        xy: The position (x, y), inside the image.

    Returns:
        The node's number, in ``[0, N)``.

    Raises:
        ValueError: If ``pos`` is not ``[rows * columns, 2]`` or ``xy`` lies outside the image.

    Example:
        >>> pos = torch.tensor([[2.0, 2.0], [6.0, 2.0], [2.0, 6.0], [6.0, 6.0]])
        >>> node_at(pos, (2, 2), (8, 8), (7.5, 1.0))
        1
    """
    rows, columns = (int(n) for n in grid_size)
    height, width = (float(n) for n in img_size)
    if pos.dim() != 2 or tuple(pos.shape) != (rows * columns, 2):
        raise ValueError(
            f"Expected pos of shape [{rows * columns}, 2] for a grid of {rows} rows and "
            f"{columns} columns (got {list(pos.shape)})"
        )
    x, y = float(xy[0]), float(xy[1])
    if not (0 <= x <= width and 0 <= y <= height):
        raise ValueError(
            f"Expected a position inside the image of {width:g} x {height:g} pixels "
            f"(got x={x:g}, y={y:g})"
        )
    patch = torch.tensor([width / columns, height / rows], dtype=torch.float64)
    # In units of a patch: -0.5 is its left or upper edge, 0.5 its right or lower one.
    offset = (torch.tensor([x, y], dtype=torch.float64) - pos.detach().cpu().double()) / patch
    inside = ((offset >= -0.5) & (offset < 0.5)).all(dim=1).nonzero()
    if len(inside):
        return int(inside[0])
    return int(offset.abs().amax(dim=1).argmin())  # the right and lower border, and rounding


def neighbors_of(edge_index: Tensor, node: int) -> Tensor:
    """Return the neighbours of a node in the order of their rank, nearest first.

    The node itself, where the graph lists it (rank 0 in graphs with self-loops), is left out, so
    that the entry ``i`` of the answer has rank ``i + 1`` with and without self-loops.

    Args:
        edge_index: Edges ``[2, E]``, row 0 the neighbour, row 1 the centre, the edges of one
            centre ordered nearest first.
        node: The centre.

    Returns:
        The neighbours' numbers, ``[k]`` (``[k - 1]`` where the node is its own neighbour).

    Raises:
        ValueError: If ``edge_index`` is not ``[2, E]``.

    Example:
        >>> edge_index = torch.tensor([[0, 2, 1, 1, 0, 2], [0, 0, 0, 1, 1, 1]])
        >>> neighbors_of(edge_index, 0)
        tensor([2, 1])
    """
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"Expected edge_index of shape [2, E] (got {list(edge_index.shape)})")
    edges = edge_index.as_tensor() if isinstance(edge_index, EdgeIndex) else edge_index
    neighbors = edges[0, edges[1] == node]
    return neighbors[neighbors != node]
