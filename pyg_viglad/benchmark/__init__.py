"""Detectors behind one interface, compared on a grid of data sets, models and seeds."""

from pyg_viglad.benchmark.cell import Cell
from pyg_viglad.benchmark.detector import Detector, Scores
from pyg_viglad.benchmark.make_detector import DETECTORS, detector_options, make_detector
from pyg_viglad.benchmark.measure import measure
from pyg_viglad.benchmark.published import PUBLISHED
from pyg_viglad.benchmark.read_grid import Column, Grid, read_grid
from pyg_viglad.benchmark.run_cell import attempt_cells
from pyg_viglad.benchmark.run_grid import grid_states, run_grid
from pyg_viglad.benchmark.summarize import Summary, collect_results, summarize, tidy_rows
from pyg_viglad.benchmark.tables import build_tables

__all__ = [
    "DETECTORS",
    "PUBLISHED",
    "Cell",
    "Column",
    "Detector",
    "Grid",
    "Scores",
    "Summary",
    "attempt_cells",
    "build_tables",
    "collect_results",
    "detector_options",
    "grid_states",
    "make_detector",
    "measure",
    "read_grid",
    "run_grid",
    "summarize",
    "tidy_rows",
]
