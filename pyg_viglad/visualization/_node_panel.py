"""One panel of the node graphs: a picture, a node, its neighbours by rank."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pyg_viglad.visualization._draw import casing, show_image
from pyg_viglad.visualization._graphs import PatchGraph
from pyg_viglad.visualization._sheet import Sheet

__all__ = ["NODE_COLOR", "add_rank_bar", "dim", "draw_node", "rank_colors"]

NODE_COLOR = "#e3000f"
LEAST = 2.6  # points: smaller patches are drawn at this size


def rank_colors(count: int) -> ScalarMappable:
    """Return one colour a rank, 1 to ``count``, from dark (nearest) to bright (farthest)."""
    # The palest end is left out: it would vanish on the lightened picture.
    colors = colormaps["viridis"](np.linspace(0.0, 0.95, max(count, 2)))[:count]
    norm = BoundaryNorm(np.arange(count + 1) + 0.5, count)
    return ScalarMappable(norm, ListedColormap(colors, name="ranks"))


def dim(image: NDArray[Any], amount: float) -> NDArray[Any]:
    """Take colour and contrast out of an image, towards light gray, for lines to stand out."""
    gray = image @ np.array([0.299, 0.587, 0.114])
    faded: NDArray[Any] = image + amount * (gray[..., None] - image)
    faded = np.clip(faded + 0.7 * amount * (0.92 - faded), 0, 1)
    return faded


def draw_node(
    panel: Axes,
    image: NDArray[Any],
    graph: PatchGraph,
    node: int,
    neighbors: list[int],
    colors: ScalarMappable,
    *,
    dimming: float,
    width_in_points: float,
    marks: bool = False,
) -> None:
    """Draw the picture, the node's patch, its neighbours' patches and the lines to them.

    Args:
        panel: Where to draw.
        image: The picture ``[H, W, 3]``.
        graph: The graph, in pixels of the picture.
        node: The node.
        neighbors: Its neighbours, nearest first.
        colors: The colour of each rank.
        dimming: How far to dim the picture, 0 (not at all) to 1.
        width_in_points: Width of the panel on paper.
        marks: Mark neighbours with small squares, without numbers, whatever the size of patches: for
            panels that whole patches would fill.
    """
    height, width = graph.picture_size
    show_image(panel, dim(image, dimming), (height, width))
    patch = np.array(graph.patch_size)
    pos = graph.pos.numpy()
    ranks = np.arange(1, len(neighbors) + 1)

    # The size of a patch on paper decides on lines, fills and numbers.
    points = float(patch.min()) * width_in_points / width
    small = marks or points < 9
    tiny = marks or points < LEAST
    least = LEAST * width / width_in_points
    mark = np.maximum(patch, least)  # seen even where a patch is not
    half = np.full(2, least) if marks else mark

    # The farthest first, so that the nearest lie on top.
    order = np.array(neighbors, dtype=int)[::-1]
    style: dict[str, Any] = {
        "array": ranks[::-1].astype(float),
        "cmap": colors.cmap,
        "norm": colors.norm,
    }
    center = pos[node]
    segments = [(center, pos[other]) for other in order]
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * half
    squares = [pos[other] + corners for other in order]
    if neighbors:
        # Small squares lie on the ends of the lines, which would hide them; large ones below.
        fills = PolyCollection(squares, alpha=1.0 if small else 0.3, **style)
        fills.set_edgecolor("white" if small else "none")
        fills.set_linewidth((0.25 if tiny else 0.5) if small else 0)
        fills.set_gid("neighbors")
        fills.set_zorder(3.5 if small else 2)
        panel.add_collection(fills, autolim=False)
        if not small:
            borders = PolyCollection(squares, facecolors="none", linewidths=1.3, **style)
            borders.set_gid("neighbor-borders")
            borders.set_zorder(2.1)
            panel.add_collection(borders, autolim=False)
        under = LineCollection(
            segments,
            colors="white",
            linewidths=(1.3 if tiny else 2.2) if small else 2.6,
            alpha=0.75,
        )
        under.set_gid("edges-casing")
        under.set_zorder(2.2)
        panel.add_collection(under, autolim=False)
        lines = LineCollection(
            segments, linewidths=(0.6 if tiny else 1.0) if small else 1.3, **style
        )
        lines.set_gid("edges")
        lines.set_zorder(2.3)
        panel.add_collection(lines, autolim=False)

    square = Rectangle(
        (float(center[0] - mark[0] / 2), float(center[1] - mark[1] / 2)),
        float(mark[0]),
        float(mark[1]),
        fill=False,
        edgecolor=NODE_COLOR,
        linewidth=(1.0 if tiny else 1.4) if small else 2.2,
        joinstyle="miter",
        zorder=4,
        clip_on=False,  # at the border of the image half of the line would be missing
        gid="node",
    )
    square.set_path_effects(casing((1.8 if tiny else 3.0) if small else 4.0))
    panel.add_patch(square)
    if points >= 10 and not marks:
        _write_ranks(panel, pos[order[::-1]], ranks, colors, points)


def _write_ranks(
    panel: Axes,
    centers: NDArray[Any],
    ranks: NDArray[Any],
    colors: ScalarMappable,
    points: float,
) -> None:
    size = min(7.5, 0.55 * points)
    for (x, y), rank in zip(centers, ranks, strict=True):
        fill = colors.to_rgba(np.array(float(rank)))
        luminance = float(np.dot(fill[:3], [0.299, 0.587, 0.114]))
        panel.text(
            float(x),
            float(y),
            str(rank),
            fontsize=size,
            fontweight="bold",
            ha="center",
            va="center_baseline",
            color="black" if luminance > 0.5 else "white",
            bbox={"boxstyle": "circle,pad=0.18", "facecolor": fill, "edgecolor": "none"},
            zorder=5,
            gid="rank",
        )


def add_rank_bar(
    sheet: Sheet, colors: ScalarMappable, count: int, span: tuple[int, int] | None = None
) -> None:
    """Draw the colour bar that all panels share, nearest at the top (or left, under a span)."""
    bar, length = sheet.add_bar(colors, span)
    step = max(-(-count // 15), -(-count // max(1, int(length / 0.15))))
    bar.set_ticks([rank for rank in range(1, count + 1) if rank == 1 or rank % step == 0])
    if span is None:
        bar.ax.invert_yaxis()
    bar.ax.minorticks_off()
    bar.ax.tick_params(length=0)
    words = "rank of neighbour (1 = nearest)" if length > 1.9 else "rank"
    bar.set_label(words, fontsize=(sheet.font + sheet.small) / 2)
