"""Histograms of the anomaly scores of each kind of image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pyg_viglad.visualization import drawing, inputs
from pyg_viglad.visualization.sheet import AxesLike, make_chart

__all__ = ["plot_score_histogram"]


def plot_score_histogram(
    scores: inputs.Numbers,
    kinds: Sequence[str],
    threshold: float | None = None,
    *,
    bins: int = 40,
    width: float = 6.4,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Plots the distribution of the scores of each kind of image, one above the other.

    Each kind has a histogram of its own, scaled to the same height, with a stroke under it for each
    image; the share of images above the threshold is written on the right.

    Args:
        scores: Anomaly scores ``[B]``.
        kinds: The kind of each image, such as ``"good"``, ``"logical"`` or ``"structural"``.
        threshold: The score above which an image counts as anomalous, drawn as a line.
        bins: Number of bins, the same for all kinds; default 40.
        width: Width of the figure in inches; default 6.4. One column of a journal has 3.5.
        ax: Axes to draw into, in place of a new figure.

    Returns:
        The figure, with one pair of axes.

    Raises:
        ValueError: If there are not as many kinds as scores, or scores are not finite.

    Example:
        >>> figure = plot_score_histogram([0.1, -0.3, 4.0], ["good", "good", "logical"], 1.0)
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['logical\n(1)', 'good\n(2)']
    """
    if len(kinds) == 0 or isinstance(kinds, str):
        raise ValueError(f"Expected kinds to name the kind of each image (got {kinds!r})")
    values = np.array(inputs.as_numbers(scores, "scores", len(kinds)))
    if bins < 1:
        raise ValueError(f"Expected bins of at least 1 (got {bins})")
    counts = Counter(str(kind) for kind in kinds)
    order = drawing.kind_order(counts)
    edges = np.histogram_bin_edges(values, bins)

    figure, (axes,) = make_chart(ax, 1, width, 0.9 + 0.75 * len(order))
    for row, (kind, color) in enumerate(drawing.kind_colors(order).items()):
        own = values[np.array([str(k) == kind for k in kinds])]
        heights = np.histogram(own, edges)[0]
        base = float(len(order) - 1 - row)
        axes.stairs(
            base + 0.7 * heights / heights.max(),
            edges,
            baseline=base,
            fill=True,
            facecolor=(color, 0.35),
            edgecolor=color,
            linewidth=1.2,
            gid=kind,
        )
        axes.vlines(own, base - 0.16, base - 0.04, colors=color, linewidth=0.8, alpha=0.6)
        if threshold is not None:
            drawing.write(
                axes,
                f"{(own > threshold).mean():.0%} above",
                (1, base + 0.2),
                (4, 0),
                units=("axes fraction", "data"),
                va="center",
                fontsize=drawing.SMALL,
                color=color,
            )
    if threshold is not None:
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1.2, gid="threshold")
        text = f"threshold {drawing.format_number(threshold, 2)}"
        units, style = ("data", "axes fraction"), {"ha": "center", "va": "bottom"}
        drawing.write(
            axes, text, (threshold, 1), (0, 2), units=units, fontsize=drawing.FONT, **style
        )
    middles = [row + 0.2 for row in range(len(order))]
    font = drawing.FONT if width > 5 else drawing.SMALL
    labels = [f"{k}\n({counts[k]})" for k in reversed(order)]
    axes.set_yticks(middles, labels, fontsize=font)
    axes.tick_params(axis="x", labelsize=font)
    axes.set_ylim(-0.3, len(order) - 0.15)
    axes.set_xlabel("anomaly score", fontsize=font)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure
