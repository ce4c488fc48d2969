"""Bars of the image AUROC of variants, by kind of anomaly and over seeds (Figure 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from pyg_viglad.visualization import drawing, inputs
from pyg_viglad.visualization.sheet import AxesLike, make_chart

__all__ = ["plot_ablation"]


def plot_ablation(
    results: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    baseline: float = 0.5,
    width: float = 3.5,
    height: float | None = None,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Plots the image AUROC of variants as groups of bars, one bar per kind of anomaly (Figure 4).

    A bar is the mean over the seeds and carries its value, the whisker is the standard deviation over
    the seeds (n - 1), and the dots are the seeds. **Bars start at the baseline**, by default at the
    chance level of 50 %, not at 0: their length is the gain over chance, bars of worse variants
    point down, and the axis label says so.

    Args:
        results: For each variant, in order, the values of each seed by kind, such as
            ``{"PDN-ViGAE": {"logical": [0.81, 0.83], "structural": [0.90, 0.92]}}``: shares in [0, 1],
            as :func:`~pyg_viglad.metrics.image_auroc` returns them. Where a variant has
            ``"logical"`` and ``"structural"`` of the same seeds in the same order and no ``"mean"``,
            the mean of both is added, seed by seed.
        baseline: Where the bars start, in [0, 1); default 0.5.
        width: Width of the figure in inches; default 3.5, one column of a journal.
        height: Height of the figure in inches; default 2.3, more where labels are long.
        ax: Axes to draw into, in place of a new figure.

    Returns:
        The figure, with one pair of axes, in per cent.

    Raises:
        ValueError: If there is nothing to draw, a value is not in [0, 1] or variants have other kinds.

    Example:
        >>> results = {"with graph": {"logical": [0.8, 0.9]}, "without": {"logical": [0.7, 0.6]}}
        >>> figure = plot_ablation(results)
        >>> [label.get_text() for label in figure.axes[0].get_xticklabels()]
        ['with graph', 'without']
    """
    if not 0 <= baseline < 1:
        raise ValueError(f"Expected baseline in [0, 1) (got {baseline})")
    table = _table(results)
    kinds, count, floor = list(next(iter(table.values()))), len(table), 100 * baseline
    names, upright = _labels(list(table), (width - 0.6) / count)
    if height is None:
        height = 2.3 + max(0.013 * drawing.SMALL * name.count("\n") for name in names)
        height += 0 if upright else 0.007 * drawing.SMALL * max(len(name) for name in names)
    figure, (axes,) = make_chart(ax, 1, width, height)
    inches = axes.get_window_extent().width / figure.dpi
    if ax is not None:
        names, upright = _labels(list(table), inches / count)

    bar = 0.8 / len(kinds)
    room = 72 * inches * bar / (count + 0.1)  # points for a bar
    size = min(drawing.SMALL, max(5.5, room / 2.3))
    turned = room < 2.3 * size  # points that "81.1" takes
    lowest, highest = floor, 100.0
    for number, (kind, color) in enumerate(drawing.kind_colors(kinds).items()):
        places = np.arange(count) + (number - (len(kinds) - 1) / 2) * bar
        seeds = [table[variant][kind] for variant in table]
        means = np.array([values.mean() for values in seeds])
        spreads = [values.std(ddof=1) if values.size > 1 else np.nan for values in seeds]
        bars = axes.bar(
            places,
            means - floor,
            0.94 * bar,
            bottom=floor,
            yerr=spreads if np.isfinite(spreads).any() else None,
            error_kw={"linewidth": 0.9, "capsize": 2, "zorder": 4},
            color=color,
            label=kind,
            zorder=2,
            gid=kind,
        )
        if bars.errorbar is not None:
            bars.errorbar.lines[2][0].set_gid(f"spread-{kind}")
        for x, values, mean, spread in zip(places, seeds, means, spreads, strict=True):
            n = values.size
            if n > 1:  # dots side by side
                shifts = (np.arange(n) - (n - 1) / 2) * min(0.12, 0.6 / n) * bar
                dots = axes.scatter(x + shifts, values, s=4, color="white", zorder=3)
                dots.set(edgecolors="black", linewidths=0.4, gid=f"seeds-{kind}")
            top = float(np.nanmax([floor, values.max(), mean + spread]))
            lowest = np.nanmin([lowest, values.min(), mean - spread])
            highest = max(highest, top)
            drawing.write(
                axes,
                f"{mean:.1f}",
                (float(x), top),
                (0, 2),
                units="data",
                ha="center",
                va="bottom",
                rotation=90 if turned else 0,
                fontsize=size,
                zorder=5,
                gid="value",
                path_effects=drawing.casing(1.5),
            )

    axes.axhline(floor, color="black", linewidth=0.8, zorder=3, gid="baseline")
    axes.set_xticks(range(count), names, fontsize=drawing.SMALL, rotation=0 if upright else 90)
    axes.set_xlim(-0.55, count - 0.45)
    lower = floor if lowest >= floor else 10 * math.floor(lowest / 10)
    # Values stand above bars and whiskers of 100 per cent; the axis itself ends at 100.
    axes.set_ylim(lower, highest + (0.18 if turned else 0.08) * (100 - lower))
    step = 10 if 100 - lower > 20 else 5 if 100 - lower > 10 else 1
    axes.set_yticks([lower, *np.arange(step * (lower // step + 1), 100.5, step)])
    axes.spines["left"].set_bounds(lower, 100)
    chance = ", chance" if floor == 50 else ""
    axes.set_ylabel(f"image AUROC (%)\nbars start at {floor:g}{chance}", fontsize=drawing.SMALL)
    axes.tick_params(axis="y", labelsize=drawing.SMALL, length=2.5)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="#d6d9de", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    if kinds != ["mean"]:
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=min(len(kinds), 4),
            fontsize=drawing.SMALL,
            frameon=False,
            handlelength=1,
            handleheight=0.8,
            columnspacing=1.2,
            borderpad=0.1,
        )
    return figure


def _labels(names: list[str], room: float) -> tuple[list[str], bool]:
    """Names broken to ``room`` inches and True; or whole ones, to be turned, where that is too narrow."""
    lines = [drawing.wrap(name, room, drawing.SMALL) for name in names]
    longest = max(len(line) for text in lines for line in text.split("\n"))
    upright = longest * 0.0085 * drawing.SMALL <= room
    return (lines, True) if upright else (names, False)


def _table(
    results: Mapping[str, Mapping[str, Sequence[float]]],
) -> dict[str, dict[str, inputs.Array]]:
    """The values in per cent, with the mean of both kinds."""
    if not isinstance(results, Mapping) or not results:
        raise ValueError(
            f"Expected results to map variants to values (got {type(results).__name__})"
        )
    table: dict[str, dict[str, inputs.Array]] = {}
    for variant, row in results.items():
        name = f"results[{variant!r}]"
        if not isinstance(row, Mapping) or not row:
            raise ValueError(f"Expected {name} to map kinds to the values of each seed (got {row})")
        columns = {kind: np.atleast_1d(np.asarray(v, np.float64)) for kind, v in row.items()}
        for kind, values in columns.items():
            shares = (values >= 0) & (values <= 1)  # false for NaN
            if values.ndim != 1 or not values.size or not shares.all():
                raise ValueError(
                    f"Expected {name}[{kind!r}] to be shares in [0, 1] (got {row[kind]})"
                )
        if {"logical", "structural"} <= set(columns) and "mean" not in columns:
            logical, structural = columns["logical"], columns["structural"]
            if logical.shape != structural.shape:
                raise ValueError(
                    f"Expected {name} with the same seeds for 'logical' and 'structural' "
                    f"(got {logical.size} and {structural.size})"
                )
            columns["mean"] = (logical + structural) / 2
        table[variant] = {kind: 100 * values for kind, values in columns.items()}
        first = next(iter(table.values()))
        if set(columns) != set(first):
            raise ValueError(f"Expected {name} with the kinds {list(first)} (got {list(columns)})")
    return table
