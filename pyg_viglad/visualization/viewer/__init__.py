"""A page to click through the graphs of one image."""

from pyg_viglad.visualization.viewer.graph_viewer import GraphViewer

__all__ = ["GraphViewer"]
