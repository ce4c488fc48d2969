"""The vision graph blocks of encoder and decoder."""

from functools import lru_cache, partial
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from pyg_viglad.nn.graph_builders import KNN, Graph, make_graph
from pyg_viglad.nn.hypergraph import Hyperedges, join_hyperedges
from pyg_viglad.nn.knn_graph import check_counts
from pyg_viglad.nn.max_relative_conv import MaxRelativeDeconv
from pyg_viglad.nn.node_linear import NodeLinear
from pyg_viglad.nn.node_norm import NodeNorm
from pyg_viglad.nn.operators import Operator, _short, make_operator
from pyg_viglad.nn.resample import to_maps, to_nodes

__all__ = ["ConvViG", "DeconvViG", "ViGBlock", "position_codes"]


class ViGBlock(nn.Module):
    r"""Two linear layers around a graph operator, then a feed-forward network, both residual.

    .. math::
        Y &= FC_{gOut} \left[ \sigma_g \left[ GraphConv(FC_{gIn}(P)) \right] \right] + P \\
        Z &= FC_{FFN2} \left[ \sigma_{FFN} \left[ FC_{FFN1}(Y) \right] \right] + Y

    (Eq. 6-7). The base of :class:`ConvViG` and :class:`DeconvViG`, which build the operator. Each
    linear layer is followed by batch normalization, as in ViG. The graph operator doubles the
    channels, :math:`FC_{gOut}` halves them.

    Args:
        conv: Graph operator ``channels -> 2 * channels`` with its activation, as
            :func:`~pyg_viglad.nn.make_operator` returns it.
        channels: Number of channels of the node features.
        k: Number of neighbours in the graph that the block builds, the node itself among them;
            lowered where a graph has fewer nodes.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest; lowered likewise.
        ffn_ratio: Width of the feed-forward network as a multiple of ``channels``.
        drop_path: Probability in [0, 1) of skipping a branch in training (stochastic depth).
        reduce_ratio: Choose the neighbours among averages of ``reduce_ratio`` x ``reduce_ratio``
            nodes (Pyramid ViG's 4, 2, 1, 1; not in the paper). Rows and columns that fill no whole
            cell are left out, as there; a grid narrower than a cell is one cell. Above 1,
            ``forward`` needs ``grid_size``, and ``graph`` is ``"knn"``.
        relative_position: Side of the grid for which Pyramid ViG's table of relative positions is
            made, 56, 28, 14 and 7 in its stages (default: no table; not in the paper). The table is
            added to the distance, see :func:`position_codes`, and ``forward`` needs ``grid_size``.
            At grids of another number of nodes it is resized bicubically, as there; a node need not
            be its own first neighbour then. Only with ``graph="knn"``.
        graph: Graph builder, see :func:`~pyg_viglad.nn.make_graph`.
        graph_kwargs: Further arguments of the graph builder.

    Shapes:
        - **input:** features ``[N, channels]``, optionally ``edge_index`` ``[2, E]``.
        - **output:** ``[N, channels]``.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        conv: nn.Module,
        channels: int,
        k: int,
        dilation: int = 1,
        ffn_ratio: float = 4,
        drop_path: float = 0.0,
        reduce_ratio: int = 1,
        relative_position: int | None = None,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_counts(reduce_ratio=reduce_ratio)
        self.graph = make_graph(graph, k, dilation, graph_kwargs)
        if _of_hyperedges(self.graph) != _of_hyperedges(conv):
            makes, reads = (
                "hyperedges" if _of_hyperedges(part) else "edges" for part in (self.graph, conv)
            )
            raise ValueError(
                f"Expected an operator that reads the {makes} of graph {self.graph} "
                f"(got {conv}, which reads {reads})"
            )
        pyramid = reduce_ratio > 1 or relative_position is not None
        if pyramid and not isinstance(self.graph, KNN):
            raise ValueError(
                f"Expected graph 'knn' with reduce_ratio or relative_position (got {graph!r})"
            )
        if not 0 <= drop_path < 1:
            raise ValueError(f"Expected 'drop_path' to lie in [0, 1) (got {drop_path})")
        if relative_position is not None:
            check_counts(relative_position=relative_position)
            _check_positions(channels, relative_position, reduce_ratio)
        hidden = int(channels * ffn_ratio)
        if hidden < 1:
            raise ValueError(f"Expected 'ffn_ratio' to be positive (got {ffn_ratio})")
        self.channels = channels
        self.k = k
        self.dilation = dilation
        self.drop_path = drop_path
        self.reduce_ratio = reduce_ratio
        self.relative_position = relative_position
        self.fc_in = nn.Sequential(NodeLinear(channels, channels), NodeNorm(channels))
        self.conv = conv
        self.fc_out = nn.Sequential(NodeLinear(2 * channels, channels), NodeNorm(channels))
        self.ffn = nn.Sequential(
            NodeLinear(channels, hidden),
            NodeNorm(hidden),
            nn.GELU(),
            NodeLinear(hidden, channels),
            NodeNorm(channels),
        )

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        for part in self.children():
            reset(part)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | Hyperedges | None = None,
        batch: Tensor | None = None,
        *,
        batch_size: int | None = None,
        grid_size: tuple[int, int] | None = None,
        k: int | None = None,
        return_edge_index: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor | Hyperedges]:
        """Runs the forward pass.

        Args:
            x: Node features ``[N, channels]``.
            edge_index: Edges ``[2, E]``, or hyperedges for an operator that reads those. If not
                given, the graph is built from the features that enter the operator.
            batch: Graph of each node ``[N]``, sorted; not needed for graphs of equal size.
            batch_size: Number of graphs of equal size (default: 1, if there is no ``batch``).
            grid_size: Rows and columns of each graph, needed by a kernel of 3, ``reduce_ratio``,
                ``relative_position`` and graph builders that look at places.
            k: Asserts, without checking, that the given ``edge_index`` has k edges per node,
                grouped by node; compilers then take the fast path.
            return_edge_index: Whether to return the edges, too.

        Returns:
            Features ``[N, channels]``, and with ``return_edge_index`` the edges. With a
            ``reduce_ratio`` above 1 their row 0 refers to pooled nodes.
        """
        if x.dim() != 2 or x.size(1) != self.channels:
            raise ValueError(f"Expected 'x' to be [N, {self.channels}] (got {list(x.shape)})")
        if self.reduce_ratio > 1 or self.relative_position is not None:
            if grid_size is None or batch is not None:
                raise ValueError(
                    "Expected 'grid_size' and no 'batch' with reduce_ratio or relative_position "
                    f"(got grid_size={grid_size})"
                )
            nodes = grid_size[0] * grid_size[1]
            if x.size(0) % nodes:
                raise ValueError(
                    f"Expected the nodes of {grid_size[0]} x {grid_size[1]} grids (got {x.size(0)})"
                )
            batch_size = x.size(0) // nodes
        hidden = self.fc_in(x)
        source = self._pool(hidden, grid_size)
        if edge_index is None:
            edge_index, k = self._connect(hidden, source, batch, batch_size, grid_size)
        pair = hidden if source is hidden else (source, hidden)
        hidden = self.conv(pair, edge_index, k=k, grid_size=grid_size)
        x = x + self._drop(self.fc_out(hidden), batch, batch_size)
        x = x + self._drop(self.ffn(x), batch, batch_size)
        return (x, edge_index) if return_edge_index else x

    def _pool(self, x: Tensor, grid_size: tuple[int, int] | None) -> Tensor:
        """Returns the candidates: averages over whole cells."""
        if self.reduce_ratio == 1 or grid_size is None:
            return x
        cell = [min(self.reduce_ratio, side) for side in grid_size]
        return to_nodes(F.avg_pool2d(to_maps(x, grid_size), cell))

    def _connect(
        self,
        x: Tensor,
        source: Tensor,
        batch: Tensor | None,
        batch_size: int | None,
        grid_size: tuple[int, int] | None,
    ) -> tuple[Tensor | Hyperedges, int | None]:
        """Returns the edges that the graph builder chooses, and k if all nodes have as many."""
        if batch is None:
            options: dict[str, Any] = {"y": source} if self.reduce_ratio > 1 else {}
            if self.relative_position is not None:
                graphs = batch_size or 1
                codes = position_codes(
                    self.channels,
                    self.relative_position,
                    self.reduce_ratio,
                    x.size(0) // graphs,
                    source.size(0) // graphs,
                    dtype=torch.float64 if x.dtype == torch.float64 else torch.float32,
                    device=x.device,
                )
                options = {"y": source, "codes": codes}
            edge_index = self._checked(self.graph(x, batch_size or 1, grid_size, **options))
            regular = x.size(0) > 0 and getattr(self.graph, "regular", False)
            if regular and edge_index.size(1) % x.size(0):
                raise ValueError(
                    f"Expected equally many edges per node of the regular graph {self.graph} "
                    f"(got {edge_index.size(1)} edges of {x.size(0)} nodes)"
                )
            return edge_index, edge_index.size(1) // x.size(0) if regular else None
        if bool((batch[1:] < batch[:-1]).any()):
            raise ValueError("Expected 'batch' to be sorted (got a lower number after a higher)")
        sizes = torch.bincount(batch).tolist()
        sizes = [size for size in sizes if size] or [0]
        edges = [self._checked(self.graph(part, 1, grid_size)) for part in torch.split(x, sizes)]
        if isinstance(edges[0], Hyperedges):
            return join_hyperedges(edges, sizes), None
        firsts = accumulate(sizes[:-1], initial=0)
        return torch.cat([e + first for e, first in zip(edges, firsts, strict=True)], dim=1), None

    def _checked(self, edges: Any) -> Any:
        """Returns what the graph builder returned if it is edges, or hyperedges where it says so."""
        if _of_hyperedges(self.graph):
            fits = isinstance(edges, Hyperedges)
        else:
            fits = isinstance(edges, Tensor) and edges.dim() == 2 and edges.size(0) == 2
            fits = fits and edges.dtype == torch.int64
        if not fits:
            got = f"{edges.dtype} {list(edges.shape)}" if isinstance(edges, Tensor) else type(edges)
            raise ValueError(
                f"Expected graph {self.graph} to return "
                f"{'Hyperedges' if _of_hyperedges(self.graph) else 'edges [2, E] of torch.int64'} "
                f"(got {got})"
            )
        return edges

    def _drop(self, x: Tensor, batch: Tensor | None, batch_size: int | None) -> Tensor:
        """Drops the branch of whole graphs at random in training."""
        if not self.training or self.drop_path == 0 or x.size(0) == 0:
            return x
        graphs = (batch_size or 1) if batch is None else int(batch.max()) + 1
        keep = x.new_empty(graphs, 1).bernoulli_(1 - self.drop_path) / (1 - self.drop_path)
        if batch is not None:
            return x * keep[batch]
        return (x.view(graphs, -1, x.size(1)) * keep[:, None]).view_as(x)

    def extra_repr(self) -> str:
        """Returns the sizes."""
        return f"{self.channels}, k={self.k}, dilation={self.dilation}"


def _of_hyperedges(part: object) -> bool:
    """Whether a graph builder makes hyperedges, or an operator reads them."""
    return bool(getattr(part, "hypergraph", False))


def position_codes(
    channels: int,
    side: int,
    reduce_ratio: int = 1,
    num_nodes: int | None = None,
    num_candidates: int | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    r"""Computes the factors of Pyramid ViG's table of relative positions.

    Pyramid ViG adds to the squared distance of L2-normalised features the table

    .. math::
        -\frac{2}{C} E \tilde{E}^T = -2 F \tilde{F}^T

    where E holds a two-dimensional sine-cosine code of every node of a square grid, and
    :math:`\tilde{E}` is E resized bicubically *along the flattened index of the nodes* to
    ``side ** 2 / reduce_ratio ** 2`` rows, because the table is resized as an image there. At other
    grids it resizes both axes of that table. Bicubic resizing is linear in each axis, so both
    resizings apply to the factors, and the table is never stored.

    Args:
        channels: Number of channels C, divisible by 4.
        side: Side of the grid for which the table is made.
        reduce_ratio: Side of the cells over which candidates are averaged.
        num_nodes: Number of nodes of the actual grid (default: ``side ** 2``).
        num_candidates: Number of its candidates (default: ``side ** 2 // reduce_ratio ** 2``).
        dtype: Type of the result; computed in float64.
        device: Device of the result.

    Returns:
        The factors F ``[num_nodes, channels]`` and :math:`\tilde{F}` ``[num_candidates, channels]``.

    Raises:
        ValueError: If ``channels`` is not divisible by 4 or the grid has less than one candidate.

    Example:
        >>> nodes, candidates = position_codes(48, side=8, reduce_ratio=2)
        >>> nodes.shape, candidates.shape
        (torch.Size([64, 48]), torch.Size([16, 48]))
        >>> float(2 * nodes[5] @ nodes[5])
        1.0
    """
    _check_positions(channels, side, reduce_ratio)
    nodes = num_nodes or side**2
    candidates = num_candidates or side**2 // reduce_ratio**2
    arguments = (channels, side, reduce_ratio, nodes, candidates, dtype, torch.device(device))
    if torch.compiler.is_compiling():  # what is traced must not be kept
        return _position_codes.__wrapped__(*arguments)
    return _position_codes(*arguments)


def _check_positions(channels: int, side: int, reduce_ratio: int) -> None:
    if channels % 4:
        raise ValueError(f"Expected 'channels' divisible by 4 with positions (got {channels})")
    if not 1 <= reduce_ratio <= side:
        raise ValueError(
            f"Expected a grid of at least {max(1, reduce_ratio)} nodes a side (got {side})"
        )


@lru_cache(maxsize=64)
def _position_codes(
    channels: int,
    side: int,
    reduce_ratio: int,
    nodes: int,
    candidates: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Computes :func:`position_codes`, which the blocks of a stage share."""
    place = torch.arange(side, dtype=torch.float64, device="cpu")
    quarter = torch.arange(channels // 4, dtype=torch.float64, device="cpu")
    angles = place[:, None] * 10000 ** (-quarter / (channels // 4))
    code = torch.cat([angles.sin(), angles.cos()], dim=1) / channels**0.5
    columns, rows = code.repeat(side, 1), code.repeat_interleave(side, dim=0)
    made = torch.cat([columns, rows], dim=1)

    def resize(codes: Tensor, size: int) -> Tensor:
        if size == codes.size(0):
            return codes
        return F.interpolate(codes[None, None], (size, channels), mode="bicubic")[0, 0]

    pooled = resize(made, side**2 // reduce_ratio**2)
    return resize(made, nodes).to(device, dtype), resize(pooled, candidates).to(device, dtype)


class ConvViG(ViGBlock):
    r"""The Convolution Vision Graph block of the encoder (Eq. 6-7), a :class:`ViGBlock`.

    Args:
        channels: Number of channels of the node features.
        k: Number of neighbours in the graph that the block builds.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest.
        heads: Number of groups of the operator's linear layer, a divisor of ``channels``.
        operator: Graph operator, see :func:`~pyg_viglad.nn.make_operator`.
        ffn_ratio: Width of the feed-forward network as a multiple of ``channels``.
        drop_path: Probability in [0, 1) of skipping a branch in training.
        operator_kwargs: Further arguments of the operator.
        reduce_ratio: See :class:`ViGBlock`.
        relative_position: See :class:`ViGBlock`.
        graph: Graph builder, see :func:`~pyg_viglad.nn.make_graph`.
        graph_kwargs: Further arguments of the graph builder.

    Raises:
        ValueError: If an argument is out of range or the operator does not fit.

    Example:
        >>> import torch
        >>> block = ConvViG(16, k=4)
        >>> x, edge_index = block(torch.rand(18, 16), batch_size=2, return_edge_index=True)
        >>> x.shape, edge_index.shape
        (torch.Size([18, 16]), torch.Size([2, 72]))
    """

    def __init__(
        self,
        channels: int,
        k: int,
        dilation: int = 1,
        heads: int = 4,
        operator: Operator = "max_relative",
        ffn_ratio: float = 4,
        drop_path: float = 0.0,
        *,
        operator_kwargs: dict[str, Any] | None = None,
        reduce_ratio: int = 1,
        relative_position: int | None = None,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
    ) -> None:
        conv = make_operator(operator, channels, 2 * channels, heads, operator_kwargs)
        super().__init__(
            conv,
            channels,
            k,
            dilation,
            ffn_ratio,
            drop_path,
            reduce_ratio,
            relative_position,
            graph,
            graph_kwargs,
        )


class DeconvViG(ViGBlock):
    r"""The Deconvolution Vision Graph block of the decoder: a :class:`ViGBlock` around Eq. 8-9.

    .. math::
        Y = FC_{gOut} \left[ \sigma_{deconv} \left[ norm \left[ TrConv2D \left( concat \left[
        p_i, \max_j (q_j - p_i) \right] \right) \right] \right] \right] + P

    with :math:`p_i` the rows of :math:`FC_{gIn}(P)` and :math:`q_j` their neighbours.

    Args:
        channels: Number of channels of the node features.
        k: Number of neighbours in the graph that the block builds.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest.
        heads: Number of groups of the transposed convolution, a divisor of ``channels``.
        operator: Graph operator, see :func:`~pyg_viglad.nn.make_operator`; ``"max_relative"`` is
            :class:`~pyg_viglad.nn.MaxRelativeDeconv`.
        ffn_ratio: Width of the feed-forward network as a multiple of ``channels``.
        drop_path: Probability in [0, 1) of skipping a branch in training.
        kernel_size: Kernel of the transposed convolution, 1 or 3. With 3, ``forward`` needs
            ``grid_size``; operators other than ``"max_relative"`` have 1 only.
        operator_kwargs: Further arguments of the operator.
        reduce_ratio: See :class:`ViGBlock`.
        relative_position: See :class:`ViGBlock`.
        graph: Graph builder, see :func:`~pyg_viglad.nn.make_graph`.
        graph_kwargs: Further arguments of the graph builder.

    Raises:
        ValueError: If an argument is out of range or the operator does not fit.

    Example:
        >>> import torch
        >>> block = DeconvViG(16, k=4, kernel_size=3)
        >>> block(torch.rand(18, 16), batch_size=2, grid_size=(3, 3)).shape
        torch.Size([18, 16])
    """

    def __init__(
        self,
        channels: int,
        k: int,
        dilation: int = 1,
        heads: int = 4,
        operator: Operator = "max_relative",
        ffn_ratio: float = 4,
        drop_path: float = 0.0,
        kernel_size: int = 1,
        *,
        operator_kwargs: dict[str, Any] | None = None,
        reduce_ratio: int = 1,
        relative_position: int | None = None,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if isinstance(operator, str) and _short(operator) == "maxrelative":
            operator = partial(MaxRelativeDeconv, heads=heads, kernel_size=kernel_size)
        elif kernel_size != 1:
            raise ValueError(
                f"Expected 'kernel_size' to be 1 with operator {operator!r} (got {kernel_size})"
            )
        conv = make_operator(operator, channels, 2 * channels, heads, operator_kwargs)
        super().__init__(
            conv,
            channels,
            k,
            dilation,
            ffn_ratio,
            drop_path,
            reduce_ratio,
            relative_position,
            graph,
            graph_kwargs,
        )
