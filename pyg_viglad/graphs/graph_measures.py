"""All measures of all graphs of some images, as one table."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.graphs.connected_components import connected_components
from pyg_viglad.graphs.edge_length import edge_length
from pyg_viglad.graphs.homophily import homophily
from pyg_viglad.graphs.in_degree import in_degree
from pyg_viglad.graphs.neighbor_overlap import neighbor_overlap

__all__ = ["graph_measures"]


def graph_measures(
    graphs: Mapping[str, Data], reference: str = "input", *, per_graph: bool = True
) -> dict[str, dict[str, Tensor]]:
    """Measure every graph, and what it has kept of the neighbours in one of them.

    Args:
        graphs: Graphs of the same images by name, as
            :func:`~pyg_viglad.visualization.record_graphs` gives them.
        reference: The graph that ``overlap`` compares with.
        per_graph: Give a value an image ``[B]``; otherwise a value a node ``[N]`` of each graph.

    Returns:
        For each graph, by name: ``overlap`` with the reference graph (see
        :func:`~pyg_viglad.graphs.neighbor_overlap`; left out for a value a node where the reference
        is the coarser, as the values then belong to its nodes), ``edge_length`` in pixels,
        ``in_degree`` (of an image: the largest), ``homophily``, and ``components``, or of a node
        the number of its ``component``.

    Raises:
        ValueError: If the reference is missing, or a graph lacks a field.

    Example:
        >>> import torch
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
        table[name] = {
            **({"overlap": overlap} if fits else {}),
            "edge_length": edge_length(graph, per_graph=per_graph),
            "in_degree": in_degree(graph, per_graph=per_graph),
            "homophily": homophily(graph, per_graph=per_graph),
            "components" if per_graph else "component": connected_components(
                graph, per_graph=per_graph
            ),
        }
    return table
