"""What the pictures are made of: a sheet of panels, images, outlines, colour bars.

The only place (with the `_node_panel` beside it) that imports matplotlib on import; the plotting
functions import it when they are called.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.patheffects as pe
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["TRUTH_COLOR", "NotebookFigure", "Sheet", "draw_outline", "make_sheet", "show_image"]

TRUTH_COLOR = "#ff3df2"  # magenta: in none of the colour maps used here, and rare in photographs
LINE = 0.165  # inches that a line of 9 point text takes
MARGIN = 0.08
NOTEBOOK = 8.4  # inches for the panels of a row
FONT = 9.0
SMALL = 7.5


class NotebookFigure(Figure):
    """A figure that notebooks show without pyplot and without ``%matplotlib inline``."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)
        return buffer.getvalue()


@dataclass
class Sheet:
    """Rows and columns of panels, measured in inches from the upper left corner.

    Attributes:
        figure: The figure.
        panels: The panels, ``panels[row][column]``.
        left: Left edge of each column.
        width: Width of every panel.
        top: Upper edge of the first row.
        below: Lower edge of the last row, captions included.
        right: Right edge of the last column.
    """

    figure: Figure
    panels: list[list[Axes]]
    left: list[float]
    width: float
    top: float
    below: float
    right: float

    def add_axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes at a place given in inches from the upper left corner."""
        total_w, total_h = (float(n) for n in self.figure.get_size_inches())
        bottom = total_h - top - height
        return self.figure.add_axes(
            (left / total_w, bottom / total_h, width / total_w, height / total_h)
        )


def make_sheet(
    sizes: Sequence[tuple[int, int]],
    columns: int,
    *,
    panel_size: float | None,
    largest: float,
    row_labels: Sequence[str],
    column_titles: Sequence[str],
    captions: bool,
    right: float = 0.0,
    bottom: float = 0.0,
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
        captions: Whether to leave room for a line under each panel.
        right: Inches to leave on the right.
        bottom: Inches to leave at the bottom.

    Returns:
        The sheet, its panels empty and without axes.
    """
    ratio = float(np.clip(np.median([w / h for h, w in sizes]), 1 / 3, 3))
    width = (largest if panel_size is None else panel_size) * ratio**0.5
    if panel_size is None:
        width = min(width, NOTEBOOK / columns)
    heights = [width * h / w for h, w in sizes]
    labels = [_wrap(label, height) for label, height in zip(row_labels, heights, strict=True)]
    title_lines = max((title.count("\n") + 1 for title in column_titles if title), default=0)
    label_lines = max((label.count("\n") + 1 for label in labels if label), default=0)

    gap = MARGIN + (LINE if captions else 0)
    x0 = MARGIN + (label_lines * LINE + 0.04 if label_lines else 0)
    y0 = MARGIN + (title_lines * LINE + 0.02 if title_lines else 0)
    lefts = [x0 + column * (width + MARGIN) for column in range(columns)]
    edge = lefts[-1] + width
    below = y0 + sum(heights) + gap * len(heights) - MARGIN
    figure = NotebookFigure(figsize=(edge + MARGIN + right, below + MARGIN + bottom), dpi=100)
    sheet = Sheet(figure, [], lefts, width, y0, below, edge)

    top = y0
    for label, height in zip(labels, heights, strict=True):
        row = [sheet.add_axes(left, top, width, height) for left in lefts]
        for panel in row:
            panel.set_axis_off()
        if label:
            offset = (-0.04 * 72, 0)
            row[0].annotate(
                label,
                xy=(0, 0.5),
                xycoords="axes fraction",
                xytext=offset,
                textcoords="offset points",
                rotation=90,
                rotation_mode="default",
                ha="right",
                va="center",
                multialignment="center",
                fontsize=FONT,
                annotation_clip=False,
            )
        sheet.panels.append(row)
        top += height + gap
    for panel, title in zip(sheet.panels[0], column_titles, strict=True):
        panel.set_title(title, fontsize=FONT, pad=3)
    return sheet


def _wrap(label: str, height: float) -> str:
    """Break the lines of a label that are longer than the row is high."""
    characters = max(8, int(height / 0.08))  # 0.08 inch: a generous character of 9 points
    return "\n".join(
        line for part in label.split("\n") for line in textwrap.wrap(part, characters) or [""]
    )


def show_image(panel: Axes, array: NDArray[Any], size: tuple[int, int], **kwargs: Any) -> Any:
    """Draw an array over a picture of ``size`` pixels, pixel edges at whole numbers."""
    height, width = size
    artist = panel.imshow(
        array, extent=(0, width, height, 0), origin="upper", aspect="auto", **kwargs
    )
    panel.set_xlim(0, width)
    panel.set_ylim(height, 0)
    return artist


def caption(panel: Axes, text: str) -> None:
    """Write a short line under a panel."""
    panel.annotate(
        text,
        xy=(0.5, 0),
        xycoords="axes fraction",
        xytext=(0, -2.5),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=SMALL,
        annotation_clip=False,
        gid="caption",
    )


def draw_outline(
    panel: Axes,
    mask: NDArray[np.bool_],
    size: tuple[int, int],
    *,
    color: str = TRUTH_COLOR,
    cased: bool = True,
    gid: str = "truth",
) -> None:
    """Draw the border of a mask along the edges of its pixels (nothing if the mask is empty)."""
    segments = list(_border(mask, size))
    if not segments:
        return
    strokes = [(1.2, color, gid)]
    if cased:  # a white line under it keeps it apart from a picture of its colour
        strokes.insert(0, (2.6, "white", f"{gid}-casing"))
    for width, line_color, name in strokes:
        lines = LineCollection(
            segments, colors=line_color, linewidths=width, capstyle="projecting", zorder=3
        )
        lines.set_gid(name)
        panel.add_collection(lines, autolim=False)


def _border(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float64]:
    """Segments ``[n, 2, 2]`` between the mask's pixels and all others, in picture pixels."""
    padded = np.pad(mask.astype(np.int8), 1)
    # An edge above (left of) the pixel (r, c) runs along y = r (x = c).
    y, x0, x1 = _runs(np.diff(padded[:, 1:-1], axis=0) != 0)
    horizontal = np.stack([np.stack([x0, y], 1), np.stack([x1, y], 1)], 1)
    x, y0, y1 = _runs(np.diff(padded[1:-1], axis=1).T != 0)
    vertical = np.stack([np.stack([x, y0], 1), np.stack([x, y1], 1)], 1)
    scale = np.array([size[1] / mask.shape[1], size[0] / mask.shape[0]])
    segments: NDArray[np.float64] = np.concatenate([horizontal, vertical]) * scale
    return segments


def _runs(edges: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
    """Row, start and end of every unbroken run of true cells along the rows."""
    steps = np.diff(np.pad(edges.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(steps == 1)
    return rows, starts, np.nonzero(steps == -1)[1]


def casing(width: float, color: str = "white") -> list[Any]:
    """Return path effects that put a border around a line or a text."""
    return [pe.withStroke(linewidth=width, foreground=color)]
