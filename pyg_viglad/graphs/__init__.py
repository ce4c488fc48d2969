"""Patch graphs as values: recorded from a network, read, measured and exported.

A graph is a ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]`` (row 0 the neighbour, row 1 the centre,
nearest first), ``pos``, ``grid_size`` and ``img_size``; see :mod:`pyg_viglad.graphs.patches`.
"""

from pyg_viglad.graphs.explain import EdgeOcclusion, explain_node, explained_neighbors
from pyg_viglad.graphs.export import export_graph, write_graphml, write_node_link
from pyg_viglad.graphs.measures import (
    NeighborChanges,
    connected_components,
    edge_length,
    graph_measures,
    homophily,
    in_degree,
    neighbor_changes,
    neighbor_overlap,
    neighbor_ranks,
)
from pyg_viglad.graphs.patches import (
    SCORES,
    graph_of_image,
    most_anomalous_node,
    neighbors_of,
    node_at,
    patch_size,
    position_of,
)
from pyg_viglad.graphs.record import record_graphs, select_graphs

__all__ = [
    "SCORES",
    "EdgeOcclusion",
    "NeighborChanges",
    "connected_components",
    "edge_length",
    "explain_node",
    "explained_neighbors",
    "export_graph",
    "graph_measures",
    "graph_of_image",
    "homophily",
    "in_degree",
    "most_anomalous_node",
    "neighbor_changes",
    "neighbor_overlap",
    "neighbor_ranks",
    "neighbors_of",
    "node_at",
    "patch_size",
    "position_of",
    "record_graphs",
    "select_graphs",
    "write_graphml",
    "write_node_link",
]
