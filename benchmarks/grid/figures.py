"""Figures 3 and 4 of a benchmark."""

import re
from pathlib import Path
from typing import Any

import torch

from benchmarks.grid._examples import read_examples
from benchmarks.grid.cell import Cell
from benchmarks.grid.read_grid import Grid
from benchmarks.grid.run_cell import RESULT
from benchmarks.grid.run_grid import cell_folder

__all__ = ["draw_figures"]


def draw_figures(
    grid: Grid, results: list[tuple[Cell, dict[str, Any]]], output: Path
) -> list[Path]:
    """Draw what the config asks for, from the cells that are done.

    Args:
        grid: The benchmark.
        results: Of :func:`~benchmarks.grid.collect_results`.
        output: Folder of the grid; the figures are written there.

    Returns:
        The files written.
    """
    files: list[Path] = []
    places = dict.fromkeys((cell.data, cell.category) for cell in grid.cells)
    for data, category in places:
        name = re.sub(r"[^a-z0-9]+", "_", f"{data} {category}".lower()).strip("_")
        if "ablation" in grid.figures:
            files += _ablation(grid, results, data, category, output / f"ablation-{name}")
        if "anomaly_maps" in grid.figures:
            files += _maps(grid, data, category, output, output / f"anomaly_maps-{name}")
    return files


def _ablation(
    grid: Grid,
    results: list[tuple[Cell, dict[str, Any]]],
    data: str,
    category: str,
    path: Path,
) -> list[Path]:
    """Image AUROC of every column by kind, over the seeds (Figure 4)."""
    from pyg_viglad.visualization import plot_ablation, save_figure

    groups: dict[str, dict[str, list[float]]] = {}
    for name, column in grid.columns.items():
        rows: dict[str, list[float]] = {}
        for cell, result in results:
            if (cell.data, cell.category, cell.model) != (data, category, column.model):
                continue
            metrics = result["metrics"]
            values = metrics[column.score or next(iter(metrics))].get("image_auroc", {})
            for kind in ("logical", "structural"):
                if values.get(kind) is not None:
                    rows.setdefault(kind, []).append(values[kind])
        if rows:
            groups[name] = rows
    kinds = [set(rows) for rows in groups.values()]
    if not kinds or any(found != kinds[0] for found in kinds):
        return []
    figure = plot_ablation(groups, width=max(3.5, 1.0 + 0.9 * len(groups)))
    return save_figure(figure, path)


def _maps(grid: Grid, data: str, category: str, output: Path, path: Path) -> list[Path]:
    """Maps of all models on the same images, calibrated alike (Figure 3)."""
    from pyg_viglad.visualization import plot_anomaly_maps, save_figure

    # Who is in the tables for its nodes alone need not have trained what the maps come from.
    columns = [c for c in grid.columns.values() if not c.missing and c.score != "A_n"]
    models = dict.fromkeys(column.model for column in columns)
    seed = grid.seeds[0]
    shown: dict[str, Any] = {}
    maps = {}
    for cell in grid.cells:
        if (cell.data, cell.category, cell.seed) != (data, category, seed):
            continue
        folder = cell_folder(output, cell)
        file = folder / "examples.npz"
        if cell.model in models and (folder / RESULT).is_file() and file.is_file():
            shown = read_examples(file)
            maps[cell.model] = shown["maps"]
    if not maps:
        return []
    masks = shown.get("masks")
    figure = plot_anomaly_maps(
        shown["images"],
        maps,
        None if masks is None else torch.as_tensor(masks),
        titles=shown["titles"],
    )
    return save_figure(figure, path, dpi=150)
