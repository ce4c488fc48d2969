"""Results as tidy rows, and as tables in Markdown and LaTeX beside published figures."""

import json
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.grid.config import Column, Grid
from benchmarks.grid.measure import MAPS
from benchmarks.grid.published import PUBLISHED
from benchmarks.grid.run_cell import RESULT
from benchmarks.grid.run_grid import cell_folder

__all__ = [
    "Table",
    "build_tables",
    "column_rows",
    "format_costs",
    "format_value",
    "read_results",
    "summarize",
]

ROW = ["data", "category", "kind"]
MEASURED = "measured"
_TITLES = {
    "image_auroc": "Image AUROC",
    "image_f1_max": "Image F1-max",
    "image_average_precision": "Image average precision",
    "defect_auroc": "Image AUROC by defect",
    "pixel_auroc": "Pixel AUROC",
    "au_pro": "AUPRO, up to a false-positive rate of 0.3",
    "au_spro": "AU-sPRO, up to a false-positive rate of {}",
}
_COLUMNS = {
    "data": str,
    "category": str,
    "model": str,
    "seed": int,
    "score": str,
    "metric": str,
    "kind": str,
    "value": float,
    "fit_seconds": float,
    "predict_seconds": float,
    "key": str,
    "test_images": int,
    "steps": str,
    "parameters": str,
    "place": str,
}


def read_results(grid: Grid, output: Path) -> pd.DataFrame:
    """Reads the results of all cells that are done, one row per value.

    Args:
        grid: The grid.
        output: Its folder.

    Returns:
        ``data``, ``category``, ``model``, ``seed``, ``score``, ``metric``, ``kind`` and ``value`` in
        [0, 1]; and, of the whole cell, ``fit_seconds``, ``predict_seconds``, ``key``, ``test_images``,
        ``steps``, ``parameters`` (trained ones, in millions) and ``place`` (device and threads).

    Raises:
        ValueError: If models of one data set, category and seed had different numbers of images.
    """
    rows = []
    splits: dict[tuple[str, str, int], dict[str, int]] = {}
    for cell in grid.cells:
        file = cell_folder(output, cell) / RESULT
        if not file.is_file():
            continue
        result = json.loads(file.read_text(encoding="utf-8"))
        place, split = (cell.data, cell.category, cell.seed), result["images"]
        if splits.setdefault(place, split) != split:
            raise ValueError(
                f"Expected the same images for all models of {cell.data} / {cell.category} / seed "
                f"{cell.seed} (got {splits[place]} and, in {file.parent}, {split}): remove the older "
                "results"
            )
        images = {k: n for k, n in split.items() if k not in ("train", "validation")}
        environment = result["environment"]
        whole = (
            # The seconds of a resumed fit are those of its last part.
            math.nan if result["facts"].get("resumed") else result["seconds"]["fit"],
            result["seconds"]["predict"],
            cell.key,
            sum(images.values()),
            str(result["facts"].get("iterations", "-")),
            _millions(result["facts"].get("trained_parameters")),
            f"{environment['device']}, {environment['threads']}",
        )
        rows += [
            (cell.data, cell.category, cell.model, cell.seed, score, metric, kind, value, *whole)
            for score, metrics in result["metrics"].items()
            for metric, kinds in metrics.items()
            for kind, value in kinds.items()
            if value is not None
        ]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.1f}"


def column_rows(rows: pd.DataFrame, column: Column, metric: str) -> pd.DataFrame:
    """Selects a column's values of a metric; those of maps belong to the model, whatever the score.

    Args:
        rows: Values, see :func:`read_results`.
        column: The model and its score.
        metric: Name of the metric.

    Raises:
        ValueError: If the model has no such score.
    """
    found = rows[rows.model == column.model]
    if found.empty:
        return found.iloc[:0]
    known = list(found.score.unique())
    score = column.score or known[0]
    if score not in known:
        raise ValueError(
            f"Expected 'score' of the column of {column.model} among {', '.join(known)} "
            f"(got {score!r})"
        )
    return found[found.score.isin([score, MAPS]) & (found.metric == metric)]


