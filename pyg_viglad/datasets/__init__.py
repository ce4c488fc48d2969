"""Images of good and of anomalous things, as PyG data sets."""

from pyg_viglad.datasets.cad_sd import CADSD
from pyg_viglad.datasets.check_data import CheckRow, check_data
from pyg_viglad.datasets.digit_anatomy import DigitAnatomy
from pyg_viglad.datasets.digit_source import DigitSource
from pyg_viglad.datasets.image_folder import ImageFolder
from pyg_viglad.datasets.mvtec_ad import MVTecAD
from pyg_viglad.datasets.mvtec_loco import MVTecLOCO
from pyg_viglad.datasets.visa import VisA

__all__ = [
    "CADSD",
    "CheckRow",
    "DigitAnatomy",
    "DigitSource",
    "ImageFolder",
    "MVTecAD",
    "MVTecLOCO",
    "VisA",
    "check_data",
]
