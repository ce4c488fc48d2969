"""Tables of a benchmark: measured figures, with published ones below."""

import math
from typing import Any, NamedTuple

from benchmarks.grid.cell import Cell
from benchmarks.grid.published import PUBLISHED
from benchmarks.grid.read_grid import Grid
from benchmarks.grid.summarize import Summary, summarize

__all__ = ["MEASURED", "Table", "TableRow", "build_tables"]

MEASURED = "measured"


class TableRow(NamedTuple):
    """One line: of a category and a kind, the summaries of all columns, or published figures.

    Attributes:
        data: Name of the data set.
        category: Name of the category, or ``"average"``.
        kind: Kind of anomaly.
        source: ``"measured"``, or the title of a publication.
        cells: For each column a :class:`Summary`, a published figure in per cent, or None.
    """

    data: str
    category: str
    kind: str
    source: str
    cells: list[Summary | float | None]

    @property
    def best(self) -> int | None:
        """Place of the highest measured mean, by what is printed; None where two share it."""
        if self.source != MEASURED:
            return None
        means = [round(100 * c.mean, 1) if isinstance(c, Summary) else -1.0 for c in self.cells]
        top = max(means)
        return means.index(top) if top >= 0 and means.count(top) == 1 and len(means) > 1 else None


class Table(NamedTuple):
    """A table of one metric.

    Attributes:
        metric: Its name.
        columns: Names of the columns.
        rows: The lines.
        seeds: Number of seeds that a measured figure has unless it says otherwise.
        notes: Sentences below: publications, and what is missing.
    """

    metric: str
    columns: list[str]
    rows: list[TableRow]
    seeds: int
    notes: list[str]


def build_tables(grid: Grid, results: list[tuple[Cell, dict[str, Any]]]) -> list[Table]:
    """Build the tables that the config asks for.

    Args:
        grid: The benchmark.
        results: Of :func:`~benchmarks.grid.collect_results`.
    """
    categories: dict[str, list[str]] = {}
    for cell in grid.cells:
        known = categories.setdefault(cell.data, [])
        if cell.category not in known:
            known.append(cell.category)
    for data in grid.averages:
        categories[data].append("average")
    tables = []
    for entry in grid.tables:
        rows: list[TableRow] = []
        for data, names in categories.items():
            for category in names:
                for kind in entry["kinds"]:
                    rows += _rows(grid, results, data, category, entry["metric"], kind)
        notes = [f"{name}: {c.missing}." for name, c in grid.columns.items() if c.missing]
        if entry["metric"] == "image_auroc":
            shown = {row.source for row in rows}
            sources = (PUBLISHED[name] for name in grid.published)
            notes += [f"{s.title}: {s.note}" for s in sources if s.title in shown]
        tables.append(Table(entry["metric"], list(grid.columns), rows, len(grid.seeds), notes))
    return tables


def _rows(
    grid: Grid,
    results: list[tuple[Cell, dict[str, Any]]],
    data: str,
    category: str,
    metric: str,
    kind: str,
) -> list[TableRow]:
    measured: list[Summary | float | None] = [
        None if column.missing else summarize(grid, results, column, data, category, metric, kind)
        for column in grid.columns.values()
    ]
    rows = [TableRow(data, category, kind, MEASURED, measured)]
    if metric == "image_auroc":
        for name in grid.published:
            source = PUBLISHED[name]
            figures: list[Summary | float | None] = [
                source.look_up(grid.datasets[data], category, column, kind)
                for column in grid.columns
            ]
            if any(figure is not None for figure in figures):
                rows.append(TableRow(data, category, kind, source.title, figures))
    empty = all(cell is None for cell in measured)
    # A kind that the data set does not have makes no line; cells that are still missing do.
    if len(rows) == 1 and empty and any(cell.data == data for cell, _ in results):
        return []
    return rows


def format_cell(cell: Summary | float | None, seeds: int, plus_minus: str = " ± ") -> str:
    """Write a figure in per cent, with its number of seeds where that is not the usual one."""
    if cell is None:
        return ""
    if not isinstance(cell, Summary):
        return f"{cell:.1f}"
    text = f"{100 * cell.mean:.1f}"
    if not math.isnan(cell.std):
        text += f"{plus_minus}{100 * cell.std:.1f}"
    return text if cell.n == seeds else f"{text} (n = {cell.n})"
