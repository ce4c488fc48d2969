"""Figures 3 and 4 of a grid."""

import re
from pathlib import Path

import pandas as pd

from benchmarks.grid.config import Grid
from benchmarks.grid.examples import read_examples
from benchmarks.grid.results import column_rows
from benchmarks.grid.run_cell import RESULT
from benchmarks.grid.run_grid import cell_folder
from pyg_viglad.visualization import plot_ablation, plot_anomaly_maps, save_figure

__all__ = ["draw_figures"]


def draw_figures(grid: Grid, rows: pd.DataFrame, output: Path) -> list[Path]:
    """Plots what the config asks for, from the cells that are done.

    Args:
        grid: The grid.
        rows: Values, see :func:`~benchmarks.grid.read_results`.
        output: Folder of the grid; the figures are written there.

    Returns:
        The files written.
    """
    files: list[Path] = []
    for data, category in dict.fromkeys((cell.data, cell.category) for cell in grid.cells):
        name = re.sub(r"[^a-z0-9]+", "_", f"{data} {category}".lower()).strip("_")
        if "ablation" in grid.figures:
            here = rows[(rows.data == data) & (rows.category == category)]
            files += _plot_ablation(grid, here, output / f"ablation-{name}")
        if "anomaly_maps" in grid.figures:
            path = output / f"anomaly_maps-{name}"
            files += _plot_maps(grid, data, category, output, path)
    return files


def _plot_ablation(grid: Grid, rows: pd.DataFrame, path: Path) -> list[Path]:
    """Image AUROC of every column by kind, over the seeds (Figure 4)."""
    groups = {}
    for name, column in grid.columns.items():
        found = column_rows(rows, column, "image_auroc")
        found = found[found.kind.isin(["logical", "structural"])]
        if len(found):
            groups[name] = found.groupby("kind").value.agg(list).to_dict()
    if len({frozenset(group) for group in groups.values()}) != 1:
        return []
    figure = plot_ablation(groups, width=max(3.5, 1.0 + 0.9 * len(groups)))
    return save_figure(figure, path)


def _plot_maps(grid: Grid, data: str, category: str, output: Path, path: Path) -> list[Path]:
    """Maps of all models on the same images, calibrated alike (Figure 3)."""
    # A model whose columns show A_n alone need not have trained what its maps come from.
    columns = [c for c in grid.columns.values() if c.score != "A_n"]
    models = {column.model for column in columns}
    shown, maps = {}, {}
    for cell in grid.cells:
        place = (cell.data, cell.category, cell.seed)
        if cell.model in models and place == (data, category, grid.seeds[0]):
            folder = cell_folder(output, cell)
            if (folder / RESULT).is_file() and (folder / "examples.npz").is_file():
                shown = read_examples(folder / "examples.npz")
                maps[cell.model] = shown["maps"]
    if not maps:
        return []
    figure = plot_anomaly_maps(shown["images"], maps, shown["masks"], titles=shown["titles"])
    return save_figure(figure, path, dpi=150)
