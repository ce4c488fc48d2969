"""More nodes."""

from torch import Tensor, nn

from pyg_viglad.nn._grid import to_maps, to_nodes
from pyg_viglad.nn._norm import NodeNorm

__all__ = ["Upsample"]


class Upsample(nn.Module):
    """Doubles the grid of nodes (Eq. 13-14): transposed 3 x 3 convolution, batch normalization.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.

    Shapes:
        - **input:** nodes ``[B * H * W, in_channels]``, image after image, row by row.
        - **output:** ``[B * H' * W', out_channels]``, H' being 2H - 1 or 2H, W' likewise.

    Example:
        >>> import torch
        >>> x, grid_size = Upsample(16, 8)(torch.rand(2 * 4 * 3, 16), (4, 3), (7, 5))
        >>> x.shape, grid_size
        (torch.Size([70, 8]), (7, 5))
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.norm = NodeNorm(out_channels)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.conv.reset_parameters()
        self.norm.reset_parameters()

    def forward(
        self, x: Tensor, grid_size: tuple[int, int], output_size: tuple[int, int]
    ) -> tuple[Tensor, tuple[int, int]]:
        """Give the new nodes and the rows and columns of their grid, ``output_size``.

        Raises:
            ValueError: If the wanted size is not twice the grid's, or one less.
        """
        for size, wanted in zip(grid_size, output_size, strict=True):
            if wanted not in (2 * size - 1, 2 * size):
                raise ValueError(
                    f"Expected 'output_size' to be twice {grid_size}, or one less "
                    f"(got {tuple(output_size)})"
                )
        maps = to_maps(x, grid_size, self.conv.out_channels)
        maps = self.conv(maps, output_size=list(output_size))
        return self.norm(to_nodes(maps)), (output_size[0], output_size[1])
