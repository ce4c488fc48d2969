"""Names of `drawing` for the viewer."""

from pyg_viglad.visualization.drawing import NODE_COLOR, dim, rank_colors

__all__ = ["NODE_COLOR", "dim", "rank_colors"]
