"""A whole graph over its image, and what changed since another graph."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import remove_self_loops

from pyg_viglad.graphs import graph_of_image, neighbor_changes, neighbor_ranks
from pyg_viglad.transforms import ImageLike
from pyg_viglad.visualization import drawing, inputs
from pyg_viglad.visualization.sheet import AxesLike, Sheet, make_sheet

__all__ = ["plot_graph"]

CHANGE_COLORS = {"kept": "black", "lost": drawing.OKABE_ITO[1], "gained": drawing.OKABE_ITO[0]}
DENSITY = 180  # edges for each inch of a panel's width that can still be followed


def plot_graph(
    image: ImageLike,
    graph: Data,
    before: Data | None = None,
    *,
    color_by: Literal["length", "distance"] = "length",
    every: int | None = None,
    num_neighbors: int | None = None,
    overlay: bool = False,
    title: str | None = None,
    mask: Any = None,
    dimming: float = 0.85,
    width: float | None = None,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Plots the edges of a whole graph over the dimmed image, or which of them changed.

    All edges of 3,136 patches with 12 neighbours each would be a gray block. So the figure shows all
    neighbours of **some centres**, those in every n-th row and column of patches (dots), where n is large
    enough for lines to be followed; the caption says how many edges are drawn. ``every=1`` draws all
    edges; ``every=1, num_neighbors=1`` draws one edge per patch, to its nearest neighbour.

    With ``before``, a graph on the same grid, the edges are split into those of both graphs (kept),
    of ``before`` alone (lost) and of ``graph`` alone (gained), as
    :func:`~pyg_viglad.graphs.neighbor_changes` returns them, side by side. Counts and shares are those
    of **all** edges, drawn or not: kept and lost of the edges of ``before``, gained of those of
    ``graph``. Self-loops are excluded throughout.

    Args:
        image: The image, ``[3, H, W]`` in [0, 1]; see :func:`~pyg_viglad.transforms.to_image`.
        graph: Its graph, with the fields of :mod:`pyg_viglad.graphs.patches`; of a batch, ``batch[i]``.
        before: An earlier graph on the same grid, such as ``"input"`` to the ``"decoder"``.
        color_by: Without ``before``: colour edges by their ``"length"`` in pixels of the image, or by
            the recorded ``"distance"`` of the patches' features.
        every: Draw the neighbours of the patches in every n-th row and column. Default: the smallest n
            that leaves at most 180 edges for each inch of a panel's width.
        num_neighbors: Number of nearest neighbours to draw for each; default all.
        overlay: Draw the three kinds of edges over one another in one panel, with a legend.
        title: Written above.
        mask: Ground truth ``[h, w]``, outlined.
        dimming: How far to fade the image, from 0 (not at all) to 1; default 0.85.
        width: Width of the figure in inches. Default: 3.5, one column of a journal, or 7.2, two
            columns, for the three panels of a comparison.
        ax: Axes to draw into, in place of a new figure: one, or three with ``before``.

    Returns:
        The figure; the panels are its first axes.

    Raises:
        ValueError: If a graph lacks a field, the grids differ, or an argument is out of range.

    Example:
        >>> from pyg_viglad.transforms import ImageToGraph
        >>> data = ImageToGraph(patch_size=4, k=5)(torch.rand(3, 32, 48))
        >>> figure = plot_graph(data.img[0], data)
        >>> len(figure.axes)  # the panel and the colour bar
        2
    """
    picture = inputs.as_image(image)
    size = inputs.size_of(picture)
    new = graph_of_image(graph, size=size)
    old = None if before is None else graph_of_image(before, size=size, name="before")
    if old is not None and not torch.equal(old.grid_size, new.grid_size):
        grids = (tuple(g.grid_size[0].tolist()) for g in (new, old))
        raise ValueError("Expected before on the grid of graph, {} (got {})".format(*grids))
    inputs.check_arguments(dimming, every=every, num_neighbors=num_neighbors)
    if color_by not in ("length", "distance"):
        raise ValueError(f"Expected color_by 'length' or 'distance' (got {color_by!r})")
    if color_by == "distance":
        distance = tuple(new.distance.shape) if "distance" in new else "none"
        if distance != (new.num_edges,):
            raise ValueError(
                "Expected graph to have the field 'distance' to colour by, "
                f"[{new.num_edges}] (got {distance})"
            )
    truth = inputs.as_mask(mask)

    all_edges, _ = remove_self_loops(new.edge_index)
    parts = {"edges": all_edges} if old is None else neighbor_changes(old, new)._asdict()
    labels = {} if old is None else _labels(**parts)
    single = overlay or old is None
    width = (3.5 if single else 7.2) if width is None else width
    narrow = not single and width < 5.5
    sheet = make_sheet(
        [size],
        1 if single else len(parts),
        row_labels=["" if single else title or ""],
        column_titles=[title or ""] if single else list(labels.values()),
        captions=2 if narrow else 1,
        right=0.7 if old is None else 0.0,
        bottom=0.25 if single and old is not None else 0.0,
        largest=3.0,
        width=width,
        ax=ax,
    )
    panels = sheet.panels[0]
    inches = drawing.width_on_paper(panels[0], size) / 72
    step = every or _thinning(new, _choose(new, 1, num_neighbors)[1], DENSITY * inches)
    drawn = {}
    for kind, edges in parts.items():
        chosen = _choose(old if old is not None and kind == "lost" else new, step, num_neighbors)
        drawn[kind] = torch.isin(_keys(edges, new), _keys(chosen, new))
    for panel in panels:
        drawing.show_image(panel, drawing.dim(picture, dimming), size)
        if step > 1:
            pos = new.pos[_on_step(torch.arange(len(new.pos)), new, step)]
            style: dict[str, Any] = {"c": "white", "edgecolors": "black", "linewidths": 0.5}
            x, y = pos.T.numpy()
            panel.scatter(x, y, s=5, zorder=3, gid="centers", **style)
        drawing.draw_outline(panel, truth, size)

    if old is None:
        _draw_measured(sheet, new, drawn["edges"], size, color_by)
    else:
        for number, (kind, edges) in enumerate(parts.items()):
            panel = panels[0 if single else number]
            chosen = edges[:, drawn[kind]]
            _draw_edges(panel, new, chosen, size, kind, colors=CHANGE_COLORS[kind])
        if single:
            handles = [
                Line2D([], [], color=color, linewidth=2, label=labels[kind])
                for kind, color in CHANGE_COLORS.items()
            ]
            drawing.legend_below(panels[0], handles, sheet.small)
    counts = [(int(chosen.sum()), len(chosen)) for chosen in drawn.values()]
    if single:
        counts = [(sum(n for n, _ in counts), sum(n for _, n in counts))]
    for panel, (number, total) in zip(panels, counts, strict=True):
        text = _count(number, total, step)
        drawing.caption(panel, text.replace(" (", "\n(") if narrow else text, sheet.small)
    return sheet.figure


