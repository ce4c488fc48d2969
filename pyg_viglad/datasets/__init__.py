"""Images of good and of anomalous things, as PyG data sets."""

from pyg_viglad.datasets.digit_anatomy import DigitAnatomy
from pyg_viglad.datasets.digit_source import DigitSource
from pyg_viglad.datasets.image_folder import ImageFolder

__all__ = ["DigitAnatomy", "DigitSource", "ImageFolder"]
