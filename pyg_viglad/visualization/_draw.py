"""Names of `drawing` for the viewer."""

from pyg_viglad.visualization.drawing import TRUTH_COLOR
from pyg_viglad.visualization.drawing import mask_outline as _border

__all__ = ["TRUTH_COLOR", "_border"]
