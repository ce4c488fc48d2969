"""Pictures: node graphs (Figure 5), anomaly maps (Figure 3) and score distributions.

Matplotlib is imported when a picture is drawn, not before. Every function returns a
:class:`matplotlib.figure.Figure` made without pyplot: nothing global changes, nothing has to be
closed, and no display is needed.
"""

from pyg_viglad.visualization._neighbors import neighbors_of, node_at
from pyg_viglad.visualization.plot_anomaly_maps import plot_anomaly_maps
from pyg_viglad.visualization.plot_node_graphs import plot_node_graphs
from pyg_viglad.visualization.plot_score_histogram import plot_score_histogram
from pyg_viglad.visualization.record_graphs import record_graphs
from pyg_viglad.visualization.select_graphs import select_graphs

__all__ = [
    "neighbors_of",
    "node_at",
    "plot_anomaly_maps",
    "plot_node_graphs",
    "plot_score_histogram",
    "record_graphs",
    "select_graphs",
]
