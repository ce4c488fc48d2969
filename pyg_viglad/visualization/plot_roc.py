"""ROC curves of good images against each kind of anomalous ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyg_viglad.visualization import drawing, inputs
from pyg_viglad.visualization.sheet import AxesLike, make_chart

__all__ = ["plot_roc"]

STYLES = ("-", "--", "-.", ":")
DOT: dict[str, Any] = {
    "marker": "o",
    "markersize": 5,
    "markeredgecolor": "black",
    "linestyle": "none",
}


def plot_roc(
    scores: inputs.Numbers | Mapping[str, inputs.Numbers],
    kinds: Sequence[str],
    threshold: float | Mapping[str, float] | None = None,
    *,
    curves: Sequence[str] | None = None,
    width: float | None = None,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Plots the ROC curves of good images against each kind of anomalous ones, and against all.

    A curve shows, for every threshold, the share of anomalous images with a score above it (true
    positives) over that of good ones (false positives); the area under it is the AUROC in the
    legend. One score has all its curves in one panel; of several scores or models, each kind has a
    panel with a curve for each.

    Args:
        scores: Anomaly scores ``[B]``, higher for more anomalous; or several by name.
        kinds: The kind of each image: ``"good"``, and others such as ``"logical"`` and
            ``"structural"``.
        threshold: The score above which an image counts as anomalous, marked on the curves; of several
            scores, a threshold by name.
        curves: Kinds to draw, ``"pooled"`` for all anomalous images; default every kind in ``kinds``,
            and pooled where there are several.
        width: Width of the figure in inches. Default: 3.5, one column of a journal, or for several
            panels as much as needed, at most 7.2, two columns.
        ax: Axes to draw into, in place of a new figure: one, or for several scores one per curve.

    Returns:
        The figure; the panels are its first axes.

    Raises:
        ValueError: If there are not as many kinds as scores, no good or no anomalous image, or a name
            is unknown.

    Example:
        >>> kinds = ["good", "good", "logical", "structural"]
        >>> figure = plot_roc([0.1, 0.4, 0.3, 0.9], kinds, threshold=0.35)
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()][:2]
        ['logical: 50.0', 'structural: 100.0']
    """
    several = isinstance(scores, Mapping)
    named: Mapping[str, Any] = scores if isinstance(scores, Mapping) else {"scores": scores}
    labels = np.array([str(kind) for kind in kinds])
    good = labels == "good"
    if isinstance(kinds, str) or not named or not good.any():
        raise ValueError(f"Expected scores, and kinds with at least one 'good' (got {kinds!r})")
    values = {}
    for name, numbers in named.items():
        title = f"scores[{name!r}]" if several else "scores"
        values[name] = np.array(inputs.as_numbers(numbers, title, len(labels)))
    wanted = _curves(labels, curves)
    points = _points(threshold, list(values), several)

    from sklearn.metrics import auc, roc_curve

    count = len(wanted) if several else 1
    width = min(3.5 * count, 7.2) if width is None else width
    columns = max(1, min(count, int(width / 2.2)))  # narrower panels have no room for a legend
    side = min(width / columns, 3.5 if count == 1 else 2.6)
    height = side * -(-count // columns)
    figure, panels = make_chart(ax, count, width, height, columns, sharey=columns > 1)
    colors = list(drawing.kind_colors(wanted).values())
    if several:
        colors = [drawing.OKABE_ITO[n % len(drawing.OKABE_ITO)] for n in range(len(values))]
    for number, kind in enumerate(wanted):
        axes = panels[number if several else 0]
        own = ~good if kind == "pooled" else labels == kind
        used = own | good
        for place, (name, numbers) in enumerate(values.items()):
            look = place if several else number
            style: dict[str, Any] = {"color": colors[look]}
            style |= {"clip_on": False, "zorder": 3}
            false, true, _ = roc_curve(own[used], numbers[used], drop_intermediate=False)
            axes.plot(
                false,
                true,
                **style,
                linestyle=STYLES[look % len(STYLES)],
                linewidth=1.4,
                label=f"{name if several else kind}: {100 * auc(false, true):.1f}",
                gid=f"{name}-{kind}" if several else kind,
            )
            limit = points[name]
            if limit is not None:
                false, true = (numbers[good] > limit).mean(), (numbers[own] > limit).mean()
                gid = f"threshold-{name}-{kind}" if several else f"threshold-{kind}"
                axes.plot([false], [true], **DOT, **style | {"zorder": 4}, gid=gid)
        if several:
            words = "all anomalous" if kind == "pooled" else kind
            axes.set_title(f"good against {words}", fontsize=drawing.SMALL + 0.5, pad=4)
    for number, axes in enumerate(panels):
        if any(limit is not None for limit in points.values()):
            label = "at the threshold"
            if not several:
                share = (values["scores"][good] > points["scores"]).mean()
                label = f"threshold: {100 * share:.1f}% false positives"
            axes.plot([], [], **DOT, color="white", label=label)
        _finish(axes, first=number % columns == 0)
    return figure


def _curves(labels: inputs.Array, curves: Sequence[str] | None) -> list[str]:
    """The kinds to draw, checked."""
    there = [kind for kind in drawing.kind_order(set(labels.tolist())) if kind != "good"]
    if not there:
        raise ValueError("Expected kinds with at least one anomalous image (got only 'good')")
    if curves is None:
        return [*there, "pooled"] if len(there) > 1 else there
    unknown = [kind for kind in curves if kind not in (*there, "pooled")]
    if isinstance(curves, str) or not curves or unknown:
        raise ValueError(f"Expected curves of {[*there, 'pooled']} (got {curves!r})")
    return list(curves)


def _points(
    threshold: float | Mapping[str, float] | None, names: list[str], several: bool
) -> dict[str, float | None]:
    """The threshold of each score, where there is one."""
    if isinstance(threshold, Mapping):
        unknown = [name for name in threshold if name not in names]
        if unknown or not several:
            raise ValueError(f"Expected threshold by names of scores (got {list(threshold)})")
        return {name: threshold.get(name) for name in names}
    if threshold is not None and several:
        raise ValueError(f"Expected a threshold by name for several scores (got {threshold})")
    return dict.fromkeys(names, threshold)


def _finish(axes: Axes, *, first: bool) -> None:
    axes.plot([0, 1], [0, 1], color="#9aa0aa", linewidth=0.8, zorder=1, gid="chance")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("share of good images flagged", fontsize=drawing.SMALL)
    if first:
        axes.set_ylabel("share of anomalous images flagged", fontsize=drawing.SMALL)
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.tick_params(labelsize=drawing.SMALL, length=2.5)
    axes.grid(color="#e3e5e9", linewidth=0.5, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(
        loc="lower right",
        title="AUROC (%)",
        title_fontsize=drawing.SMALL,
        fontsize=drawing.SMALL,
        framealpha=0.9,
        edgecolor="none",
        borderpad=0.2,
        handlelength=2.2,
        labelspacing=0.3,
    )
    legend.set_zorder(2.5)
