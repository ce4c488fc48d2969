"""What the blocks of encoder and decoder have in common."""

import torch
from torch import Tensor, nn

from pyg_viglad.nn._candidates import grid_coordinates, pool_nodes, with_position
from pyg_viglad.nn._knn_dense import dense_neighbors
from pyg_viglad.nn._norm import NodeNorm
from pyg_viglad.nn.conv.max_relative_conv import MaxRelativeConv
from pyg_viglad.nn.conv.max_relative_deconv import MaxRelativeDeconv
from pyg_viglad.nn.knn_graph import knn_graph, regular_edge_index

__all__ = ["ViGBlock"]


class ViGBlock(nn.Module):
    """Two linear layers around a graph operator, then a feed-forward network, both residual.

    The base of :class:`~pyg_viglad.nn.ConvViG` and :class:`~pyg_viglad.nn.DeconvViG`, which make
    the operator.
    """

    def __init__(
        self,
        conv: nn.Module,
        channels: int,
        k: int,
        dilation: int,
        ffn_ratio: float,
        drop_path: float,
        reduce_ratio: int,
        relative_position: bool,
    ) -> None:
        super().__init__()
        for name, value in (("k", k), ("dilation", dilation), ("reduce_ratio", reduce_ratio)):
            if value < 1:
                raise ValueError(f"Expected '{name}' to be at least 1 (got {value})")
        if not 0 <= drop_path < 1:
            raise ValueError(f"Expected 'drop_path' to lie in [0, 1) (got {drop_path})")
        if relative_position and channels % 4:
            raise ValueError(
                f"Expected 'channels' divisible by 4 with relative_position (got {channels})"
            )
        hidden = int(channels * ffn_ratio)
        if hidden < 1:
            raise ValueError(f"Expected 'ffn_ratio' to be positive (got {ffn_ratio})")
        self.channels = channels
        self.k = k
        self.dilation = dilation
        self.drop_path = drop_path
        self.reduce_ratio = reduce_ratio
        self.relative_position = relative_position
        self.fc_in = nn.Sequential(nn.Linear(channels, channels), NodeNorm(channels))
        self.conv = conv
        self.fc_out = nn.Sequential(nn.Linear(2 * channels, channels), NodeNorm(channels))
        self.ffn = nn.Sequential(
            nn.Linear(channels, hidden),
            NodeNorm(hidden),
            nn.GELU(),
            nn.Linear(hidden, channels),
            NodeNorm(channels),
        )

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for layer in (*self.fc_in, self.conv, *self.fc_out, *self.ffn):
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        batch: Tensor | None = None,
        *,
        batch_size: int | None = None,
        grid_size: tuple[int, int] | None = None,
        k: int | None = None,
        return_edge_index: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Run the block.

        Args:
            x: Node features ``[N, channels]``.
            edge_index: Edges ``[2, E]``. Without them the graph is built from the features that
                enter the operator, with as many of the ``k`` neighbours as a graph has nodes.
            batch: Graph of each node ``[N]``, sorted; not needed for graphs of equal size.
            batch_size: Number of graphs of equal size (default: 1, if there is no ``batch``).
            grid_size: Rows and columns of each graph, for what works on a grid: a kernel of 3,
                ``reduce_ratio`` and ``relative_position``.
            k: States that the given ``edge_index`` has k edges for every node, grouped by node,
                which saves a check, and lets compilers take the faster path.
            return_edge_index: Also give the edges that were used.

        Returns:
            Features ``[N, channels]``, and with ``return_edge_index`` the edges. With a
            ``reduce_ratio`` above 1 their row 0 counts pooled nodes.
        """
        if x.dim() != 2 or x.size(1) != self.channels:
            raise ValueError(f"Expected 'x' to be [N, {self.channels}] (got {list(x.shape)})")
        if self.reduce_ratio > 1 or self.relative_position:
            if grid_size is None or batch is not None:
                raise ValueError(
                    "Expected 'grid_size' and no 'batch' with reduce_ratio or relative_position "
                    f"(got grid_size={grid_size})"
                )
            batch_size = x.size(0) // (grid_size[0] * grid_size[1])
        hidden = self.fc_in(x)
        source = hidden
        if self.reduce_ratio > 1 and grid_size is not None:
            source = pool_nodes(hidden, grid_size, self.reduce_ratio)
        if edge_index is None:
            if batch is None:
                edge_index, k = self._connect_equal(hidden, source, batch_size or 1, grid_size)
            else:
                edge_index, k = self._connect(hidden, batch)
        hidden = self.fc_out(self._convolve(hidden, source, edge_index, k, grid_size))
        x = x + self._drop(hidden, batch, batch_size)
        x = x + self._drop(self.ffn(x), batch, batch_size)
        return (x, edge_index) if return_edge_index else x

    def _connect_equal(
        self, x: Tensor, source: Tensor, graphs: int, grid_size: tuple[int, int] | None
    ) -> tuple[Tensor, int]:
        """Build graphs of equal size; also give the number of neighbours of every node."""
        if x.size(0) % graphs:
            raise ValueError(
                f"Expected nodes of {graphs} graphs of equal size (got {x.size(0)} nodes)"
            )
        features = x.detach().view(graphs, x.size(0) // graphs, -1)
        candidates = source.detach().view(graphs, source.size(0) // graphs, -1)
        if self.relative_position and grid_size is not None:
            places = grid_coordinates(grid_size, x)
            features = with_position(features, places)
            places = pool_nodes(places, grid_size, self.reduce_ratio)
            candidates = with_position(candidates, places)
        nodes = candidates.size(1)
        k = min(self.k, nodes)
        pooled = candidates if self.reduce_ratio > 1 else None
        neighbors = dense_neighbors(features, k, self.dilation, y=pooled)
        return regular_edge_index(neighbors, nodes), k

    def _connect(self, x: Tensor, batch: Tensor) -> tuple[Tensor, int | None]:
        """Build graphs of any size; also give the number of neighbours if all have as many."""
        counts = torch.bincount(batch)
        if int(counts[counts > 0].min()) >= self.k:
            return knn_graph(x, self.k, batch, dilation=self.dilation), self.k
        # Some graph has fewer nodes than neighbours: each then has as many as it can.
        edges = []
        first = 0
        for part in torch.split(x, counts.tolist()):
            if part.size(0):
                k = min(self.k, part.size(0))
                edges.append(knn_graph(part, k, dilation=self.dilation) + first)
            first += part.size(0)
        return torch.cat(edges, dim=1), None

    def _convolve(
        self,
        x: Tensor,
        source: Tensor,
        edge_index: Tensor,
        k: int | None,
        grid_size: tuple[int, int] | None,
    ) -> Tensor:
        pair = x if source is x else (source, x)
        if isinstance(self.conv, MaxRelativeDeconv):
            return self.conv(pair, edge_index, k=k, grid_size=grid_size)  # type: ignore[no-any-return]
        if isinstance(self.conv, MaxRelativeConv):
            return self.conv(pair, edge_index, k=k)  # type: ignore[no-any-return]
        return self.conv(pair, edge_index)  # type: ignore[no-any-return]

    def _drop(self, x: Tensor, batch: Tensor | None, batch_size: int | None) -> Tensor:
        """Drop the branch of whole graphs at random while training (stochastic depth)."""
        if not self.training or self.drop_path == 0:
            return x
        graphs = (batch_size or 1) if batch is None else int(batch[-1]) + 1
        keep = x.new_empty(graphs, 1).bernoulli_(1 - self.drop_path) / (1 - self.drop_path)
        if batch is not None:
            return x * keep[batch]
        return (x.view(graphs, -1, x.size(1)) * keep[:, None]).view_as(x)

    def extra_repr(self) -> str:
        """Name the sizes."""
        return f"{self.channels}, k={self.k}, dilation={self.dilation}"
