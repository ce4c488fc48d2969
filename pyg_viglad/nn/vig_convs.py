"""ViG's own edge, GraphSAGE and GIN convolutions."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.inits import reset
from torch_geometric.typing import Adj, PairTensor

from pyg_viglad.nn.max_relative_conv import MaxRelativeConv, as_pair
from pyg_viglad.nn.node_norm import NodeNorm

__all__ = ["GroupedLinear", "ViGEdgeConv", "ViGGINConv", "ViGSAGEConv"]


class GroupedLinear(nn.Module):
    r"""A linear layer in groups: each part of the output sees one part of the input only.

    It equals a 1 x 1 convolution with ``groups``. A kernel ``[out, in / groups, 1, 1]`` of such a
    convolution becomes ``weight`` by ``view(groups, out // groups, in // groups).transpose(1, 2)``.

    Args:
        in_channels: Number of input channels, divisible by ``groups``.
        out_channels: Number of output channels, divisible by ``groups``.
        groups: Number of groups (default: 4, ViG's).

    Shapes:
        - **input:** ``[N, in_channels]``.
        - **output:** ``[N, out_channels]``.

    Raises:
        ValueError: If the channels are not divisible by ``groups``.

    Example:
        >>> GroupedLinear(8, 16)(torch.rand(3, 8)).shape
        torch.Size([3, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int = 4) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                "Expected the input's and output's channels to be divisible by the number of groups "
                f"(got {in_channels}, {out_channels} and {groups})"
            )
        shape = (groups, in_channels // groups, out_channels // groups)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module, with the bounds of ``torch.nn.Linear``."""
        bound = 1 / math.sqrt(self.weight.size(1))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Transforms ``[N, in_channels]``."""
        groups = self.weight.size(0)
        parts = x.unflatten(1, (groups, -1)).transpose(0, 1)
        out = torch.baddbmm(self.bias.view(groups, 1, -1), parts, self.weight)
        return out.transpose(0, 1).flatten(1)

    def extra_repr(self) -> str:
        """Returns the sizes."""
        groups, in_channels, out_channels = self.weight.shape
        return f"{groups * in_channels}, {groups * out_channels}, groups={groups}"


def _layer(in_channels: int, out_channels: int, groups: int) -> nn.Sequential:
    """Builds what ViG calls a basic convolution."""
    return nn.Sequential(
        GroupedLinear(in_channels, out_channels, groups), NodeNorm(out_channels), nn.GELU()
    )


class _ViGConv(MessagePassing):  # type: ignore[misc]
    """What the three operators share: sizes, the check of the features, and the common call."""

    activated = True  # make_operator adds neither normalization nor activation

    def __init__(self, in_channels: int, out_channels: int, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        super().reset_parameters()
        for part in self.children():
            reset(part)

    def forward(
        self,
        x: Tensor | PairTensor,
        edge_index: Adj,
        size: tuple[int, int] | None = None,
        *,
        k: int | None = None,
        grid_size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Runs the forward pass.

        Args:
            x: Node features, or a pair of source and target features.
            edge_index: Edges ``[2, E]`` or a (transposed) sparse adjacency.
            size: Number of source and target nodes, checked if given.
            k: Part of the signature that all operators share; not used.
            grid_size: Part of the signature that all operators share; not used.

        Returns:
            ``[N, out_channels]``.
        """
        return self.convolve(as_pair(x, self.in_channels), edge_index, size)

    def convolve(self, x: PairTensor, edge_index: Adj, size: tuple[int, int] | None) -> Tensor:
        """Computes the output for a pair of source and target features."""
        # propagate_type: (x: PairTensor)
        return self.propagate(edge_index, x=x, size=size)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        name = self.__class__.__name__
        return f"{name}({self.in_channels}, {self.out_channels}, heads={self.heads})"


class ViGEdgeConv(_ViGConv):
    r"""The edge convolution of the ViG reference.

    .. math::
        p'_i = \max_{q_j \in \mathcal{N}(p_i)} \sigma \left[ norm \left( W \left[ p_i, \; q_j - p_i
        \right] \right) \right]

    Unlike in :class:`torch_geometric.nn.EdgeConv` followed by an adapter, normalization and GELU
    apply to every edge, and W is grouped: of four groups, two read the node's features only and two
    the differences. The output of a node without neighbours is zero.

    Its parameters have the reference's names (``nn.0``, ``nn.1``); see :class:`GroupedLinear` for
    the shape of its kernels.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels, divisible by ``heads``.
        heads: Number of groups of the linear layer (default: 4), a divisor of ``2 * in_channels``.
        **kwargs: Further arguments of :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:** features ``[N, in_channels]``, or a pair of source and target features
          ``([M, in_channels], [N, in_channels])``; edges ``[2, E]`` or a sparse adjacency matrix.
        - **output:** ``[N, out_channels]``.

    Raises:
        ValueError: If the channels are not divisible by ``heads``.

    Example:
        >>> edge_index = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1]])
        >>> ViGEdgeConv(8, 16)(torch.rand(2, 8), edge_index).shape
        torch.Size([2, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, heads: int = 4, **kwargs: Any) -> None:
        super().__init__(in_channels, out_channels, heads, aggr="max", **kwargs)
        self.nn = _layer(2 * in_channels, out_channels, heads)

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """Returns the transformed edges."""
        return self.nn(torch.cat([x_i, x_j - x_i], dim=1))  # type: ignore[no-any-return]

    aggregate = MaxRelativeConv.aggregate


class ViGSAGEConv(_ViGConv):
    r"""The GraphSAGE convolution of the ViG reference.

    .. math::
        p'_i = \sigma \left[ norm \left( W_2 \left[ p_i, \; \max_{q_j \in \mathcal{N}(p_i)} \sigma
        \left[ norm \left( W_1 q_j \right) \right] \right] \right) \right]

    Unlike in :class:`torch_geometric.nn.SAGEConv`, the neighbours are transformed first. As in the
    reference, the inner statistics in training are those over all edges. The maximum of a node
    without neighbours is zero.

    Its parameters have the reference's names (``nn1.0``, ``nn1.1``, ``nn2.0``, ``nn2.1``); see
    :class:`GroupedLinear` for the shape of its kernels.

    Args:
        in_channels: Number of input channels, divisible by ``heads``.
        out_channels: Number of output channels, divisible by ``heads``.
        heads: Number of groups of the linear layers (default: 4).
        **kwargs: Further arguments of :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:** features ``[N, in_channels]``, or a pair of source and target features
          ``([M, in_channels], [N, in_channels])``; edges ``[2, E]`` or a sparse adjacency matrix.
        - **output:** ``[N, out_channels]``.

    Raises:
        ValueError: If the channels are not divisible by ``heads``.

    Example:
        >>> edge_index = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1]])
        >>> ViGSAGEConv(8, 16)(torch.rand(2, 8), edge_index).shape
        torch.Size([2, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, heads: int = 4, **kwargs: Any) -> None:
        super().__init__(in_channels, out_channels, heads, aggr="max", **kwargs)
        self.nn1 = _layer(in_channels, in_channels, heads)
        self.nn2 = _layer(2 * in_channels, out_channels, heads)

    def convolve(self, x: PairTensor, edge_index: Adj, size: tuple[int, int] | None) -> Tensor:
        """Computes the output for a pair of source and target features."""
        # The linear layer needs no edges, only the normalization's statistics do.
        lin = self.nn1[0]
        forwards = self.flow == "source_to_target"
        pair = (lin(x[0]), x[1]) if forwards else (x[0], lin(x[1]))
        # propagate_type: (x: PairTensor)
        largest = self.propagate(edge_index, x=pair, size=size)
        return self.nn2(torch.cat([x[int(forwards)], largest], dim=1))  # type: ignore[no-any-return]

    def message(self, x_j: Tensor) -> Tensor:
        """Returns the transformed neighbours."""
        return self.nn1[2](self.nn1[1](x_j))  # type: ignore[no-any-return]

    aggregate = MaxRelativeConv.aggregate


class ViGGINConv(_ViGConv):
    r"""The graph isomorphism convolution of the ViG reference.

    .. math::
        p'_i = \sigma \left[ norm \left( W \left[ (1 + \epsilon) \, p_i + \sum_{q_j \in
        \mathcal{N}(p_i)} q_j \right] \right) \right]

    with a learnable :math:`\epsilon`, initially zero, and W in groups. Its parameters have the
    reference's names (``eps``, ``nn.0``, ``nn.1``); see :class:`GroupedLinear` for the shape of its
    kernels.

    Args:
        in_channels: Number of input channels, divisible by ``heads``.
        out_channels: Number of output channels, divisible by ``heads``.
        heads: Number of groups of the linear layer (default: 4).
        **kwargs: Further arguments of :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:** features ``[N, in_channels]``, or a pair of source and target features
          ``([M, in_channels], [N, in_channels])``; edges ``[2, E]`` or a sparse adjacency matrix.
        - **output:** ``[N, out_channels]``.

    Raises:
        ValueError: If the channels are not divisible by ``heads``.

    Example:
        >>> edge_index = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1]])
        >>> ViGGINConv(8, 16)(torch.rand(2, 8), edge_index).shape
        torch.Size([2, 16])
    """

    def __init__(self, in_channels: int, out_channels: int, heads: int = 4, **kwargs: Any) -> None:
        super().__init__(in_channels, out_channels, heads, aggr="sum", **kwargs)
        self.nn = _layer(in_channels, out_channels, heads)
        self.eps = nn.Parameter(torch.zeros(1))

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        super().reset_parameters()
        nn.init.zeros_(self.eps)

    def convolve(self, x: PairTensor, edge_index: Adj, size: tuple[int, int] | None) -> Tensor:
        """Computes the output for a pair of source and target features."""
        # propagate_type: (x: PairTensor)
        total = self.propagate(edge_index, x=x, size=size)
        centres = x[int(self.flow == "source_to_target")]
        return self.nn((1 + self.eps) * centres + total)  # type: ignore[no-any-return]

    def message(self, x_j: Tensor) -> Tensor:
        """Returns the neighbours."""
        return x_j
