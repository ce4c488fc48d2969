"""Detectors behind one interface, compared on a grid of data sets, models and seeds."""

from pyg_viglad.benchmark.detector import Detector, Scores
from pyg_viglad.benchmark.make_detector import DETECTORS, detector_options, make_detector

__all__ = ["DETECTORS", "Detector", "Scores", "detector_options", "make_detector"]
