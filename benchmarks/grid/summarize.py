"""From results to tidy rows, and to mean and standard deviation over seeds."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.grid.cell import Cell
from benchmarks.grid.measure import MAPS
from benchmarks.grid.read_grid import Column, Grid
from benchmarks.grid.run_cell import RESULT
from benchmarks.grid.run_grid import cell_folder

__all__ = ["Summary", "TidyRow", "collect_results", "summarize", "tidy_rows"]


class TidyRow(NamedTuple):
    """One value: of a cell, a score, a metric and a kind of anomaly, in [0, 1]."""

    data: str
    category: str
    model: str
    seed: int
    score: str
    metric: str
    kind: str
    value: float
    fit_seconds: float
    predict_seconds: float
    key: str


class Summary(NamedTuple):
    """Mean and standard deviation (n - 1; NaN for one seed) of values in [0, 1], and their seeds."""

    mean: float
    std: float
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, values: dict[int, float]) -> "Summary":
        """Summarise the values of some seeds.

        Example:
            >>> Summary.of({0: 0.5, 1: 0.75}).mean
            0.625
        """
        seeds = tuple(sorted(values))
        numbers = np.array([values[seed] for seed in seeds])
        std = float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan
        return cls(float(numbers.mean()), std, seeds)

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.seeds)


def collect_results(grid: Grid, output: Path) -> list[tuple[Cell, dict[str, Any]]]:
    """Read the results of all cells that are done, in the order of the grid."""
    results = []
    for cell in grid.cells:
        file = cell_folder(output, cell) / RESULT
        if file.is_file():
            results.append((cell, json.loads(file.read_text(encoding="utf-8"))))
    return results


def tidy_rows(results: list[tuple[Cell, dict[str, Any]]]) -> Iterator[TidyRow]:
    """Give one row for every cell, score, metric and kind."""
    for cell, result in results:
        seconds = result["seconds"]
        for score, metrics in result["metrics"].items():
            for metric, kinds in metrics.items():
                for kind, value in kinds.items():
                    if value is None:
                        continue
                    yield TidyRow(
                        cell.data,
                        cell.category,
                        cell.model,
                        cell.seed,
                        score,
                        metric,
                        kind,
                        float(value),
                        float(seconds["fit"]),
                        float(seconds["predict"]),
                        cell.key,
                    )


def summarize(
    grid: Grid,
    results: list[tuple[Cell, dict[str, Any]]],
    column: Column,
    data: str,
    category: str,
    metric: str,
    kind: str,
) -> Summary | None:
    """Summarise a column's values of one category over the seeds.

    Args:
        grid: The benchmark.
        results: Of :func:`collect_results`.
        column: The model and its score; without a score, the model's first one. Metrics of maps are
            the model's, whatever the score.
        data: Name of the data set.
        category: Name of the category, or ``"average"``: the mean over all categories of each seed,
            of the seeds that have them all.
        metric: Name of the metric.
        kind: Kind of anomaly.

    Returns:
        The summary, or None where there is no value.

    Raises:
        ValueError: If the model has no such score.
    """
    found: dict[str, dict[int, float]] = {}
    for cell, result in results:
        if cell.data == data and cell.model == column.model:
            value = _value(result["metrics"], column, metric, kind)
            if value is not None:
                found.setdefault(cell.category, {})[cell.seed] = value
    if category != "average":
        values = found.get(category, {})
    else:
        wanted = {c.category for c in grid.cells if c.data == data and c.model == column.model}
        if not wanted or wanted - set(found):
            return None
        common = set.intersection(*(set(seeds) for seeds in found.values()))
        values = {seed: float(np.mean([row[seed] for row in found.values()])) for seed in common}
    if not values:
        return None
    return Summary.of(values)


def _value(
    metrics: dict[str, dict[str, dict[str, float]]], column: Column, metric: str, kind: str
) -> float | None:
    score = column.score or next(iter(metrics))
    if score not in metrics:
        raise ValueError(
            f"Expected 'score' of the column of {column.model} among {', '.join(metrics)} "
            f"(got {score!r})"
        )
    for name in (score, MAPS):
        value = metrics.get(name, {}).get(metric, {}).get(kind)
        if value is not None:
            return float(value)
    return None
