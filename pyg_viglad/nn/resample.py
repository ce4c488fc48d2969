"""Strided downsampling and upsampling of node grids."""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from pyg_viglad.nn.node_norm import NodeNorm

__all__ = ["Downsample", "Upsample", "Upsampling", "to_maps", "to_nodes"]

Upsampling = Literal["transposed3", "transposed4", "nearest", "bilinear"]


def to_maps(x: Tensor, grid_size: tuple[int, int], kernels: int = 0) -> Tensor:
    """Returns nodes ``[B * H * W, C]``, image after image, row by row, as maps ``[B, C, H, W]``.

    The maps are a view with the channels last. A convolution converts its kernels to the layout
    of its input; where the kernels are the larger of the two, the maps are made contiguous instead.

    Args:
        x: Node features ``[B * H * W, C]``.
        grid_size: Rows and columns (H, W).
        kernels: Number of output channels of the convolution that follows (default: 0).

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
    """Returns maps ``[B, C, H, W]`` as nodes ``[B * H * W, C]``, image after image, row by row.

    Example:
        >>> import torch
        >>> to_nodes(torch.zeros(2, 5, 2, 3)).shape
        torch.Size([12, 5])
    """
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.size(1))


class Downsample(nn.Module):
    """Halves the grid of nodes (Eq. 11-12): 3 x 3 convolution of stride 2, batch normalization.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.

    Shapes:
        - **input:** nodes ``[B * H * W, in_channels]``, image after image, row by row.
        - **output:** ``[B * H' * W', out_channels]`` with H' = ceil(H / 2) and W' = ceil(W / 2).

    Example:
        >>> import torch
        >>> x, grid_size = Downsample(8, 16)(torch.rand(2 * 7 * 5, 8), (7, 5))
        >>> x.shape, grid_size
        (torch.Size([24, 16]), (4, 3))
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm = NodeNorm(out_channels)

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        self.conv.reset_parameters()
        self.norm.reset_parameters()

    def forward(self, x: Tensor, grid_size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Returns the new nodes and the rows and columns of their grid."""
        maps = self.conv(to_maps(x, grid_size, self.conv.out_channels))
        return self.norm(to_nodes(maps)), (maps.size(2), maps.size(3))


class Upsample(nn.Module):
    """Doubles the grid of nodes (Eq. 13-14), then batch normalization.

    The paper names a transposed convolution but no kernel size. With stride 2, each of the 2 x 2 output
    nodes has weights of its own: nodes at the same position of a cell resemble each other, and the
    decoder's graph shows a checkerboard pattern. Resizing before the convolution applies the same weights
    everywhere.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        mode: ``"nearest"`` (default) or ``"bilinear"``: the grid is resized to twice its size by that
            interpolation, then convolved, 3 x 3; ``"transposed3"`` or ``"transposed4"``: a transposed
            convolution of stride 2 with that kernel. An odd output size drops the last row or
            column.

    Shapes:
        - **input:** nodes ``[B * H * W, in_channels]``, image after image, row by row.
        - **output:** ``[B * H' * W', out_channels]``, H' being 2H - 1 or 2H, W' likewise.

    Raises:
        ValueError: If the mode is unknown.

    Example:
        >>> import torch
        >>> x, grid_size = Upsample(16, 8)(torch.rand(2 * 4 * 3, 16), (4, 3), (7, 5))
        >>> x.shape, grid_size
        (torch.Size([70, 8]), (7, 5))
    """

    def __init__(self, in_channels: int, out_channels: int, mode: Upsampling = "nearest") -> None:
        super().__init__()
        if mode not in get_args(Upsampling):
            known = ", ".join(get_args(Upsampling))
            raise ValueError(f"Expected 'mode' of upsampling among {known} (got {mode!r})")
        self.mode = mode
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if mode in ("nearest", "bilinear"):
            self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        else:
            kernel = int(mode[-1])
            self.conv = nn.ConvTranspose2d(
                in_channels, out_channels, kernel, stride=2, padding=1, output_padding=4 - kernel
            )
        self.norm = NodeNorm(out_channels)

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        self.conv.reset_parameters()
        self.norm.reset_parameters()

    def forward(
        self, x: Tensor, grid_size: tuple[int, int], output_size: tuple[int, int]
    ) -> tuple[Tensor, tuple[int, int]]:
        """Returns the new nodes and the rows and columns of their grid, ``output_size``.

        Raises:
            ValueError: If ``output_size`` is not twice the grid's size, or one less.
        """
        for size, wanted in zip(grid_size, output_size, strict=True):
            if wanted not in (2 * size - 1, 2 * size):
                raise ValueError(
                    f"Expected 'output_size' to be twice {grid_size}, or one less "
                    f"(got {tuple(output_size)})"
                )
        maps = to_maps(x, grid_size, self.conv.out_channels)
        if isinstance(self.conv, nn.Conv2d):
            maps = F.interpolate(maps, scale_factor=2.0, mode=self.mode)
        rows, columns = output_size
        maps = self.conv(maps)[:, :, :rows, :columns]
        return self.norm(to_nodes(maps)), (rows, columns)
