"""Graph builders: which nodes of an image are neighbours."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch_geometric.utils import to_undirected

from pyg_viglad.nn.hypergraph import Hypergraph
from pyg_viglad.nn.knn_graph import check_counts, edge_distances, knn_graph, unit_rows
from pyg_viglad.nn.operators import _origin

__all__ = [
    "GRAPHS",
    "KNN",
    "AdaptiveKNN",
    "AxialGraph",
    "Graph",
    "GridGraph",
    "MutualKNN",
    "PositionKNN",
    "RandomGraph",
    "UndirectedKNN",
    "WindowKNN",
    "make_graph",
    "nearest_first",
    "register_graph",
]

Graph: TypeAlias = str | Callable[..., Any]

_Factory = TypeVar("_Factory", bound=Callable[..., Any])


@dataclass(frozen=True)
class KNN:
    r"""Connects every node with its ``k`` nearest neighbours among L2-normalised features (Eq. 1).

    The node itself is the first. Exactly regular; neither symmetric nor necessarily connected. See
    :func:`~pyg_viglad.nn.knn_graph`.

    Args:
        k: Number of neighbours of each node, itself included; lowered where a graph has fewer nodes.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest; lowered likewise.

    Example:
        >>> import torch
        >>> KNN(2)(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), 1)
        tensor([[0, 1, 1, 0, 2, 1],
                [0, 0, 1, 1, 2, 2]])
    """

    k: int
    dilation: int = 1
    regular: ClassVar[bool] = True

    def __call__(
        self,
        x: Tensor,
        batch_size: int = 1,
        grid_size: tuple[int, int] | None = None,
        *,
        y: Tensor | None = None,
        codes: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Returns the edges; with ``y``, the neighbours are chosen among its rows.

        See :func:`~pyg_viglad.nn.knn_graph` for ``codes``.
        """
        batch_size = batch_size or 1  # of no images there are no nodes
        k = max(1, min(self.k, (x if y is None else y).size(0) // batch_size))
        return knn_graph(
            x,
            k,
            loop=True,
            cosine=True,
            batch_size=batch_size,
            dilation=self.dilation,
            y=y,
            codes=codes,
        )


@dataclass(frozen=True)
class UndirectedKNN:
    r"""Connects nodes of which one is a neighbour of the other in :class:`KNN`; always connected.

    The paper's graphs are "undirected and connected with no isolated vertices". Where the edges
    leave an image in several components, edges are added as Kruskal's algorithm adds them for a
    minimum spanning tree: the pair of nodes with the smallest distance in different components
    first, ties by the lower number of the two nodes, then by the higher. Distances are Euclidean
    ones of L2-normalised features. Neighbours are in the order of their distances, ties by
    number, the node itself first.

    Symmetric and connected; irregular. Components are found on the CPU, which
    ``torch.compile(fullgraph=True)`` cannot trace.

    Args:
        k: Number of neighbours in the kNN graph, the node itself included.
        dilation: Dilation of the kNN graph.

    Example:
        >>> import torch
        >>> x = torch.tensor([[4.0, 0.0], [4.0, 1.0], [1.0, 4.0], [0.0, 4.0]])
        >>> UndirectedKNN(2)(x, 1)
        tensor([[0, 1, 1, 0, 2, 2, 3, 1, 3, 2],
                [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]])
    """

    k: int
    dilation: int = 1
    regular: ClassVar[bool] = False

    def __call__(
        self, x: Tensor, batch_size: int = 1, grid_size: tuple[int, int] | None = None
    ) -> Tensor:
        """Returns the edges."""
        edge_index = KNN(self.k, self.dilation)(x, batch_size)
        return _connected(x, edge_index, batch_size)


@dataclass(frozen=True)
class MutualKNN:
    """Connects nodes that are neighbours of each other in :class:`KNN`; always connected.

    Components are joined, and neighbours ordered, as in :class:`UndirectedKNN`. Symmetric and
    connected; irregular. ``torch.compile(fullgraph=True)`` cannot trace it.

    Args:
        k: Number of neighbours in the kNN graph, the node itself included.
        dilation: Dilation of the kNN graph.

    Example:
        >>> import torch
        >>> MutualKNN(2)(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.5]]), 1)
        tensor([[0, 1, 1, 0, 2, 2, 1],
                [0, 0, 1, 1, 1, 2, 2]])
    """

    k: int
    dilation: int = 1
    regular: ClassVar[bool] = False

    def __call__(
        self, x: Tensor, batch_size: int = 1, grid_size: tuple[int, int] | None = None
    ) -> Tensor:
        """Returns the edges."""
        if x.size(0) == 0:
            return _no_edges(x)
        neighbors, centres = KNN(self.k, self.dilation)(x, batch_size).view(2, x.size(0), -1)
        mutual = (neighbors[neighbors] == centres[..., None]).any(dim=2)
        edge_index = torch.stack([neighbors[mutual], centres[mutual]])
        return _connected(x, edge_index, batch_size)


@dataclass(frozen=True)
class WindowKNN:
    """Connects every node with its ``k`` nearest neighbours in its own window of the grid.

    The grid is divided into square windows, as in the Swin Transformer (Liu et al., ICCV 2021). In
    every second block the windows are shifted by half a window up and left, along the sides that
    are longer than a window. Windows that the image's border cuts are smaller: there is no
    wrap-around. In windows of fewer than ``k`` nodes all are neighbours; exactly regular only where
    there are no such windows. Neither symmetric nor connected.

    Args:
        k: Number of neighbours of each node, itself included.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest; lowered where a window
            has fewer nodes.
        size: Side of the windows in nodes.
        number: Number of the block; the windows are shifted where it is odd.

    Example:
        >>> import torch
        >>> WindowKNN(2, size=2)(torch.rand(12, 5), 1, (3, 4)).view(2, 12, 2)[0, :, 0]
        tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11])
    """

    k: int
    dilation: int = 1
    size: int = 7
    number: int = 0
    regular: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_counts(size=self.size)

    def __call__(
        self, x: Tensor, batch_size: int = 1, grid_size: tuple[int, int] | None = None
    ) -> Tensor:
        """Returns the edges."""
        grids = _grids(x, batch_size, grid_size, "window")
        edges = []
        # At most 3 x 3 groups of windows of equal size: the first, those inside, the last.
        for first_row, rows, height in self._bands(grids.size(1)):
            for first_column, columns, width in self._bands(grids.size(2)):
                nodes = grids[:, first_row:, first_column:][:, : rows * height, : columns * width]
                nodes = nodes.unflatten(2, (columns, width)).unflatten(1, (rows, height))
                nodes = nodes.transpose(2, 3).flatten()
                windows = batch_size * rows * columns
                edges.append(nodes[KNN(self.k, self.dilation)(x[nodes], windows)])
        return _by_centre(torch.cat([_no_edges(x), *edges], dim=1))

    def _bands(self, length: int) -> list[tuple[int, int, int]]:
        """Returns start, number and length of equal windows along a side of the grid."""
        shift = self.size // 2 if self.number % 2 and length > self.size else 0
        first = self.size - shift if shift else 0
        inside, last = divmod(length - first, self.size)
        bands = [(0, 1, first), (first, inside, self.size), (length - last, 1, last)]
        return [band for band in bands if band[1] * band[2]]


@dataclass(frozen=True)
class AxialGraph:
    """Connects every node with each ``step``-th node of its column and its row.

    This is the sparse vision graph attention of MobileViG (Munir et al., CVPR Workshops 2023). As in
    its code, nodes are counted from the centre up and to the left, and on from the opposite border:
    the node in row r of H has the neighbours in the rows r - step, r - 2 step, ... modulo H, as long
    as the multiple of ``step`` is below H. ``k`` and ``dilation`` have no effect.

    Exactly regular; symmetric if both sides of the grid are multiples of ``step`` or not longer
    than it; connected with ``step=1``.

    Args:
        k: Not used.
        dilation: Not used.
        step: Distance of the neighbours in nodes.

    Example:
        >>> import torch
        >>> AxialGraph(9)(torch.rand(16, 5), 1, (4, 4))[0].view(16, 3)[:2]
        tensor([[0, 8, 2],
                [1, 9, 3]])
    """

    k: int
    dilation: int = 1
    step: int = 2
    regular: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_counts(step=self.step)

    def __call__(
        self, x: Tensor, batch_size: int = 1, grid_size: tuple[int, int] | None = None
    ) -> Tensor:
        """Returns the edges."""
        grids = _grids(x, batch_size, grid_size, "axial")
        neighbors = [grids]
        for side in (1, 2):
            shifts = range(self.step, grids.size(side), self.step)
            neighbors += [grids.roll(shift, dims=side) for shift in shifts]
        return _edges(torch.stack(neighbors, dim=3).flatten(0, 2))


@dataclass(frozen=True)
class GridGraph:
    """Connects every node with the 8 around it in the grid, at the border fewer.

    ``k`` and ``dilation`` have no effect. Symmetric and connected; irregular.

    Args:
        k: Not used.
        dilation: Not used.

    Example:
        >>> import torch
        >>> GridGraph(9)(torch.rand(4, 5), 1, (1, 4))
        tensor([[0, 1, 1, 0, 2, 2, 1, 3, 3, 2],
                [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]])
    """

    k: int
    dilation: int = 1
    regular: ClassVar[bool] = False

    def __call__(
        self, x: Tensor, batch_size: int = 1, grid_size: tuple[int, int] | None = None
    ) -> Tensor:
        """Returns the edges."""
        grids = _grids(x, batch_size, grid_size, "grid")
        rows, columns = grids.shape[1:]
        offsets = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        edges = []
        for down, right in sorted(offsets, key=lambda offset: offset != (0, 0)):
            top, left = max(0, -down), max(0, -right)
            height, width = rows - abs(down), columns - abs(right)
            if min(height, width) > 0:
                ends = [
                    grids[:, row : row + height, column : column + width].flatten()
                    for row, column in ((top + down, left + right), (top, left))
                ]
                edges.append(torch.stack(ends))
        return _by_centre(torch.cat([_no_edges(x), *edges], dim=1))


@dataclass(frozen=True)
class RandomGraph:
    """Connects every node with itself and ``k - 1`` other nodes, drawn without repetition.

    A baseline: neighbours that have nothing to do with the image. The graph is a function of seed,
    number of the block and number of nodes alone, the same for all images, in training and
    evaluation and on all devices. Exactly regular; neither symmetric nor necessarily connected.

    Args:
        k: Number of neighbours of each node, itself included; lowered where a graph has fewer nodes.
        dilation: Not used.
        seed: Seed of the graphs, at least 0.
        number: Number of the block.

    Example:
        >>> import torch
        >>> RandomGraph(2)(torch.rand(3, 5), 1).shape
        torch.Size([2, 6])
    """

    k: int
    dilation: int = 1
    seed: int = 0
    number: int = 0
    regular: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_at_least("seed", self.seed, 0)

    def __call__(
        self, x: Tensor, batch_size: int = 1, grid_size: tuple[int, int] | None = None
    ) -> Tensor:
        """Returns the edges."""
        nodes, rest = divmod(x.size(0), batch_size or 1)
        if rest:
            raise ValueError(f"Expected {batch_size} graphs of equal size (got {x.size(0)} nodes)")
        centres = torch.arange(nodes, device=x.device)
        key = _hash(_hash(torch.full_like(centres, self.seed)) + self.number)
        key = _hash(key + centres)
        # Floyd's sampling: a draw from 0 to `top` that was drawn before is replaced by `top`.
        drawn = centres.new_empty(nodes, 0)
        for top in range(nodes - min(self.k, nodes), nodes - 1):
            key = _hash(key + top)
            draw = key * (top + 1) >> 32
            draw = torch.where((drawn == draw[:, None]).any(dim=1), top, draw)
            drawn = torch.cat([drawn, draw[:, None]], dim=1)
        drawn = drawn + (drawn >= centres[:, None]).long()  # leaves out the node itself
        neighbors = torch.cat([centres[:, None], drawn], dim=1)
        first = torch.arange(batch_size, device=x.device) * nodes
        return _edges((neighbors + first.view(-1, 1, 1)).flatten(0, 1))


@dataclass(frozen=True)
class AdaptiveKNN:
    r"""Connects every node with as many of its nearest neighbours as lie within a distance.

    The distance is estimated from the image: the mean of the distances of all its nodes to their
    candidates, less ``deviations`` of their standard deviations. Candidates of a node are its
    ``max_neighbors`` nearest; distances are Euclidean ones of L2-normalised features. Nodes in
    uniform parts of the image have many neighbours, nodes that resemble no other have few, at
    least themselves. GreedyViG (Munir et al., CVPR 2024) estimates its distance likewise, the mean
    less one standard deviation, but from differences between the quadrants of the image, and its
    candidates are nodes of the same row and column.

    Irregular; neither symmetric nor necessarily connected. ``torch.compile(fullgraph=True)`` cannot
    trace it.

    Args:
        k: Number of neighbours, the node itself included, that ``max_neighbors`` follows from.
        dilation: Take every ``dilation``-th of the ``max_neighbors * dilation`` nearest as
            candidates.
        max_neighbors: Number of candidates of each node, itself included (default: ``2 * k``, with
            which a node has about ``k`` neighbours on average).
        deviations: Number of standard deviations by which the distance lies below the mean.

    Example:
        >>> import torch
        >>> x = torch.tensor([[4.0, 0.0], [4.0, 1.0], [0.0, 1.0]])
        >>> AdaptiveKNN(2)(x, 1)
        tensor([[0, 1, 1, 0, 2],
                [0, 0, 1, 1, 2]])
    """

    k: int
    dilation: int = 1
    max_neighbors: int | None = None
    deviations: float = 0.0
    regular: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.max_neighbors is not None:
            check_counts(max_neighbors=self.max_neighbors)

    def __call__(
        self, x: Tensor, batch_size: int = 1, grid_size: tuple[int, int] | None = None
    ) -> Tensor:
        """Returns the edges."""
        if x.size(0) == 0:
            return _no_edges(x)
        edge_index = KNN(self.max_neighbors or 2 * self.k, self.dilation)(x, batch_size)
        # In float64, so that the mean of equal distances equals each of them.
        length = edge_distances(x, edge_index).double()
        length = length.view(batch_size, x.size(0) // batch_size, -1)
        others = length[:, :, 1:].flatten(1)
        if others.size(1) == 0:
            return edge_index
        deviation = others.std(dim=1, correction=0)
        radius = others.mean(dim=1) - self.deviations * deviation
        near = length <= radius.view(-1, 1, 1)
        near[:, :, 0] = True
        return edge_index[:, near.flatten()]


@dataclass(frozen=True)
class PositionKNN:
    r"""Connects every node with its ``k`` nearest neighbours by features and place together.

    The squared distance is that of the L2-normalised features plus ``weight ** 2`` times that of the
    places, in units of the grid's longer side. The node itself is the first. Exactly regular;
    neither symmetric nor necessarily connected. The search takes several times as long as that of
    :class:`KNN`, because it compares differences in double precision.

    Args:
        k: Number of neighbours of each node, itself included; lowered where a graph has fewer nodes.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest; lowered likewise.
        weight: Weight of the places, at least 0. With 0 this is :class:`KNN`; large weights choose
            the nodes around.

    Example:
        >>> import torch
        >>> PositionKNN(2, weight=100.0)(torch.ones(3, 5), 1, (1, 3))[0]
        tensor([0, 1, 1, 0, 2, 1])
    """

    k: int
    dilation: int = 1
    weight: float = 1.0
    regular: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_at_least("weight", self.weight, 0)

    def __call__(
        self, x: Tensor, batch_size: int = 1, grid_size: tuple[int, int] | None = None
    ) -> Tensor:
        """Returns the edges."""
        _, rows, columns = _grids(x, batch_size, grid_size, "position").shape
        if self.weight == 0:
            return KNN(self.k, self.dilation)(x, batch_size)
        # Whole numbers as places: equal distances are exactly equal.
        unit = unit_rows(x) * (max(rows, columns) / self.weight)
        sides = (torch.arange(side, device=x.device) for side in (rows, columns))
        places = torch.cartesian_prod(*sides).to(unit.dtype)
        return knn_graph(
            torch.cat([places.repeat(batch_size, 1), unit], dim=1),
            max(1, min(self.k, rows * columns)),
            loop=True,
            batch_size=batch_size or 1,
            dilation=self.dilation,
        )


GRAPHS: dict[str, Callable[..., Any]] = {
    "knn": KNN,
    "mutual": MutualKNN,
    "undirected": UndirectedKNN,
    "window": WindowKNN,
    "axial": AxialGraph,
    "grid": GridGraph,
    "random": RandomGraph,
    "adaptive": AdaptiveKNN,
    "position": PositionKNN,
    "hypergraph": Hypergraph,
}


def register_graph(name: str) -> Callable[[_Factory], _Factory]:
    """Registers a graph builder under a name, as a decorator of its class or factory.

    Every ``graph`` argument takes the name from then on, and so do YAML and the command line where
    the module with the decorator was imported. A model saved with this name loads where it is
    registered.

    Args:
        name: The name. Defining a class or function again, as a notebook does when a cell runs
            twice, replaces what was registered.

    Returns:
        A decorator of a callable ``(k, dilation, **graph_kwargs)`` that returns a graph builder, see
        :func:`make_graph`.

    Raises:
        ValueError: If another class or function already has the name.

    Example:
        >>> import torch
        >>> @register_graph("next")
        ... def next_in_line(k, dilation):
        ...     def build(x, batch_size, grid_size):
        ...         nodes = torch.arange(len(x), device=x.device).view(batch_size, -1)
        ...         return torch.stack([nodes.roll(-1, 1).flatten(), nodes.flatten()])
        ...     return build
        >>> make_graph("next", k=1)(torch.rand(4, 8), 2, None)
        tensor([[1, 0, 3, 2],
                [0, 1, 2, 3]])
    """

    def register(factory: _Factory) -> _Factory:
        if not name or not isinstance(name, str) or not callable(factory):
            raise ValueError(
                f"Expected the name and the class or factory of a graph builder "
                f"(got {name!r} and {factory!r})"
            )
        if name in GRAPHS and _origin(GRAPHS[name]) != _origin(factory):
            raise ValueError(f"Expected a new name for {factory!r} (got {name!r}, which is taken)")
        GRAPHS[name] = factory
        return factory

    return register


def make_graph(
    graph: Graph,
    k: int,
    dilation: int = 1,
    graph_kwargs: dict[str, Any] | None = None,
    number: int = 0,
) -> Callable[..., Any]:
    """Builds the graph builder of a block.

    Args:
        graph: Name of one of ``GRAPHS`` (``"knn"``, ``"mutual"``, ``"undirected"``, ``"window"``,
            ``"axial"``, ``"grid"``, ``"random"``, ``"adaptive"``, ``"position"``, ``"hypergraph"`` or
            one given to :func:`register_graph`), a class made from ``(k, dilation, **graph_kwargs)``, or a
            graph builder, used as it is, whatever ``k`` and ``dilation``: a function or object
            ``(x, batch_size, grid_size) -> edge_index`` of torch.int64, in any order. The rows of ``x``
            ``[B * N, C]`` are the nodes of ``batch_size`` graphs of equal size, ``grid_size`` their
            rows and columns (None if unknown); row 0 of ``edge_index`` holds the neighbours, row 1
            the centres.
        k: Number of neighbours of each node, itself included.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest.
        graph_kwargs: Further arguments of a builder made by name or class.
        number: Number of the block in its network; builders that differ from block to block take it.

    Returns:
        The builder. Where its attribute ``regular`` is true, all nodes of graphs of equal size have
        equally many edges, grouped by centre. Where its attribute ``hypergraph`` is true, it returns
        :class:`~pyg_viglad.nn.Hyperedges` in the place of edges, for operators with that attribute.

    Raises:
        ValueError: If the name is unknown or an argument does not fit.

    Example:
        >>> make_graph("knn", k=9, dilation=2)
        KNN(k=9, dilation=2)
    """
    check_counts(k=k, dilation=dilation)
    kwargs = dict(graph_kwargs or {})
    factory = GRAPHS.get(graph) if isinstance(graph, str) else graph
    if not callable(factory):
        raise ValueError(
            f"Expected 'graph' to be one of {tuple(GRAPHS)}, a class or a graph builder "
            f"(got {graph!r})"
        )
    if not isinstance(graph, str) and not inspect.isclass(factory):
        if kwargs:
            raise ValueError(f"Expected no 'graph_kwargs' with an instance (got {kwargs})")
        return factory
    if "number" in inspect.signature(factory).parameters:
        kwargs.setdefault("number", number)
    try:
        made: Callable[..., Any] = factory(k, dilation, **kwargs)
    except TypeError as error:
        raise ValueError(
            f"Expected a graph builder made of (k, dilation) and 'graph_kwargs' "
            f"(got {graph!r} with {kwargs}: {error})"
        ) from error
    return made


def nearest_first(x: Tensor, edge_index: Tensor) -> Tensor:
    """Sorts edges by centre, and those of a centre by the distance of their ends.

    Figures rank the neighbours of a node in this order; builders that use positions only do not
    return it.

    Args:
        x: Node features ``[N, C]``, between whose L2-normalised rows distances are Euclidean.
        edge_index: Edges ``[2, E]``; equally long ones of a centre stay in their order.

    Returns:
        ``[2, E]``, a self-loop first.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> nearest_first(x, torch.tensor([[2, 1, 2, 0], [2, 0, 0, 0]]))
        tensor([[0, 2, 1, 2],
                [0, 0, 0, 2]])
    """
    length = edge_distances(x, edge_index)
    length[edge_index[0] == edge_index[1]] = -1
    return _by_centre(edge_index[:, length.argsort(stable=True)])


def _check_at_least(name: str, value: float, least: int) -> None:
    if isinstance(value, bool) or not value >= least:
        raise ValueError(f"Expected '{name}' to be at least {least} (got {value})")


def _no_edges(x: Tensor) -> Tensor:
    return torch.empty(2, 0, dtype=torch.int64, device=x.device)


def _grids(x: Tensor, batch_size: int, grid_size: tuple[int, int] | None, name: str) -> Tensor:
    """Returns the numbers of the nodes in their grids ``[B, H, W]``."""
    if grid_size is None:
        raise ValueError(f"Expected 'grid_size' with graph '{name}' (got None)")
    rows, columns = grid_size
    if x.size(0) != batch_size * rows * columns:
        raise ValueError(
            f"Expected {batch_size} grids of {rows} x {columns} nodes (got {x.size(0)} nodes)"
        )
    return torch.arange(x.size(0), device=x.device).view(batch_size, rows, columns)


def _edges(neighbors: Tensor) -> Tensor:
    """Returns the edges of a table of neighbours ``[N, k]``."""
    centres = torch.arange(neighbors.size(0), device=neighbors.device)
    return torch.stack([neighbors.flatten(), centres.repeat_interleave(neighbors.size(1))])


def _by_centre(edge_index: Tensor) -> Tensor:
    """Groups edges by centre, each group in the order given."""
    return edge_index[:, edge_index[1].argsort(stable=True)]


def _hash(key: Tensor) -> Tensor:
    """Mixes the bits of integers in [0, 2 ** 32 + 2 ** 31), to numbers below 2 ** 32.

    Random numbers that a compiler can trace, the same on all devices; no product exceeds an int64.
    """
    for _ in range(2):
        key = (key >> 16 ^ key) * 0x45D9F3B & 0xFFFFFFFF
    return key >> 16 ^ key


def _connected(x: Tensor, edge_index: Tensor, batch_size: int) -> Tensor:
    """Returns edges in both directions, the components of each graph joined, nearest first."""
    nodes = x.size(0)
    if nodes == 0:
        return edge_index
    labels = _components(edge_index.cpu().numpy(), nodes)
    if labels.max() + 1 > batch_size:
        joins = [
            torch.from_numpy(_joining_edges(*part)).to(edge_index.device)
            + number * nodes // batch_size
            for number, part in enumerate(
                zip(unit_rows(x).chunk(batch_size), np.split(labels, batch_size), strict=True)
            )
        ]
        edge_index = torch.cat([edge_index, *joins], dim=1)
    edge_index = to_undirected(edge_index, num_nodes=nodes)  # sorted by number
    return nearest_first(x, edge_index)


def _joining_edges(unit: Tensor, labels: Any) -> Any:
    """Returns the edges ``[2, E]`` of a minimum spanning tree between the components of one graph.

    Rounds of Boruvka's algorithm: every component but the largest chooses the nearest pair of a node
    of its own and one outside. A strict order of the pairs makes the tree that of Kruskal's
    algorithm. Distances are computed for a part of the rows at a time.

    Args:
        unit: L2-normalised features ``[N, C]``.
        labels: Component of each node ``[N]``, an array.
    """
    labels = np.unique(labels, return_inverse=True)[1]
    joins = [np.empty((2, 0), dtype=np.int64)]
    while labels.max():
        component = torch.from_numpy(labels).to(unit.device)
        rows = np.flatnonzero(labels != np.bincount(labels).argmax())
        lengths, columns = [], []
        for part in torch.from_numpy(rows).to(unit.device).split(max(1, 2**20 // len(unit))):
            # By differences, so that both ends of a pair see the same distance.
            length = torch.cdist(
                unit[part], unit, compute_mode="donot_use_mm_for_euclid_dist"
            ).masked_fill_(component[part, None] == component, torch.inf)
            columns.append(length.argmin(dim=1))
            lengths.append(length.gather(1, columns[-1][:, None]))
        others = torch.cat(columns).cpu().numpy()
        pairs = np.sort(np.stack([rows, others]), axis=0)
        order = np.lexsort((pairs[1], pairs[0], torch.cat(lengths)[:, 0].cpu().numpy()))
        chosen = order[np.unique(labels[rows[order]], return_index=True)[1]]
        joins.append(np.unique(pairs[:, chosen], axis=1))
        labels = _components(labels[joins[-1]], int(labels.max()) + 1)[labels]
    return np.concatenate(joins, axis=1)


def _components(edges: Any, nodes: int) -> Any:
    """Returns the component of each node ``[N]``, numbered from 0, from edges ``[2, E]``."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    adjacency = coo_array((np.ones(edges.shape[1]), tuple(edges)), shape=(nodes, nodes))
    return connected_components(adjacency, directed=False)[1]
