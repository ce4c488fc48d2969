"""The neighbours of several patches in one graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Wedge
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.graphs import graph_of_image, neighbors_of, node_at, patch_size
from pyg_viglad.transforms import ImageLike
from pyg_viglad.visualization import drawing, inputs
from pyg_viglad.visualization.sheet import AxesLike, make_sheet

__all__ = ["plot_neighbors"]


def plot_neighbors(
    image: ImageLike,
    graph: Data,
    nodes: Tensor | Sequence[int] | Sequence[inputs.XY],
    *,
    num_neighbors: int | None = None,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    mask: Any = None,
    dimming: float = 0.7,
    width: float = 3.5,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Plots the neighbours of several patches in one graph, a colour for each patch.

    A disc lies on every neighbour, the larger the nearer its rank, with the rank where there is
    room; a neighbour that several patches share is cut into a sector for each.

    Args:
        image: The image, ``[3, H, W]`` in [0, 1]; see :func:`~pyg_viglad.transforms.to_image`.
        graph: Its graph, with the fields of :mod:`pyg_viglad.graphs.patches`; of a batch, ``batch[i]``.
        nodes: One to seven patches: numbers of nodes ``[n]``, or positions (x, y) in pixels of the
            image ``[n, 2]``.
        num_neighbors: Number of nearest neighbours to draw for each; default all.
        labels: Names of the patches in the legend; default their numbers.
        title: Written above.
        mask: Ground truth ``[h, w]``, outlined.
        dimming: How far to fade the image, from 0 (not at all) to 1; default 0.7.
        width: Width of the figure in inches; default 3.5, one column of a journal.
        ax: Axes to draw into, in place of a new figure.

    Returns:
        The figure, with one panel.

    Raises:
        ValueError: If there are no nodes or more than seven, a node does not exist or occurs twice, or
            the graph lacks a field.

    Example:
        >>> import torch
        >>> from pyg_viglad.transforms import ImageToGraph
        >>> data = ImageToGraph(patch_size=8, k=5)(torch.rand(3, 32, 48))
        >>> figure = plot_neighbors(data.img[0], data, [3, 17])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['node 3', 'node 17']
    """
    picture = inputs.as_image(image)
    size = inputs.size_of(picture)
    whole = graph_of_image(graph, size=size)
    count = len(nodes)
    if not 1 <= count <= len(drawing.OKABE_ITO):
        raise ValueError(f"Expected one to {len(drawing.OKABE_ITO)} nodes (got {count})")
    places = inputs.as_positions(nodes, [whole] * count)
    chosen = [node_at(whole, place) for place in places]
    if len(set(chosen)) < count:
        raise ValueError(f"Expected nodes that differ (got {chosen})")
    inputs.check_arguments(dimming, num_neighbors=num_neighbors)
    if labels is not None and (isinstance(labels, str) or len(labels) != count):
        raise ValueError(f"Expected labels for {count} nodes (got {labels!r})")
    names = [f"node {n}" for n in chosen] if labels is None else [str(label) for label in labels]
    truth = inputs.as_mask(mask)
    neighbors = [neighbors_of(whole, node).tolist()[:num_neighbors] for node in chosen]

    columns = min(count, max(1, int(width / (0.35 + 0.065 * max(len(n) for n in names)))))
    sheet = make_sheet(
        [size],
        1,
        column_titles=[title or ""],
        captions=1,
        bottom=0.06 + 0.15 * -(-count // columns),
        largest=3.0,
        width=width,
        ax=ax,
    )
    panel = sheet.panels[0][0]
    drawing.show_image(panel, drawing.dim(picture, dimming), size)
    drawing.draw_outline(panel, truth, size)
    _draw_nodes(panel, whole, chosen, neighbors, size)
    most = max(len(found) for found in neighbors)
    if most:
        more = "; shared neighbours divided" if drawing.width_on_paper(panel, size) > 200 else ""
        drawing.caption(panel, f"larger is nearer, ranks 1 to {most}{more}", sheet.small)
    square: dict[str, Any] = {"linestyle": "none", "marker": "s", "markersize": 5.5}
    square |= {"markerfacecolor": "none", "markeredgewidth": 1.6}
    handles = [
        Line2D([], [], color=color, label=name, **square)
        for color, name in zip(drawing.OKABE_ITO, names, strict=False)
    ]
    drawing.legend_below(panel, handles, sheet.small, columns)
    return sheet.figure


def _draw_nodes(
    panel: Axes,
    graph: Data,
    nodes: Sequence[int],
    neighbors: Sequence[Sequence[int]],
    picture_size: tuple[int, int],
) -> None:
    """Draw the nodes' patches, lines to their neighbours, and a disc on each neighbour.

    Discs are smaller for farther neighbours; a neighbour of several nodes is cut into a sector for each.
    """
    pos, patch = graph.pos.numpy(), np.array(patch_size(graph))
    point = picture_size[1] / drawing.width_on_paper(
        panel, picture_size
    )  # in pixels of the picture
    points = float(patch.min()) / point
    radius = float(np.clip(0.45 * points, 2.6, 9.0))  # of the nearest, in points
    small = points < 9
    owners: dict[int, list[int]] = {}
    for number, found in enumerate(neighbors):
        for other in found:
            owners.setdefault(other, []).append(number)
    for number, (node, found) in enumerate(zip(nodes, neighbors, strict=True)):
        color = drawing.OKABE_ITO[number]
        lines = [(pos[node], pos[other]) for other in found]
        width = 0.9 if small else 1.17
        style: dict[str, Any] = {"linewidths": 2 * width, "alpha": 0.7, "zorder": 2}
        under = LineCollection(lines, colors="white", gid=f"casing-{number}", **style)
        style = {"linewidths": width, "alpha": 0.9, "zorder": 2.1}
        over = LineCollection(lines, colors=color, gid=f"edges-{number}", **style)
        sectors = []
        for rank, other in enumerate(found, start=1):
            own = radius * (1 - 0.55 * (rank - 1) / max(len(found) - 1, 1))
            parts = owners[other]
            turn = 360 / len(parts)
            start = 90 + turn * parts.index(number)
            sectors.append(Wedge(tuple(pos[other]), own * point, start, start + turn))
            if radius >= 8.5 and len(parts) == 1:  # the smallest disc, too, has room for a number
                panel.text(
                    float(pos[other][0]),
                    float(pos[other][1]),
                    str(rank),
                    fontsize=min(7.0, 1.25 * own),
                    fontweight="bold",
                    color="white",
                    ha="center",
                    va="center_baseline",
                    zorder=4,
                    gid="rank",
                )
        style = {"facecolors": color, "edgecolors": "white", "linewidths": 0.5, "zorder": 3}
        discs = PatchCollection(sectors, gid=f"neighbors-{number}", **style)
        for collection in (under, over, discs):
            panel.add_collection(collection, autolim=False)
        mark = np.maximum(patch, 4.5 * point)
        strokes = (1.5, 3.0) if small else (2.0, 3.6)
        drawing.draw_node_square(panel, pos[node], mark, color, *strokes, f"node-{number}")
