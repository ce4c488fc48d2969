"""Images beside their anomaly maps, all maps on one scale (Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pyg_viglad.visualization import drawing, inputs
from pyg_viglad.visualization.sheet import AxesLike, Sheet, image_labels, make_sheet

__all__ = ["plot_anomaly_maps"]


def plot_anomaly_maps(
    images: inputs.Images,
    maps: Mapping[str, inputs.Maps],
    masks: inputs.Maps | None = None,
    *,
    scores: inputs.Numbers | None = None,
    titles: Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
    threshold: float | None = None,
    quantiles: tuple[float, float] | None = (0.9, 0.995),
    node_maps: inputs.Maps | None = None,
    node_limits: tuple[float, float] = (0.0, 6.0),
    panel_size: float | None = None,
    width: float | None = None,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Plots images, true anomalies and anomaly maps side by side (Figure 3).

    All maps share one scale, whatever their values: a normal image stays dark. The maps of ViGLAD
    are calibrated on normal validation images,

    .. math:: M = 0.1 \, \frac{M_{raw} - q_{0.9}}{q_{0.995} - q_{0.9}},

    so a tenth of the pixels of normal images lie above 0 and one in 200 above 0.1; the default scale is 0
    to 0.5. Values beyond the scale take the colour of its end (arrows on the colour bar); the largest
    value stands under each map.

    Args:
        images: Images ``[B, 3, H, W]`` in [0, 1], one image, or a list of images of any sizes and kinds that
            :func:`~pyg_viglad.transforms.to_image` reads.
        maps: Maps by name, each ``[B, h, w]`` at any resolution, covering the whole image, such as
            ``{"local": ..., "global": ..., "combined": ...}``.
        masks: Ground truth ``[B, h, w]``: a column of its own, and outlined over image and maps.
        scores: The anomaly score of each image, written beside its title.
        titles: A title per image.
        limits: Smallest and largest value of the scale of all ``maps``. Default: (0, 0.5) for calibrated
            maps, otherwise the range of all maps together.
        threshold: Outline the part of each map above this value, and mark it on the colour bar.
        quantiles: The quantiles of the validation maps that became 0 and 0.1, written on the colour bar,
            with a stroke at 0.1; ``None`` for maps that are not calibrated.
        node_maps: Node scores ``[B, h, w]`` in standard deviations: a last column with its own scale.
        node_limits: Smallest and largest value of the scale of ``node_maps``; default (0, 6).
        panel_size: Width in inches of the panel of a square image; default 1.9, less where many columns
            have to fit into a notebook.
        width: Width of the whole figure in inches instead, such as 3.5 for one column of a journal or
            7.2 for two; text shrinks with the panels, to 6 points.
        ax: Axes to draw into, ``[images, columns]`` (flat for one image), in place of a new figure; the
            colour bars take their room from them.

    Returns:
        The figure; the panels are its first axes, row by row.

    Raises:
        ValueError: If lengths or shapes do not match, a map is not finite or limits do not ascend.

    Example:
        >>> import torch
        >>> images, maps = torch.rand(2, 3, 32, 48), torch.rand(2, 8, 12)
        >>> figure = plot_anomaly_maps(images, {"local": maps}, scores=[0.4, 5.1])
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['image', 'local map']
    """
    pictures = inputs.as_images(images)
    count = len(pictures)
    inputs.check_names(maps, "maps")
    columns = {name: inputs.as_maps(m, f"maps[{name!r}]", count) for name, m in maps.items()}
    truths = inputs.as_masks(masks, count)
    nodes = None if node_maps is None else inputs.as_maps(node_maps, "node_maps", count)
    labels = image_labels(count, titles, scores=scores)
    every = [values for column in columns.values() for values in column]
    if limits is None:
        low, high = min(float(m.min()) for m in every), max(float(m.max()) for m in every)
        # Equal values everywhere still need a scale to be drawn on.
        limits = (0.0, 0.5) if quantiles is not None else (low, high if high > low else low + 1)
    for name, pair in (("limits", limits), ("node_limits", node_limits)):
        if len(pair) != 2 or not pair[0] < pair[1]:
            raise ValueError(f"Expected {name} in ascending order (got {pair})")

    before = ["image"] if truths is None else ["image", "truth"]
    heads = [name if "map" in name.lower() else f"{name} map" for name in columns]
    after = [] if nodes is None else ["node scores"]
    sheet = make_sheet(
        [inputs.size_of(picture) for picture in pictures],
        len(before + heads + after),
        row_labels=labels,
        column_titles=before + heads + after,
        captions=1,
        bottom=0.75,
        largest=1.9,
        panel_size=panel_size,
        width=width,
        ax=ax,
    )
    scale = ScalarMappable(Normalize(*limits), "magma")
    node_scale = ScalarMappable(Normalize(*node_limits), "viridis")
    for i, (row, picture) in enumerate(zip(sheet.panels, pictures, strict=True)):
        size = inputs.size_of(picture)
        drawing.show_image(row[0], picture, size)
        for panel, column in zip(row[len(before) :], columns.values(), strict=False):
            _draw_map(panel, column[i], size, scale, sheet.small)
            if threshold is not None:
                above = column[i] > threshold
                drawing.draw_outline(
                    panel, above, size, color=drawing.THRESHOLD_COLOR, cased=False, gid="above"
                )
        if nodes is not None:
            _draw_map(row[-1], nodes[i], size, node_scale, sheet.small)
        if truths is not None:
            truth = truths[i]
            drawing.show_image(
                row[1], truth, size, cmap="gray", vmin=0, vmax=1, interpolation="nearest"
            )
            drawing.draw_outline(row[0], truth, size)
            for panel in row[2:]:
                drawing.draw_outline(panel, truth, size, cased=False)

    first, last = len(before), len(before + heads) - 1
    # Below all columns where those of the maps have no room for the numbers.
    left, right = (sheet.panels[0][column].get_position() for column in (first, last))
    narrow = sheet.below is not None and (right.x1 - left.x0) * sheet.figure.get_figwidth() < 1.8
    bar, length = _add_bar(sheet, (0 if narrow else first, last), scale, every)
    if quantiles is None:
        bar.set_label("anomaly", fontsize=sheet.small)
    else:
        _label_calibrated(bar, length, sheet.small, limits, quantiles)
    if threshold is not None and limits[0] <= threshold <= limits[1]:
        line = Rectangle(
            (threshold, 0), 0, 1, ec=drawing.THRESHOLD_COLOR, linewidth=2, gid="threshold"
        )
        bar.ax.add_patch(line)
    if nodes is not None:
        bar, length = _add_bar(sheet, (last + 1, last + 1), node_scale, nodes)
        words = "standard deviations" if length > 0.9 else "standard\ndeviations"
        bar.set_label(words, fontsize=sheet.small)
    return sheet.figure


