"""How good a detector is."""

from pyg_viglad.metrics.image_auroc import image_auroc

__all__ = ["image_auroc"]
