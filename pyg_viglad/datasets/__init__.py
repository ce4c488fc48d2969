"""Anomaly-detection data sets."""

from pyg_viglad.datasets.base import AnomalyDataset, list_images
from pyg_viglad.datasets.cad_sd import CADSD
from pyg_viglad.datasets.digits import DigitAnatomy, DigitSource
from pyg_viglad.datasets.image_folder import ImageFolder
from pyg_viglad.datasets.mvtec_ad import MVTecAD
from pyg_viglad.datasets.mvtec_loco import MVTecLOCO
from pyg_viglad.datasets.problems import (
    Problem,
    find_leftovers,
    find_problems,
    find_unreadable,
)
from pyg_viglad.datasets.published_counts import CheckRow, check_data
from pyg_viglad.datasets.scattered_digits import ScatteredDigits
from pyg_viglad.datasets.visa import VisA

__all__ = [
    "CADSD",
    "AnomalyDataset",
    "CheckRow",
    "DigitAnatomy",
    "DigitSource",
    "ImageFolder",
    "MVTecAD",
    "MVTecLOCO",
    "Problem",
    "ScatteredDigits",
    "VisA",
    "check_data",
    "find_leftovers",
    "find_problems",
    "find_unreadable",
    "list_images",
]
