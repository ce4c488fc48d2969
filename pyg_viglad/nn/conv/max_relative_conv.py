"""The max-relative graph convolution."""

from typing import Optional

import torch
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import PairTensor

from pyg_viglad.nn._grouped_linear import GroupedLinear
from pyg_viglad.nn._norm import NodeNorm
from pyg_viglad.nn.conv._max_by_edge import max_by_edge, max_relative_by_edge
from pyg_viglad.nn.conv._max_relative import max_relative

__all__ = ["MaxRelativeConv"]


class MaxRelativeConv(MessagePassing):  # type: ignore[misc]
    r"""The multi-head max-relative graph convolution of ConvViG (Eq. 3-4).

    .. math::
        g(p_i) &= \left[ p_i, \; \max_{q_j \in \mathcal{N}_k(p_i)} (q_j - p_i) \right] \\
        p'_i &= \sigma \left[ norm \left[ head^1(g(p_i)) W^1, \dots, head^h(g(p_i)) W^h
        \right] \right]

    The two halves of :math:`g` are interleaved channel by channel, so that every head sees both.
    The activation is the :math:`\sigma_g` of Eq. 6: a block around this operator must not apply it
    again. Of equally large neighbours the first receives the gradient. A node without neighbours
    has the relative feature 0.

    Args:
        in_channels: Width of the input, divisible by ``heads``.
        out_channels: Width of the output, divisible by ``heads``.
        heads: Number of groups of the linear layer.
        norm: Apply batch normalization, in training over all nodes of the batch, or, where they are
            fewer than 16, with the running statistics, which stay as they are.
        act: Class of the activation, or ``None``.

    Shapes:
        - **input:** features ``[N, in_channels]``, or a pair of neighbours' and centres' features
          ``([M, in_channels], [N, in_channels])``; ``edge_index`` ``[2, E]``, row 0 the neighbour.
        - **output:** ``[N, out_channels]``.

    Raises:
        ValueError: If the channels cannot be divided by ``heads``.

    Example:
        >>> conv = MaxRelativeConv(8, 16)
        >>> edge_index = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1]])
        >>> conv(torch.rand(2, 8), edge_index).shape
        torch.Size([2, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 4,
        *,
        norm: bool = True,
        act: type[nn.Module] | None = nn.GELU,
    ) -> None:
        super().__init__(aggr="max")
        check_heads(in_channels, out_channels, heads)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.lin: nn.Module = GroupedLinear(2 * in_channels, out_channels, heads)
        self.norm = NodeNorm(out_channels) if norm else nn.Identity()
        self.act = act() if act is not None else nn.Identity()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        super().reset_parameters()
        self.lin.reset_parameters()  # type: ignore[operator]
        if isinstance(self.norm, NodeNorm):
            self.norm.reset_parameters()

    def forward(
        self, x: Tensor | PairTensor, edge_index: Tensor | EdgeIndex, k: int | None = None
    ) -> Tensor:
        """Convolve.

        Args:
            x: Features, or a pair of neighbours' and centres' features.
            edge_index: Any edges. Where every centre has equally many, grouped by centre as
                :func:`~pyg_viglad.nn.knn_graph` gives them, a faster path is taken.
            k: States that the edges are so, with k a centre; it is not checked, no value is read
                back from the device, and the operator can be compiled and exported.

        Returns:
            ``[N, out_channels]``.
        """
        target, relative = self.relative(x, edge_index, k)
        return self.act(self.norm(self.lin(target, relative)))  # type: ignore[no-any-return]

    def relative(
        self, x: Tensor | PairTensor, edge_index: Tensor | EdgeIndex, k: int | None = None
    ) -> PairTensor:
        r"""Give the centres' features and :math:`\max_j (x_j - x_i)`, both ``[N, in_channels]``."""
        source, target = (x, x) if isinstance(x, Tensor) else x
        for features in (source, target):
            if features.dim() != 2 or features.size(1) != self.in_channels:
                raise ValueError(
                    f"Expected 'x' to be [N, {self.in_channels}] (got {list(features.shape)})"
                )
        if isinstance(edge_index, EdgeIndex):
            edge_index = edge_index.as_tensor()
        if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype != torch.int64:
            raise ValueError(
                "Expected 'edge_index' to be [2, E] of torch.int64 "
                f"(got {list(edge_index.shape)} of {edge_index.dtype})"
            )
        if not self._observed():
            k = _regular_degree(edge_index, target.size(0)) if k is None else k
            if k:
                return target, max_relative(target, edge_index[0].view(-1, k), source)
            if source.device.type == "cpu" and not torch.compiler.is_compiling():
                return target, max_relative_by_edge(target, edge_index, source)
        # propagate_type: (x: PairTensor)
        size = (source.size(0), target.size(0))
        return target, self.propagate(edge_index, x=(source, target), size=size)

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """Give the difference to each neighbour."""
        return x_j - x_i

    def aggregate(
        self,
        inputs: Tensor,
        index: Tensor,
        ptr: Optional[Tensor] = None,  # noqa: UP045 (PyG reads these, and knows no unions)
        dim_size: Optional[int] = None,  # noqa: UP045
    ) -> Tensor:
        """Take the largest difference in each channel."""
        return max_by_edge(inputs, index, int(index.max()) + 1 if dim_size is None else dim_size)

    def _observed(self) -> bool:
        """Tell whether an explainer or a hook wants to see the messages of PyG's own path."""
        hooks = (
            self._propagate_forward_pre_hooks,
            self._propagate_forward_hooks,
            self._message_forward_pre_hooks,
            self._message_forward_hooks,
            self._aggregate_forward_pre_hooks,
            self._aggregate_forward_hooks,
        )
        return bool(self.explain) or any(len(hook) > 0 for hook in hooks)

    def __repr__(self) -> str:
        name = self.__class__.__name__
        return f"{name}({self.in_channels}, {self.out_channels}, heads={self.heads})"


def check_heads(in_channels: int, out_channels: int, heads: int) -> None:
    """Raise ``ValueError`` unless each of the heads gets whole pairs of channels."""
    if heads < 1 or in_channels % heads or out_channels % heads:
        raise ValueError(
            "Expected 'in_channels' and 'out_channels' to be divisible by 'heads' "
            f"(got {in_channels}, {out_channels} and {heads})"
        )


def _regular_degree(edge_index: Tensor, nodes: int) -> int:
    """Give k if the edges are k a node, grouped by node, else 0."""
    edges = edge_index.size(1)
    if torch.compiler.is_compiling() or nodes == 0 or edges == 0 or edges % nodes:
        return 0
    centres = edge_index[1].view(nodes, -1)
    numbers = torch.arange(nodes, device=edge_index.device)[:, None]
    return edges // nodes if bool((centres == numbers).all()) else 0
