"""A whole graph over its image, and what changed since another graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch_geometric.data import Data

from pyg_viglad.transforms import ImageLike
from pyg_viglad.visualization._edges import Edges, on_step, split_edges, thinning
from pyg_viglad.visualization._graphs import one_graph
from pyg_viglad.visualization._inputs import (
    AxesLike,
    as_image,
    as_mask,
    check_counts,
    check_dimming,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_graph"]

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
    r"""Draw the edges of a whole graph over the dimmed image, or which of them changed.

    All edges of 3,136 patches with 12 neighbours each are a gray block. So the picture shows all
    neighbours of **some centres**: those in every n-th row and column of patches (dots), n so large
    that lines can still be followed; a line under the picture says how many edges that are of how
    many. ``every=1`` draws all; ``every=1, num_neighbors=1`` draws one edge a patch, which shows
    where whole regions look.

    With ``before``, a graph on the same grid, the edges are split into those of both graphs (kept),
    of ``before`` alone (lost) and of ``graph`` alone (gained), side by side. Their counts and shares
    are those of **all** edges, drawn or not: kept and lost of the edges of ``before``, gained of those
    of ``graph``. Edges from a patch to itself are left out throughout.

    Args:
        image: The image, ``[3, H, W]`` in [0, 1]; see :func:`~pyg_viglad.transforms.to_image`.
        graph: Its graph, a ``Data`` with ``pos``, ``edge_index`` (row 0 neighbour, row 1 centre,
            nearest first), ``grid_size`` and ``img_size``; of a batch, ``batch[i]``.
        before: An earlier graph on the same grid, such as ``"input"`` to the ``"decoder"``.
        color_by: Without ``before``: colour edges by their ``"length"`` in pixels of the image, or
            by the ``"distance"`` of the patches' features, which the graph then has to have.
        every: Draw the neighbours of the patches in every so many-th row and column. Default: the
            smallest step that leaves at most 180 edges for each inch of a panel's width.
        num_neighbors: Draw only so many neighbours of each, the nearest; default all.
        overlay: Draw the three kinds of edges over one another in one panel, with a legend.
        title: Written above.
        mask: True anomaly ``[h, w]``, outlined.
        dimming: How far to dim the image, from 0 (not at all) to 1; default 0.85.
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
    picture = as_image(image)
    size = (int(picture.shape[0]), int(picture.shape[1]))
    new = one_graph(graph, "graph", size)
    old = None if before is None else one_graph(before, "before", size)
    if old is not None and old.grid_size != new.grid_size:
        raise ValueError(
            f"Expected before on the grid of graph, {new.grid_size} (got {old.grid_size})"
        )
    check_counts(every=every, num_neighbors=num_neighbors)
    check_dimming(dimming)
    if color_by not in ("length", "distance"):
        raise ValueError(f"Expected color_by 'length' or 'distance' (got {color_by!r})")
    truth = as_mask(mask)

    distance = new.links()[1]
    if color_by == "distance" and distance is None:
        raise ValueError("Expected graph to have the field 'distance' to colour by (got none)")

    from pyg_viglad.visualization import _draw, _edge_panel, _sheet

    single = overlay or old is None
    kinds = split_edges(new, old, 1, None)
    width = (3.5 if single else 7.2) if width is None else width
    narrow = not single and width < 5.5
    sheet = _sheet.make_sheet(
        [size],
        1 if single else len(kinds),
        panel_size=None,
        largest=3.0,
        row_labels=["" if single else title or ""],
        column_titles=[title or ""] if single else [_count(kind) for kind in kinds],
        captions=2 if narrow else 1,
        right=0.7 if old is None else 0.0,
        bottom=0.25 if single and old is not None else 0.0,
        width=width,
        ax=ax,
    )
    panels = sheet.panels[0]
    points = sheet.points(panels[0], size)
    step = every or thinning(new, DENSITY * points / 72)
    kinds = split_edges(new, old, step, num_neighbors)
    centers = on_step(torch.arange(new.pos.size(0)), new, step).nonzero().flatten()
    for panel in panels:
        _edge_panel.draw_picture(panel, picture, dimming)
        if step > 1:
            _edge_panel.draw_centers(panel, new, centers.numpy())
        if truth is not None:
            _draw.draw_outline(panel, truth, size)
    if old is None:
        values = (new.pos[kinds[0].links[0]] - new.pos[kinds[0].links[1]]).norm(dim=1)
        if color_by == "distance" and distance is not None:
            values = distance
        _edge_panel.draw_measured(sheet, new, kinds[0], values.numpy(), points, color_by)
    else:
        for number, kind in enumerate(kinds):
            _edge_panel.draw_kind(panels[0 if single else number], new, kind, points)
        if single:
            _edge_panel.add_legend(sheet, {kind.name: _count(kind) for kind in kinds})
    for number, panel in enumerate(panels):
        text = _drawn(kinds if single else [kinds[number]], step)
        _draw.caption(panel, text.replace(" (", "\n(") if narrow else text, sheet.small)
    return sheet.figure


def _count(kind: Edges) -> str:
    """The number of all edges of a kind and their share of the graph they belong to."""
    number = kind.links.size(1)
    return f"{kind.name} {number:,} ({100 * number / max(kind.whole, 1):.0f}%)"


def _drawn(kinds: list[Edges], step: int) -> str:
    drawn = sum(int(kind.drawn.sum()) for kind in kinds)
    total = sum(kind.links.size(1) for kind in kinds)
    if total == 0:
        return "no edges"
    if drawn == total:
        return f"all {total:,} edges"
    tens = step % 100 in (11, 12, 13)
    ending = "th" if tens else {1: "st", 2: "nd", 3: "rd"}.get(step % 10, "th")
    where = f" (every {step}{ending} patch)" if step > 1 else ""
    return f"{drawn:,} of {total:,} edges{where}"
