"""Into how many parts a graph falls."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_scipy_sparse_matrix

from pyg_viglad.graphs._edges import edges_of, images_of_nodes, reduce_by

__all__ = ["connected_components"]


def connected_components(graph: Data, *, per_graph: bool = False) -> Tensor:
    """Number the weakly connected components: parts that no edge joins, whatever its direction.

    Args:
        graph: A ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]``.
        per_graph: Count the components of each image.

    Returns:
        The component of each node ``[N]``, numbered from 0 within its image in the order of their
        first nodes; with ``per_graph`` how many there are, ``[B]``.

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

    edges = edges_of(graph)
    nodes = int(graph.num_nodes)
    matrix = to_scipy_sparse_matrix(edges.cpu(), num_nodes=nodes)
    count, found = csgraph.connected_components(matrix, directed=True, connection="weak")
    labels = torch.from_numpy(found).long().to(edges.device)
    numbers = torch.arange(nodes, device=edges.device)
    first = reduce_by(numbers, labels, count, "min")
    batch, images = images_of_nodes(graph)
    per_image = torch.bincount(batch[first], minlength=images)
    if per_graph:
        return per_image
    # The images' nodes stand one after the other, and so do their components by first node.
    place = first.argsort().argsort()
    before = per_image.cumsum(0) - per_image
    components: Tensor = place[labels] - before[batch]
    return components