def summarize(grid: Grid, rows: pd.DataFrame, column: Column, metric: str) -> pd.DataFrame:
    """Computes mean and standard deviation of a column over the seeds.

    Args:
        grid: The grid.
        rows: Values, see :func:`read_results`.
        column: The model and its score.
        metric: Name of the metric.

    Returns:
        ``mean``, ``std`` (n - 1; NaN for one seed) and ``count`` by ``data``, ``category`` and ``kind``.
        The category ``"average"`` is the mean over all categories, of the seeds that have them all.
    """
    found = column_rows(rows, column, metric)
    values = found.set_index([*ROW, "seed"]).value
    parts = [values]
    for data, entry in grid.data.items():
        names = grid.categories(data)
        here = values[values.index.get_level_values("data") == data]
        if entry.average and len(names) > 1 and len(here):
            wide = here.unstack("category").reindex(columns=names)
            average = wide.mean(axis=1, skipna=False).dropna().rename("value").reset_index()
            parts.append(average.assign(category="average").set_index([*ROW, "seed"]).value)
    return pd.concat(parts).groupby(level=ROW, sort=False).agg(["mean", "std", "count"])


def format_value(mean: float, std: float = math.nan, sign: str = " ± ") -> str:
    """Returns a mean and a standard deviation in [0, 1] in per cent; an unknown deviation is left out."""
    text = f"{100 * mean:.1f}"
    return text if math.isnan(std) else f"{text}{sign}{100 * std:.1f}"


class Table(NamedTuple):
    """A table of one metric, in per cent.

    Attributes:
        metric: Its name.
        caption: What the figures are.
        values: Means by data set, category, kind and source (rows) and column; NaN where there is none.
        texts: The same as they are printed.
        notes: Sentences below: the publications.
    """

    metric: str
    caption: str
    values: pd.DataFrame
    texts: pd.DataFrame
    notes: list[str]

    def to_markdown(self) -> str:
        """Returns the table as Markdown, the best measured figure of a row in bold."""
        best, measured = self._best(), self._measured()
        texts = self.texts.mask(best, "**" + self.texts + "**")
        texts = texts.mask(~measured & (texts != ""), "*" + texts + "*").replace("", "-")
        labels = self.texts.index.to_frame(index=False)
        same = labels[ROW].eq(labels[ROW].shift()).cummin(axis=1)  # said by the row above
        labels[ROW] = labels[ROW].mask(same, "")
        whole = pd.concat([labels, texts.reset_index(drop=True)], axis=1)
        whole.columns = ["data set", "category", "anomalies", "", *texts.columns]
        sides = ["left"] * 4 + ["right"] * texts.shape[1]
        table = whole.to_markdown(index=False, colalign=sides, disable_numparse=True)
        notes = "".join(f"\n- {note}" for note in self.notes)
        return f"{self.caption}\n\n{table}\n{notes}".rstrip() + "\n"

    def to_latex(self, label: str) -> str:
        r"""Returns the table for LaTeX with ``booktabs``.

        Args:
            label: The label for ``\ref``.
        """
        best, measured = self._best(), self._measured()
        texts = self.texts.replace(" ± ", r" $\\pm$ ", regex=True).replace("", "--")
        texts.index = texts.index.set_names(["Data set", "Category", "Anomalies", ""])
        css = pd.DataFrame("", texts.index, texts.columns)
        css = css.mask(best, "textbf:--rwrap;").mask(~measured & (texts != "--"), "textit:--rwrap;")
        styler = texts.style.apply(lambda _: css, axis=None).format(escape="latex-math")
        for axis in (0, 1):
            styler = styler.format_index(escape="latex", axis=axis)
        latex = styler.to_latex(
            hrules=True,
            column_format="llll" + "r" * texts.shape[1],
            environment="table*",
            position_float="centering",
            caption=_escape(self.caption),
            label=f"tab:{label}",
            multirow_align="naive",
        )
        if self.notes:
            notes = r" \\ ".join(_escape(note) for note in self.notes)
            below = rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {notes}}}"
            latex = latex.replace(r"\end{table*}", f"{below}\n\\end{{table*}}")
        return latex

    def _measured(self) -> np.ndarray:
        measured = self.values.index.get_level_values("source") == MEASURED
        return np.broadcast_to(measured[:, None], self.values.shape)

    def _best(self) -> np.ndarray:
        """Whether a figure is the highest measured one of its row, as printed; False where two are."""
        values = self.values.where(self._measured()).round(1).to_numpy()
        best = values == pd.DataFrame(values).max(axis=1).to_numpy()[:, None]
        return best & (best.sum(axis=1, keepdims=True) == 1) & (values.shape[1] > 1)


