"""Detectors behind one interface, compared on a grid of data sets, models and seeds."""

from benchmarks.grid.cell import Cell
from benchmarks.grid.detector import Detector, Scores
from benchmarks.grid.make_detector import DETECTORS, detector_options, make_detector
from benchmarks.grid.measure import measure
from benchmarks.grid.published import PUBLISHED
from benchmarks.grid.read_grid import Column, Grid, read_grid
from benchmarks.grid.run_cell import attempt_cells
from benchmarks.grid.run_grid import grid_states, run_grid
from benchmarks.grid.summarize import Summary, collect_results, summarize, tidy_rows
from benchmarks.grid.tables import build_tables

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
