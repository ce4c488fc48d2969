"""Tables as Markdown and as LaTeX."""

from typing import Any

import numpy as np

from benchmarks.grid.cell import Cell
from benchmarks.grid.tables import MEASURED, Table, TableRow, format_cell

__all__ = ["format_costs", "format_latex", "format_markdown"]

_TITLES = {
    "image_auroc": "Image AUROC",
    "image_f1_max": "Image F1-max",
    "image_average_precision": "Image average precision",
    "defect_auroc": "Image AUROC by defect",
    "pixel_auroc": "Pixel AUROC",
    "au_pro": "AUPRO, up to a false-positive rate of 0.3",
}


def _title(metric: str) -> str:
    name, _, limit = metric.partition("@")
    if name == "au_spro":
        return f"AU-sPRO, up to a false-positive rate of {limit}"
    return _TITLES[name]


def _caption(table: Table) -> str:
    """Say what the figures are."""
    seeds = (
        f"mean ± standard deviation (n - 1) over n = {table.seeds} seeds"
        if table.seeds > 1
        else "one seed"
    )
    return (
        f"{_title(table.metric)} in per cent, {seeds} unless noted; published figures as printed."
    )


def _labels(rows: list[TableRow]) -> list[tuple[str, str, str, str]]:
    """Leave out what the line above says already."""
    labels = []
    before: tuple[str, ...] = ()
    for row in rows:
        full = (row.data, row.category, row.kind)
        same = 0
        while same < 3 and full[: same + 1] == before[: same + 1]:
            same += 1
        shown = ["" if place < same else text for place, text in enumerate(full)]
        labels.append((shown[0], shown[1], shown[2], row.source))
        before = full
    return labels


def format_markdown(table: Table) -> str:
    """Write a table as Markdown, the best measured figure of a line in bold.

    Args:
        table: The table.
    """
    head = ["data set", "category", "anomalies", "", *table.columns]
    lines = [_caption(table), "", f"| {' | '.join(head)} |"]
    lines.append("|" + "|".join(["---"] * 4 + ["---:"] * len(table.columns)) + "|")
    for row, labels in zip(table.rows, _labels(table.rows), strict=True):
        cells = []
        for place, cell in enumerate(row.cells):
            text = format_cell(cell, table.seeds)
            if row.source != MEASURED:
                text = f"*{text}*" if text else ""
            elif place == row.best:
                text = f"**{text}**"
            cells.append(text or "-")
        lines.append(f"| {' | '.join([*labels, *cells])} |")
    lines += ["", *(f"- {note}" for note in table.notes)] if table.notes else []
    return "\n".join(lines) + "\n"


def format_latex(table: Table, label: str) -> str:
    r"""Write a table for LaTeX with ``booktabs``.

    Args:
        table: The table.
        label: What ``\ref`` calls it.
    """
    columns = "llll" + "r" * len(table.columns)
    head = ["Data set", "Category", "Anomalies", "", *map(_escape, table.columns)]
    lines = [
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_escape(_caption(table))}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
    ]
    for row, labels in zip(table.rows, _labels(table.rows), strict=True):
        if labels[0] or labels[1]:
            lines.append(r"\midrule")
        cells = []
        for place, cell in enumerate(row.cells):
            text = format_cell(cell, table.seeds, r" $\pm$ ")
            if row.source != MEASURED:
                text = rf"\textit{{{text}}}" if text else ""
            elif place == row.best:
                text = rf"\textbf{{{text}}}"
            cells.append(text or "--")
        lines.append(" & ".join([*map(_escape, labels), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        notes = r" \\ ".join(_escape(note) for note in table.notes)
        lines.append(rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {notes}}}")
    lines.append(r"\end{table*}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, "\\" + sign)
    return text.replace("±", r"$\pm$").replace(" - ", " $-$ ")


def format_costs(results: list[tuple[Cell, dict[str, Any]]]) -> str:
    """Write what each model cost, on average over its cells, as Markdown.

    Args:
        results: Of :func:`~benchmarks.grid.collect_results`.
    """
    lines = [
        "Seconds of a cell, mean over its categories and seeds. Categories with the same training images "
        "share a fit.",
        "",
        "| data set | model | cells | fit (s) | test (ms an image) | steps | device, threads |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell, result in results:
        groups.setdefault((cell.data, cell.model), []).append(result)
    for (data, model), group in groups.items():
        fit = float(np.mean([r["seconds"]["fit"] for r in group]))
        counted = ("train", "validation")
        each = [
            1000
            * r["seconds"]["predict"]
            / sum(n for kind, n in r["images"].items() if kind not in counted)
            for r in group
        ]
        steps = {str(r["facts"].get("iterations", "-")) for r in group}
        places = {f"{r['environment']['device']}, {r['environment']['threads']}" for r in group}
        lines.append(
            f"| {data} | {model} | {len(group)} | {fit:.1f} | {np.mean(each):.1f} | "
            f"{', '.join(sorted(steps))} | {'; '.join(sorted(places))} |"
        )
    return "\n".join(lines) + "\n"
