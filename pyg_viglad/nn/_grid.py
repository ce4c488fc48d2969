"""Nodes on grids, as maps and back."""

from torch import Tensor

__all__ = ["to_maps", "to_nodes"]


def to_maps(x: Tensor, grid_size: tuple[int, int], kernels: int = 0) -> Tensor:
    """Turn nodes ``[B * H * W, C]``, image after image, row by row, into maps ``[B, C, H, W]``.

    The maps are a view with the channels last. Before a convolution torch brings the kernels into
    the layout of the maps, so where the kernels are larger, the maps are brought into theirs.

    Args:
        x: Nodes.
        grid_size: Rows and columns (H, W).
        kernels: Number of kernels for each channel in the convolution that follows.

    Raises:
        ValueError: If the nodes do not fill whole grids.

    Example:
        >>> import torch
        >>> to_maps(torch.zeros(12, 5), (2, 3)).shape
        torch.Size([2, 5, 2, 3])
    """
    rows, columns = grid_size
    if x.dim() != 2 or rows < 1 or columns < 1 or x.size(0) % (rows * columns):
        raise ValueError(
            f"Expected 'x' to hold the nodes of {rows} x {columns} grids (got {list(x.shape)})"
        )
    maps = x.view(-1, rows, columns, x.size(1)).permute(0, 3, 1, 2)
    return maps.contiguous() if kernels > rows * columns else maps


def to_nodes(maps: Tensor) -> Tensor:
    """Turn maps ``[B, C, H, W]`` into nodes ``[B * H * W, C]``, image after image, row by row.

    Example:
        >>> import torch
        >>> to_nodes(torch.zeros(2, 5, 2, 3)).shape
        torch.Size([12, 5])
    """
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.size(1))
