"""Rows and columns of panels: laid out in a new figure, or axes that the user brought."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure

from pyg_viglad.visualization._draw import FONT, SMALL, NotebookFigure
from pyg_viglad.visualization._inputs import AxesLike

__all__ = ["Sheet", "borrow_axes", "make_chart", "make_sheet", "wrap"]

LINE = 1.32 / 72  # inches that a line takes, for each point of its font
MARGIN = 0.08
NOTEBOOK = 8.4  # inches for the panels of a row
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass
class Sheet:
    """Rows and columns of panels, measured in inches from the upper left corner.

    Attributes:
        figure: The figure.
        panels: The panels, ``panels[row][column]``.
        font: Size of titles and labels in points.
        small: Size of captions and ticks.
        borrowed: Whether the panels are the user's; the places below are then unknown (0).
        left: Left edge of each column.
        width: Width of every panel.
        top: Upper edge of the first row.
        floor: Lower edge of the last row.
        below: Lower edge of the captions under it.
        right: Right edge of the last column.
    """

    figure: Figure
    panels: list[list[Axes]]
    font: float = FONT
    small: float = SMALL
    borrowed: bool = True
    left: Sequence[float] = ()
    width: float = 0.0
    top: float = 0.0
    floor: float = 0.0
    below: float = 0.0
    right: float = 0.0

    def points(self, panel: Axes, size: tuple[int, int]) -> float:
        """Width in points, on paper, of a picture of ``size`` pixels in a panel."""
        if not self.borrowed:
            return 72 * self.width
        box = panel.get_window_extent()
        return float(72 * min(box.width, box.height * size[1] / size[0]) / self.figure.dpi)

    def add_axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes at a place given in inches from the upper left corner."""
        total_w, total_h = (float(n) for n in self.figure.get_size_inches())
        bottom = total_h - top - height
        return self.figure.add_axes(
            (left / total_w, bottom / total_h, width / total_w, height / total_h)
        )

    def add_bar(
        self, scale: ScalarMappable, span: tuple[int, int] | None = None, **kwargs: Any
    ) -> tuple[Colorbar, float]:
        """Draw a colour bar on the right of all rows, or under the columns of a span.

        Returns:
            The bar, and its length in inches.
        """
        first, last = (0, -1) if span is None else span
        where: dict[str, Any]
        if self.borrowed:
            chosen = [row[c] for row in self.panels for c in range(first, last % len(row) + 1)]
            where = {
                "ax": chosen,
                "location": "right" if span is None else "bottom",
                "aspect": 25,
                "pad": 0.04 if span is None else 0.08,
            }
        elif span is None:
            length = min(2.6, self.floor - self.top)
            middle = (self.top + self.floor - length) / 2
            where = {"cax": self.add_axes(self.right + 0.14, middle, 0.12, length)}
        else:
            left = self.left[first]
            room = self.left[last] + self.width - left
            length = min(room - 0.1, 4.2)  # the numbers at its ends are wider
            place = left + (room - length) / 2
            where = {
                "cax": self.add_axes(place, self.below + 0.08, length, 0.11),
                "orientation": "horizontal",
            }
        bar: Colorbar = self.panels[0][first].figure.colorbar(scale, **where, **kwargs)
        bar.ax.tick_params(labelsize=self.small, length=2.5, pad=2)
        if self.borrowed:
            box = bar.ax.get_window_extent()
            length = max(box.width, box.height) / self.figure.dpi
        return bar, float(length)


