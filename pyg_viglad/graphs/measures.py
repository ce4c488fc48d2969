"""Measures of patch graphs, and what changed from one graph to another.

Every measure takes a ``Data`` or a ``Batch`` and returns a value per node ``[N]``, or with
``per_graph=True`` a value per image ``[B]``. Self-loops never count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import (
    cumsum,
    degree,
    remove_self_loops,
    scatter,
    to_scipy_sparse_matrix,
)

from pyg_viglad.graphs.patches import cells_of, edges_of, grids_of, image_of_node, positions_of
from pyg_viglad.nn import unit_rows

__all__ = [
    "NeighborChanges",
    "connected_components",
    "edge_length",
    "graph_measures",
    "homophily",
    "in_degree",
    "neighbor_changes",
    "neighbor_overlap",
    "neighbor_ranks",
]


def graph_measures(
    graphs: Mapping[str, Data], reference: str = "input", *, per_graph: bool = True
) -> dict[str, dict[str, Tensor]]:
    """Computes all measures of every graph, and the overlap with one of them.

    Args:
        graphs: Graphs of the same images by name, as :func:`~pyg_viglad.graphs.record_graphs` returns
            them.
        reference: The graph that ``overlap`` compares with.
        per_graph: Return a value per image ``[B]``; otherwise a value per node ``[N]`` of each graph.

    Returns:
        For each graph, by name: ``overlap`` with the reference (:func:`neighbor_overlap`; left out of
        the values per node where the reference is the coarser, as they then belong to its nodes),
        ``edge_length`` in pixels, ``in_degree`` (per image: the largest), ``homophily``, and
        ``components``, or per node the number of its ``component``.

    Raises:
        ValueError: If the reference is missing, or a graph lacks a field.

    Example:
        >>> from pyg_viglad import ViGAutoEncoder
        >>> graphs = ViGAutoEncoder(image_size=64).graphs(torch.rand(2, 3, 64, 64))
        >>> table = graph_measures(graphs)
        >>> list(table), list(table["decoder"])
        (['input', 'encoder', 'decoder'], ['overlap', 'edge_length', 'in_degree', 'homophily', 'components'])
        >>> table["input"]["overlap"]
        tensor([1., 1.])
    """
    if reference not in graphs:
        raise ValueError(f"Expected the reference among {list(graphs)} (got {reference!r})")
    table = {}
    for name, graph in graphs.items():
        overlap = neighbor_overlap(graphs[reference], graph, per_graph=per_graph)
        fits = per_graph or overlap.numel() == graph.num_nodes
        components = connected_components(graph, per_graph=per_graph)
        table[name] = {
            **({"overlap": overlap} if fits else {}),
            "edge_length": edge_length(graph, per_graph=per_graph),
            "in_degree": in_degree(graph, per_graph=per_graph),
            "homophily": homophily(graph, per_graph=per_graph),
            "components" if per_graph else "component": components,
        }
    return table


class NeighborChanges(NamedTuple):
    """Edges of two graphs on the coarser of their grids, without self-loops.

    Each is ``[2, E]``, row 0 the neighbour, row 1 the centre, grouped by centre.

    Attributes:
        kept: Edges of both graphs, in the order of the second.
        lost: Edges of the first graph alone.
        gained: Edges of the second graph alone.
    """

    kept: Tensor
    lost: Tensor
    gained: Tensor


def neighbor_changes(first: Data, second: Data) -> NeighborChanges:
    """Returns the edges that are kept, lost and gained from one graph to another.

    Two graphs on the same grid are compared edge by edge. Of two graphs on different grids, the finer is
    first read on the patches of the coarser. A node belongs to the patch that its centre lies in. Every
    edge between nodes of two patches is a vote for that neighbour of that patch, and a patch's
    neighbours are the patches with most votes: as many as it has in the coarser graph, at least one
    (ties go to the neighbour that some node ranks nearest, then to the smaller number). Both sets are
    then of equal size wherever the finer graph reaches enough patches.

    Args:
        first: A ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]`` (row 0 the neighbour, row 1 the
            centre, nearest first) and ``grid_size`` ``[B, 2]``.
        second: Another one of the same images.

    Returns:
        The edges, between nodes of the coarser graph.

    Raises:
        ValueError: If a field is missing, the graphs are not of as many images, or neither grid is the
            finer one in both directions (and in all images).

    Example:
        >>> grid = torch.tensor([[1, 4]])
        >>> first = Data(edge_index=torch.tensor([[0, 1, 2], [0, 0, 0]]), grid_size=grid, num_nodes=4)
        >>> second = Data(edge_index=torch.tensor([[2, 3], [0, 0]]), grid_size=grid, num_nodes=4)
        >>> [edges.tolist() for edges in neighbor_changes(first, second)]
        [[[2], [0]], [[1], [0]], [[3], [0]]]
    """
    edges = edges_of(first, "first"), edges_of(second, "second")
    grids = grids_of(first, "first"), grids_of(second, "second")
    if len(grids[0]) != len(grids[1]):
        raise ValueError(
            f"Expected graphs of as many images (got {len(grids[0])} and {len(grids[1])})"
        )
    if torch.equal(*grids):
        nodes = int(first.num_nodes)
        before, after = (_keys(edge_index, nodes) for edge_index in edges)
    elif bool((grids[0] >= grids[1]).all()):
        nodes = int(second.num_nodes)
        after = _keys(edges[1], nodes)
        before = _vote(edges[0], _patches(first, grids[1]), after, nodes)
    elif bool((grids[0] <= grids[1]).all()):
        nodes = int(first.num_nodes)
        before = _keys(edges[0], nodes)
        after = _vote(edges[1], _patches(second, grids[0]), before, nodes)
    else:
        raise ValueError(
            "Expected one grid to be as fine as the other in rows and columns "
            f"(got {grids[0].tolist()} and {grids[1].tolist()})"
        )
    kept = torch.isin(after, before)
    lost = before[~torch.isin(before, after)]
    return NeighborChanges(
        *(torch.stack([k % nodes, k // nodes]) for k in (after[kept], lost, after[~kept]))
    )


def neighbor_overlap(first: Data, second: Data, *, per_graph: bool = False) -> Tensor:
    r"""Computes the Jaccard index of the neighbours of a node in two graphs.

    .. math::
        J_i = \frac{|\mathcal{N}_i \cap \mathcal{N}'_i|}{|\mathcal{N}_i \cup \mathcal{N}'_i|}
            = \frac{kept_i}{kept_i + lost_i + gained_i},
        \qquad \mathcal{N}_i = \{j : (j, i) \in \mathcal{E}, j \ne i\}

    counted from :func:`neighbor_changes`, which says how graphs on different grids are compared.

    Args:
        first: A ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]`` and ``grid_size`` ``[B, 2]``.
        second: Another one of the same images.
        per_graph: Average over the nodes of an image.

    Returns:
        ``[N]`` in [0, 1] for the nodes of the coarser graph, or ``[B]`` with ``per_graph``; 1 where a
        node has no neighbours in either.

    Raises:
        ValueError: See :func:`neighbor_changes`.

    Example:
        >>> grid = torch.tensor([[1, 4]])
        >>> first = Data(edge_index=torch.tensor([[0, 1, 2], [0, 0, 0]]), grid_size=grid, num_nodes=4)
        >>> second = Data(edge_index=torch.tensor([[2, 3], [0, 0]]), grid_size=grid, num_nodes=4)
        >>> neighbor_overlap(first, second)
        tensor([0.3333, 1.0000, 1.0000, 1.0000])
    """
    changes = neighbor_changes(first, second)
    coarse = min(second, first, key=lambda graph: graph.num_nodes)
    nodes = int(coarse.num_nodes)
    kept, lost, gained = (torch.bincount(edges[1], minlength=nodes) for edges in changes)
    either = kept + lost + gained
    overlap: Tensor = torch.where(either > 0, kept / either.clamp(min=1), 1.0)
    return _per_image(overlap, coarse, "mean") if per_graph else overlap


def edge_length(graph: Data, *, per_graph: bool = False) -> Tensor:
    r"""Computes the mean distance between a node and its neighbours, in the unit of ``pos``.

    .. math::
        \ell_i = \frac{1}{|\mathcal{N}_i|} \sum_{j \in \mathcal{N}_i} \lVert pos_i - pos_j \rVert_2,
        \qquad \mathcal{N}_i = \{j : (j, i) \in \mathcal{E}, j \ne i\}

    Args:
        graph: A ``Data`` or ``Batch`` with ``pos`` ``[N, 2]`` and ``edge_index`` ``[2, E]``.
        per_graph: Average over all edges of an image.

    Returns:
        ``[N]``, or ``[B]`` with ``per_graph``; 0 without neighbours.

    Raises:
        ValueError: If a field is missing or does not fit.

    Example:
        >>> pos = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]])
        >>> graph = Data(pos=pos, edge_index=torch.tensor([[0, 1, 2, 0], [0, 0, 0, 1]]))
        >>> edge_length(graph)
        tensor([6.5000, 5.0000, 0.0000])
        >>> edge_length(graph, per_graph=True)
        tensor([6.])
    """
    edges, pos = edges_of(graph), positions_of(graph)
    lengths = torch.linalg.vector_norm(pos[edges[0]] - pos[edges[1]], dim=1)
    return _mean_over_edges(lengths, edges, graph, per_graph)


def in_degree(graph: Data, *, per_graph: bool = False) -> Tensor:
    r"""Counts, for each node, the nodes that have it among their neighbours.

    .. math::
        d_j = |\{i : (j, i) \in \mathcal{E}, i \ne j\}|

    It is the in-degree of the graph in which every node points to its neighbours: high for hubs, zero for
    nodes that are nobody's neighbour. In ``edge_index`` messages flow from the neighbour (row 0) to the
    centre (row 1), so these are a node's **outgoing** edges; the incoming ones are the same k for all.

    Args:
        graph: A ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]``.
        per_graph: Return the largest of an image (the mean is nearly k in every image).

    Returns:
        Integers ``[N]``, or ``[B]`` with ``per_graph``.

    Raises:
        ValueError: If ``edge_index`` is missing or does not fit.

    Example:
        >>> graph = Data(edge_index=torch.tensor([[0, 1, 1, 2], [0, 0, 2, 1]]), num_nodes=3)
        >>> in_degree(graph)
        tensor([0, 2, 1])
        >>> in_degree(graph, per_graph=True)
        tensor([2])
    """
    edges, _ = remove_self_loops(edges_of(graph))
    degrees: Tensor = degree(edges[0], graph.num_nodes, dtype=torch.long)
    return _per_image(degrees, graph, "max") if per_graph else degrees


def homophily(graph: Data, of: Tensor | None = None, *, per_graph: bool = False) -> Tensor:
    r"""Computes the mean similarity of a node and its neighbours.

    In feature space (the default) it is the cosine of the two feature vectors; for labels, whether they
    are equal (per image, PyG's edge homophily without self-loops):

    .. math::
        h_i = \frac{1}{|\mathcal{N}_i|} \sum_{j \in \mathcal{N}_i}
            \frac{x_i \cdot x_j}{\lVert x_i \rVert \lVert x_j \rVert}
        \qquad \text{or} \qquad
        h_i = \frac{1}{|\mathcal{N}_i|} \sum_{j \in \mathcal{N}_i} [y_i = y_j]

    Args:
        graph: A ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]`` and, unless ``of`` is given, ``x``
            ``[N, C]`` or ``distance`` ``[E]`` (as recorded: d between L2-normalised features, whose
            cosine is 1 - d^2 / 2).
        of: Other features ``[N, C]``, or labels ``[N]`` (integers or bool).
        per_graph: Average over all edges of an image.

    Returns:
        ``[N]``, or ``[B]`` with ``per_graph``: in [-1, 1] for features, in [0, 1] for labels; 0 without
        neighbours.

    Raises:
        ValueError: If a field is missing or does not fit, or labels are not integers.

    Example:
        >>> edge_index = torch.tensor([[1, 2, 0], [0, 0, 1]])
        >>> graph = Data(x=torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), edge_index=edge_index)
        >>> homophily(graph)
        tensor([0.5000, 1.0000, 0.0000])
        >>> homophily(graph, torch.tensor([7, 7, 7]), per_graph=True)
        tensor([1.])
    """
    edges = edges_of(graph)
    nodes = graph.num_nodes
    values = getattr(graph, "x", None) if of is None else of
    if not isinstance(values, Tensor):
        distance = getattr(graph, "distance", None)
        if not isinstance(distance, Tensor) or tuple(distance.shape) != (edges.size(1),):
            raise ValueError(
                f"Expected graph to have 'x' or 'distance' (got the fields {graph.keys()})"
            )
        similarity = 1 - distance.square() / 2
    elif values.size(0) != nodes or values.dim() > 2:
        raise ValueError(
            f"Expected features [{nodes}, C] or labels [{nodes}] (got {list(values.shape)})"
        )
    elif values.dim() == 2:
        unit = unit_rows(values)
        similarity = (unit[edges[0]] * unit[edges[1]]).sum(1)
    elif values.is_floating_point():
        raise ValueError(f"Expected labels as integers or bool (got {values.dtype})")
    else:
        similarity = (values[edges[0]] == values[edges[1]]).float()
    return _mean_over_edges(similarity, edges, graph, per_graph)


def connected_components(graph: Data, *, per_graph: bool = False) -> Tensor:
    """Returns the weakly connected components (the direction of edges does not count).

    Args:
        graph: A ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]``.
        per_graph: Return the number of components of each image.

    Returns:
        The component of each node ``[N]``, numbered from 0 within its image in the order of their first
        nodes; with ``per_graph`` the number of components ``[B]``.

    Raises:
        ValueError: If ``edge_index`` is missing or does not fit.

    Example:
        >>> graph = Data(edge_index=torch.tensor([[2, 3], [0, 1]]), num_nodes=5)
        >>> connected_components(graph)
        tensor([0, 1, 0, 1, 2])
        >>> connected_components(graph, per_graph=True)
        tensor([3])
    """
    from scipy.sparse import csgraph

    edges, nodes = edges_of(graph), int(graph.num_nodes)
    matrix = to_scipy_sparse_matrix(edges.cpu(), num_nodes=nodes)
    count, found = csgraph.connected_components(matrix, directed=True, connection="weak")
    labels = torch.from_numpy(found).long().to(edges.device)
    numbers = torch.arange(nodes, device=edges.device)
    first = scatter(numbers, labels, dim_size=count, reduce="min")
    batch, images = image_of_node(graph)
    per_image = torch.bincount(batch[first], minlength=images)
    if per_graph:
        return per_image
    # The nodes of the images stand one after the other, and so do their components by first node.
    place = first.argsort().argsort()
    components: Tensor = place[labels] - (per_image.cumsum(0) - per_image)[batch]
    return components


def neighbor_ranks(edge_index: Tensor) -> Tensor:
    """Returns the rank of each edge's neighbour ``[E]``: 1 for the nearest, 0 for a self-loop.

    Args:
        edge_index: Edges ``[2, E]``, the edges of one centre ordered nearest first.

    Example:
        >>> neighbor_ranks(torch.tensor([[0, 2, 1, 2, 1], [0, 0, 0, 1, 1]]))
        tensor([0, 1, 2, 1, 0])
    """
    centers, order = edge_index[1].sort(stable=True)
    other = (edge_index[0] != edge_index[1]).long()[order]
    before = other.cumsum(0) - other  # over all centres, one after the other
    start = torch.searchsorted(centers, centers)
    ranks = torch.empty_like(order)
    ranks[order] = (before - before[start] + 1) * other
    return ranks


def _mean_over_edges(values: Tensor, edges: Tensor, graph: Data, per_graph: bool) -> Tensor:
    """Computes the mean over the edges of each node, or of each image; 0 without edges."""
    (_, centers), values = remove_self_loops(edges, values)
    index, size = centers, int(graph.num_nodes)
    if per_graph:
        batch, size = image_of_node(graph)
        index = batch[centers]
    mean: Tensor = scatter(values, index, dim_size=size, reduce="mean")
    return mean


def _per_image(values: Tensor, graph: Data, reduce: str) -> Tensor:
    batch, images = image_of_node(graph)
    reduced: Tensor = scatter(values, batch, dim_size=images, reduce=reduce)
    return reduced


def _keys(edge_index: Tensor, nodes: int) -> Tensor:
    """Returns each edge once, as one number (centre * nodes + neighbour), by centre and then by rank."""
    (neighbors, centers), _ = remove_self_loops(edge_index)
    keys = (centers * nodes + neighbors)[centers.argsort(stable=True)]
    values, order = keys.sort(stable=True)
    first = torch.ones_like(keys, dtype=torch.bool)
    first[order[1:]] = values[1:] != values[:-1]
    distinct: Tensor = keys[first]
    return distinct


def _patches(graph: Data, coarse: Tensor) -> Tensor:
    """Returns the node of a coarser grid ``[B, 2]`` in whose patch each node of the graph lies, ``[N]``."""
    (row, column), (batch, _) = cells_of(graph), image_of_node(graph)
    (rows, columns), (coarse_rows, coarse_columns) = grids_of(graph)[batch].T, coarse[batch].T
    # The centre of row r lies at (r + 1/2) / rows: in whole numbers, nothing is rounded.
    coarse_row = (2 * row + 1) * coarse_rows // (2 * rows)
    coarse_column = (2 * column + 1) * coarse_columns // (2 * columns)
    first = cumsum(coarse.prod(1))[batch]  # of the image
    patches: Tensor = first + coarse_row * coarse_columns + coarse_column
    return patches


def _vote(edge_index: Tensor, patches: Tensor, coarse: Tensor, nodes: int) -> Tensor:
    """Returns a finer graph's edges between patches with most votes, as in `_keys`.

    Each of the ``nodes`` patches gets as many as it has in the ``coarse`` graph's keys, at least one.
    """
    neighbors, centers = patches[edge_index]
    between = neighbors != centers
    keys = (centers * nodes + neighbors)[between]
    pairs, which, votes = torch.unique(keys, return_inverse=True, return_counts=True)
    ranks = neighbor_ranks(edge_index)[between]
    nearest = scatter(ranks, which, dim_size=len(pairs), reduce="min")
    # By centre, then votes, then rank, then number: sorted by the last of these first.
    order = nearest.argsort(stable=True)
    order = order[votes[order].argsort(stable=True, descending=True)]
    order = order[(pairs[order] // nodes).argsort(stable=True)]
    pairs = pairs[order]
    centers = pairs // nodes
    place = torch.arange(len(pairs), device=pairs.device) - torch.searchsorted(centers, centers)
    most = torch.bincount(coarse // nodes, minlength=nodes).clamp(min=1)
    chosen: Tensor = pairs[place < most[centers]]
    return chosen