def _draw_map(
    panel: Axes,
    values: inputs.Array,
    size: tuple[int, int],
    scale: ScalarMappable,
    fontsize: float,
) -> None:
    drawing.show_image(panel, values, size, cmap=scale.cmap, norm=scale.norm)
    drawing.caption(panel, f"max {drawing.format_number(float(values.max()), 2)}", fontsize)


def _add_bar(
    sheet: Sheet,
    span: tuple[int, int],
    scale: ScalarMappable,
    maps: Sequence[inputs.Array],
) -> tuple[Colorbar, float]:
    """Draw a colour bar that ends in an arrow where a map goes beyond the scale."""
    under = any(m.min() < scale.norm.vmin for m in maps)
    over = any(m.max() > scale.norm.vmax for m in maps)
    extend = ["neither", "min", "max", "both"][under + 2 * over]
    bar, length = sheet.add_bar(scale, span, extend=extend, extendfrac=0.04)
    bar.ax.tick_params(pad=1.5)
    bar.locator = MaxNLocator(nbins=6 if length > 2.5 else 4, steps=[1, 2, 5, 10])
    bar.update_ticks()
    return bar, length


def _label_calibrated(
    bar: Colorbar,
    length: float,
    fontsize: float,
    limits: tuple[float, float],
    quantiles: tuple[float, float],
) -> None:
    """Write the quantiles below the 0 and 0.1 that they stand for."""
    extent = limits[1] - limits[0]
    ticks = {float(t): f"{t:.3g}" for t in bar.get_ticks() if limits[0] <= t <= limits[1]}
    for value, quantile in ((0.0, quantiles[0]), (0.1, quantiles[1])):
        if limits[0] <= value <= limits[1]:
            ticks = {tick: t for tick, t in ticks.items() if abs(tick - value) >= 0.05 * extent}
            room = value or length > 1.4  # the two lie close together
            ticks[value] = f"{value:g}\n{100 * quantile:g}%" if room else f"{value:g}"
            if value:
                bar.ax.axvline(value, color="white", linewidth=1.2, gid="calibration")
    if all(abs(tick - limits[1]) > 0.1 * extent for tick in ticks):
        ticks[limits[1]] = f"{limits[1]:g}"
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    space = " " if length > 2.4 else "\n"
    bar.set_label(f"calibrated anomaly{space}(%: normal pixels below)", fontsize=fontsize)
