"""Images beside their anomaly maps, all maps on one scale (Figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyg_viglad.visualization._inputs import (
    AxesLike,
    Images,
    Maps,
    Numbers,
    as_images,
    as_maps,
    as_numbers,
    as_texts,
    format_number,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_anomaly_maps"]


def plot_anomaly_maps(
    images: Images,
    maps: Mapping[str, Maps],
    masks: Maps | None = None,
    *,
    scores: Numbers | None = None,
    titles: Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
    threshold: float | None = None,
    quantiles: tuple[float, float] | None = (0.9, 0.995),
    node_maps: Maps | None = None,
    node_limits: tuple[float, float] = (0.0, 6.0),
    panel_size: float | None = None,
    width: float | None = None,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Draw images, true anomalies and anomaly maps side by side (Figure 3).

    All maps share one scale, whatever their values: a normal image stays dark. The maps of ViGLAD
    are calibrated on normal validation images,

    .. math:: M = 0.1 \, \frac{M_{raw} - q_{0.9}}{q_{0.995} - q_{0.9}},

    so 0 is what a tenth of the pixels of normal images exceed, 0.1 what one in 200 exceeds, and
    the default scale of 0 to 0.5 ends at five times that distance. Values beyond the scale take
    the colour of its end (arrows on the colour bar); the largest value stands under each map.

    Args:
        images: Images ``[B, 3, H, W]`` in [0, 1], one image, or a list of images of any sizes; see
            :func:`~pyg_viglad.transforms.to_image` for what else an image may be.
        maps: Maps by name, each ``[B, h, w]`` at any resolution, covering the whole image, such as
            ``{"local": ..., "global": ..., "combined": ...}``.
        masks: True anomalies ``[B, h, w]``: a column of their own, outlined over image and maps.
        scores: The anomaly score of each image, written beside its title.
        titles: A title for each image.
        limits: Smallest and largest value of the scale of all ``maps``. Default: (0, 0.5) for
            calibrated maps, otherwise the range of all the maps together.
        threshold: Outline the part of each map above this value, and mark it on the colour bar.
        quantiles: The quantiles of the validation maps that stand for 0 and 0.1, written on the
            colour bar, a stroke at 0.1; ``None`` for maps that are not calibrated.
        node_maps: Scores of the nodes ``[B, h, w]`` in standard deviations: a last column with a
            scale of its own.
        node_limits: Smallest and largest value of the scale of ``node_maps``; default (0, 6).
        panel_size: Width of the panel of a square image in inches; default 1.9, less
            where many columns have to fit into a notebook.
        width: Width of the whole figure in inches in place of ``panel_size``, such as 3.5 for one
            column of a journal or 7.2 for two; text shrinks with the panels, to 6 points.
        ax: Axes to draw into, ``[images, columns]`` (flat for one image), in place of a new
            figure; the colour bars take their room from them.

    Returns:
        The figure; the panels are its first axes, row by row.

    Raises:
        ValueError: If lengths or shapes do not match, a map is not finite or limits are not
            in ascending order.

    Example:
        >>> import torch
        >>> images, maps = torch.rand(2, 3, 32, 48), torch.rand(2, 8, 12)
        >>> figure = plot_anomaly_maps(images, {"local": maps}, scores=[0.4, 5.1])
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['image', 'local map']
    """
    pictures = as_images(images)
    count = len(pictures)
    sizes = [(int(p.shape[0]), int(p.shape[1])) for p in pictures]
    if not isinstance(maps, Mapping) or not maps:
        raise ValueError(
            f"Expected maps to map names to maps, at least one (got {type(maps).__name__})"
        )
    columns = {name: as_maps(m, f"maps[{name!r}]", count) for name, m in maps.items()}
    truths = None if masks is None else as_maps(masks, "masks", count)
    nodes = None if node_maps is None else as_maps(node_maps, "node_maps", count)
    labels = as_texts(titles, "titles", count)
    if scores is not None:
        numbers = as_numbers(scores, "scores", count)
        labels = [
            f"{t}\nscore = {format_number(a, 1)}".strip()
            for t, a in zip(labels, numbers, strict=True)
        ]
    if limits is None:
        low = min(float(m.min()) for column in columns.values() for m in column)
        high = max(float(m.max()) for column in columns.values() for m in column)
        # Equal values everywhere still need a scale to be drawn on.
        limits = (0.0, 0.5) if quantiles is not None else (low, high if high > low else low + 1)
    for name, pair in (("limits", limits), ("node_limits", node_limits)):
        if len(pair) != 2 or not pair[0] < pair[1]:
            raise ValueError(f"Expected {name} in ascending order (got {pair})")

    from pyg_viglad.visualization import _draw, _map_panel, _sheet

    before = ["image"] if truths is None else ["image", "truth"]
    heads = [name if "map" in name.lower() else f"{name} map" for name in columns]
    after = [] if nodes is None else ["node scores"]
    sheet = _sheet.make_sheet(
        sizes,
        len(before + heads + after),
        panel_size=panel_size,
        largest=1.9,
        row_labels=labels,
        column_titles=before + heads + after,
        captions=1,
        bottom=_map_panel.BAR_HEIGHT,
        width=width,
        ax=ax,
    )
    scale = _map_panel.map_scale(limits, "magma")
    node_scale = _map_panel.map_scale(node_limits, "viridis")
    for i, row in enumerate(sheet.panels):
        _draw.show_image(row[0], pictures[i], sizes[i])
        if truths is not None:
            truth = truths[i] > 0.5
            _draw.draw_outline(row[0], truth, sizes[i])
            for panel in row[2:]:
                _draw.draw_outline(panel, truth, sizes[i], cased=False)
            _map_panel.draw_mask(row[1], truth, sizes[i])
        for panel, column in zip(row[len(before) :], columns.values(), strict=False):
            _map_panel.draw_map(panel, column[i], sizes[i], scale, threshold, sheet.small)
        if nodes is not None:
            _map_panel.draw_map(row[-1], nodes[i], sizes[i], node_scale, None, sheet.small)
    every = [m for column in columns.values() for m in column]
    last = len(before) + len(heads) - 1
    narrow = not sheet.borrowed and sheet.left[last] + sheet.width - sheet.left[len(before)] < 1.8
    span = (0 if narrow else len(before), last)  # the bar under all columns where maps are narrow
    bar, length = _map_panel.add_bar(sheet, span, scale, every)
    _map_panel.label_map_bar(bar, length, sheet.small, limits, quantiles, threshold)
    if nodes is not None:
        last = len(before + heads)
        bar, length = _map_panel.add_bar(sheet, (last, last), node_scale, nodes)
        words = "standard deviations" if length > 0.9 else "standard\ndeviations"
        bar.set_label(words, fontsize=sheet.small)
    return sheet.figure
