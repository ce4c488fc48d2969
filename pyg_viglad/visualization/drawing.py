"""The palette of all figures, their texts, and what is drawn in a panel."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib import patheffects as pe
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray
from torch_geometric.data import Data

from pyg_viglad.graphs import patch_size
from pyg_viglad.visualization.inputs import XY, Array, Mask, size_of

__all__ = [
    "FONT",
    "LINE",
    "NODE_COLOR",
    "NO_BREAK",
    "OKABE_ITO",
    "SMALL",
    "THRESHOLD_COLOR",
    "TRUTH_COLOR",
    "caption",
    "casing",
    "dim",
    "draw_node",
    "draw_node_square",
    "draw_outline",
    "figure_of",
    "format_number",
    "kind_colors",
    "kind_order",
    "legend_below",
    "mask_outline",
    "rank_colors",
    "show_image",
    "weight_colors",
    "width_on_paper",
    "wrap",
    "write",
]

# Okabe and Ito's colours are distinguishable with all kinds of colour vision.
OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
KIND_COLORS = {
    "good": "#6b7280",
    "logical": OKABE_ITO[0],
    "structural": OKABE_ITO[1],
    "mean": "#c3c7cf",
    "pooled": "#374151",
}
TRUTH_COLOR = "#ff3df2"  # magenta: in none of the colour maps used here, and rare in photographs
NODE_COLOR = "#e3000f"  # red
THRESHOLD_COLOR = "#00d5e0"  # cyan: in neither colour map of the anomaly maps

FONT = 9.0  # points
SMALL = 7.5
LINE = 1.32 / 72  # inches that a line takes, for each point of its font
NO_BREAK = "\N{NO-BREAK SPACE}"


def kind_colors(kinds: Iterable[str]) -> dict[str, str]:
    """Returns a colour for each kind of image: its fixed one, or the next that is free."""
    kinds = list(kinds)
    others = [kind for kind in kinds if kind not in KIND_COLORS]
    spare = OKABE_ITO[2:6]
    return {kind: KIND_COLORS.get(kind) or spare[others.index(kind) % len(spare)] for kind in kinds}


def kind_order(kinds: Iterable[str]) -> list[str]:
    """Returns kinds in the order of the figures: good, logical, structural, then others by name."""
    known = list(KIND_COLORS)
    return sorted(set(kinds), key=lambda k: (known.index(k) if k in known else len(known), k))


def rank_colors(count: int) -> ScalarMappable:
    """Returns one colour per rank, 1 to ``count``, from dark (nearest) to bright (farthest)."""
    # The palest end is left out: it would vanish on the lightened picture.
    colors = colormaps["viridis"](np.linspace(0.0, 0.95, max(count, 2)))[:count]
    norm = BoundaryNorm(np.arange(count + 1) + 0.5, count)
    return ScalarMappable(norm, ListedColormap(colors, name="ranks"))


def weight_colors() -> ScalarMappable:
    """Returns the colour scale of weights, from light gray (0) to dark (1)."""
    weight = np.linspace(0, 1, 256)
    faded = np.clip(1 - 4 * weight, 0, 1)[:, None]
    colors = faded * np.array([0.8, 0.8, 0.8, 1]) + (1 - faded) * colormaps["viridis_r"](weight)
    return ScalarMappable(Normalize(0, 1), ListedColormap(colors, name="weights"))


def format_number(value: float, digits: int) -> str:
    """Writes a number with ``digits`` decimals and a proper minus sign."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")


def wrap(text: str, length: float, font: float = FONT) -> str:
    """Breaks lines longer than ``length`` inches; a word only where it is much longer."""
    characters = max(8, int(length / (0.0089 * font)))  # a generous character
    lines = []
    for part in text.split("\n"):
        longest = max((len(word) for word in part.split(" ")), default=0)
        broken = longest > 1.3 * characters and NO_BREAK not in part
        lines += textwrap.wrap(part, characters, break_long_words=broken) or [""]
    return "\n".join(lines)


def figure_of(panel: Axes) -> Figure:
    """Returns the figure that axes belong to, also where they lie in a subfigure."""
    part: Any = panel.figure
    figure: Figure = part.figure
    return figure


def show_image(panel: Axes, array: Array, size: tuple[int, int], **kwargs: Any) -> None:
    """Draws an array over a picture of ``size`` pixels, pixel edges at whole numbers."""
    height, width = size
    panel.imshow(array, extent=(0, width, height, 0), origin="upper", aspect="equal", **kwargs)
    panel.set(xlim=(0, width), ylim=(height, 0))


