"""Detection and localisation metrics."""

from pyg_viglad.metrics.image import image_auroc, image_average_precision, image_f1_max
from pyg_viglad.metrics.pixel import PerRegionOverlap, PixelAUROC, PixelCurve, au_pro, pixel_auroc
from pyg_viglad.metrics.spro import SaturatedOverlap, au_spro, au_spro_by_kind

__all__ = [
    "PerRegionOverlap",
    "PixelAUROC",
    "PixelCurve",
    "SaturatedOverlap",
    "au_pro",
    "au_spro",
    "au_spro_by_kind",
    "image_auroc",
    "image_average_precision",
    "image_f1_max",
    "pixel_auroc",
]
