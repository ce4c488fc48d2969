"""Graphs of patches as values: what changed between them, measured, and files that others read.

Every measure takes a ``Data`` or a ``Batch`` with ``edge_index`` ``[2, E]`` (row 0 the neighbour, row 1
the centre, nearest first), as :func:`~pyg_viglad.visualization.record_graphs` gives them, and returns a
value a node ``[N]``, or with ``per_graph=True`` a value an image ``[B]``. A node never counts as its own
neighbour.
"""

from pyg_viglad.graphs.connected_components import connected_components
from pyg_viglad.graphs.edge_length import edge_length
from pyg_viglad.graphs.export_graph import export_graph, write_graphml, write_node_link
from pyg_viglad.graphs.graph_measures import graph_measures
from pyg_viglad.graphs.homophily import homophily
from pyg_viglad.graphs.in_degree import in_degree
from pyg_viglad.graphs.neighbor_overlap import neighbor_overlap

__all__ = [
    "connected_components",
    "edge_length",
    "export_graph",
    "graph_measures",
    "homophily",
    "in_degree",
    "neighbor_overlap",
    "write_graphml",
    "write_node_link",
]
