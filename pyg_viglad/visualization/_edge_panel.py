"""One panel of a whole graph: a picture and the edges over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray

from pyg_viglad.visualization._draw import show_image
from pyg_viglad.visualization._edges import Edges
from pyg_viglad.visualization._graphs import PatchGraph
from pyg_viglad.visualization._node_panel import dim
from pyg_viglad.visualization._sheet import Sheet

__all__ = [
    "CHANGE_COLORS",
    "add_legend",
    "draw_centers",
    "draw_kind",
    "draw_measured",
    "draw_picture",
    "legend_below",
]

# Okabe and Ito's orange-red and blue, told apart with every kind of colour vision, and black.
CHANGE_COLORS = {"kept": "black", "lost": "#d55e00", "gained": "#0072b2"}


def draw_picture(panel: Axes, image: NDArray[Any], dimming: float) -> None:
    """Draw the dimmed picture on its own pixels."""
    show_image(panel, dim(image, dimming), (image.shape[0], image.shape[1]))


def draw_kind(panel: Axes, graph: PatchGraph, kind: Edges, width_in_points: float) -> None:
    """Draw the kept, the lost or the gained edges in their colour."""
    links = kind.links[:, kind.drawn].numpy()
    draw_edges(panel, graph, links, width_in_points, kind.name, colors=CHANGE_COLORS[kind.name])


def draw_measured(
    sheet: Sheet,
    graph: PatchGraph,
    edges: Edges,
    values: NDArray[Any],
    width_in_points: float,
    name: str,
) -> None:
    """Draw edges coloured by a value, the smallest on top, and the colour bar."""
    high = float(values.max()) if values.size else 1.0
    scale = ScalarMappable(Normalize(0, high or 1.0), colormaps["viridis"])
    drawn = edges.drawn.numpy()
    order = np.argsort(-values[drawn], kind="stable")
    draw_edges(
        sheet.panels[0][0],
        graph,
        edges.links.numpy()[:, drawn][:, order],
        width_in_points,
        "edges",
        array=values[drawn][order],
        cmap=scale.cmap,
        norm=scale.norm,
    )
    bar, _ = sheet.add_bar(scale)
    unit = "length of edge (pixels)" if name == "length" else "distance of features"
    bar.set_label(unit, fontsize=sheet.small)


def draw_edges(
    panel: Axes,
    graph: PatchGraph,
    links: NDArray[Any],
    width_in_points: float,
    gid: str,
    **style: Any,
) -> None:
    """Draw edges, the more transparent the more of the panel they would cover.

    Args:
        panel: Where to draw.
        graph: The graph, for its positions.
        links: Edges ``[2, E]``; the last ones lie on top.
        width_in_points: Width of the panel on paper.
        gid: Name of the lines.
        style: Colours, of the lines or as ``array``, ``cmap`` and ``norm``.
    """
    pos = graph.pos.numpy()
    height, width = graph.picture_size
    scale = width_in_points / width
    segments = np.stack([pos[links[1]], pos[links[0]]], axis=1)  # from the centre
    length = float(np.linalg.norm(segments[:, 0] - segments[:, 1], axis=1).sum()) * scale
    covered = 0.6 * length / (width_in_points * height * scale)
    lines = LineCollection(
        list(segments),
        linewidths=0.7 if covered < 1 else 0.5,
        alpha=float(np.clip(0.75 / max(covered, 0.1), 0.35, 0.9)),
        capstyle="round",
        zorder=2,
        **style,
    )
    lines.set_gid(gid)
    panel.add_collection(lines, autolim=False)


def add_legend(sheet: Sheet, labels: dict[str, str]) -> None:
    """Say below the panel what the colours of changes mean."""
    handles = [
        Line2D([], [], color=CHANGE_COLORS[kind], linewidth=2, label=label)
        for kind, label in labels.items()
    ]
    legend_below(sheet, handles)


def legend_below(sheet: Sheet, handles: Sequence[Any], columns: int = 3) -> None:
    """Put a legend under a panel and its caption."""
    panel = sheet.panels[0][0]
    legend = panel.legend(
        handles=handles,
        loc="upper center",
        ncols=columns,
        fontsize=sheet.small,
        frameon=False,
        borderpad=0.1,
        handlelength=1.0,
        handletextpad=0.4,
        columnspacing=0.8,
    )
    below = offset_copy(panel.transAxes, fig=sheet.figure, y=-1.5 * sheet.small, units="points")
    legend.set_bbox_to_anchor((0, 0, 1, 0), below)


def draw_centers(panel: Axes, graph: PatchGraph, nodes: NDArray[Any]) -> None:
    """Draw dots on the nodes whose neighbours are drawn."""
    pos = graph.pos.numpy()[nodes]
    panel.scatter(
        pos[:, 0], pos[:, 1], s=5, c="white", edgecolors="black", linewidths=0.5, zorder=3
    ).set_gid("centers")
