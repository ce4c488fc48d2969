"""How many nodes chose a node as their neighbour."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.graphs._edges import edges_of, images_of_nodes, reduce_by

__all__ = ["in_degree"]


def in_degree(graph: Data, *, per_graph: bool = False) -> Tensor:
    r"""Count the nodes that list a node among their neighbours, itself left out.

    .. math::
        d_j = |\{i : (j, i) \in \mathcal{E}, i \ne j\}|

    The degree of the graph "i points at its neighbours", which tells hubs from nodes that nobody
    resembles. In ``edge_index``, along which messages flow from a neighbour (row 0) to the centre
    (row 1) that chose it, a node's choosers are the ends of its **outgoing** edges; the number of
    incoming ones is the same k for every node.

    Args:
        graph: A ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]``.
        per_graph: Give the largest of an image (the mean is nearly k in every image).

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
    edges = edges_of(graph)
    chosen = edges[0][edges[0] != edges[1]]
    degrees = torch.bincount(chosen, minlength=graph.num_nodes)
    if not per_graph:
        return degrees
    batch, count = images_of_nodes(graph)
    return reduce_by(degrees, batch, count, "max")