def width_on_paper(panel: Axes, size: tuple[int, int]) -> float:
    """Returns the width in points of a picture of ``size`` pixels in a panel."""
    box = panel.get_window_extent()
    return float(72 * min(box.width, box.height * size[1] / size[0]) / figure_of(panel).dpi)


def dim(image: Array, amount: float) -> Array:
    """Fades an image ``[H, W, 3]`` towards light gray, by 0 (not at all) to 1, for lines to stand out."""
    gray = image @ np.array([0.299, 0.587, 0.114])
    faded: Array = image + amount * (gray[..., None] - image)
    faded = np.clip(faded + 0.7 * amount * (0.92 - faded), 0, 1)
    return faded


def casing(width: float) -> list[Any]:
    """Returns path effects that put a white border around a line or a text."""
    return [pe.withStroke(linewidth=width, foreground="white")]


class _Strokes(NamedTuple):
    """Line widths in points."""

    line: float
    line_casing: float
    node: float
    node_casing: float


# By the size of a patch on paper.
_LARGE, _SMALL, _TINY = (
    _Strokes(1.3, 2.6, 2.2, 4.0),
    _Strokes(1.0, 2.2, 1.4, 3.0),
    _Strokes(0.6, 1.3, 1.0, 1.8),
)
_LEAST = 2.6  # points: smaller patches are drawn at this size


def draw_node(
    panel: Axes,
    picture: Array,
    graph: Data,
    node: int,
    neighbors: Sequence[int],
    colors: ScalarMappable,
    *,
    dimming: float,
    weights: Sequence[float] | None = None,
    marks: bool = False,
) -> None:
    """Draws the picture, a node's patch, its neighbours' patches (nearest first) and the lines to them.

    With ``weights`` in [0, 1], in descending order, colours and line widths show the weights instead of
    the ranks. With ``marks``, neighbours are small squares without numbers, for panels that
    patches would fill.
    """
    size = size_of(picture)
    show_image(panel, dim(picture, dimming), size)
    pos, patch = graph.pos.numpy(), np.array(patch_size(graph))
    point = size[1] / width_on_paper(panel, size)  # in pixels of the picture
    points = float(patch.min()) / point
    small, tiny = marks or points < 9, marks or points < _LEAST
    stroke = _TINY if tiny else _SMALL if small else _LARGE
    mark = np.maximum(patch, _LEAST * point)  # seen even where a patch is not
    ranks: Array = np.arange(1, len(neighbors) + 1)
    values = ranks if weights is None else np.array(weights)
    if neighbors:
        # The farthest first, so that the nearest lie on top.
        order = list(neighbors)[::-1]
        by_rank: dict[str, Any] = {"array": values[::-1]}
        heavy: Array = np.ones(len(order))
        widths: Array = stroke.line * heavy
        if weights is not None:
            heavy, widths = values[::-1], stroke.line * (0.4 + 2.1 * values[::-1])
        by_rank |= {"cmap": colors.cmap, "norm": colors.norm}
        half = np.full(2, _LEAST * point / 2) if marks else mark / 2
        squares = pos[order][:, None] + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
        lines = [(pos[node], pos[other]) for other in order]
        look: dict[str, Any] = {"gid": "edges-casing", "zorder": 2.2, "alpha": 0.75}
        cased = widths + heavy * (stroke.line_casing - stroke.line)
        under = LineCollection(lines, colors="white", linewidths=cased, **look)
        look = {"gid": "edges", "zorder": 2.3, **by_rank}
        added: list[Any] = [under, LineCollection(lines, linewidths=widths, **look)]
        if small:  # on the ends of the lines, which would hide them
            look = {"gid": "neighbors", "zorder": 3.5, "edgecolors": "white", **by_rank}
            added.append(PolyCollection(squares, linewidths=0.25 if tiny else 0.5, **look))
        else:
            look = {"gid": "neighbors", "zorder": 2, "alpha": 0.3, **by_rank}
            added.append(PolyCollection(squares, linewidths=0, **look))
            look = {"gid": "neighbor-borders", "zorder": 2.1, "facecolors": "none", **by_rank}
            added.append(PolyCollection(squares, linewidths=1.3, **look))
        for collection in added:
            panel.add_collection(collection, autolim=False)
    draw_node_square(panel, pos[node], mark, NODE_COLOR, stroke.node, stroke.node_casing, "node")
    if points >= 10 and not marks:
        for rank, other in enumerate(neighbors, start=1):
            fill = colors.to_rgba(np.array(float(values[rank - 1])))
            bright = float(np.dot(fill[:3], [0.299, 0.587, 0.114])) > 0.5
            panel.text(
                float(pos[other][0]),
                float(pos[other][1]),
                str(rank),
                fontsize=min(7.5, 0.55 * points),
                fontweight="bold",
                ha="center",
                va="center_baseline",
                color="black" if bright else "white",
                bbox={"boxstyle": "circle,pad=0.18", "facecolor": fill, "edgecolor": "none"},
                zorder=5,
                gid="rank",
            )


