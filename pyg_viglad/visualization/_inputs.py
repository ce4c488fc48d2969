"""Names of `drawing` for the viewer."""

from pyg_viglad.visualization.drawing import as_maps, format_number

__all__ = ["as_maps", "format_number"]
