"""The neighbours of an anomalous patch in one graph after the other (Figure 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.graphs import (
    graph_of_image,
    most_anomalous_node,
    neighbor_changes,
    neighbors_of,
    node_at,
    position_of,
    select_graphs,
)
from pyg_viglad.scoring import peak
from pyg_viglad.visualization import drawing, inputs
from pyg_viglad.visualization.sheet import AxesLike, image_labels, make_sheet

__all__ = ["plot_node_graphs"]


class _View(NamedTuple):
    """What a panel shows: a node of an image's graph, and how many neighbours it has kept."""

    graph: Data
    node: int
    neighbors: list[int]
    kept: str


def plot_node_graphs(
    images: inputs.Images,
    graphs: Mapping[str, Data],
    nodes: inputs.Nodes | None = None,
    *,
    blocks: Sequence[str] | None = None,
    anomaly_maps: inputs.Maps | None = None,
    num_neighbors: int | None = None,
    titles: Sequence[str] | None = None,
    scores: inputs.Numbers | None = None,
    node_scores: inputs.Numbers | None = None,
    masks: inputs.Maps | None = None,
    dimming: float = 0.7,
    panel_size: float | None = None,
    width: float | None = None,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Plots the most anomalous patch of each image and its neighbours in each graph (Figure 5).

    A row shows one image, a column one graph: for ViGLAD the graphs before the encoder, after it and
    after the decoder. In each of them the node is the one whose patch contains the position

    .. math:: \arg\max_{(x, y)} M(x, y)

    of its anomaly map :math:`M`. Its patch has a red outline; the patches of its neighbours and
    the lines to them are coloured by rank, and numbered where there is room. A line under a graph
    with the grid of the first column says how many neighbours of the first one it has kept: a
    normal image's decoder graph should resemble its input graph, an anomalous one's should not.

    What :func:`~pyg_viglad.graphs.record_graphs` gives can be drawn as it is.

    Args:
        images: Images ``[B, 3, H, W]`` in [0, 1], one image, or a list of images of any sizes and kinds that
            :func:`~pyg_viglad.transforms.to_image` reads.
        graphs: The columns, in order, such as ``{"input": ..., "encoder": ..., "decoder": ...}``: each
            a ``Data`` or ``Batch`` over all images with the fields of :mod:`pyg_viglad.graphs.patches`.
        nodes: For each image the position (x, y) in pixels of ``images``, as ``[B, 2]``, or the number of
            a node in the grid of the first graph, as ``[B]``; for one image, also one position or
            number. Default: where ``anomaly_maps`` is largest, or without it the node of the first
            graph with the largest recorded ``node_score`` (else ``combined_score``).
        blocks: The names of the graphs to draw, such as ``["input", "encoder.5", "decoder"]``. Default:
            all, or of the graphs of all blocks those of :func:`~pyg_viglad.graphs.select_graphs`.
        anomaly_maps: Anomaly maps ``[B, h, w]`` of the whole images at any resolution, in place of ``nodes``.
        num_neighbors: Number of nearest neighbours to draw; default all.
        titles: A title per image.
        scores: The anomaly score of each image, written beside its title.
        node_scores: The score of each image's node in standard deviations, written there too.
        masks: Ground truth ``[B, h, w]``, outlined.
        dimming: How far to fade the images, from 0 (not at all) to 1; default 0.7.
        panel_size: Width in inches of the panel of a square image; default 2.5, less where many columns
            have to fit into a notebook.
        width: Width of the whole figure in inches instead, such as 3.5 for one column of a journal or
            7.2 for two; text shrinks with the panels, to 6 points.
        ax: Axes to draw into, ``[images, graphs]`` (flat for one image or graph), in place of a new
            figure; the colour bar takes its room from them.

    Returns:
        The figure; the panels are its first axes, row by row.

    Raises:
        ValueError: If lengths do not match, a graph is missing or lacks a field, a node does not exist
            or a position lies outside its image.

    Example:
        >>> from pyg_viglad.transforms import ImageToGraph
        >>> data = ImageToGraph(patch_size=8, k=5)(torch.rand(3, 32, 48))
        >>> figure = plot_node_graphs(data.img, {"input": data}, nodes=[9])
        >>> len(figure.axes)  # one panel and the colour bar
        2
    """
    pictures = inputs.as_images(images)
    sizes = [inputs.size_of(picture) for picture in pictures]
    count = len(pictures)
    inputs.check_names(graphs, "graphs")
    inputs.check_arguments(dimming, num_neighbors=num_neighbors)
    graphs = _chosen(graphs, blocks)
    labels = image_labels(count, titles, scores=scores, node_scores=node_scores)
    truths = inputs.as_masks(masks, count)

    # For each graph a list over the images; then for each image its views, one per graph.
    columns = [_read(graph, sizes, f"graphs[{name!r}]") for name, graph in graphs.items()]
    places = _places(nodes, anomaly_maps, columns[0], sizes)
    views = [
        [_view(graph, None if graph is row[0] else row[0], place) for graph in row]
        for *row, place in zip(*columns, places, strict=True)
    ]
    most = max(len(view.neighbors[:num_neighbors]) for row in views for view in row)
    sheet = make_sheet(
        sizes,
        len(columns),
        row_labels=labels,
        column_titles=[
            _column_title(name, column)
            for name, column in zip(graphs, zip(*views, strict=True), strict=True)
        ],
        captions=int(any(view.kept for row in views for view in row)),
        right=(0.75 if width is None else 0.58) if most else 0.0,
        largest=2.5,
        panel_size=panel_size,
        width=width,
        ax=ax,
    )
    colors = drawing.rank_colors(max(most, 1))
    for i, (picture, size) in enumerate(zip(pictures, sizes, strict=True)):
        for panel, (graph, node, neighbors, kept) in zip(sheet.panels[i], views[i], strict=True):
            found = neighbors[:num_neighbors]
            drawing.draw_node(panel, picture, graph, node, found, colors, dimming=dimming)
            drawing.draw_outline(panel, truths[i] if truths else None, size)
            if kept:
                narrow = drawing.width_on_paper(panel, size) < 90
                words = "kept" if narrow else "neighbours kept"
                drawing.caption(panel, f"{kept} {words}", sheet.small)
    if most:
        sheet.add_rank_bar(colors, most)
    return sheet.figure


def _chosen(graphs: Mapping[str, Data], blocks: Sequence[str] | None) -> Mapping[str, Data]:
    """The graphs to draw, by the names in their titles."""
    if blocks is None:
        recorded = {"input", "encoder", "encoder.0", "decoder"} <= set(graphs)
        return select_graphs(graphs) if recorded else graphs
    missing = [name for name in blocks if name not in graphs]
    if isinstance(blocks, str) or not blocks or missing:
        got = blocks if isinstance(blocks, str) or not blocks else missing[0]
        raise ValueError(f"Expected blocks to name graphs, of {list(graphs)} (got {got!r})")
    return {name: graphs[name] for name in blocks}


def _read(graph: Data, sizes: list[tuple[int, int]], name: str) -> list[Data]:
    """The graph of each image, in pixels of its picture."""
    grids = getattr(graph, "grid_size", None)
    if isinstance(grids, Tensor) and len(grids.reshape(-1, 2)) != len(sizes):
        raise ValueError(
            f"Expected {name} to hold one graph for each of the {len(sizes)} images "
            f"(got {len(grids.reshape(-1, 2))})"
        )
    return [graph_of_image(graph, i, size=size, name=name) for i, size in enumerate(sizes)]


def _places(
    nodes: inputs.Nodes | None,
    maps: inputs.Maps | None,
    graphs: Sequence[Data],
    sizes: list[tuple[int, int]],
) -> list[inputs.XY]:
    """The position in each picture to look at."""
    if nodes is not None:
        return inputs.as_positions(nodes, graphs)
    places = []
    if maps is None:
        for graph in graphs:
            node = most_anomalous_node(graph)
            if node is None:
                raise ValueError("Expected nodes or anomaly_maps (got neither)")
            places.append(position_of(graph, node))
        return places
    arrays = inputs.as_maps(maps, "anomaly_maps", len(graphs))
    for values, (height, width) in zip(arrays, sizes, strict=True):
        rows, columns = values.shape
        row, column = divmod(int(peak(torch.from_numpy(values)[None])), columns)
        places.append(((column + 0.5) * width / columns, (row + 0.5) * height / rows))
    return places


def _view(graph: Data, first: Data | None, place: inputs.XY) -> _View:
    """The node at a position, and what it has kept of its neighbours in a first graph on the same grid."""
    node, kept = node_at(graph, place), ""
    if first is not None and torch.equal(first.grid_size, graph.grid_size):
        stays, lost, _ = (int((e[1] == node).sum()) for e in neighbor_changes(first, graph))
        kept = f"{stays} of {stays + lost}" if stays + lost else ""
    return _View(graph, node, neighbors_of(graph, node).tolist(), kept)


def _column_title(name: str, views: Sequence[_View]) -> str:
    grids = sorted({tuple(view.graph.grid_size[0].tolist()) for view in views})
    grid = "different grids"
    if len(grids) == 1:
        grid = "{} \N{MULTIPLICATION SIGN} {}".format(*grids[0])
    degrees = [int((view.graph.edge_index[1] == view.node).sum()) for view in views]
    low, high = min(degrees), max(degrees)
    k = f"{low}" if low == high else f"{low} to {high}"
    loops = any(n > len(view.neighbors) for n, view in zip(degrees, views, strict=True))
    part, _, number = name.partition(".")
    if number.isdigit():
        name = f"{part} block {int(number) + 1}"  # counted from 1, as in the figures' text
    heading = name if "graph" in name.lower() else f"{name} graph"
    # Spaces that do not break: a long title is broken between its parts.
    facts = f"{grid}, k = {k}".replace(" ", drawing.NO_BREAK).replace(f",{drawing.NO_BREAK}", ", ")
    return f"{heading}\n{facts}" + (f" incl.{drawing.NO_BREAK}itself" if loops else "")
