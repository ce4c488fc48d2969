"""How alike a node and its neighbours are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.graphs._edges import edges_of, mean_over_edges

__all__ = ["homophily"]


def homophily(graph: Data, of: Tensor | None = None, *, per_graph: bool = False) -> Tensor:
    r"""Mean similarity of a node and its neighbours, itself left out.

    In feature space (the default), the cosine of the two feature vectors; of labels, whether they
    are equal (the node homophily of PyG's ``homophily``):

    .. math::
        h_i = \frac{1}{|\mathcal{N}_i|} \sum_{j \in \mathcal{N}_i}
            \frac{x_i \cdot x_j}{\lVert x_i \rVert \lVert x_j \rVert}
        \qquad \text{or} \qquad
        h_i = \frac{1}{|\mathcal{N}_i|} \sum_{j \in \mathcal{N}_i} [y_i = y_j]

    Args:
        graph: A ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]`` (row 0 the neighbour, row 1 the
            centre) and, unless ``of`` is given, ``x`` ``[N, C]`` or ``distance`` ``[E]`` (as
            recorded: d between L2-normalised features, whose cosine is 1 - d^2 / 2).
        of: Other features ``[N, C]``, or labels ``[N]`` (integers or bool).
        per_graph: Average over all edges of an image.

    Returns:
        ``[N]``, or ``[B]`` with ``per_graph``: in [-1, 1] of features, in [0, 1] of labels; 0 without
        neighbours.

    Raises:
        ValueError: If a field is missing or does not fit, or labels are no integers.

    Example:
        >>> edge_index = torch.tensor([[1, 2, 0], [0, 0, 1]])
        >>> graph = Data(x=torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), edge_index=edge_index)
        >>> homophily(graph)
        tensor([0.5000, 1.0000, 0.0000])
        >>> homophily(graph, torch.tensor([7, 7, 7]), per_graph=True)
        tensor([1.])
    """
    edges = edges_of(graph)
    return mean_over_edges(_similarity(graph, edges, of), edges, graph, per_graph)


def _similarity(graph: Data, edges: Tensor, of: Tensor | None) -> Tensor:
    """Give the similarity of the two ends of every edge, ``[E]``."""
    features = getattr(graph, "x", None) if of is None else of
    if not isinstance(features, Tensor):
        distance = getattr(graph, "distance", None)
        if not isinstance(distance, Tensor) or tuple(distance.shape) != (edges.size(1),):
            raise ValueError(
                f"Expected graph to have 'x' or 'distance' (got the fields {graph.keys()})"
            )
        return 1 - distance.square() / 2
    if features.size(0) != graph.num_nodes or features.dim() > 2:
        raise ValueError(
            f"Expected features [{graph.num_nodes}, C] or labels [{graph.num_nodes}] "
            f"(got {list(features.shape)})"
        )
    if features.dim() == 1:
        if features.is_floating_point():
            raise ValueError(f"Expected labels as integers or bool (got {features.dtype})")
        return (features[edges[0]] == features[edges[1]]).float()
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    return (unit[edges[0]] * unit[edges[1]]).sum(1)
