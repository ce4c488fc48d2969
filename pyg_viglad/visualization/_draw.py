"""What the pictures are made of: the figure, images, outlines, captions.

This module, `_sheet` and the `*_panel` modules import matplotlib on import; the plotting functions
import them when they are called.
"""

from __future__ import annotations

import io
from typing import Any

import matplotlib.patheffects as pe
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = [
    "FONT",
    "SMALL",
    "TRUTH_COLOR",
    "NotebookFigure",
    "caption",
    "casing",
    "draw_outline",
    "embedded_fonts",
    "show_image",
]

TRUTH_COLOR = "#ff3df2"  # magenta: in none of the colour maps used here, and rare in photographs
FONT = 9.0
SMALL = 7.5


def embedded_fonts() -> Any:
    """Give a context in which files get TrueType fonts (Type 42), as publishers want them."""
    return rc_context({"pdf.fonttype": 42, "ps.fonttype": 42})


class NotebookFigure(Figure):
    """A figure that notebooks show without pyplot and without ``%matplotlib inline``."""

    def savefig(self, fname: Any, *, transparent: bool | None = None, **kwargs: Any) -> None:
        """Save the figure as matplotlib does, fonts embedded as TrueType (Type 42)."""
        with embedded_fonts():
            super().savefig(fname, transparent=transparent, **kwargs)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)
        return buffer.getvalue()


def show_image(panel: Axes, array: NDArray[Any], size: tuple[int, int], **kwargs: Any) -> Any:
    """Draw an array over a picture of ``size`` pixels, pixel edges at whole numbers."""
    height, width = size
    # Panels laid out here have the image's shape; in others, pixels must stay square.
    artist = panel.imshow(
        array, extent=(0, width, height, 0), origin="upper", aspect="equal", **kwargs
    )
    panel.set_xlim(0, width)
    panel.set_ylim(height, 0)
    return artist


def caption(panel: Axes, text: str, fontsize: float = SMALL) -> None:
    """Write a short line under a panel."""
    panel.annotate(
        text,
        xy=(0.5, 0),
        xycoords="axes fraction",
        xytext=(0, -2.5),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=fontsize,
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
