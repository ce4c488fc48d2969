"""How many of a node's neighbours two graphs have in common."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.graphs._edges import edges_of, grids_of, images_of_nodes, ranks_of, reduce_by

__all__ = ["neighbor_overlap"]


def neighbor_overlap(first: Data, second: Data, *, per_graph: bool = False) -> Tensor:
    r"""Jaccard index of the neighbours of a node in two graphs, itself left out.

    .. math::
        J_i = \frac{|\mathcal{N}_i \cap \mathcal{N}'_i|}{|\mathcal{N}_i \cup \mathcal{N}'_i|},
        \qquad \mathcal{N}_i = \{j : (j, i) \in \mathcal{E}, j \ne i\}

    Of two graphs on different grids, the finer is first read on the patches of the coarser. A node
    belongs to the patch that its centre lies in; every edge between nodes of two patches is a vote
    for that neighbour of that patch; and a patch's neighbours are the patches with most votes, as
    many as it has in the coarser graph and at least one (ties go to the neighbour that some node
    ranks nearest, then to the smaller number). Both sets are then of equal size wherever the finer
    graph reaches enough patches, and 1 means that fine nodes look where the patch looks.

    Args:
        first: A ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]`` (row 0 the neighbour, row 1 the
            centre, nearest first) and ``grid_size`` ``[B, 2]``.
        second: Another one of the same images.
        per_graph: Average over the nodes of an image.

    Returns:
        ``[N]`` in [0, 1] for the nodes of the coarser graph, or ``[B]`` with ``per_graph``; 1 where a
        node has no neighbours in either.

    Raises:
        ValueError: If a field is missing, the graphs are not of as many images, or neither grid is
            the finer one in both directions (and in all images).

    Example:
        >>> grid = torch.tensor([[1, 4]])
        >>> first = Data(edge_index=torch.tensor([[0, 1, 2], [0, 0, 0]]), grid_size=grid, num_nodes=4)
        >>> second = Data(edge_index=torch.tensor([[2, 3], [0, 0]]), grid_size=grid, num_nodes=4)
        >>> neighbor_overlap(first, second)
        tensor([0.3333, 1.0000, 1.0000, 1.0000])
    """
    graphs = (first, second)
    edges = [edges_of(graph, name) for graph, name in zip(graphs, ("first", "second"), strict=True)]
    grids = [grids_of(graph, name) for graph, name in zip(graphs, ("first", "second"), strict=True)]
    if grids[0].size(0) != grids[1].size(0):
        raise ValueError(
            f"Expected graphs of as many images (got {grids[0].size(0)} and {grids[1].size(0)})"
        )
    difference = grids[0] - grids[1]
    if bool((difference >= 0).all()):
        coarse, fine = 1, 0
    elif bool((difference <= 0).all()):
        coarse, fine = 0, 1
    else:
        raise ValueError(
            "Expected one grid to be as fine as the other in rows and columns "
            f"(got {grids[0].tolist()} and {grids[1].tolist()})"
        )
    nodes = int(graphs[coarse].num_nodes)
    wanted = _pairs(edges[coarse], nodes)
    if bool((difference == 0).all()):
        others = _pairs(edges[fine], nodes)
    else:
        patches = _patches(graphs[fine], grids[fine], grids[coarse])
        most = torch.bincount(wanted // nodes, minlength=nodes).clamp(min=1)
        others = _vote(edges[fine], patches, nodes, most)
    common = torch.bincount(wanted[torch.isin(wanted, others)] // nodes, minlength=nodes)
    either = torch.bincount(torch.cat([wanted, others]) // nodes, minlength=nodes) - common
    overlap: Tensor = torch.where(either > 0, common / either.clamp(min=1), 1.0)
    if not per_graph:
        return overlap
    batch, count = images_of_nodes(graphs[coarse])
    return reduce_by(overlap, batch, count, "mean")


def _pairs(edge_index: Tensor, nodes: int) -> Tensor:
    """Give each centre and neighbour once, as one number, centre * nodes + neighbour, in order."""
    neighbors, centers = edge_index[:, edge_index[0] != edge_index[1]]
    pairs: Tensor = torch.unique(centers * nodes + neighbors)
    return pairs


def _patches(graph: Data, fine: Tensor, coarse: Tensor) -> Tensor:
    """Give the node of the coarser graph in whose patch each node of the finer one lies, ``[N]``."""
    batch, _ = images_of_nodes(graph)
    before = fine.prod(1).cumsum(0) - fine.prod(1)
    number = torch.arange(batch.numel(), device=batch.device) - before[batch]
    rows, columns = fine[batch].unbind(1)
    coarse_rows, coarse_columns = coarse[batch].unbind(1)
    # The centre of row r lies at (r + 1/2) / rows: whole numbers, so that nothing is rounded.
    row = (2 * (number // columns) + 1) * coarse_rows // (2 * rows)
    column = (2 * (number % columns) + 1) * coarse_columns // (2 * columns)
    first = coarse.prod(1).cumsum(0) - coarse.prod(1)
    patches: Tensor = first[batch] + row * coarse_columns + column
    return patches


def _vote(edge_index: Tensor, patches: Tensor, nodes: int, most: Tensor) -> Tensor:
    """Give the pairs of patches with most edges, ``most`` ``[nodes]`` of them for each centre."""
    neighbors, centers = patches[edge_index]
    between = neighbors != centers
    keys = (centers * nodes + neighbors)[between]
    pairs, which, votes = torch.unique(keys, return_inverse=True, return_counts=True)
    nearest = reduce_by(ranks_of(edge_index)[between], which, pairs.numel(), "min")
    # By centre, then votes, then rank, then number: sorted by the last of these first.
    order = nearest.argsort(stable=True)
    order = order[votes[order].argsort(stable=True, descending=True)]
    order = order[(pairs[order] // nodes).argsort(stable=True)]
    centers = pairs[order] // nodes
    counts = torch.bincount(centers, minlength=nodes)
    place = torch.arange(order.numel(), device=order.device) - (counts.cumsum(0) - counts)[centers]
    chosen: Tensor = pairs[order][place < most[centers]]
    return chosen
