"""The neighbours that a node's reconstruction error depends on, by the weights of an explanation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch_geometric.data import Data

from pyg_viglad.graphs import explained_neighbors, graph_of_image
from pyg_viglad.transforms import ImageLike
from pyg_viglad.visualization import drawing, inputs
from pyg_viglad.visualization.sheet import AxesLike, make_sheet

__all__ = ["plot_explanation"]


def plot_explanation(
    image: ImageLike,
    explanations: Data | Mapping[str, Data],
    *,
    num_neighbors: int | None = None,
    num_edges: int | None = None,
    title: str | None = None,
    mask: Any = None,
    dimming: float = 0.7,
    panel_size: float | None = None,
    width: float | None = None,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Plots the explained node and its neighbours, coloured by the weights of their edges.

    The node's patch has a red outline. The heavier the edge to a neighbour, the darker and wider its line;
    where there is room, neighbours are numbered from the heaviest. The caption states the node's error
    and, for ``"occlusion"`` and ``"captum"``, the share that is due to the heaviest edge. Several
    explanations, of other blocks or by other algorithms, stand side by side.

    Args:
        image: The image that was explained; see :func:`~pyg_viglad.transforms.to_image`.
        explanations: What :func:`~pyg_viglad.graphs.explain_node` returned, or several by name.
        num_neighbors: Number of neighbours to draw, the heaviest; default all.
        num_edges: Also draw this many edges to other nodes, the heaviest, as lines alone,
            if their weight is above 0; default none.
        title: Written beside the panels.
        mask: Ground truth ``[h, w]``, outlined.
        dimming: How far to fade the image, from 0 (not at all) to 1; default 0.7.
        panel_size: Width in inches of the panel of a square image; default 2.5, less where many columns
            have to fit into a notebook.
        width: Width of the whole figure in inches instead.
        ax: Axes to draw into, one for each explanation, in place of a new figure.

    Returns:
        The figure; the panels are its first axes.

    Raises:
        ValueError: If a field is missing or does not fit, or an argument is out of range.

    Example:
        >>> import torch
        >>> from pyg_viglad import ViGLAD
        >>> from pyg_viglad.graphs import explain_node
        >>> model, image = ViGLAD("small", image_size=96), torch.rand(3, 96, 96)
        >>> explanation = explain_node(model, image, algorithm="occlusion")
        >>> figure = plot_explanation(image, explanation)
        >>> figure.axes[0].get_title().splitlines()[0]
        'decoder block 12'
    """
    picture = inputs.as_image(image)
    size = inputs.size_of(picture)
    if isinstance(explanations, Data):
        explanations = {"": explanations}
    inputs.check_names(explanations, "explanations")
    inputs.check_arguments(dimming, num_neighbors=num_neighbors, num_edges=num_edges)
    truth = inputs.as_mask(mask)
    views = {name: _read(graph, size, name) for name, graph in explanations.items()}
    sheet = make_sheet(
        [size],
        len(views),
        row_labels=[title or ""],
        column_titles=[_column_title(name, view) for name, view in views.items()],
        captions=1,
        right=0.75 if width is None else 0.66,
        largest=2.5,
        panel_size=panel_size,
        width=width,
        ax=ax,
    )
    colors = drawing.weight_colors()
    for panel, view in zip(sheet.panels[0], views.values(), strict=True):
        neighbors, weights = (
            values[:num_neighbors].tolist() for values in explained_neighbors(view)
        )
        drawing.draw_node(
            panel, picture, view, view.center, neighbors, colors, weights=weights, dimming=dimming
        )
        _draw_others(panel, view, num_edges or 0, colors)
        drawing.draw_outline(panel, truth, size)
        wide = drawing.width_on_paper(panel, size) > 22 * sheet.small
        drawing.caption(panel, _caption(view, wide), sheet.small)
    bar, length = sheet.add_bar(colors)
    words = "weight of edge" if length > 0.9 else "weight"
    bar.set_label(words, fontsize=(sheet.font + sheet.small) / 2)
    return sheet.figure


def _read(graph: Data, size: tuple[int, int], name: str) -> Data:
    """The explanation in pixels of the picture."""
    name = f"explanations[{name!r}]" if name else "the explanation"
    missing = [key for key in ("edge_mask", "center", "error", "block") if key not in graph]
    if missing:
        raise ValueError(f"Expected {name} with {missing[0]!r} (got {graph.keys()})")
    return graph_of_image(graph, size=size, name=name)


def _column_title(name: str, view: Data) -> str:
    part, _, number = view.block.partition(".")
    rows, columns = view.grid_size[0].tolist()
    # Counted from 1, as in the figures' text.
    heading = name or f"{part} block {int(number) + 1}"
    return f"{heading}\n{rows} \N{MULTIPLICATION SIGN} {columns} nodes"


def _caption(view: Data, wide: bool) -> str:
    """The error, and the part of it that is due to the edge of weight 1, where that is known."""
    text = f"error {float(view.error):.2g}"
    if wide and "edge_effect" in view and view.num_edges:
        part = float(view.edge_effect.max())
        text += f", {part:.1%} of it by the heaviest edge" if part > 0 else ", raised by no edge"
    return text


def _draw_others(panel: Axes, view: Data, count: int, colors: ScalarMappable) -> None:
    """Draw the heaviest edges to other nodes than the explained one, the heaviest on top."""
    edges, weights = view.edge_index, view.edge_mask
    other = (edges[1] != view.center) & (edges[0] != edges[1]) & (weights > 0)
    order = weights.masked_fill(~other, -1).argsort(descending=True, stable=True)
    chosen = order[: min(count, int(other.sum()))].flip(0)
    values = weights[chosen].numpy()
    style: dict[str, Any] = {"array": values, "cmap": colors.cmap, "norm": colors.norm}
    lines = LineCollection(
        list(view.pos[edges[:, chosen].flip(0).T].numpy()),  # from the centre
        linewidths=0.4 + 0.8 * values,
        zorder=2.15,
        gid="other-edges",
        **style,
    )
    panel.add_collection(lines, autolim=False)
