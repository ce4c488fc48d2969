"""One panel of the anomaly maps, and the colour bars under them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pyg_viglad.visualization._draw import caption, draw_outline, show_image
from pyg_viglad.visualization._inputs import format_number
from pyg_viglad.visualization._sheet import Sheet

__all__ = ["BAR_HEIGHT", "add_bar", "draw_map", "draw_mask", "label_map_bar", "map_scale"]

BAR_HEIGHT = 0.75  # inches under the maps
THRESHOLD_COLOR = "#00d5e0"  # cyan: in neither colour map


def map_scale(limits: tuple[float, float], name: str) -> ScalarMappable:
    """Return the one scale that all the maps of a kind share."""
    return ScalarMappable(Normalize(*limits), colormaps[name])


def draw_map(
    panel: Axes,
    values: NDArray[Any],
    size: tuple[int, int],
    scale: ScalarMappable,
    threshold: float | None,
    fontsize: float,
) -> None:
    """Draw a map over a picture of ``size`` pixels, and what lies above the threshold."""
    show_image(panel, values, size, cmap=scale.cmap, norm=scale.norm)
    if threshold is not None:
        draw_outline(
            panel, values > threshold, size, color=THRESHOLD_COLOR, cased=False, gid="above"
        )
    caption(panel, f"max {format_number(float(values.max()), 2)}", fontsize)


def draw_mask(panel: Axes, mask: NDArray[np.bool_], size: tuple[int, int]) -> None:
    """Draw a mask in white on black."""
    show_image(
        panel, mask.astype(float), size, cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )


def add_bar(
    sheet: Sheet, span: tuple[int, int], scale: ScalarMappable, maps: Sequence[NDArray[Any]]
) -> tuple[Colorbar, float]:
    """Draw a colour bar under the columns from ``span[0]`` to ``span[1]``, and give its length.

    It ends in an arrow where a map goes beyond the scale.
    """
    norm = scale.norm
    under = any(m.min() < norm.vmin for m in maps)
    over = any(m.max() > norm.vmax for m in maps)
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[under, over]
    bar, length = sheet.add_bar(scale, span, extend=extend, extendfrac=0.04)
    bar.ax.tick_params(length=2.5, pad=1.5)
    bar.locator = MaxNLocator(nbins=6 if length > 2.5 else 4, steps=[1, 2, 5, 10])
    bar.update_ticks()
    return bar, length


def label_map_bar(
    bar: Colorbar,
    length: float,
    fontsize: float,
    limits: tuple[float, float],
    quantiles: tuple[float, float] | None,
    threshold: float | None,
) -> None:
    """Say what the values of the bar mean, and mark the threshold."""
    if quantiles is None:
        bar.set_label("anomaly", fontsize=fontsize)
    else:
        ticks = {float(t): f"{t:.3g}" for t in bar.get_ticks() if limits[0] <= t <= limits[1]}
        for value, quantile in ((0.0, quantiles[0]), (0.1, quantiles[1])):
            if limits[0] <= value <= limits[1]:
                near = [t for t in ticks if abs(t - value) < 0.05 * (limits[1] - limits[0])]
                for tick in near:
                    del ticks[tick]
                room = value or length > 1.4  # the two lie close together
                ticks[value] = f"{value:g}\n{100 * quantile:g}%" if room else f"{value:g}"
                if value:
                    bar.ax.axvline(value, color="white", linewidth=1.2, gid="calibration")
        if all(abs(t - limits[1]) > 0.1 * (limits[1] - limits[0]) for t in ticks):
            ticks[limits[1]] = f"{limits[1]:g}"
        bar.set_ticks(list(ticks), labels=list(ticks.values()))
        space = " " if length > 2.4 else "\n"
        bar.set_label(f"calibrated anomaly{space}(%: normal pixels below)", fontsize=fontsize)
    if threshold is not None and limits[0] <= threshold <= limits[1]:
        bar.ax.add_patch(
            Rectangle((threshold, 0), 0, 1, edgecolor=THRESHOLD_COLOR, linewidth=2, gid="threshold")
        )
