"""One panel of several nodes of a graph: each with a colour, shared neighbours in parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle, Wedge

from pyg_viglad.visualization._draw import casing
from pyg_viglad.visualization._graphs import PatchGraph

__all__ = ["draw_nodes", "handles"]


def draw_nodes(
    panel: Axes,
    graph: PatchGraph,
    nodes: Sequence[int],
    neighbors: Sequence[Sequence[int]],
    colors: Sequence[str],
    width_in_points: float,
) -> None:
    """Draw the nodes' patches, lines to their neighbours, and a disc on each neighbour.

    Discs are the smaller the farther the neighbour; one of several nodes is cut into a sector each.

    Args:
        panel: Where to draw, with the picture in it.
        graph: The graph.
        nodes: The nodes.
        neighbors: The neighbours of each, nearest first.
        colors: The colour of each node.
        width_in_points: Width of the panel on paper.
    """
    pos = graph.pos.numpy()
    patch = np.array(graph.patch_size)
    point = graph.picture_size[1] / width_in_points  # in pixels of the picture
    size = float(patch.min()) / point
    radius = float(np.clip(0.45 * size, 2.6, 9.0)) * point
    owners: dict[int, list[int]] = {}
    for number, found in enumerate(neighbors):
        for other in found:
            owners.setdefault(int(other), []).append(number)
    small = size < 9
    numbered = radius / point >= 8.5  # the smallest disc, too, then has room for a number
    for number, (node, found, color) in enumerate(zip(nodes, neighbors, colors, strict=True)):
        segments = [(pos[node], pos[other]) for other in found]
        for line_width, line_color, name in (
            (1.8, "white", f"casing-{number}"),
            (0.9, color, f"edges-{number}"),
        ):
            lines = LineCollection(
                segments,
                colors=line_color,
                linewidths=line_width * (1 if small else 1.3),
                alpha=0.7 if line_color == "white" else 0.9,
                zorder=2 if line_color == "white" else 2.1,
            )
            lines.set_gid(name)
            panel.add_collection(lines, autolim=False)
        sectors, texts = [], []
        for rank, other in enumerate(found, start=1):
            own = radius * (1 - 0.55 * (rank - 1) / max(len(found) - 1, 1))
            parts = owners[int(other)]
            turn = 360 / len(parts)
            start = 90 + turn * parts.index(number)
            sectors.append(Wedge(tuple(pos[other]), own, start, start + turn))
            if numbered and len(parts) == 1:
                texts.append((pos[other], rank, own / point))
        discs = PatchCollection(
            sectors, facecolors=color, edgecolors="white", linewidths=0.5, zorder=3
        )
        discs.set_gid(f"neighbors-{number}")
        panel.add_collection(discs, autolim=False)
        for (x, y), rank, room in texts:
            panel.text(
                float(x),
                float(y),
                str(rank),
                fontsize=min(7.0, 1.25 * room),
                fontweight="bold",
                color="white",
                ha="center",
                va="center_baseline",
                zorder=4,
                gid="rank",
            )
    mark = np.maximum(patch, 4.5 * point)
    for number, (node, color) in enumerate(zip(nodes, colors, strict=True)):
        square = Rectangle(
            (float(pos[node][0] - mark[0] / 2), float(pos[node][1] - mark[1] / 2)),
            float(mark[0]),
            float(mark[1]),
            fill=False,
            edgecolor=color,
            linewidth=1.5 if small else 2.0,
            joinstyle="miter",
            zorder=5,
            clip_on=False,
            gid=f"node-{number}",
        )
        square.set_path_effects(casing(3.0 if small else 3.6))
        panel.add_patch(square)


def handles(labels: Sequence[str], colors: Sequence[str]) -> list[Any]:
    """Return what a legend shows of the nodes."""
    return [
        Line2D(
            [],
            [],
            linestyle="none",
            marker="s",
            markersize=5.5,
            markerfacecolor="none",
            markeredgewidth=1.6,
            color=color,
            label=label,
        )
        for label, color in zip(labels, colors, strict=True)
    ]
