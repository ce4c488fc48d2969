"""Hypergraphs of an image: fuzzy clusters of its nodes, and the convolution of Vision HGNN on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.inits import reset

from pyg_viglad.nn.knn_graph import check_counts
from pyg_viglad.nn.vig_convs import _layer

__all__ = [
    "HyperedgeConv",
    "HyperedgeData",
    "Hyperedges",
    "Hypergraph",
    "fuzzy_c_means",
    "hyperedges",
    "join_hyperedges",
    "to_hypergraph",
]


class Hyperedges(NamedTuple):
    """The hyperedges of one or several graphs, as two sparse incidences.

    Attributes:
        feeding: The members that each hyperedge reads ``[2, F]``: row 0 the node, row 1 the hyperedge,
            grouped by hyperedge.
        reading: The hyperedges that each node reads ``[2, R]``: row 0 the node, row 1 the hyperedge,
            grouped by node; at least one for every node.
        num_hyperedges: Number of hyperedges of all graphs; some may be empty.
        num_graphs: Number of graphs, if each has equally many nodes and hyperedges.
    """

    feeding: Tensor
    reading: Tensor
    num_hyperedges: int
    num_graphs: int | None = None


@torch.no_grad()
def fuzzy_c_means(
    x: Tensor,
    num_clusters: int,
    m: float = 2,
    iterations: int = 15,
    tol: float = 1e-3,
    *,
    start: Tensor | None = None,
    joint: bool = False,
) -> Tensor:
    r"""Computes fuzzy memberships of every point in K clusters of its image.

    Starting from random memberships, centres and memberships are updated alternately (Bezdek 1981):

    .. math::
        c_k = \frac{\sum_n u_{nk}^m x_n}{\sum_n u_{nk}^m} \qquad
        u_{nk} = \frac{d_{nk}^{-2 / (m - 1)}}{\sum_j d_{nj}^{-2 / (m - 1)}} \qquad
        d_{nk}^2 = \max(|x_n - c_k|^2, 10^{-10})

    Undefined memberships become 1 / K. All images and clusters are computed at once, and no array is
    larger than the points or the memberships. No gradient flows through the clustering.

    Args:
        x: Points of B images ``[B, N, C]``.
        num_clusters: Number of clusters K of each image.
        m: Fuzzifier above 1; the larger, the more equal the memberships (default: 2).
        iterations: Largest number of rounds (default: 15).
        tol: From the second round on, an image is finished when its memberships changed by less than
            this in a round, as the Frobenius norm (default: 1e-3).
        start: First memberships ``[B, N, K]`` or ``[N, K]``, not negative; rows are divided by their
            sums (default: random ones).
        joint: Whether the change of the whole batch decides about its end, as in the public code of
            Vision HGNN. An image's memberships then depend on the other images (default: False).

    Returns:
        Memberships ``[B, N, K]``; those of a point add up to 1. Computed in at least float32.

    Raises:
        ValueError: If an argument is out of range or has another shape.

    Example:
        >>> x = torch.tensor([[[0.0], [1.0], [8.0], [9.0]]])
        >>> start = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.4, 0.6], [0.4, 0.6]])
        >>> fuzzy_c_means(x, 2, start=start)[0, :, 0].round(decimals=2)
        tensor([1., 1., 0., 0.])
    """
    if x.dim() != 3 or not x.is_floating_point():
        raise ValueError(f"Expected 'x' to be points [B, N, C] (got {x.dtype} {list(x.shape)})")
    _check_clustering(m, tol, num_clusters=num_clusters, iterations=iterations)
    graphs, nodes, _ = x.shape
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    if start is None:
        start = torch.rand(graphs, nodes, num_clusters, device=x.device)
    elif start.shape not in ((graphs, nodes, num_clusters), (nodes, num_clusters)):
        raise ValueError(
            f"Expected 'start' to be {[graphs, nodes, num_clusters]} or "
            f"{[nodes, num_clusters]} (got {list(start.shape)})"
        )
    with torch.autocast(x.device.type, enabled=False):
        # Clusters before points: sums over clusters then run along the rows of the memory.
        u = start.to(x).expand(graphs, -1, -1).mT.contiguous()
        u = u / u.sum(dim=1, keepdim=True)
        # Products of centred points: distances are the same, and rounding does not grow with an offset.
        x = x - x.mean(dim=1, keepdim=True)
        square = x.square().sum(dim=2).unsqueeze(1)
        active = torch.ones(graphs, 1, 1, dtype=torch.bool, device=x.device)
        num_active = graphs
        for number in range(iterations):
            weights = u**m
            centers = weights @ x / weights.sum(dim=2, keepdim=True)
            new = square + centers.square().sum(dim=2, keepdim=True)
            new = new.baddbmm_(centers, x.mT, alpha=-2).clamp_min_(1e-10)
            # Relative to the nearest centre's, so that no power overflows.
            new = torch.div(new.amin(dim=1, keepdim=True), new, out=new)
            if m != 2:
                new.pow_(1 / (m - 1))
            new.div_(new.sum(dim=1, keepdim=True)).nan_to_num_(nan=1 / num_clusters)
            if num_active < graphs:
                new = torch.where(active, new, u)
            change = torch.linalg.vector_norm(u.sub_(new), dim=(1, 2), keepdim=True)
            u = new
            if number:
                change = change.norm() if joint else change
                active &= change >= tol
                num_active = int(active.sum())
                if num_active == 0:
                    break
        return u.mT.contiguous()


def _check_clustering(m: float, tol: float, **counts: int) -> None:
    check_counts(**counts)
    if not m > 1:
        raise ValueError(f"Expected 'm' to be above 1 (got {m})")
    if not tol >= 0:
        raise ValueError(f"Expected 'tol' to be at least 0 (got {tol})")


def hyperedges(memberships: Tensor, threshold: float = 0.01, *, joint: bool = False) -> Hyperedges:
    """Returns the hyperedges that Vision HGNN makes of memberships in clusters.

    A point is a member of the clusters in which its membership is above ``threshold``. Where an image
    has a *weak* point, one whose largest membership is below 0.1, memberships above 0.5 count in the
    whole image instead, and each weak point is a member of its best cluster alone. A hyperedge reads
    its members. A point reads the hyperedges that it is a member of, or, if there are none, that of its
    best cluster.

    Args:
        memberships: Memberships ``[B, N, K]``, see :func:`fuzzy_c_means`.
        threshold: Least membership of a member (default: 0.01).
        joint: Whether a weak point changes the rule for all images of the batch, as in the public code
            (default: False).

    Returns:
        The hyperedges. Node n of image b has the number ``b * N + n``, hyperedge k the number
        ``b * K + k``.

    Raises:
        ValueError: If ``memberships`` has another shape or ``threshold`` lies outside [0, 1).

    Example:
        >>> hyperedges(torch.tensor([[[0.995, 0.005], [0.5, 0.5]]]))
        Hyperedges(feeding=tensor([[0, 1, 1],
                [0, 0, 1]]), reading=tensor([[0, 1, 1],
                [0, 0, 1]]), num_hyperedges=2, num_graphs=1)
    """
    if memberships.dim() != 3:
        raise ValueError(f"Expected 'memberships' to be [B, N, K] (got {list(memberships.shape)})")
    _check_threshold(threshold)
    graphs, nodes, clusters = memberships.shape
    largest, best = memberships.max(dim=2, keepdim=True)
    best = torch.arange(clusters, device=best.device) == best
    weak = largest < 0.1
    strict = weak.any() if joint else weak.any(dim=1, keepdim=True)
    member = torch.where(strict, (memberships > 0.5) | (best & weak), memberships > threshold)
    reads = member | (best & ~member.any(dim=2, keepdim=True))
    graph, hyperedge, node = member.mT.nonzero().unbind(1)
    feeding = torch.stack([graph * nodes + node, graph * clusters + hyperedge])
    graph, node, hyperedge = reads.nonzero().unbind(1)
    reading = torch.stack([graph * nodes + node, graph * clusters + hyperedge])
    return Hyperedges(feeding, reading, graphs * clusters, graphs)


def join_hyperedges(parts: Sequence[Hyperedges], num_nodes: Sequence[int]) -> Hyperedges:
    """Returns the hyperedges of several graphs, numbered as those of one.

    Args:
        parts: The hyperedges of each graph.
        num_nodes: Number of nodes of each.

    Example:
        >>> one = Hyperedges(torch.tensor([[0, 1], [0, 0]]), torch.tensor([[0, 1], [0, 0]]), 1)
        >>> join_hyperedges([one, one], [2, 2]).feeding
        tensor([[0, 1, 2, 3],
                [0, 0, 1, 1]])
    """
    feeding, reading, node, hyperedge = [], [], 0, 0
    for part, nodes in zip(parts, num_nodes, strict=True):
        first = part.feeding.new_tensor([[node], [hyperedge]])
        feeding.append(part.feeding + first)
        reading.append(part.reading + first)
        node, hyperedge = node + nodes, hyperedge + part.num_hyperedges
    return Hyperedges(torch.cat(feeding, dim=1), torch.cat(reading, dim=1), hyperedge)


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold < 1:
        raise ValueError(f"Expected 'threshold' to lie in [0, 1) (got {threshold})")


@dataclass(frozen=True)
class Hypergraph:
    """Joins the nodes of an image by ``k`` hyperedges, the fuzzy clusters of their features.

    The graph builder of Vision HGNN (Han et al., ICCV 2023), for operators that read hyperedges such as
    :class:`HyperedgeConv`. See :func:`fuzzy_c_means` and :func:`hyperedges`; features are not
    normalised. ``torch.compile(fullgraph=True)`` cannot trace it.

    Args:
        k: Number of hyperedges of each image; lowered where an image has fewer nodes.
        dilation: Part of the signature that all graph builders share; not used.
        m: Fuzzifier.
        iterations: Largest number of rounds of the clustering.
        tol: Change of the memberships at which the clustering ends.
        threshold: Least membership of a member.
        seed: Seed of the initial memberships, which are the same for all images and all calls, also in
            training: the hyperedges of an image depend on its features only. None draws random ones in
            each call, as the public code does.
        joint: Whether images of a batch change each other's hyperedges, as in the public code.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> Hypergraph(k=2)(torch.rand(12, 4), batch_size=2).num_hyperedges
        4
    """

    k: int
    dilation: int = 1
    m: float = 2
    iterations: int = 15
    tol: float = 1e-3
    threshold: float = 0.01
    seed: int | None = 0
    joint: bool = False
    hypergraph: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_clustering(self.m, self.tol, k=self.k, iterations=self.iterations)
        _check_threshold(self.threshold)

    def __call__(
        self, x: Tensor, batch_size: int = 1, grid_size: tuple[int, int] | None = None
    ) -> Hyperedges:
        """Returns the hyperedges of ``batch_size`` graphs of equal size, features ``[B * N, C]``."""
        if x.size(0) == 0:
            none = torch.empty(2, 0, dtype=torch.int64, device=x.device)
            return Hyperedges(none, none, 0, batch_size)
        if x.size(0) % batch_size:
            raise ValueError(
                f"Expected nodes of {batch_size} graphs of equal size (got {x.size(0)} nodes)"
            )
        points = x.detach().unflatten(0, (batch_size, -1))
        clusters = min(self.k, points.size(1))
        start = None
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed)
            start = torch.rand(points.size(1), clusters, generator=generator)
        memberships = fuzzy_c_means(
            points, clusters, self.m, self.iterations, self.tol, start=start, joint=self.joint
        )
        return hyperedges(memberships, self.threshold, joint=self.joint)


class HyperedgeConv(MessagePassing):  # type: ignore[misc]
    r"""The hypergraph convolution of Vision HGNN (Han et al., ICCV 2023).

    .. math::
        e_k &= \sigma \left[ norm \left( W_1 \, \mathrm{mean}_{n \in k} \, p_n \right) \right] \\
        p'_n &= \sigma \left[ norm \left( W_2 \left[ (1 + \epsilon) \, p_n + \mathrm{mean}_{k \ni n}
        \, e_k \right] \right) \right]

    with a learnable :math:`\epsilon`, initially zero, and linear layers in groups. The members that a
    hyperedge reads and the hyperedges that a node reads may differ, see :class:`Hyperedges`; a mean of
    nothing is zero. :class:`torch_geometric.nn.HypergraphConv` has one incidence for both, and no layer
    between the two means.

    Its parameters have the names of the public code; see :class:`GroupedLinear` for the shape of its
    kernels.

    Args:
        in_channels: Number of input channels, divisible by ``heads``.
        out_channels: Number of output channels, divisible by ``heads``.
        heads: Number of groups of the linear layers (default: 4).
        padding: ``"last"`` reproduces the public code, which pads its tables of members to the longest
            row of the batch with the image's last node (or hyperedge), counted once per padded
            entry. Only for weights trained that way (default: None, the true means).
        **kwargs: Further arguments of :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:** features ``[N, in_channels]``; :class:`Hyperedges`.
        - **output:** ``[N, out_channels]``.

    Raises:
        ValueError: If the channels are not divisible by ``heads``, or ``padding`` is unknown.

    Example:
        >>> x = torch.rand(12, 8)
        >>> HyperedgeConv(8, 16)(x, Hypergraph(k=3)(x)).shape
        torch.Size([12, 16])
    """

    activated = True  # make_operator adds neither normalization nor activation
    hypergraph = True  # reads hyperedges, not edges

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 4,
        padding: Literal["last"] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(aggr="mean", **kwargs)
        if padding not in (None, "last"):
            raise ValueError(f"Expected 'padding' to be None or 'last' (got {padding!r})")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.padding = padding
        self.nn_node_to_hyperedge = _layer(in_channels, in_channels, heads)
        self.nn_hyperedge_to_node = _layer(in_channels, out_channels, heads)
        self.eps = nn.Parameter(torch.zeros(1))

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        super().reset_parameters()
        reset(self.nn_node_to_hyperedge)
        reset(self.nn_hyperedge_to_node)
        nn.init.zeros_(self.eps)

    def forward(
        self,
        x: Tensor,
        hyperedges: Hyperedges,
        size: tuple[int, int] | None = None,
        *,
        k: int | None = None,
        grid_size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Runs the forward pass.

        Args:
            x: Node features ``[N, in_channels]``.
            hyperedges: The hyperedges of its graphs.
            size: Part of the signature that all operators share; not used.
            k: Part of the signature that all operators share; not used.
            grid_size: Part of the signature that all operators share; not used.

        Returns:
            ``[N, out_channels]``.
        """
        if not isinstance(hyperedges, Hyperedges):
            raise ValueError(
                f"Expected Hyperedges, as graph 'hypergraph' makes (got {type(hyperedges).__name__})"
            )
        if not isinstance(x, Tensor) or x.dim() != 2 or x.size(1) != self.in_channels:
            shape = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"Expected 'x' to be [N, {self.in_channels}] (got {shape})")
        nodes, edges = x.size(0), hyperedges.num_hyperedges
        feeding, reading = hyperedges.feeding, hyperedges.reading.flip(0)
        if self.padding == "last":
            graphs = hyperedges.num_graphs
            if graphs is None:
                raise ValueError("Expected graphs of equal size with padding 'last' (got none)")
            feeding = _pad(feeding, nodes, edges, graphs)
            reading = _pad(reading, edges, nodes, graphs)
        # propagate_type: (x: Tensor)
        means = self.propagate(feeding, x=x, size=(nodes, edges))
        means = self.propagate(reading, x=self.nn_node_to_hyperedge(means), size=(edges, nodes))
        return self.nn_hyperedge_to_node((1 + self.eps) * x + means)  # type: ignore[no-any-return]

    def message(self, x_j: Tensor) -> Tensor:
        """Returns what is read."""
        return x_j

    def __repr__(self) -> str:
        padding = "" if self.padding is None else f", padding={self.padding}"
        name = self.__class__.__name__
        return f"{name}({self.in_channels}, {self.out_channels}, heads={self.heads}{padding})"


