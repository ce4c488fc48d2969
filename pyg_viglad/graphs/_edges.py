"""Edges, ranks and images of a batch of patch graphs, checked once for all measures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Data
from torch_geometric.utils import scatter

__all__ = [
    "edges_of",
    "grids_of",
    "images_of_nodes",
    "mean_over_edges",
    "ranks_of",
    "reduce_by",
]


def edges_of(graph: Data, name: str = "graph") -> Tensor:
    """Give ``edge_index`` ``[2, E]`` as a plain tensor.

    Raises:
        ValueError: If there is none, or it names nodes that do not exist.
    """
    edges = getattr(graph, "edge_index", None)
    if not isinstance(edges, Tensor) or edges.dim() != 2 or edges.size(0) != 2:
        got = list(edges.shape) if isinstance(edges, Tensor) else type(edges).__name__
        raise ValueError(f"Expected {name}.edge_index of shape [2, E] (got {got})")
    if isinstance(edges, EdgeIndex):
        edges = edges.as_tensor()
    nodes = graph.num_nodes
    if edges.numel() and not (int(edges.min()) >= 0 and int(edges.max()) < nodes):
        raise ValueError(
            f"Expected {name}.edge_index to join the nodes 0 to {nodes - 1} "
            f"(got {int(edges.min())} to {int(edges.max())})"
        )
    return edges


def images_of_nodes(graph: Data) -> tuple[Tensor, int]:
    """Give the number of each node's image ``[N]``, and how many images there are."""
    batch = getattr(graph, "batch", None)
    if isinstance(batch, Tensor):
        return batch, int(graph.num_graphs)
    edges = graph.edge_index
    return torch.zeros(graph.num_nodes, dtype=torch.long, device=edges.device), 1


def grids_of(graph: Data, name: str) -> Tensor:
    """Give rows and columns of each image's grid, ``[B, 2]``.

    Raises:
        ValueError: If ``grid_size`` is missing or does not fit the nodes.
    """
    grids = getattr(graph, "grid_size", None)
    if not isinstance(grids, Tensor):
        raise ValueError(f"Expected {name} to have 'grid_size' (got the fields {graph.keys()})")
    batch, count = images_of_nodes(graph)
    grids = grids.reshape(-1, 2)
    nodes = torch.bincount(batch, minlength=count)
    if grids.size(0) != count or not torch.equal(grids.prod(1).to(nodes), nodes):
        raise ValueError(
            f"Expected {name}.grid_size of {nodes.tolist()} nodes (got {grids.tolist()})"
        )
    return grids


def reduce_by(values: Tensor, index: Tensor, size: int, how: str) -> Tensor:
    """Reduce the values of each group, ``[size]``: ``"mean"``, ``"min"`` or ``"max"``; 0 of none."""
    reduced: Tensor = scatter(values, index, dim_size=size, reduce=how)
    return reduced


def ranks_of(edge_index: Tensor) -> Tensor:
    """Give the rank of each edge's neighbour, ``[E]``: 1 for the nearest one, 0 for the node itself.

    Args:
        edge_index: Edges ``[2, E]``, the edges of one centre ordered nearest first.

    Example:
        >>> ranks_of(torch.tensor([[0, 2, 1, 2, 1], [0, 0, 0, 1, 1]]))
        tensor([0, 1, 2, 1, 0])
    """
    if not edge_index.size(1):
        return edge_index[0]
    other = edge_index[0] != edge_index[1]
    order = edge_index[1].argsort(stable=True)
    seen = other[order].long().cumsum(0)  # over all centres, one after the other
    before = torch.zeros_like(seen)
    centers = edge_index[1][order]
    starts = torch.ones_like(other)
    starts[1:] = centers[1:] != centers[:-1]
    before[starts] = (seen - other[order].long())[starts]
    before = before.cummax(0).values
    ranks = torch.empty_like(seen)
    ranks[order] = seen - before
    return ranks * other


def mean_over_edges(values: Tensor, edge_index: Tensor, graph: Data, per_graph: bool) -> Tensor:
    """Average values of edges ``[E]`` over the neighbours of each node, or over those of each image.

    The edge from a node to itself does not count.

    Args:
        values: A value an edge.
        edge_index: The edges ``[2, E]``.
        graph: What they belong to.
        per_graph: Give ``[B]``, not ``[N]``.

    Returns:
        The means, 0 where there is no edge.
    """
    kept = edge_index[0] != edge_index[1]
    centers = edge_index[1][kept]
    if per_graph:
        batch, count = images_of_nodes(graph)
        return reduce_by(values[kept], batch[centers], count, "mean")
    return reduce_by(values[kept], centers, int(graph.num_nodes), "mean")
