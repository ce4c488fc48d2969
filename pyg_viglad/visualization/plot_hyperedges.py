"""The members of a few hyperedges of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.graphs import graph_of_image, patch_size
from pyg_viglad.nn import HyperedgeData
from pyg_viglad.transforms import ImageLike
from pyg_viglad.visualization import drawing, inputs
from pyg_viglad.visualization.sheet import AxesLike, make_sheet

__all__ = ["plot_hyperedges"]

MOST = len(drawing.OKABE_ITO)


def plot_hyperedges(
    image: ImageLike,
    graph: HyperedgeData,
    hyperedges: Tensor | Sequence[int] | None = None,
    *,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    mask: Any = None,
    dimming: float = 0.7,
    width: float = 3.5,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Plots the patches that belong to several hyperedges of an image, a colour for each hyperedge.

    Squares lie on the members, whose features a hyperedge reads; a patch that several of these
    hyperedges share is divided. Dots lie on patches that read a hyperedge without being a member.

    Args:
        image: The image, ``[3, H, W]`` in [0, 1]; see :func:`~pyg_viglad.transforms.to_image`.
        graph: Its hypergraph, see :func:`~pyg_viglad.nn.to_hypergraph`, with ``pos``, ``grid_size``
            and ``img_size`` or ``img``; of a batch, ``batch[i]``.
        hyperedges: Numbers of one to seven hyperedges (default: the five with the most members).
        labels: Names of the hyperedges in the legend; default their numbers, followed by the number of
            members.
        title: Written above.
        mask: Ground truth ``[h, w]``, outlined.
        dimming: How far to fade the image, from 0 (not at all) to 1; default 0.7.
        width: Width of the figure in inches; default 3.5, one column of a journal.
        ax: Axes to draw into, in place of a new figure.

    Returns:
        The figure, with one panel.

    Raises:
        ValueError: If there are no hyperedges or more than seven, one does not exist or occurs twice,
            or the graph lacks a field.

    Example:
        >>> from pyg_viglad.nn import to_hypergraph
        >>> from pyg_viglad.transforms import ImageToGraph
        >>> data = to_hypergraph(ImageToGraph(patch_size=8, k=3)(torch.rand(3, 32, 48)), k=4)
        >>> figure = plot_hyperedges(data.img[0], data, [0, 2], labels=["sky", "roof"])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['sky', 'roof']
    """
    picture = inputs.as_image(image)
    size = inputs.size_of(picture)
    if not isinstance(graph, HyperedgeData):
        raise ValueError(f"Expected graph as HyperedgeData (got {type(graph).__name__})")
    whole = _grid_of(graph, size)
    count = int(torch.as_tensor(graph.num_hyperedges).sum())
    feeding, reading = (
        _lists(index.detach().cpu(), count)
        for index in (graph.hyperedge_index, graph.reading_index)
    )
    if hyperedges is None:
        chosen = sorted(range(count), key=lambda k: (-len(feeding[k]), k))[:5]
    else:
        chosen = [int(k) for k in hyperedges]
    if not 1 <= len(chosen) <= MOST:
        raise ValueError(f"Expected one to {MOST} hyperedges (got {len(chosen)})")
    if len(set(chosen)) < len(chosen) or not all(0 <= k < count for k in chosen):
        raise ValueError(f"Expected hyperedges that differ, from 0 to {count - 1} (got {chosen})")
    inputs.check_arguments(dimming)
    if labels is not None and (isinstance(labels, str) or len(labels) != len(chosen)):
        raise ValueError(f"Expected labels for {len(chosen)} hyperedges (got {labels!r})")
    if labels is None:
        counts = [len(feeding[k]) for k in chosen]
        names = [
            f"no. {k} ({n} member{'' if n == 1 else 's'})"
            for k, n in zip(chosen, counts, strict=True)
        ]
    else:
        names = [str(label) for label in labels]
    truth = inputs.as_mask(mask)
    members = [feeding[k] for k in chosen]
    readers = [sorted(set(reading[k]) - set(feeding[k])) for k in chosen]

    columns = min(len(chosen), max(1, int(width / (0.35 + 0.065 * max(len(n) for n in names)))))
    sheet = make_sheet(
        [size],
        1,
        column_titles=[title or ""],
        captions=1,
        bottom=0.06 + 0.15 * -(-len(chosen) // columns),
        largest=3.0,
        width=width,
        ax=ax,
    )
    panel = sheet.panels[0][0]
    drawing.show_image(panel, drawing.dim(picture, dimming), size)
    _draw_hyperedges(panel, whole, members, readers, size)
    drawing.draw_outline(panel, truth, size)
    more = "; dots: readers only" if any(readers) else ""
    drawing.caption(panel, f"members of {len(chosen)} of {count} hyperedges{more}", sheet.small)
    handles = [
        Line2D([], [], color=color, label=name, linestyle="none", marker="s", markersize=5.5)
        for color, name in zip(drawing.OKABE_ITO, names, strict=False)
    ]
    drawing.legend_below(panel, handles, sheet.small, columns)
    return sheet.figure


def _grid_of(graph: HyperedgeData, size: tuple[int, int]) -> Data:
    """Returns the graph's patches, without edges, in pixels of a picture of ``size``."""
    fields = {key: graph[key] for key in ("pos", "grid_size", "img_size", "img") if key in graph}
    edges = torch.empty(2, 0, dtype=torch.long)
    return graph_of_image(Data(edge_index=edges, **fields), size=size)


def _lists(index: Tensor, count: int) -> list[list[int]]:
    """Returns the nodes of each hyperedge."""
    found: list[list[int]] = [[] for _ in range(count)]
    for node, hyperedge in index.t().tolist():
        found[hyperedge].append(node)
    return found


def _draw_hyperedges(
    panel: Axes,
    graph: Data,
    members: Sequence[Sequence[int]],
    readers: Sequence[Sequence[int]],
    picture_size: tuple[int, int],
) -> None:
    """Draws a square on each member, divided among several hyperedges, and dots on the readers."""
    pos, patch = graph.pos.numpy(), np.array(patch_size(graph))
    point = picture_size[1] / drawing.width_on_paper(panel, picture_size)
    owners: dict[int, list[int]] = {}
    for number, nodes in enumerate(members):
        for node in nodes:
            owners.setdefault(node, []).append(number)
    width, height = 0.88 * patch  # a gap between squares keeps patches apart
    radius = max(0.22 * float(patch.min()), 0.6 * point)
    for number, (nodes, others) in enumerate(zip(members, readers, strict=True)):
        color = drawing.OKABE_ITO[number]
        parts = []
        for node in nodes:
            share = width / len(owners[node])
            left = pos[node][0] - width / 2 + share * owners[node].index(number)
            x = np.array([left, left + share, left + share, left])
            y = pos[node][1] + np.array([-height, -height, height, height]) / 2
            parts.append(np.stack([x, y], axis=1))
        style: dict[str, Any] = {"facecolors": color, "edgecolors": "none", "zorder": 2}
        squares = PolyCollection(parts, alpha=0.75, gid=f"members-{number}", **style)
        panel.add_collection(squares, autolim=False)
        circles = [Circle(tuple(pos[node]), radius) for node in others]
        style = {"facecolors": color, "edgecolors": "white", "linewidths": 0.3, "zorder": 2.1}
        dots = PatchCollection(circles, gid=f"readers-{number}", **style)
        panel.add_collection(dots, autolim=False)