def _pad(index: Tensor, sources: int, targets: int, graphs: int) -> Tensor:
    """Adds edges from the last source of each graph until all targets have as many."""
    if targets == 0:
        return index
    counts = torch.bincount(index[1], minlength=targets)
    missing = counts.max().clamp_min(1) - counts
    target = torch.arange(targets, device=index.device).repeat_interleave(missing)
    graph = target // (targets // graphs)
    last = (graph + 1) * (sources // graphs) - 1
    return torch.cat([index, torch.stack([last, target])], dim=1)


class HyperedgeData(Data):  # type: ignore[misc]
    """A graph with hyperedges, which PyG's ``Batch`` and ``DataLoader`` join.

    :class:`torch_geometric.data.HyperGraphData` has one incidence, and takes the largest number that
    occurs in it for the number of hyperedges, so that empty ones are lost.

    Attributes:
        hyperedge_index: The members of hyperedges ``[2, F]``, ``feeding`` of :class:`Hyperedges`; as
            :class:`torch_geometric.nn.HypergraphConv` takes it.
        reading_index: The hyperedges that nodes read ``[2, R]``, ``reading`` of :class:`Hyperedges`.
        num_hyperedges: Number of hyperedges.

    Example:
        >>> image = to_hypergraph(Data(x=torch.rand(6, 4)), k=2)
        >>> other = to_hypergraph(Data(x=torch.rand(8, 4)), k=3)
        >>> batch = Batch.from_data_list([image, other])
        >>> int(batch.hyperedge_index[1].max()), batch.num_hyperedges.tolist()
        (4, [2, 3])
        >>> HyperedgeConv(4, 8)(batch.x, batch.hyperedges).shape
        torch.Size([14, 8])
    """

    @property
    def hyperedges(self) -> Hyperedges:
        """The hyperedges of all graphs, for :class:`HyperedgeConv`."""
        count = int(torch.as_tensor(self.num_hyperedges).sum())
        return Hyperedges(self.hyperedge_index, self.reading_index, count)

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns by how much the next graph's numbers are increased in a batch."""
        if key in ("hyperedge_index", "reading_index"):
            return torch.tensor([[self.num_nodes], [int(self.num_hyperedges)]])
        return super().__inc__(key, value, *args, **kwargs)


def to_hypergraph(data: Data, k: int = 25, **graph_kwargs: Any) -> HyperedgeData:
    """Returns the hypergraph of an image.

    Args:
        data: An image's graph with features ``x`` ``[N, C]``, such as
            :class:`~pyg_viglad.transforms.ImageToGraph` makes.
        k: Number of hyperedges, lowered where the image has fewer nodes (default: 25).
        **graph_kwargs: Further arguments of :class:`Hypergraph`.

    Returns:
        All fields of ``data`` but those of its edges, and those of :class:`HyperedgeData`.

    Raises:
        ValueError: If there are no features, ``data`` is a batch, or an argument is out of range.

    Example:
        >>> to_hypergraph(Data(x=torch.eye(4)), k=2, threshold=0.5)
        HyperedgeData(x=[4, 4], hyperedge_index=[2, 4], reading_index=[2, 4], num_hyperedges=2)
    """
    if isinstance(data, Batch):
        raise ValueError("Expected the graph of one image (got a Batch)")
    x = getattr(data, "x", None)
    if not isinstance(x, Tensor) or x.dim() != 2:
        got = list(x.shape) if isinstance(x, Tensor) else x
        raise ValueError(f"Expected features 'x' of shape [N, C] (got {got})")
    found = Hypergraph(k, **graph_kwargs)(x)
    # With as many edges as nodes, PyG takes a name without "edge" for a node field.
    of_edges = {"distance", *filter(data.is_edge_attr, data.keys())}
    fields = {key: value for key, value in data.to_dict().items() if key not in of_edges}
    return HyperedgeData(
        **fields,
        hyperedge_index=found.feeding,
        reading_index=found.reading,
        num_hyperedges=found.num_hyperedges,
    )