def draw_node_square(
    panel: Axes, center: Array, size: Array, color: str, width: float, cased: float, gid: str
) -> None:
    """Draws the border of a node's patch of ``size`` (width, height), with a white casing."""
    x, y = center - size / 2
    square = Rectangle(
        (float(x), float(y)),
        *size,
        fill=False,
        edgecolor=color,
        linewidth=width,
        joinstyle="miter",
        zorder=4.5,
        clip_on=False,  # at the border of the image half of the line would be missing
        gid=gid,
        path_effects=casing(cased),
    )
    panel.add_patch(square)


def write(
    panel: Axes, text: str, xy: XY, offset: XY, *, units: Any = "axes fraction", **style: Any
) -> None:
    """Writes a text ``offset`` points to the right of and above the place ``xy`` in a panel."""
    panel.annotate(
        text,
        xy=xy,
        xycoords=units,
        xytext=offset,
        textcoords="offset points",
        annotation_clip=False,
        **style,
    )


def caption(panel: Axes, text: str, fontsize: float = SMALL) -> None:
    """Writes a short line under a panel."""
    style = {"ha": "center", "va": "top", "fontsize": fontsize, "gid": "caption"}
    write(panel, text, (0.5, 0), (0, -2.5), **style)


def legend_below(panel: Axes, handles: Sequence[Any], fontsize: float, columns: int = 3) -> None:
    """Puts a legend below a panel and its caption."""
    legend = panel.legend(
        handles=handles,
        loc="upper center",
        ncols=columns,
        fontsize=fontsize,
        frameon=False,
        borderpad=0.1,
        handlelength=1.0,
        handletextpad=0.4,
        columnspacing=0.8,
    )
    below = offset_copy(panel.transAxes, fig=figure_of(panel), y=-1.5 * fontsize, units="points")
    legend.set_bbox_to_anchor((0, 0, 1, 0), below)


def draw_outline(
    panel: Axes,
    mask: Mask | None,
    size: tuple[int, int],
    *,
    color: str = TRUTH_COLOR,
    cased: bool = True,
    gid: str = "truth",
) -> None:
    """Draws the border of a mask along the edges of its pixels (nothing where there is none)."""
    segments = [] if mask is None else list(mask_outline(mask, size))
    # A white line under it keeps it apart from a picture of its colour.
    under = [(2.6, "white", f"{gid}-casing")] if cased else []
    for width, line, name in [*under, (1.2, color, gid)] if segments else []:
        lines = LineCollection(
            segments, colors=line, linewidths=width, capstyle="projecting", zorder=3, gid=name
        )
        panel.add_collection(lines, autolim=False)


def mask_outline(mask: Mask, size: tuple[int, int]) -> NDArray[np.float64]:
    """Returns segments ``[n, 2, 2]`` (ends, x and y) between a mask's pixels and all others.

    Args:
        mask: The mask ``[h, w]``.
        size: Height and width of the picture, in whose pixels the segments are.
    """
    padded = np.pad(mask.astype(np.int8), 1)
    # An edge above (left of) the pixel (r, c) runs along y = r (x = c).
    y, x0, x1 = _runs(np.diff(padded[:, 1:-1], axis=0) != 0)
    horizontal = np.stack([np.stack([x0, y], 1), np.stack([x1, y], 1)], 1)
    x, y0, y1 = _runs(np.diff(padded[1:-1], axis=1).T != 0)
    vertical = np.stack([np.stack([x, y0], 1), np.stack([x, y1], 1)], 1)
    scale = np.array([size[1] / mask.shape[1], size[0] / mask.shape[0]])
    segments: NDArray[np.float64] = np.concatenate([horizontal, vertical]) * scale
    return segments


def _runs(edges: Mask) -> tuple[NDArray[np.intp], ...]:
    """Row, start and end of every unbroken run of true cells along the rows."""
    steps = np.diff(np.pad(edges.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(steps == 1)
    return rows, starts, np.nonzero(steps == -1)[1]
