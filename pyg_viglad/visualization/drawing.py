"""Palette, inputs, layout, panels and files, shared by all figures."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from matplotlib import colormaps, rc_context
from matplotlib import patheffects as pe
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox, offset_copy
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.files import write_bytes
from pyg_viglad.graphs import patch_size, position_of
from pyg_viglad.transforms import ImageLike, to_image

__all__ = [
    "FONT",
    "KIND_COLORS",
    "NODE_COLOR",
    "NO_BREAK",
    "OKABE_ITO",
    "SMALL",
    "THRESHOLD_COLOR",
    "TRUTH_COLOR",
    "XY",
    "Array",
    "AxesLike",
    "Images",
    "Maps",
    "Nodes",
    "NotebookFigure",
    "Numbers",
    "Sheet",
    "as_image",
    "as_images",
    "as_maps",
    "as_mask",
    "as_numbers",
    "as_positions",
    "as_texts",
    "caption",
    "casing",
    "check_arguments",
    "dim",
    "draw_node",
    "draw_node_square",
    "draw_outline",
    "format_number",
    "kind_colors",
    "kind_order",
    "legend_below",
    "make_chart",
    "make_sheet",
    "mask_outline",
    "rank_colors",
    "save_figure",
    "score_texts",
    "show_image",
    "size_of",
    "width_on_paper",
    "wrap",
    "write",
]

Array = NDArray[Any]
# One pair of axes, or an array or (nested) list of them.
AxesLike: TypeAlias = Axes | Sequence[Any] | Array
Images: TypeAlias = ImageLike | Sequence[ImageLike]
Maps: TypeAlias = Tensor | Sequence[Tensor]
Numbers: TypeAlias = Tensor | Sequence[float]
XY: TypeAlias = tuple[float, float]
Nodes: TypeAlias = Tensor | Sequence[int] | Sequence[XY] | XY | int

# The palette. Okabe and Ito's colours are distinguishable with all kinds of colour vision.
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
MARGIN = 0.08  # inches
NOTEBOOK = 8.4  # inches for the panels of a row
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


# Inputs, turned into arrays: copies, so that the input stays as it was.


def as_images(images: Images) -> list[Array]:
    """Returns every image as a float array ``[H, W, 3]`` in [0, 1]."""
    if isinstance(images, Tensor | np.ndarray):
        several = images.ndim == 4
    else:
        several = not isinstance(images, str | os.PathLike | Image.Image)
    batch: list[Any] = list(images) if several else [images]  # type: ignore[arg-type]
    if not batch:
        raise ValueError("Expected at least one image in images (got none)")
    arrays = []
    for number, image in enumerate(batch):
        try:
            values = to_image(image.detach() if isinstance(image, Tensor) else image)
        except ValueError as error:
            raise ValueError(f"{error}, in images[{number}]") from error
        arrays.append(values.cpu().permute(1, 2, 0).numpy().copy())
    return arrays


def as_image(image: ImageLike) -> Array:
    """Returns the one image as a float array ``[H, W, 3]`` in [0, 1]."""
    arrays = as_images(image)
    if len(arrays) != 1:
        raise ValueError(f"Expected one image (got {len(arrays)})")
    return arrays[0]


def size_of(picture: Array) -> tuple[int, int]:
    """Returns height and width of a picture in pixels."""
    return int(picture.shape[0]), int(picture.shape[1])


def as_maps(maps: Maps, name: str, count: int) -> list[Array]:
    """Returns one float array ``[H, W]`` per image; ``[B, 1, H, W]`` is read as ``[B, H, W]``."""
    if len(maps) != count:
        raise ValueError(f"Expected {name} for {count} images (got {len(maps)})")
    arrays = []
    for number, entry in enumerate(maps):
        values = torch.as_tensor(entry).detach().cpu().double()
        if values.dim() == 3 and values.size(0) == 1:
            values = values[0]
        if values.dim() != 2 or values.numel() == 0:
            raise ValueError(
                f"Expected {name}[{number}] of shape [H, W] (got {list(values.shape)})"
            )
        if not bool(values.isfinite().all()):
            raise ValueError(f"Expected {name}[{number}] to be finite (got NaN or infinity)")
        arrays.append(values.numpy().copy())
    return arrays


def as_mask(mask: Any) -> NDArray[np.bool_] | None:
    """Returns the one mask ``[H, W]``, if there is one."""
    if mask is None:
        return None
    found: NDArray[np.bool_] = as_maps(torch.as_tensor(mask)[None], "mask", 1)[0] > 0.5
    return found


def as_numbers(values: Numbers, name: str, count: int) -> list[float]:
    """Returns one finite number per image."""
    numbers = torch.as_tensor(values).detach().cpu().double()
    if tuple(numbers.shape) != (count,):
        raise ValueError(f"Expected {name} of shape [{count}] (got {list(numbers.shape)})")
    if not bool(numbers.isfinite().all()):
        raise ValueError(f"Expected {name} to be finite (got NaN or infinity)")
    return [float(n) for n in numbers]


def as_texts(texts: Sequence[str] | None, name: str, count: int) -> list[str]:
    """Returns one text per image, empty ones where there are none."""
    if texts is None:
        return [""] * count
    if isinstance(texts, str) or len(texts) != count:
        got = repr(texts) if isinstance(texts, str) else len(texts)
        raise ValueError(f"Expected {name} for {count} images (got {got})")
    return [str(text) for text in texts]


def score_texts(values: Numbers | None, name: str, count: int) -> list[str]:
    """Returns a text such as "score = 5.2" per image, empty ones where there are no scores."""
    if values is None:
        return [""] * count
    symbol = name.removesuffix("s").replace("_", " ")
    # Spaces that do not break: a long label is broken between its parts.
    texts = (f"{symbol} = {format_number(n, 1)}" for n in as_numbers(values, name, count))
    return [text.replace(" ", NO_BREAK) for text in texts]


def as_positions(nodes: Nodes, graphs: Sequence[Data]) -> list[XY]:
    """Returns one position in pixels of the picture per graph, from positions or node numbers.

    Where there is one graph, a single number or position may stand without its list.
    """
    values, count = torch.as_tensor(nodes).detach().cpu(), len(graphs)
    if count == 1 and tuple(values.shape) in ((), (2,)):
        values = values[None]
    numbers = tuple(values.shape) == (count,) and not values.is_floating_point()
    if not numbers and tuple(values.shape) != (count, 2):
        raise ValueError(
            f"Expected nodes to be positions [{count}, 2] or node numbers [{count}] "
            f"(got {values.dtype} {list(values.shape)})"
        )
    return [
        position_of(graph, value, f"nodes[{number}]")
        for number, (graph, value) in enumerate(zip(graphs, values, strict=True))
    ]


def check_arguments(dimming: float, **counts: int | None) -> None:
    """Checks that ``dimming`` lies in [0, 1] and that counts are at least 1."""
    for name, number in counts.items():
        if number is not None and number < 1:
            raise ValueError(f"Expected {name} of at least 1 (got {number})")
    if not 0 <= dimming <= 1:
        raise ValueError(f"Expected dimming in [0, 1] (got {dimming})")


# Texts.


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


def _most_lines(texts: Sequence[str]) -> int:
    return max((text.count("\n") + 1 for text in texts if text), default=0)


# Figures and their panels.


class NotebookFigure(Figure):
    """A figure that notebooks show without pyplot and without ``%matplotlib inline``."""

    def savefig(self, fname: Any, *, transparent: bool | None = None, **kwargs: Any) -> None:
        """Saves the figure as matplotlib does, fonts embedded as TrueType (Type 42)."""
        with _embedded_fonts():
            super().savefig(fname, transparent=transparent, **kwargs)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)
        return buffer.getvalue()


def _embedded_fonts() -> Any:
    """A context in which files get TrueType fonts (Type 42), as publishers want them."""
    return rc_context({"pdf.fonttype": 42, "ps.fonttype": 42})


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
        sheet = Sheet(_figure_of(panels[0][0]), panels)
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
        return _figure_of(panels[0]), panels
    figure = NotebookFigure(figsize=(width, height), dpi=100, layout="constrained")
    grid = figure.subplots(-(-count // columns), columns, squeeze=False, **kwargs)
    for spare in grid.flat[count:]:
        spare.remove()
    return figure, list(grid.flat[:count])


def _figure_of(panel: Axes) -> Figure:
    """The whole figure, also of axes in a part of it."""
    part: Any = panel.figure
    figure: Figure = part.figure
    return figure


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


# What is drawn in a panel.


def show_image(panel: Axes, array: Array, size: tuple[int, int], **kwargs: Any) -> None:
    """Draws an array over a picture of ``size`` pixels, pixel edges at whole numbers."""
    height, width = size
    panel.imshow(array, extent=(0, width, height, 0), origin="upper", aspect="equal", **kwargs)
    panel.set(xlim=(0, width), ylim=(height, 0))


def width_on_paper(panel: Axes, size: tuple[int, int]) -> float:
    """Returns the width in points of a picture of ``size`` pixels in a panel."""
    box = panel.get_window_extent()
    return float(72 * min(box.width, box.height * size[1] / size[0]) / _figure_of(panel).dpi)


def dim(image: Array, amount: float) -> Array:
    """Fades an image ``[H, W, 3]`` towards light gray, by 0 (not at all) to 1, for lines to stand out."""
    gray = image @ np.array([0.299, 0.587, 0.114])
    faded: Array = image + amount * (gray[..., None] - image)
    faded = np.clip(faded + 0.7 * amount * (0.92 - faded), 0, 1)
    return faded


def casing(width: float) -> list[Any]:
    """Returns path effects that put a white border around a line or a text."""
    return [pe.withStroke(linewidth=width, foreground="white")]


# Line widths in points, by the size of a patch on paper: casing of the lines, lines, border of a
# neighbour's square, border of the node's square, its casing.
_STROKES = {
    "large": (2.6, 1.3, 0.0, 2.2, 4.0),
    "small": (2.2, 1.0, 0.5, 1.4, 3.0),
    "tiny": (1.3, 0.6, 0.25, 1.0, 1.8),
}
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
    marks: bool = False,
) -> None:
    """Draws the picture, a node's patch, its neighbours' patches and the lines to them.

    Args:
        panel: Where to draw.
        picture: The picture ``[H, W, 3]``.
        graph: Its graph, in pixels of the picture.
        node: The node.
        neighbors: Its neighbours, nearest first.
        colors: The colour of each rank, from :func:`rank_colors`.
        dimming: How far to dim the picture, 0 (not at all) to 1.
        marks: Mark neighbours with small squares, without numbers, whatever the size of patches: for
            panels that whole patches would fill.
    """
    size = size_of(picture)
    show_image(panel, dim(picture, dimming), size)
    pos, patch = graph.pos.numpy(), np.array(patch_size(graph))
    point = size[1] / width_on_paper(panel, size)  # in pixels of the picture
    points = float(patch.min()) / point
    small, tiny = marks or points < 9, marks or points < _LEAST
    stroke = _STROKES["tiny" if tiny else "small" if small else "large"]
    mark = np.maximum(patch, _LEAST * point)  # seen even where a patch is not
    # The farthest first, so that the nearest lie on top.
    order = np.array(neighbors, dtype=int)[::-1]
    ranks = np.arange(len(order), 0, -1)
    if len(order):
        by_rank: dict[str, Any] = {"array": ranks, "cmap": colors.cmap, "norm": colors.norm}
        half = np.full(2, _LEAST * point / 2) if marks else mark / 2
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
        squares = pos[order][:, None] + corners
        lines = np.stack([np.broadcast_to(pos[node], (len(order), 2)), pos[order]], 1)
        # Small squares lie on the ends of the lines, which would hide them; large ones below.
        look: list[dict[str, Any]] = [
            {"gid": "edges-casing", "zorder": 2.2, "linewidths": stroke[0], "colors": "white"},
            {"gid": "edges", "zorder": 2.3, "linewidths": stroke[1], **by_rank},
            {"gid": "neighbors", "zorder": 3.5 if small else 2, "linewidths": stroke[2], **by_rank},
            {"gid": "neighbor-borders", "zorder": 2.1, "linewidths": 1.3, **by_rank},
        ]
        added: list[Any] = [
            LineCollection(list(lines), alpha=0.75, **look[0]),
            LineCollection(list(lines), **look[1]),
        ]
        if small:
            added.append(PolyCollection(squares, edgecolors="white", **look[2]))
        else:
            added.append(PolyCollection(squares, alpha=0.3, **look[2]))
            added.append(PolyCollection(squares, facecolors="none", **look[3]))
        for collection in added:
            panel.add_collection(collection, autolim=False)
    draw_node_square(panel, pos[node], mark, NODE_COLOR, stroke[3], stroke[4], "node")
    if points >= 10 and not marks:
        for rank, (x, y) in zip(ranks[::-1], pos[order[::-1]], strict=True):
            fill = colors.to_rgba(np.array(float(rank)))
            bright = float(np.dot(fill[:3], [0.299, 0.587, 0.114])) > 0.5
            panel.text(
                float(x),
                float(y),
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
    below = offset_copy(panel.transAxes, fig=_figure_of(panel), y=-1.5 * fontsize, units="points")
    legend.set_bbox_to_anchor((0, 0, 1, 0), below)


def draw_outline(
    panel: Axes,
    mask: NDArray[np.bool_],
    size: tuple[int, int],
    *,
    color: str = TRUTH_COLOR,
    cased: bool = True,
    gid: str = "truth",
) -> None:
    """Draws the border of a mask along the edges of its pixels (nothing if the mask is empty)."""
    segments = list(mask_outline(mask, size))
    # A white line under it keeps it apart from a picture of its colour.
    under = [(2.6, "white", f"{gid}-casing")] if cased else []
    for width, line, name in [*under, (1.2, color, gid)] if segments else []:
        lines = LineCollection(
            segments, colors=line, linewidths=width, capstyle="projecting", zorder=3, gid=name
        )
        panel.add_collection(lines, autolim=False)


def mask_outline(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float64]:
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


def _runs(edges: NDArray[np.bool_]) -> tuple[NDArray[np.intp], ...]:
    """Row, start and end of every unbroken run of true cells along the rows."""
    steps = np.diff(np.pad(edges.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(steps == 1)
    return rows, starts, np.nonzero(steps == -1)[1]


# Files.


def save_figure(
    figure: Figure,
    path: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("png", "pdf"),
    dpi: float = 300,
) -> list[Path]:
    """Writes a figure at its own size in several formats, each file whole or not at all.

    Fonts in PDF and PostScript files are embedded as TrueType (Type 42), since publishers such as the
    IEEE refuse matplotlib's Type 3. No global setting is changed, and the PDF has no date in it: the
    same figure gives the same file.

    Args:
        figure: Any matplotlib figure.
        path: Where to write, without a suffix; or with one of a format that matplotlib writes, which
            then is the only one. The folder has to exist.
        formats: The formats, which are the suffixes; default PNG and PDF.
        dpi: Dots per inch of PNG, and of what cannot be drawn with lines in PDF; default 300.

    Returns:
        The files written, in the order of the formats.

    Raises:
        ValueError: If matplotlib does not write a format.
        FileNotFoundError: If the folder does not exist.

    Example:
        >>> import tempfile
        >>> from pyg_viglad.visualization import plot_score_histogram
        >>> figure = plot_score_histogram([0.1, 4.0], ["good", "logical"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [file.name for file in save_figure(figure, Path(folder, "scores"))]
        ['scores.png', 'scores.pdf']
    """
    target = Path(path)
    known = figure.canvas.get_supported_filetypes()
    suffix = target.suffix[1:].lower()
    if suffix in known:
        formats, target = [suffix], target.with_suffix("")
    if isinstance(formats, str) or not formats or not set(formats) <= set(known):
        raise ValueError(f"Expected formats of {', '.join(sorted(known))} (got {formats!r})")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"Expected the folder '{target.parent}' to exist")
    written = []
    for kind in formats:
        buffer = io.BytesIO()
        metadata = {"CreationDate": None} if kind == "pdf" else None
        with _embedded_fonts():
            figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
        file = target.with_name(f"{target.name}.{kind}")
        write_bytes(file, buffer.getvalue())
        written.append(file)
    return written