def _labels(kept: Tensor, lost: Tensor, gained: Tensor) -> dict[str, str]:
    """Titles of the panels: the number of edges, and its share of the graph that they belong to."""
    before, after = kept.size(1) + lost.size(1), kept.size(1) + gained.size(1)
    counts = {"kept": (kept, before), "lost": (lost, before), "gained": (gained, after)}
    return {
        kind: f"{kind} {edges.size(1):,} ({100 * edges.size(1) / max(whole, 1):.0f}%)"
        for kind, (edges, whole) in counts.items()
    }


def _on_step(nodes: Tensor, graph: Data, step: int) -> Tensor:
    """Whether nodes lie in every ``step``-th row and column, the first half a step from the edge."""
    rows, columns = graph.grid_size[0].tolist()
    # Of a grid smaller than half a step, the middle.
    first = min(step // 2, rows // 2), min(step // 2, columns // 2)
    found: Tensor = (nodes // columns % step == first[0]) & (nodes % columns % step == first[1])
    return found


def _choose(graph: Data, step: int, num_neighbors: int | None = None) -> Tensor:
    """The edges to draw, ``[2, E]``: those to the nearest neighbours of the centres on the step."""
    ranks = neighbor_ranks(graph.edge_index)
    chosen = (ranks > 0) & _on_step(graph.edge_index[1], graph, step)
    if num_neighbors is not None:
        chosen &= ranks <= num_neighbors
    edges: Tensor = graph.edge_index[:, chosen]
    return edges


def _thinning(graph: Data, centers: Tensor, most: float) -> int:
    """The smallest step between centres that leaves at most ``most`` edges."""
    largest = int(graph.grid_size.max())
    fits = (n for n in range(1, largest) if int(_on_step(centers, graph, n).sum()) <= most)
    return next(fits, largest)


def _keys(edges: Tensor, graph: Data) -> Tensor:
    """A number for each pair of nodes."""
    return edges[1] * len(graph.pos) + edges[0]


def _draw_measured(
    sheet: Sheet, graph: Data, drawn: Tensor, size: tuple[int, int], color_by: str
) -> None:
    """Draw edges coloured by a value, the smallest on top, and the colour bar."""
    values: Tensor = (graph.pos[graph.edge_index[0]] - graph.pos[graph.edge_index[1]]).norm(dim=1)
    if color_by == "distance":
        values = graph.distance.double()
    edges, values = remove_self_loops(graph.edge_index, values)
    high = float(values.max()) if len(values) else 0.0
    scale = ScalarMappable(Normalize(0, high or 1.0), "viridis")
    order = drawn.nonzero()[:, 0]
    order = order[values[order].argsort(descending=True, stable=True)]
    style = {"array": values[order].numpy(), "cmap": scale.cmap, "norm": scale.norm}
    _draw_edges(sheet.panels[0][0], graph, edges[:, order], size, "edges", **style)
    bar, _ = sheet.add_bar(scale)
    unit = "length of edge (pixels)" if color_by == "length" else "distance of features"
    bar.set_label(unit, fontsize=sheet.small)


def _draw_edges(
    panel: Axes, graph: Data, edges: Tensor, size: tuple[int, int], gid: str, **style: Any
) -> None:
    """Draw edges, the last ones on top, the more transparent the more of the panel they would cover."""
    segments: inputs.Array = graph.pos[edges.flip(0).T].numpy()  # [E, 2, 2], from the centre
    length = float(np.linalg.norm(segments[:, 0] - segments[:, 1], axis=1).sum())
    point = size[1] / drawing.width_on_paper(panel, size)  # in pixels of the picture
    covered = 0.6 * point * length / (size[0] * size[1])
    lines = LineCollection(
        list(segments),
        linewidths=0.7 if covered < 1 else 0.5,
        alpha=float(np.clip(0.75 / max(covered, 0.1), 0.35, 0.9)),
        capstyle="round",
        zorder=2,
        gid=gid,
        **style,
    )
    panel.add_collection(lines, autolim=False)


def _count(drawn: int, total: int, step: int) -> str:
    if total == 0:
        return "no edges"
    if drawn == total:
        return f"all {total:,} edges"
    tens = step % 100 in (11, 12, 13)
    ending = "th" if tens else {1: "st", 2: "nd", 3: "rd"}.get(step % 10, "th")
    where = f" (every {step}{ending} patch)" if step > 1 else ""
    return f"{drawn:,} of {total:,} edges{where}"
