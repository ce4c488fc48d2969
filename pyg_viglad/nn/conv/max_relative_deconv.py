"""The max-relative graph deconvolution."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.typing import PairTensor

from pyg_viglad.nn._grid import to_maps, to_nodes
from pyg_viglad.nn._grouped_linear import grouped_linear
from pyg_viglad.nn.conv.max_relative_conv import MaxRelativeConv

__all__ = ["MaxRelativeDeconv"]


class MaxRelativeDeconv(MaxRelativeConv):
    r"""The max-relative graph deconvolution of DeconvViG (Eq. 8-9).

    .. math::
        p_i^{l+1} = \sigma_{deconv} \left[ norm \left[ TrConv2D \left(
        concat \left[ p_i^l, p_i^{l'} \right] \right) \right] \right], \qquad
        p_i^{l'} = \max \left[ q_j^l - p_i^l \mid q_j^l \in \mathcal{N}_k(p_i^l) \right]

    A transposed convolution with a 1 x 1 kernel, what the equation's single node admits, equals a
    1 x 1 convolution: with ``kernel_size=1`` this computes just what
    :class:`~pyg_viglad.nn.MaxRelativeConv` does. With ``kernel_size=3`` (stride 1, padding 1) each
    node also reaches the eight around it on the grid. As there, the channels of the two features
    are interleaved.

    Args:
        in_channels: Width of the input, divisible by ``heads``.
        out_channels: Width of the output, divisible by ``heads``.
        heads: Number of groups of the transposed convolution.
        kernel_size: 1, or 3 for nodes on a grid.
        norm: Apply batch normalization, in training over all nodes of the batch, or, where they are
            fewer than 16, with the running statistics, which stay as they are.
        act: Class of the activation, or ``None``.

    Shapes:
        - **input:** features ``[N, in_channels]`` or a pair, and ``edge_index`` ``[2, E]``; with
          ``kernel_size=3`` the nodes are those of equal grids, image after image, row by row.
        - **output:** ``[N, out_channels]``.

    Raises:
        ValueError: If the channels cannot be divided by ``heads`` or the kernel is another.

    Example:
        >>> conv = MaxRelativeDeconv(8, 16, kernel_size=3)
        >>> edge_index = torch.arange(12).expand(2, 12)
        >>> conv(torch.rand(12, 8), edge_index, grid_size=(3, 4)).shape
        torch.Size([12, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 4,
        kernel_size: int = 1,
        *,
        norm: bool = True,
        act: type[nn.Module] | None = nn.GELU,
    ) -> None:
        super().__init__(in_channels, out_channels, heads, norm=norm, act=act)
        if kernel_size not in (1, 3):
            raise ValueError(f"Expected 'kernel_size' to be 1 or 3 (got {kernel_size})")
        self.kernel_size = kernel_size
        self.lin = _GroupedTransposedConv(2 * in_channels, out_channels, heads, kernel_size)

    def forward(
        self,
        x: Tensor | PairTensor,
        edge_index: Tensor | EdgeIndex,
        k: int | None = None,
        grid_size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Convolve.

        Args:
            x: Features, or a pair of neighbours' and centres' features.
            edge_index: Any edges, see :class:`~pyg_viglad.nn.MaxRelativeConv`.
            k: States that the edges are k for every centre, grouped by centre.
            grid_size: Rows and columns of each image's nodes; needed with ``kernel_size=3``.

        Returns:
            ``[N, out_channels]``.
        """
        target, relative = self.relative(x, edge_index, k)
        out = self.lin(target, relative, grid_size)
        return self.act(self.norm(out))  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}({self.in_channels}, {self.out_channels}, "
            f"heads={self.heads}, kernel_size={self.kernel_size})"
        )


class _GroupedTransposedConv(nn.Module):
    """A transposed convolution of stride 1 over nodes; the kernel 1 needs no grid."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, kernel_size: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(
            torch.empty(in_channels, out_channels // groups, kernel_size, kernel_size)
        )
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.weight[:, 0].numel() / self.groups)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(
        self, target: Tensor, relative: Tensor, grid_size: tuple[int, int] | None
    ) -> Tensor:
        """Transform the features with both interleaved, ``[N, 2 * C]``."""
        if self.weight.size(2) == 1:
            weight = self.weight.view(self.groups, -1, self.weight.size(1))
            return grouped_linear(target, weight, self.bias, relative)
        if grid_size is None:
            raise ValueError("Expected 'grid_size' with kernel_size=3 (got None)")
        x = torch.stack([target, relative], dim=2).flatten(1)
        maps = F.conv_transpose2d(
            to_maps(x, grid_size), self.weight, self.bias, padding=1, groups=self.groups
        )
        return to_nodes(maps)