def build_tables(grid: Grid, rows: pd.DataFrame) -> list[Table]:
    """Builds the tables that the config asks for.

    Args:
        grid: The grid.
        rows: Values, see :func:`read_results`.
    """
    seeds = len(grid.seeds)
    tables = []
    for entry in grid.tables:
        found = {
            name: summarize(grid, rows, column, entry.metric)
            for name, column in grid.columns.items()
        }
        values: dict[tuple[str, ...], list[float]] = {}
        texts: dict[tuple[str, ...], list[str]] = {}
        for place in _places(grid, entry.kinds):
            data, category, kind = place
            lines = [part.loc[place] if place in part.index else None for part in found.values()]
            published = {}
            for name in grid.published if entry.metric == "image_auroc" else ():
                source = PUBLISHED[name]
                look_up = (grid.data[data].dataset, category)
                figures = [source.look_up(*look_up, column, kind) for column in grid.columns]
                if any(figure is not None for figure in figures):
                    published[source.title] = figures
            # A kind that the data set does not have makes no row; cells that are missing do.
            if all(line is None for line in lines) and not published and data in set(rows.data):
                continue
            values[(*place, MEASURED)] = [
                math.nan if line is None else 100 * line["mean"] for line in lines
            ]
            texts[(*place, MEASURED)] = ["" if x is None else _text(x, seeds) for x in lines]
            for title, figures in published.items():
                values[(*place, title)] = [math.nan if f is None else f for f in figures]
                texts[(*place, title)] = ["" if f is None else f"{f:.1f}" for f in figures]
        index = pd.MultiIndex.from_tuples(list(values), names=[*ROW, "source"])
        columns = list(grid.columns)
        shown = index.get_level_values("source")
        sources = [PUBLISHED[name] for name in grid.published]
        notes = [f"{s.title}: {s.note}" for s in sources if s.title in shown]
        tables.append(
            Table(
                entry.metric,
                _caption(entry.metric, seeds),
                pd.DataFrame(list(values.values()), index, columns, dtype=float),
                pd.DataFrame(list(texts.values()), index, columns, dtype=object),
                notes,
            )
        )
    return tables


def _places(grid: Grid, kinds: list[str]) -> list[tuple[str, str, str]]:
    """Returns data set, category and kind of all rows."""
    places = []
    for data, entry in grid.data.items():
        names = grid.categories(data)
        names += ["average"] * (entry.average and len(names) > 1)
        places += [(data, category, kind) for category in names for kind in kinds]
    return places


def _text(line: pd.Series, seeds: int) -> str:
    text = format_value(line["mean"], line["std"])
    return text if line["count"] == seeds else f"{text} (n = {line['count']:.0f})"


def _caption(metric: str, seeds: int) -> str:
    name, _, limit = metric.partition("@")
    over = "one seed"
    if seeds > 1:
        over = f"mean ± standard deviation (n - 1) over n = {seeds} seeds"
    title = _TITLES[name].format(limit)
    return f"{title} in per cent, {over} unless noted; published figures as printed."


def _escape(text: str) -> str:
    text = re.sub(r"([&%$#_{}])", r"\\\1", text)
    return text.replace("±", r"$\pm$").replace(" - ", " $-$ ")


def format_costs(rows: pd.DataFrame) -> str:
    """Returns the mean costs of each model over its cells, as Markdown.

    Args:
        rows: Values, see :func:`read_results`.
    """
    cells = rows.drop_duplicates(["data", "category", "model", "seed"])
    cells = cells.assign(each=1000 * cells.predict_seconds / cells.test_images)
    costs = cells.groupby(["data", "model"], sort=False).agg(
        cells=("key", "count"),
        fit=("fit_seconds", "mean"),
        each=("each", "mean"),
        steps=("steps", lambda steps: ", ".join(sorted(set(steps)))),
        parameters=("parameters", "first"),
        place=("place", lambda places: "; ".join(sorted(set(places)))),
    )
    costs = costs.assign(
        fit=costs.fit.map("{:.1f}".format).replace("nan", "-"), each=costs.each.map("{:.1f}".format)
    )
    table = costs.reset_index().to_markdown(
        index=False,
        headers=[
            "data set",
            "model",
            "cells",
            "fit (s)",
            "test (ms per image)",
            "steps",
            "trained parameters (M)",
            "device, threads",
        ],
        colalign=["left", "left", *["right"] * 5, "left"],
        disable_numparse=True,
    )
    return (
        "Seconds of a cell, mean over its categories and seeds. Categories with the same training images "
        f"share a fit. Further features (``also_features``) take a second pass of the networks.\n\n{table}\n"
    )
