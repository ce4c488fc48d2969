"""Figures with panels in rows and columns, and room for the text around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from pyg_viglad.visualization.drawing import (
    FONT,
    LINE,
    NO_BREAK,
    SMALL,
    figure_of,
    format_number,
    wrap,
    write,
)
from pyg_viglad.visualization.inputs import Array, Numbers, as_numbers
from pyg_viglad.visualization.save_figure import NotebookFigure

__all__ = ["AxesLike", "Sheet", "image_labels", "make_chart", "make_sheet"]

# One pair of axes, or an array or (nested) list of them.
AxesLike: TypeAlias = Axes | Sequence[Any] | Array

MARGIN = 0.08  # inches
NOTEBOOK = 8.4  # inches for the panels of a row


@dataclass
class Sheet:
    """Rows and columns of panels, of a new figure or the user's.

    Attributes:
        figure: The figure.
        panels: The panels, ``panels[row][column]``.
        font: Size of titles and labels in points.
        small: Size of captions and ticks.
        below: Inches that captions take below the last row; ``None`` for the user's own axes.
    """

    figure: Figure
    panels: list[list[Axes]]
    font: float = FONT
    small: float = SMALL
    below: float | None = None

    def add_bar(
        self, scale: ScalarMappable, span: tuple[int, int] | None = None, **kwargs: Any
    ) -> tuple[Colorbar, float]:
        """Draws a colour bar on the right of all rows, or below the columns from first to last.

        Returns:
            The bar, and its length in inches.
        """
        first, last = (0, len(self.panels[0]) - 1) if span is None else span
        chosen = [panel for row in self.panels for panel in row[first : last + 1]]
        where: dict[str, Any]
        if self.below is None:
            place, pad = ("right", 0.04) if span is None else ("bottom", 0.08)
            where = {"ax": chosen, "location": place, "aspect": 25, "pad": pad}
        else:
            size = self.figure.get_size_inches()
            edges = Bbox.union([panel.get_position() for panel in chosen])
            (x0, y0), (x1, y1) = edges.min * size, edges.max * size  # in inches
            if span is None:
                long = min(2.6, y1 - y0)
                corner, extent = (x1 + 0.14, (y0 + y1 - long) / 2), (0.12, long)
            else:
                long = min(x1 - x0 - 0.1, 4.2)  # the numbers at its ends are wider
                corner, extent = ((x0 + x1 - long) / 2, y0 - self.below - 0.19), (long, 0.11)
            axes = self.figure.add_axes((*(corner / size), *(extent / size)))
            where = {"cax": axes, "orientation": "vertical" if span is None else "horizontal"}
        bar: Colorbar = chosen[0].figure.colorbar(scale, **where, **kwargs)
        bar.ax.tick_params(labelsize=self.small, length=2.5, pad=2)
        box = bar.ax.get_window_extent()
        return bar, float(max(box.width, box.height) / self.figure.dpi)

    def add_rank_bar(
        self, colors: ScalarMappable, count: int, span: tuple[int, int] | None = None
    ) -> None:
        """Draws the colour bar of the ranks, nearest at the top (or left, below columns)."""
        bar, length = self.add_bar(colors, span)
        step = max(-(-count // 15), -(-count // max(1, int(length / 0.15))))
        bar.set_ticks([rank for rank in range(1, count + 1) if rank == 1 or rank % step == 0])
        if span is None:
            bar.ax.invert_yaxis()
        bar.ax.minorticks_off()
        bar.ax.tick_params(length=0)
        words = "rank of neighbour (1 = nearest)" if length > 1.9 else "rank"
        bar.set_label(words, fontsize=(self.font + self.small) / 2)


def make_sheet(
    sizes: Sequence[tuple[int, int]],
    columns: int,
    *,
    row_labels: Sequence[str] | None = None,
    column_titles: Sequence[str] | None = None,
    captions: int = 0,
    right: float = 0.0,
    bottom: float = 0.0,
    largest: float,
    panel_size: float | None = None,
    width: float | None = None,
    ax: AxesLike | None = None,
) -> Sheet:
    """Builds a grid of panels in the images' own shapes, with room for the text around them.

    Args:
        sizes: Height and width of the images, one per row.
        columns: Number of columns.
        row_labels: Written upwards beside each row.
        column_titles: Written above each column.
        captions: Number of lines under each panel to leave room for.
        right: Inches to leave on the right.
        bottom: Inches to leave at the bottom.
        largest: Width in inches of a panel for a square image (others get its area), less where a notebook
            has no room for it.
        panel_size: This width instead, whatever a notebook has room for.
        width: Width of the figure in inches; the panels take what is left of it.
        ax: The user's axes, to use as they are.

    Raises:
        ValueError: If ``ax`` has another shape, or the width leaves no room.
    """
    if width is not None and panel_size is not None:
        raise ValueError(f"Expected panel_size or width, not both (got {panel_size} and {width})")
    labels, titles = row_labels or [""] * len(sizes), column_titles or [""] * columns
    if ax is not None:
        panels = _own_axes(ax, len(sizes), columns)
        sheet = Sheet(figure_of(panels[0][0]), panels)
    else:
        shapes = [h / w for h, w in sizes]
        if width is not None:
            panel = (width - right - MARGIN) / columns - MARGIN
        else:
            ratio = float(np.clip(np.median([w / h for h, w in sizes]), 1 / 3, 3))
            panel = (panel_size or largest) * ratio**0.5
            panel = panel if panel_size else min(panel, NOTEBOOK / columns)
        font = float(np.clip(FONT * panel / 1.5, 6.5, FONT))
        # The labels' room is taken from the panels of a given width, which are then less high.
        room = panel if width is None else panel - 3 * LINE * font / columns
        labels = [wrap(t, room * shape, font) for t, shape in zip(labels, shapes, strict=True)]
        lines = _most_lines(labels)
        left = MARGIN + (lines * LINE * font + 0.04 if lines else 0)
        if width is not None:
            panel = (width - right - left) / columns - MARGIN
        if panel < 0.2:
            raise ValueError(
                f"Expected a width with room for {columns} columns of at least 0.2 inch "
                f"(got {width} inches)"
            )
        small = max(6.0, SMALL * font / FONT)
        titles = [wrap(title, panel + MARGIN / 2, font) for title in titles]
        lines = _most_lines(titles)
        top = MARGIN + (lines * LINE * font + 0.02 if lines else 0)
        below = captions * LINE * small
        across = columns * (panel + MARGIN) - MARGIN
        down = panel * sum(shapes) + (len(sizes) - 1) * (MARGIN + below)
        total = left + across + MARGIN + right, top + down + below + MARGIN + bottom
        figure = NotebookFigure(figsize=total, dpi=100)
        grid = figure.add_gridspec(
            len(sizes),
            columns,
            left=left / total[0],
            right=(left + across) / total[0],
            top=1 - top / total[1],
            bottom=1 - (top + down) / total[1],
            wspace=MARGIN / panel,
            hspace=(MARGIN + below) / (panel * float(np.mean(shapes))),
            height_ratios=shapes,
        )
        sheet = Sheet(figure, grid.subplots(squeeze=False).tolist(), font, small, below)
    for row, label in zip(sheet.panels, labels, strict=True):
        for axes in row:
            axes.set_axis_off()
        if label:
            style = {"ha": "right", "va": "center", "multialignment": "center", "rotation": 90}
            text = label.replace(NO_BREAK, " ")
            write(row[0], text, (0, 0.5), (-0.04 * 72, 0), fontsize=sheet.font, **style)
    for axes, title in zip(sheet.panels[0], titles, strict=True):
        axes.set_title(title.replace(NO_BREAK, " "), fontsize=sheet.font, pad=3)
    return sheet


def make_chart(
    ax: AxesLike | None, count: int, width: float, height: float, columns: int = 1, **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    """Returns a figure and its axes for charts, new ones in rows of ``columns`` or the user's."""
    if ax is not None:
        panels = _own_axes(ax, 1, count)[0]
        return figure_of(panels[0]), panels
    figure = NotebookFigure(figsize=(width, height), dpi=100, layout="constrained")
    grid = figure.subplots(-(-count // columns), columns, squeeze=False, **kwargs)
    for spare in grid.flat[count:]:
        spare.remove()
    return figure, list(grid.flat[:count])


def image_labels(count: int, titles: Sequence[str] | None, **scores: Numbers | None) -> list[str]:
    """Returns a label per image: its title, and under it scores such as "score = 5.2"."""
    if titles is None:
        titles = [""] * count
    if isinstance(titles, str) or len(titles) != count:
        got = repr(titles) if isinstance(titles, str) else len(titles)
        raise ValueError(f"Expected titles for {count} images (got {got})")
    texts: list[list[str]] = [[] for _ in range(count)]
    for name, values in scores.items():
        if values is not None:
            symbol = name.removesuffix("s").replace("_", " ")
            for row, number in zip(texts, as_numbers(values, name, count), strict=True):
                # Spaces that do not break: a long label is broken between its parts.
                row.append(f"{symbol} = {format_number(number, 1)}".replace(" ", NO_BREAK))
    lines = [(str(title), ", ".join(row)) for title, row in zip(titles, texts, strict=True)]
    return ["\n".join(filter(None, pair)) for pair in lines]


def _most_lines(texts: Sequence[str]) -> int:
    return max((text.count("\n") + 1 for text in texts if text), default=0)


def _own_axes(ax: AxesLike, rows: int, columns: int) -> list[list[Axes]]:
    """The user's axes by row: an array or nested list, or a flat one of one row or column."""
    array: Any = np.array([ax] if isinstance(ax, Axes) else ax, dtype=object)
    shape = tuple(array.shape)
    flat = rows == 1 or columns == 1
    fits = shape == (rows, columns) or (flat and shape == (rows * columns,))
    if not fits or not all(isinstance(panel, Axes) for panel in array.flat):
        wanted = f"{rows * columns}" if flat else f"{rows} x {columns}"
        got = " x ".join(str(n) for n in shape) if array.size else "none"
        raise ValueError(f"Expected ax to hold {wanted} matplotlib axes (got {got})")
    panels: list[list[Axes]] = array.reshape(rows, columns).tolist()
    return panels
