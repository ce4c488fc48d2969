"""Figures of node graphs (Figure 5), anomaly maps (Figure 3), ablations (Figure 4) and scores.

Every ``plot_`` function returns a :class:`matplotlib.figure.Figure` made without pyplot: nothing
global changes, nothing has to be closed, and no display is needed. With ``ax`` it draws into existing
axes instead: one pair of axes where the figure has one panel, an array or list of them where it has
several, in the shape that its docstring names; it then returns their figure. :func:`save_figure` writes
PNG and PDF.
"""

from pyg_viglad.visualization.plot_ablation import plot_ablation
from pyg_viglad.visualization.plot_anomaly_maps import plot_anomaly_maps
from pyg_viglad.visualization.plot_block_strip import plot_block_strip
from pyg_viglad.visualization.plot_explanation import plot_explanation
from pyg_viglad.visualization.plot_graph import plot_graph
from pyg_viglad.visualization.plot_hyperedges import plot_hyperedges
from pyg_viglad.visualization.plot_neighbors import plot_neighbors
from pyg_viglad.visualization.plot_node_graphs import plot_node_graphs
from pyg_viglad.visualization.plot_roc import plot_roc
from pyg_viglad.visualization.plot_score_histogram import plot_score_histogram
from pyg_viglad.visualization.save_figure import save_figure
from pyg_viglad.visualization.viewer import GraphViewer

__all__ = [
    "GraphViewer",
    "plot_ablation",
    "plot_anomaly_maps",
    "plot_block_strip",
    "plot_explanation",
    "plot_graph",
    "plot_hyperedges",
    "plot_neighbors",
    "plot_node_graphs",
    "plot_roc",
    "plot_score_histogram",
    "save_figure",
]
