"""How variants of a detector compare, by kind of anomaly and over seeds (Figure 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyg_viglad.visualization._inputs import AxesLike
from pyg_viglad.visualization.plot_score_histogram import COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_ablation"]

SERIES = {**COLORS, "mean": "#c3c7cf", "pooled": "#374151"}
OTHERS = ("#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def plot_ablation(
    results: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    baseline: float = 0.5,
    width: float = 3.5,
    height: float | None = None,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Draw the image AUROC of variants as groups of bars, one bar a kind of anomaly (Figure 4).

    A bar is the mean over the seeds and carries its value, the whisker is the standard deviation over
    the seeds (n - 1), the dots are the seeds. **Bars start at the baseline**, by default 50 %, what a
    coin reaches, and not at 0: the length of a bar is what the detector is better than that, one below
    it hangs down, and the axis says so.

    Args:
        results: For each variant, in order, the values of each seed by kind, such as
            ``{"PDN-ViGAE": {"logical": [0.81, 0.83], "structural": [0.90, 0.92]}}``: shares in [0, 1],
            as :func:`~pyg_viglad.metrics.image_auroc` gives them. Where a variant has ``"logical"``
            and ``"structural"`` of the same seeds in the same order and no ``"mean"``, it gets their mean,
            seed by seed.
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
    kinds = list(next(iter(table.values())))
    floor = 100 * baseline
    bar = 0.8 / len(kinds)
    means = {v: {k: float(np.mean(n)) for k, n in row.items()} for v, row in table.items()}
    spreads = {
        v: {k: float(n.std(ddof=1)) if n.size > 1 else 0.0 for k, n in row.items()}
        for v, row in table.items()
    }
    lowest = min(
        min(float(table[v][k].min()), means[v][k] - spreads[v][k]) for v in table for k in kinds
    )

    from matplotlib import patheffects as pe

    from pyg_viglad.visualization._draw import SMALL
    from pyg_viglad.visualization._sheet import make_chart

    lines, upright = _labels(list(table), (width - 0.6) / len(table), SMALL)
    height = height or 2.3 + max(0.013 * SMALL * text.count("\n") for text in lines)
    if not upright:
        height += 0.007 * SMALL * max(len(text) for text in table)
    figure, (axes,) = make_chart(ax, 1, width, height)
    inches = axes.get_window_extent().width / figure.dpi
    if ax is not None:
        lines, upright = _labels(list(table), inches / len(table), SMALL)
    room = 72 * inches * bar / (len(table) + 0.1)  # points for a bar
    size = min(SMALL, max(5.5, room / 2.3))
    turned = room < 2.3 * size  # points that "81.1" takes
    others = iter(OTHERS * len(kinds))
    for number, kind in enumerate(kinds):
        color = SERIES.get(kind) or next(others)
        places = np.arange(len(table)) + (number - (len(kinds) - 1) / 2) * bar
        values = np.array([means[variant][kind] for variant in table])
        axes.bar(
            places,
            values - floor,
            0.94 * bar,
            bottom=floor,
            color=color,
            label=kind,
            zorder=2,
            gid=kind,
        )
        for x, value, variant in zip(places, values, table, strict=True):
            seeds, spread = table[variant][kind], spreads[variant][kind]
            top = max(value + spread, float(seeds.max()))
            if len(seeds) > 1:
                axes.errorbar(
                    x, value, spread, color="black", linewidth=0.9, capsize=2, zorder=4
                ).lines[2][0].set_gid(f"spread-{kind}")
                shifts = (np.arange(len(seeds)) - (len(seeds) - 1) / 2) * min(
                    0.12, 0.6 / len(seeds)
                )
                axes.scatter(
                    x + bar * shifts,
                    seeds,
                    s=4,
                    color="white",
                    edgecolors="black",
                    linewidths=0.4,
                    zorder=3,
                ).set_gid(f"seeds-{kind}")
            text = axes.annotate(
                f"{value:.1f}",
                xy=(float(x), max(top, floor)),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                rotation=90 if turned else 0,
                fontsize=size,
                zorder=5,
                gid="value",
            )
            text.set_path_effects([pe.withStroke(linewidth=1.5, foreground="white")])
    axes.axhline(floor, color="black", linewidth=0.8, zorder=3, gid="baseline")
    axes.set_xticks(range(len(table)), lines, fontsize=SMALL, rotation=0 if upright else 90)
    axes.set_xlim(-0.55, len(table) - 0.45)
    lower = floor if lowest >= floor else 10 * math.floor(lowest / 10)
    # Values stand above bars of 100 per cent; the axis itself ends at 100.
    axes.set_ylim(lower, 100 + (0.18 if turned else 0.08) * (100 - lower))
    step = 10 if 100 - lower > 20 else 5 if 100 - lower > 10 else 1
    axes.set_yticks([lower, *np.arange(step * (lower // step + 1), 100.5, step)])
    axes.spines["left"].set_bounds(lower, 100)
    chance = ", chance" if floor == 50 else ""
    axes.set_ylabel(f"image AUROC (%)\nbars start at {floor:g}{chance}", fontsize=SMALL)
    axes.tick_params(axis="y", labelsize=SMALL, length=2.5)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="#d6d9de", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    if len(kinds) > 1 or kinds != ["mean"]:
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=min(len(kinds), 4),
            fontsize=SMALL,
            frameon=False,
            handlelength=1,
            handleheight=0.8,
            columnspacing=1.2,
            borderpad=0.1,
        )
    return figure


def _labels(names: list[str], room: float, font: float) -> tuple[list[str], bool]:
    """Break names to so many inches, or leave them whole to be turned where that is too little."""
    from pyg_viglad.visualization._sheet import wrap

    lines = [wrap(name, room, font) for name in names]
    longest = max(len(line) for text in lines for line in text.split("\n"))
    upright = longest * 0.0085 * font <= room
    return (lines, True) if upright else (names, False)


def _table(
    results: Mapping[str, Mapping[str, Sequence[float]]],
) -> dict[str, dict[str, np.ndarray]]:
    """The values in per cent, with the mean of both kinds."""
    if not isinstance(results, Mapping) or not results:
        raise ValueError(
            f"Expected results to map variants to values (got {type(results).__name__})"
        )
    table: dict[str, dict[str, np.ndarray]] = {}
    for variant, row in results.items():
        if not isinstance(row, Mapping) or not row:
            raise ValueError(
                f"Expected results[{variant!r}] to map kinds to the values of each seed (got {row!r})"
            )
        table[variant] = {}
        for kind, seeds in row.items():
            values = np.atleast_1d(np.asarray(seeds, dtype=np.float64))
            good = values.ndim == 1 and values.size and bool(((values >= 0) & (values <= 1)).all())
            if not good:  # also refuses NaN
                raise ValueError(
                    f"Expected results[{variant!r}][{kind!r}] to be shares in [0, 1] (got {seeds})"
                )
            table[variant][kind] = 100 * values
        both = table[variant].get("logical"), table[variant].get("structural")
        if both[0] is not None and both[1] is not None and "mean" not in row:
            if both[0].shape != both[1].shape:
                raise ValueError(
                    f"Expected results[{variant!r}] with the same seeds for 'logical' and "
                    f"'structural' (got {both[0].size} and {both[1].size})"
                )
            table[variant]["mean"] = (both[0] + both[1]) / 2
    first = list(next(iter(table.values())))
    for variant, columns in table.items():
        if set(columns) != set(first):
            raise ValueError(
                f"Expected results[{variant!r}] with the kinds {first} (got {list(columns)})"
            )
    return table
