"""The max-relative graph convolution and deconvolution."""

import math
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.inits import reset
from torch_geometric.typing import Adj, PairTensor
from torch_geometric.utils import is_sparse, to_edge_index

from pyg_viglad.nn.node_norm import NodeNorm
from pyg_viglad.nn.resample import to_maps, to_nodes

__all__ = ["MaxRelativeConv", "MaxRelativeDeconv", "as_pair"]


class MaxRelativeConv(MessagePassing):  # type: ignore[misc]
    r"""The multi-head max-relative graph convolution of ConvViG (Eq. 3-4).

    .. math::
        g(p_i) &= \left[ p_i, \; \max_{q_j \in \mathcal{N}_k(p_i)} (q_j - p_i) \right] \\
        p'_i &= \sigma \left[ norm \left[ head^1(g(p_i)) W^1, \dots, head^h(g(p_i)) W^h
        \right] \right]

    The two halves of :math:`g` are interleaved channel by channel, so that every head sees both.
    The activation is the :math:`\sigma_g` of Eq. 6, not to be applied again by a block around it.
    The relative feature of a node without neighbours is zero.

    Messages are :math:`q_j - p_i`. Unless an explainer or a hook asks for them, they are not
    stored: the maximum is taken over a table of each node's neighbours, and its gradient goes to
    the first of equally large neighbours.

    Args:
        in_channels: Number of input channels, divisible by ``heads``.
        out_channels: Number of output channels, divisible by ``heads``.
        heads: Number of groups of the linear layer.
        norm: Whether to apply batch normalization (:class:`~pyg_viglad.nn.NodeNorm`).
        act: Class of the activation, or ``None``.
        **kwargs: Further arguments of :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:** features ``[N, in_channels]``, or a pair of source and target features
          ``([M, in_channels], [N, in_channels])``; edges ``[2, E]`` or a sparse adjacency matrix.
        - **output:** ``[N, out_channels]``.

    Raises:
        ValueError: If the channels are not divisible by ``heads``.

    Example:
        >>> conv = MaxRelativeConv(8, 16)
        >>> edge_index = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1]])
        >>> conv(torch.rand(2, 8), edge_index).shape
        torch.Size([2, 16])
    """

    activated = True  # make_operator adds neither normalization nor activation
    kernel_size: int | None = None  # of MaxRelativeDeconv

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 4,
        *,
        norm: bool = True,
        act: type[nn.Module] | None = nn.GELU,
        **kwargs: Any,
    ) -> None:
        super().__init__(aggr="max", **kwargs)
        if heads < 1 or in_channels % heads or out_channels % heads:
            raise ValueError(
                "Expected 'in_channels' and 'out_channels' to be divisible by 'heads' "
                f"(got {in_channels}, {out_channels} and {heads})"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.lin = _HeadLinear(in_channels, out_channels, heads, self.kernel_size)
        self.norm = NodeNorm(out_channels) if norm else nn.Identity()
        self.act = act() if act is not None else nn.Identity()

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        super().reset_parameters()
        reset(self.lin)
        reset(self.norm)

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
            edge_index: Edges ``[2, E]``, an ``EdgeIndex``, or a (transposed) sparse adjacency.
            size: Number of source and target nodes, checked if given.
            k: Asserts, without checking, exactly k edges per target node, grouped by target node,
                as :func:`~pyg_viglad.nn.knn_graph` returns them. Then no value is read back from
                the device, and compilers take the fast path.
            grid_size: Rows and columns of each image's nodes, for a kernel of 3 only.

        Returns:
            ``[N, out_channels]``.
        """
        target, relative = self.relative(x, edge_index, size, k=k)
        return self.act(self.norm(self.lin(target, relative, grid_size)))  # type: ignore[no-any-return]

    def relative(
        self,
        x: Tensor | PairTensor,
        edge_index: Adj,
        size: tuple[int, int] | None = None,
        *,
        k: int | None = None,
    ) -> PairTensor:
        r"""Returns the targets' features and :math:`\max_j (q_j - p_i)`, both ``[N, C]``."""
        pair = as_pair(x, self.in_channels)
        nodes = (pair[0].size(0), pair[1].size(0))
        if size is not None and tuple(size) != nodes:
            raise ValueError(f"Expected 'size' to be {nodes}, as 'x' is (got {tuple(size)})")
        j, i = (0, 1) if self.flow == "source_to_target" else (1, 0)
        edges = self._edges(edge_index)
        source, target = pair[j], pair[i]
        # Hooks do not fire in compiled code.
        if torch.compiler.is_compiling() or not self._observed():
            isolated = None
            if k is None:
                table, isolated = _neighbor_table(edges[j], edges[i], target.size(0))
            else:
                table = edges[j].reshape(-1, k)
            if table is not None:
                relative = _max_neighbor(source, table) - target
                if isolated is not None:
                    relative = relative.masked_fill(isolated[:, None], 0)
                return target, relative
        # propagate_type: (x: PairTensor)
        return target, self.propagate(edges, x=pair, size=nodes)

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """Returns the difference to each neighbour."""
        return x_j - x_i

    def aggregate(
        self,
        inputs: Tensor,
        index: Tensor,
        ptr: Optional[Tensor] = None,  # noqa: UP045 (PyG's inspector reads no unions)
        dim_size: Optional[int] = None,  # noqa: UP045
    ) -> Tensor:
        """Returns the largest message in each channel, zero for a node without messages."""
        nodes = int(index.max()) + 1 if dim_size is None else dim_size
        # PyG's own maximum starts from zeros, which take a share of the gradient of a maximum of 0.
        largest = inputs.new_full((nodes, inputs.size(1)), -torch.inf)
        largest = largest.scatter_reduce(0, index[:, None].expand_as(inputs), inputs, "amax")
        return largest.masked_fill(largest == -torch.inf, 0)

    def _edges(self, edge_index: Adj) -> Tensor:
        """Returns ``edge_index`` as a plain tensor."""
        if is_sparse(edge_index):
            if self.flow == "target_to_source":
                raise ValueError(
                    "Expected the transpose of a sparse adjacency matrix and "
                    "flow='source_to_target' (got flow='target_to_source')"
                )
            plain: Tensor = to_edge_index(edge_index)[0].flip(0)
            return plain
        if edge_index.dim() != 2 or edge_index.size(0) != 2 or edge_index.dtype != torch.int64:
            raise ValueError(
                "Expected 'edge_index' to be [2, E] of torch.int64 "
                f"(got {list(edge_index.shape)} of {edge_index.dtype})"
            )
        plain = edge_index.as_tensor() if isinstance(edge_index, EdgeIndex) else edge_index
        return plain

    def _observed(self) -> bool:
        """Returns whether an explainer or a hook asks for the messages."""
        stages = ("_propagate_forward", "_message_forward", "_aggregate_forward")
        return bool(self.explain) or any(
            hooks for name, hooks in vars(self).items() if name.startswith(stages)
        )

    def __repr__(self) -> str:
        kernel = "" if self.kernel_size is None else f", kernel_size={self.kernel_size}"
        name = self.__class__.__name__
        return f"{name}({self.in_channels}, {self.out_channels}, heads={self.heads}{kernel})"


class MaxRelativeDeconv(MaxRelativeConv):
    r"""The max-relative graph deconvolution of DeconvViG (Eq. 8-9).

    .. math::
        p_i^{l+1} = \sigma_{deconv} \left[ norm \left[ TrConv2D \left(
        concat \left[ p_i^l, p_i^{l'} \right] \right) \right] \right], \qquad
        p_i^{l'} = \max \left[ q_j^l - p_i^l \mid q_j^l \in \mathcal{N}_k(p_i^l) \right]

    A transposed convolution with a 1 x 1 kernel, which is what the equation's single node admits,
    equals a 1 x 1 convolution: with ``kernel_size=1`` this computes what
    :class:`~pyg_viglad.nn.MaxRelativeConv` computes. With ``kernel_size=3`` (stride 1, padding 1)
    each node also reaches its eight neighbours on the grid.

    Args:
        in_channels: Number of input channels, divisible by ``heads``.
        out_channels: Number of output channels, divisible by ``heads``.
        heads: Number of groups of the transposed convolution.
        kernel_size: 1, or 3 for nodes on a grid; ``forward`` then needs ``grid_size``.
        norm: Whether to apply batch normalization (:class:`~pyg_viglad.nn.NodeNorm`).
        act: Class of the activation, or ``None``.
        **kwargs: Further arguments of :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:** as of :class:`~pyg_viglad.nn.MaxRelativeConv`; with ``kernel_size=3`` the nodes
          are those of equal grids, image after image, row by row.
        - **output:** ``[N, out_channels]``.

    Raises:
        ValueError: If the channels are not divisible by ``heads`` or the kernel is another.

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
        **kwargs: Any,
    ) -> None:
        if kernel_size not in (1, 3):
            raise ValueError(f"Expected 'kernel_size' to be 1 or 3 (got {kernel_size})")
        self.kernel_size = kernel_size  # read by the base class, which builds the layer
        super().__init__(in_channels, out_channels, heads, norm=norm, act=act, **kwargs)


def as_pair(x: Tensor | PairTensor, channels: int) -> PairTensor:
    """Returns source and target features, twice the same for a tensor.

    Raises:
        ValueError: If they are not ``[N, channels]``.

    Example:
        >>> source, target = as_pair(torch.rand(3, 8), 8)
        >>> source is target
        True
    """
    pair = (x, x) if isinstance(x, Tensor) else x
    for features in pair:
        if features.dim() != 2 or features.size(1) != channels:
            raise ValueError(f"Expected 'x' to be [N, {channels}] (got {list(features.shape)})")
    return pair


class _HeadLinear(nn.Module):
    """The linear layer in groups (heads) of Eq. 4, or the transposed convolution of Eq. 8."""

    def __init__(
        self, in_channels: int, out_channels: int, heads: int, kernel_size: int | None
    ) -> None:
        super().__init__()
        self.heads = heads
        shape: tuple[int, ...] = (heads, 2 * in_channels // heads, out_channels // heads)
        if kernel_size is not None:
            shape = (2 * in_channels, out_channels // heads, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module, with the bounds of ``torch.nn.Linear``."""
        bound = 1 / math.sqrt(self.weight.numel() / self.bias.numel())
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(
        self, x: Tensor, relative: Tensor, grid_size: tuple[int, int] | None = None
    ) -> Tensor:
        """Transforms ``[N, C]`` and ``[N, C]``, interleaved channel by channel."""
        if self.weight.dim() == 4 and self.weight.size(3) > 1:
            if grid_size is None:
                raise ValueError("Expected 'grid_size' with kernel_size=3 (got None)")
            maps = to_maps(torch.stack([x, relative], dim=2).flatten(1), grid_size)
            maps = F.conv_transpose2d(maps, self.weight, self.bias, padding=1, groups=self.heads)
            return to_nodes(maps)
        # Each half meets its own rows of the matrices, so the interleaved channels are not stored.
        weight = self.weight.view(self.heads, -1, 2, self.bias.numel() // self.heads)
        first, second = (
            part.unflatten(1, (self.heads, -1)).transpose(0, 1) for part in (x, relative)
        )
        out = torch.bmm(first, weight[:, :, 0])
        out = torch.baddbmm(out, second, weight[:, :, 1])
        joined: Tensor = out.transpose(0, 1).flatten(1) + self.bias
        return joined


# Features of neighbours gathered at once on a CPU: few enough for its cache.
_GATHERED = 2**19


def _neighbor_table(
    neighbors: Tensor, centres: Tensor, nodes: int
) -> tuple[Tensor | None, Tensor | None]:
    """Returns the neighbours of each node as a table ``[nodes, width]``, and the isolated nodes.

    Rows of fewer neighbours end in repetitions of their last one. There is no table where it would
    be larger than four times the edges, or where a compiler would have to know its width.
    """
    edges = centres.numel()
    if torch.compiler.is_compiling() or nodes == 0 or edges == 0:
        return None, None
    if edges % nodes == 0:
        numbers = torch.arange(nodes, device=centres.device)[:, None]
        if bool((centres.reshape(nodes, -1) == numbers).all()):
            return neighbors.reshape(nodes, -1), None
    degree = torch.bincount(centres, minlength=nodes)
    width = int(degree.max())
    if nodes * width > 4 * edges:
        return None, None
    last = degree.cumsum(0)[:, None] - 1
    place = last + 1 - degree[:, None] + torch.arange(width, device=centres.device)
    order = centres.argsort(stable=True)
    return neighbors[order[place.minimum(last)]], degree == 0


def _max_neighbor(source: Tensor, table: Tensor) -> Tensor:
    """Returns the largest of each node's neighbours ``[N, k]`` in each channel: ``[N, C]``."""
    if torch.compiler.is_exporting():
        return source[table].max(dim=1).values
    largest: Tensor = _MaxNeighbor.apply(source, table)
    return largest


class _MaxNeighbor(torch.autograd.Function):
    """Keeps which neighbour is largest, one byte per value, instead of all neighbours' features."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, table: Tensor) -> Tensor:
        largest, ranks = _first_largest(source, table)
        ctx.save_for_backward(table, ranks)
        ctx.size = source.size(0)
        return largest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        table, ranks = ctx.saved_tensors
        (gradient,) = gradients
        channels = gradient.size(1)
        # Along one axis scatter_add is twice as fast.
        places = (table * channels).gather(1, ranks.to(torch.int64))
        places = (places + torch.arange(channels, device=gradient.device)).flatten()
        dtype = torch.promote_types(gradient.dtype, torch.float32)
        total = torch.zeros(ctx.size * channels, dtype=dtype, device=gradient.device)
        total = total.scatter_add(0, places, gradient.flatten().to(dtype))
        return total.view(-1, channels).to(gradient.dtype), None


def _first_largest(source: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the largest neighbour in each channel and its rank, the first of equal ones."""
    (nodes, width), channels = table.shape, source.size(1)
    dtype = torch.uint8 if width <= 256 else torch.int32
    if torch.compiler.is_compiling() or source.device.type != "cpu":
        largest, ranks = source[table].max(dim=1)
        return largest, ranks.to(dtype)
    values = source.new_empty(nodes, channels)
    ranks = torch.empty_like(values, dtype=dtype)
    rows = max(1, _GATHERED * torch.get_num_threads() // (width * channels))
    buffer = source.new_empty(min(rows, nodes) * width, channels)
    for first in range(0, nodes, rows):
        part = slice(first, first + rows)
        index = table[part].reshape(-1)
        gathered = torch.index_select(source, 0, index, out=buffer[: index.numel()])
        # The neighbours become the width of a channels-last image: max pooling vectorises over channels,
        # unlike reductions that return indices.
        maps = gathered.view(-1, 1, width, channels).permute(0, 3, 1, 2)
        largest, places = F.max_pool2d(maps, (1, width), return_indices=True)
        values[part] = largest.flatten(1)
        ranks[part] = places.flatten(1)
    return values, ranks
