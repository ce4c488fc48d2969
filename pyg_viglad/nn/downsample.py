"""Fewer nodes."""

from torch import Tensor, nn

from pyg_viglad.nn._grid import to_maps, to_nodes
from pyg_viglad.nn._norm import NodeNorm

__all__ = ["Downsample"]


class Downsample(nn.Module):
    """Halves the grid of nodes (Eq. 11-12): 3 x 3 convolution of stride 2, batch normalization.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.

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
        """Draw all weights anew."""
        self.conv.reset_parameters()
        self.norm.reset_parameters()

    def forward(self, x: Tensor, grid_size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Give the new nodes and the rows and columns of their grid."""
        maps = self.conv(to_maps(x, grid_size, self.conv.out_channels))
        return self.norm(to_nodes(maps)), (maps.size(2), maps.size(3))
