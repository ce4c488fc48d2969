"""Detectors behind one interface, compared on a grid of data sets, models and seeds."""

from benchmarks.grid.cell import Cell
from benchmarks.grid.config import Column, DataEntry, Grid, TableEntry, read_grid
from benchmarks.grid.detector import DETECTORS, Detector, Scores, detector_options, make_detector
from benchmarks.grid.measure import measure
from benchmarks.grid.published import PUBLISHED
from benchmarks.grid.results import build_tables, read_results, summarize
from benchmarks.grid.run_cell import run_cells
from benchmarks.grid.run_grid import grid_states, run_grid

__all__ = [
    "DETECTORS",
    "PUBLISHED",
    "Cell",
    "Column",
    "DataEntry",
    "Detector",
    "Grid",
    "Scores",
    "TableEntry",
    "build_tables",
    "detector_options",
    "grid_states",
    "make_detector",
    "measure",
    "read_grid",
    "read_results",
    "run_cells",
    "run_grid",
    "summarize",
]
