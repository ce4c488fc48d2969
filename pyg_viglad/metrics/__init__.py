"""How good a detector is."""

from pyg_viglad.metrics.au_pro import au_pro
from pyg_viglad.metrics.au_spro import au_spro
from pyg_viglad.metrics.au_spro_by_kind import au_spro_by_kind
from pyg_viglad.metrics.image_auroc import image_auroc
from pyg_viglad.metrics.image_average_precision import image_average_precision
from pyg_viglad.metrics.image_f1_max import image_f1_max
from pyg_viglad.metrics.pixel_auroc import pixel_auroc
from pyg_viglad.metrics.saturated_overlap import SaturatedOverlap

__all__ = [
    "SaturatedOverlap",
    "au_pro",
    "au_spro",
    "au_spro_by_kind",
    "image_auroc",
    "image_average_precision",
    "image_f1_max",
    "pixel_auroc",
]