def make_sheet(
    sizes: Sequence[tuple[int, int]],
    columns: int,
    *,
    panel_size: float | None,
    largest: float,
    row_labels: Sequence[str],
    column_titles: Sequence[str],
    captions: int,
    right: float = 0.0,
    bottom: float = 0.0,
    width: float | None = None,
    ax: AxesLike | None = None,
) -> Sheet:
    """Lay out panels of the images' own shapes, with room for the text around them.

    Args:
        sizes: Height and width of the images, one a row.
        columns: Number of columns.
        panel_size: Width in inches of a panel for a square image; others get its area. Default:
            as large as fits into a notebook, at most ``largest``.
        largest: See ``panel_size``.
        row_labels: Written upwards beside each row; a line break starts a second line.
        column_titles: Written above each column.
        captions: For how many lines to leave room under each panel.
        right: Inches to leave on the right.
        bottom: Inches to leave at the bottom.
        width: Width of the figure in inches; the panels take what is left of it.
        ax: Use these axes and lay out nothing.

    Returns:
        The sheet, its panels empty and without axes.

    Raises:
        ValueError: If ``ax`` has another shape, or the width leaves no room.
    """
    if width is not None and panel_size is not None:
        raise ValueError(f"Expected panel_size or width, not both (got {panel_size} and {width})")
    if ax is not None:
        sheet = borrow_axes(ax, len(sizes), columns)
        _write_labels(sheet, row_labels, column_titles)
        return sheet
    ratio = float(np.clip(np.median([w / h for h, w in sizes]), 1 / 3, 3))
    panel = (largest if panel_size is None else panel_size) * ratio**0.5
    if panel_size is None:
        panel = min(panel, NOTEBOOK / columns)
    if width is not None:
        panel = (width - right - MARGIN) / columns - MARGIN
    x0 = MARGIN
    for _ in range(
        3
    ):  # labels are broken by the rows' heights, which follow from what labels leave
        font = float(np.clip(FONT * panel / 1.5, 6.5, FONT))
        heights = [panel * h / w for h, w in sizes]
        labels = [wrap(t, h, font) for t, h in zip(row_labels, heights, strict=True)]
        label_lines = _most_lines(labels)
        x0 = MARGIN + (label_lines * LINE * font + 0.04 if label_lines else 0)
        if width is not None:
            panel = (width - right - x0) / columns - MARGIN
        if panel < 0.2:
            raise ValueError(
                f"Expected a width with room for {columns} columns of at least 0.2 inch "
                f"(got {width} inches)"
            )
    small = max(6.0, SMALL * font / FONT)
    heights = [panel * h / w for h, w in sizes]
    titles = [wrap(title, panel + MARGIN / 2, font) for title in column_titles]
    title_lines = _most_lines(titles)
    gap = MARGIN + captions * LINE * small
    y0 = MARGIN + (title_lines * LINE * font + 0.02 if title_lines else 0)
    lefts = [x0 + column * (panel + MARGIN) for column in range(columns)]
    edge = lefts[-1] + panel
    below = y0 + sum(heights) + gap * len(heights) - MARGIN
    figure = NotebookFigure(figsize=(edge + MARGIN + right, below + MARGIN + bottom), dpi=100)
    floor = below - captions * LINE * small
    sheet = Sheet(figure, [], font, small, False, lefts, panel, y0, floor, below, edge)
    top = y0
    for height in heights:
        sheet.panels.append([sheet.add_axes(left, top, panel, height) for left in lefts])
        top += height + gap
    _write_labels(sheet, labels, titles)
    return sheet


def borrow_axes(ax: AxesLike, rows: int, columns: int, any_shape: bool = False) -> Sheet:
    """Take the user's axes as panels: an array or nested list, flat where one row or column."""
    array: Any = np.array([ax] if isinstance(ax, Axes) else ax, dtype=object)
    array = array.ravel() if any_shape else array
    shape = tuple(array.shape)
    flat = rows == 1 or columns == 1
    fits = shape == (rows, columns) or (flat and shape == (rows * columns,))
    if not fits or not all(isinstance(panel, Axes) for panel in array.flat):
        wanted = f"{rows * columns}" if flat else f"{rows} x {columns}"
        got = " x ".join(str(n) for n in shape) if array.size else "none"
        raise ValueError(f"Expected ax to hold {wanted} matplotlib axes (got {got})")
    grid = array.reshape(rows, columns)
    figure = grid[0, 0].figure
    while figure.figure is not figure:  # a part of a figure
        figure = figure.figure
    return Sheet(figure, [list(row) for row in grid])


def make_chart(
    ax: AxesLike | None, count: int, width: float, height: float, columns: int = 1, **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    """Give axes for charts in rows of so many: a new figure's, or the user's."""
    if ax is not None:
        sheet = borrow_axes(ax, 1, count)
        return sheet.figure, sheet.panels[0]
    figure = NotebookFigure(figsize=(width, height), dpi=100, layout="constrained")
    rows = -(-count // columns)
    grid = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for spare in grid.flat[count:]:
        spare.remove()
    return figure, list(grid.flat[:count])


def wrap(text: str, length: float, font: float = FONT) -> str:
    """Break the lines of a text that are longer than so many inches."""
    characters = max(8, int(length / (0.0089 * font)))  # a generous character
    lines = [
        line
        for part in text.split("\n")
        for line in textwrap.wrap(part, characters, break_long_words=part.count(NO_BREAK) == 0)
        or [""]
    ]
    return "\n".join(lines)


def _most_lines(texts: Sequence[str]) -> int:
    return max((text.count("\n") + 1 for text in texts if text), default=0)


def _write_labels(sheet: Sheet, labels: Sequence[str], titles: Sequence[str]) -> None:
    for row, label in zip(sheet.panels, labels, strict=True):
        for panel in row:
            panel.set_axis_off()
        if label:
            row[0].annotate(
                label,
                xy=(0, 0.5),
                xycoords="axes fraction",
                xytext=(-0.04 * 72, 0),
                textcoords="offset points",
                rotation=90,
                rotation_mode="default",
                ha="right",
                va="center",
                multialignment="center",
                fontsize=sheet.font,
                annotation_clip=False,
            )
    for panel, title in zip(sheet.panels[0], titles, strict=True):
        panel.set_title(title.replace(NO_BREAK, " "), fontsize=sheet.font, pad=3)
