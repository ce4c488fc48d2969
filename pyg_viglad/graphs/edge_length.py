"""How far away the neighbours of a node lie."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.graphs._edges import edges_of, mean_over_edges

__all__ = ["edge_length"]


def edge_length(graph: Data, *, per_graph: bool = False) -> Tensor:
    r"""Mean distance in pixels between a node and its neighbours, itself left out.

    .. math::
        \ell_i = \frac{1}{|\mathcal{N}_i|} \sum_{j \in \mathcal{N}_i} \lVert pos_i - pos_j \rVert_2,
        \qquad \mathcal{N}_i = \{j : (j, i) \in \mathcal{E}, j \ne i\}

    Args:
        graph: A ``Data`` or ``Batch`` with ``pos`` ``[N, 2]`` and ``edge_index`` ``[2, E]`` (row 0 the
            neighbour, row 1 the centre).
        per_graph: Average over all edges of an image.

    Returns:
        ``[N]``, or ``[B]`` with ``per_graph``, in the unit of ``pos``; 0 without neighbours.

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
    edges = edges_of(graph)
    if not isinstance(graph.pos, Tensor) or tuple(graph.pos.shape) != (graph.num_nodes, 2):
        got = list(graph.pos.shape) if isinstance(graph.pos, Tensor) else graph.pos
        raise ValueError(f"Expected graph.pos of shape [{graph.num_nodes}, 2] (got {got})")
    lengths = torch.linalg.vector_norm(graph.pos[edges[0]] - graph.pos[edges[1]], dim=1)
    return mean_over_edges(lengths, edges, graph, per_graph)
