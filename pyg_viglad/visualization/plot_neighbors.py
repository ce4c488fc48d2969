"""The neighbours of several patches in one graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.transforms import ImageLike
from pyg_viglad.visualization._graphs import one_graph
from pyg_viglad.visualization._inputs import (
    AxesLike,
    as_image,
    as_mask,
    check_counts,
    check_dimming,
)
from pyg_viglad.visualization._places import XY, as_places

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_neighbors"]

# Okabe and Ito's colours, told apart with every kind of colour vision.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#e69f00")


def plot_neighbors(
    image: ImageLike,
    graph: Data,
    nodes: Tensor | Sequence[int] | Sequence[XY],
    *,
    num_neighbors: int | None = None,
    labels: Sequence[str] | None = None,
    title: str | None = None,
    mask: Any = None,
    dimming: float = 0.7,
    width: float = 3.5,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Draw the neighbours of several patches in one graph, a colour for each patch.

    A disc lies on every neighbour, the larger the nearer its rank, with the rank where there is
    room; a neighbour that several patches share is cut into a sector for each.

    Args:
        image: The image, ``[3, H, W]`` in [0, 1]; see :func:`~pyg_viglad.transforms.to_image`.
        graph: Its graph, a ``Data`` with ``pos``, ``edge_index`` (row 0 neighbour, row 1 centre,
            nearest first), ``grid_size`` and ``img_size``; of a batch, ``batch[i]``.
        nodes: One to seven patches: numbers of nodes ``[n]``, or positions (x, y) in pixels of the
            image ``[n, 2]``.
        num_neighbors: Draw only so many neighbours of each, the nearest; default all.
        labels: What the legend calls the patches; default their numbers.
        title: Written above.
        mask: True anomaly ``[h, w]``, outlined.
        dimming: How far to dim the image, from 0 (not at all) to 1; default 0.7.
        width: Width of the figure in inches; default 3.5, one column of a journal.
        ax: Axes to draw into, in place of a new figure.

    Returns:
        The figure, with one panel.

    Raises:
        ValueError: If a node does not exist or occurs twice, there are none or more than can be told
            apart, or the graph lacks a field.

    Example:
        >>> from pyg_viglad.transforms import ImageToGraph
        >>> data = ImageToGraph(patch_size=8, k=5)(torch.rand(3, 32, 48))
        >>> figure = plot_neighbors(data.img[0], data, [3, 17])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['node 3', 'node 17']
    """
    picture = as_image(image)
    size = (int(picture.shape[0]), int(picture.shape[1]))
    whole = one_graph(graph, "graph", size)
    count = len(nodes)
    if not 1 <= count <= len(COLORS):
        raise ValueError(f"Expected one to {len(COLORS)} nodes (got {count})")
    places = as_places(torch.as_tensor(nodes), [whole] * count)
    chosen = [whole.node_at(place) for place in places]
    if len(set(chosen)) < count:
        raise ValueError(f"Expected nodes that differ (got {chosen})")
    check_counts(num_neighbors=num_neighbors)
    check_dimming(dimming)
    if labels is not None and (isinstance(labels, str) or len(labels) != count):
        raise ValueError(f"Expected labels for {count} nodes (got {labels!r})")
    names = [f"node {n}" for n in chosen] if labels is None else [str(label) for label in labels]
    truth = as_mask(mask)
    neighbors = [whole.neighbors(node)[:num_neighbors] for node in chosen]

    from pyg_viglad.visualization import _draw, _edge_panel, _sheet, _wedge_panel

    columns = min(count, max(1, int(width / (0.35 + 0.065 * max(len(n) for n in names)))))
    rows = -(-count // columns)
    sheet = _sheet.make_sheet(
        [size],
        1,
        panel_size=None,
        largest=3.0,
        row_labels=[""],
        column_titles=[title or ""],
        captions=1,
        bottom=0.06 + 0.15 * rows,
        width=width,
        ax=ax,
    )
    panel = sheet.panels[0][0]
    _edge_panel.draw_picture(panel, picture, dimming)
    if truth is not None:
        _draw.draw_outline(panel, truth, size)
    colors = COLORS[:count]
    _wedge_panel.draw_nodes(panel, whole, chosen, neighbors, colors, sheet.points(panel, size))
    most = max(len(found) for found in neighbors)
    if most:
        more = "; shared neighbours divided" if sheet.points(panel, size) > 200 else ""
        _draw.caption(panel, f"larger is nearer, ranks 1 to {most}{more}", sheet.small)
    _edge_panel.legend_below(sheet, _wedge_panel.handles(names, colors), columns)
    return sheet.figure
