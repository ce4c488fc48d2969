"""The neighbours of an anomalous patch in one graph after the other (Figure 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch_geometric.data import Data

from pyg_viglad.graphs import (
    graphs_of_images,
    most_anomalous_node,
    neighbor_changes,
    neighbors_of,
    node_at,
    position_of,
    select_graphs,
)
from pyg_viglad.scoring import peak
from pyg_viglad.visualization.drawing import (
    NO_BREAK,
    XY,
    AxesLike,
    Images,
    Maps,
    Nodes,
    Numbers,
    as_images,
    as_maps,
    as_numbers,
    as_positions,
    as_texts,
    caption,
    check_arguments,
    draw_node,
    draw_outline,
    format_number,
    make_sheet,
    rank_colors,
    size_of,
    width_on_paper,
)

__all__ = ["plot_node_graphs"]


def plot_node_graphs(
    images: Images,
    graphs: Mapping[str, Data],
    nodes: Nodes | None = None,
    *,
    blocks: Sequence[str] | None = None,
    anomaly_maps: Maps | None = None,
    num_neighbors: int | None = None,
    titles: Sequence[str] | None = None,
    scores: Numbers | None = None,
    node_scores: Numbers | None = None,
    masks: Maps | None = None,
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
        images: Images ``[B, 3, H, W]`` in [0, 1], one image, or a list of images of any sizes; see
            :func:`~pyg_viglad.transforms.to_image` for what else an image may be.
        graphs: The columns, in order, such as ``{"input": ..., "encoder": ..., "decoder": ...}``:
            each a ``Data`` or ``Batch`` over all images with ``pos`` (patch centres in pixels of
            the image that the graph saw), ``edge_index`` (row 0 neighbour, row 1 centre, nearest
            first), ``grid_size`` ``[B, 2]`` (rows, columns) and ``img_size`` ``[B, 2]`` (height
            and width of the image that the graph saw; default: those of its field ``img``).
        nodes: For each image the position (x, y) in pixels of ``images``, as ``[B, 2]``, or the
            number of a node in the grid of the first graph, as ``[B]``; of one image, also one
            position or number alone. Default: where ``anomaly_maps`` is largest, or without it the
            node of the first graph whose recorded ``node_score`` (else ``combined_score``) is.
        blocks: The names of the graphs to draw, such as ``["input", "encoder.5", "decoder"]``.
            Default: all, but of the graphs of every block those that
            :func:`~pyg_viglad.graphs.select_graphs` picks.
        anomaly_maps: Anomaly maps ``[B, h, w]`` of the whole images at any resolution; only read
            where ``nodes`` is ``None``.
        num_neighbors: Draw only so many neighbours, the nearest; default all.
        titles: A title for each image.
        scores: The anomaly score of each image, written beside its title.
        node_scores: The score of each image's drawn node, in standard deviations.
        masks: True anomalies ``[B, h, w]``, outlined.
        dimming: How far to dim the images, from 0 (not at all) to 1; default 0.7.
        panel_size: Width of the panel of a square image in inches; default 2.5, less
            where many columns have to fit into a notebook.
        width: Width of the whole figure in inches in place of ``panel_size``, such as 3.5 for one
            column of a journal or 7.2 for two; text shrinks with the panels, to 6 points.
        ax: Axes to draw into, ``[images, graphs]`` (flat for one image or graph), in place of a
            new figure; the colour bar takes its room from them.

    Returns:
        The figure; the panels are its first axes, row by row.

    Raises:
        ValueError: If lengths do not match, a graph is missing or lacks a field, a node does not exist or a
            position lies outside its image.

    Example:
        >>> from pyg_viglad.transforms import ImageToGraph
        >>> data = ImageToGraph(patch_size=8, k=5)(torch.rand(3, 32, 48))
        >>> figure = plot_node_graphs(data.img, {"input": data}, nodes=[9])
        >>> len(figure.axes)  # one panel and the colour bar
        2
    """
    pictures = as_images(images)
    sizes = [size_of(picture) for picture in pictures]
    count = len(pictures)
    if not isinstance(graphs, Mapping) or not graphs:
        raise ValueError(
            f"Expected graphs to map names to graphs, at least one (got {type(graphs).__name__})"
        )
    check_arguments(dimming, num_neighbors=num_neighbors)
    graphs = _chosen(graphs, blocks)
    labels = _row_labels(titles, scores, node_scores, count)
    truths = None if masks is None else as_maps(masks, "masks", count)

    # A list per graph, an entry per image.
    columns = [graphs_of_images(g, sizes, f"graphs[{name!r}]") for name, g in graphs.items()]
    places = _places(nodes, anomaly_maps, columns[0], sizes)
    chosen = [[node_at(graph, xy) for graph, xy in zip(c, places, strict=True)] for c in columns]
    neighbors = [
        [neighbors_of(graph, node).tolist() for graph, node in zip(c, of_images, strict=True)]
        for c, of_images in zip(columns, chosen, strict=True)
    ]
    kept = [
        [_kept(columns[0][i], c[i], of_images[i]) if j else "" for i in range(count)]
        for j, (c, of_images) in enumerate(zip(columns, chosen, strict=True))
    ]

    most = max(len(found[:num_neighbors]) for column in neighbors for found in column)
    sheet = make_sheet(
        sizes,
        len(columns),
        row_labels=labels,
        column_titles=[
            _column_title(name, *column)
            for name, *column in zip(graphs, columns, chosen, neighbors, strict=True)
        ],
        captions=int(any(text for column in kept for text in column)),
        right=(0.75 if width is None else 0.58) if most else 0.0,
        largest=2.5,
        panel_size=panel_size,
        width=width,
        ax=ax,
    )
    colors = rank_colors(max(most, 1))
    for i, (row, picture) in enumerate(zip(sheet.panels, pictures, strict=True)):
        for j, panel in enumerate(row):
            found = neighbors[j][i][:num_neighbors]
            draw_node(panel, picture, columns[j][i], chosen[j][i], found, colors, dimming=dimming)
            if truths is not None:
                draw_outline(panel, truths[i] > 0.5, sizes[i])
            if kept[j][i]:
                words = "kept" if width_on_paper(panel, sizes[i]) < 90 else "neighbours kept"
                caption(panel, f"{kept[j][i]} {words}", sheet.small)
    if most:
        sheet.add_rank_bar(colors, most)
    return sheet.figure


def _chosen(graphs: Mapping[str, Data], blocks: Sequence[str] | None) -> Mapping[str, Data]:
    """The graphs to draw, under the names to write."""
    if blocks is None:
        recorded = {"input", "encoder", "encoder.0", "decoder"} <= set(graphs)
        return select_graphs(graphs) if recorded else graphs
    missing = [name for name in blocks if name not in graphs]
    if isinstance(blocks, str) or not blocks or missing:
        got = repr(missing[0]) if missing and not isinstance(blocks, str) else repr(blocks)
        raise ValueError(f"Expected blocks to name graphs, of {list(graphs)} (got {got})")
    return {name: graphs[name] for name in blocks}


def _places(
    nodes: Nodes | None, maps: Maps | None, graphs: Sequence[Data], sizes: list[tuple[int, int]]
) -> list[XY]:
    """The position in each picture to look at."""
    if nodes is not None:
        return as_positions(nodes, graphs)
    if maps is not None:
        places = []
        arrays = as_maps(maps, "anomaly_maps", len(graphs))
        for values, (height, width) in zip(arrays, sizes, strict=True):
            rows, columns = values.shape
            row, column = divmod(int(peak(torch.from_numpy(values)[None])), columns)
            places.append(((column + 0.5) * width / columns, (row + 0.5) * height / rows))
        return places
    found = [most_anomalous_node(graph) for graph in graphs]
    if None in found:
        raise ValueError("Expected nodes or anomaly_maps (got neither)")
    return [
        position_of(graph, node)
        for graph, node in zip(graphs, found, strict=True)
        if node is not None
    ]


def _kept(first: Data, graph: Data, node: int) -> str:
    """How many of a node's neighbours in the first graph another one on the same grid has kept."""
    if not torch.equal(first.grid_size, graph.grid_size):
        return ""
    kept, lost, _ = (int((edges[1] == node).sum()) for edges in neighbor_changes(first, graph))
    return f"{kept} of {kept + lost}" if kept + lost else ""


def _column_title(
    name: str, graphs: Sequence[Data], nodes: Sequence[int], neighbors: Sequence[Sequence[int]]
) -> str:
    grids = sorted({tuple(graph.grid_size[0].tolist()) for graph in graphs})
    grid = "different grids"
    if len(grids) == 1:
        grid = f"{grids[0][0]} \N{MULTIPLICATION SIGN} {grids[0][1]}"
    degrees = [int((g.edge_index[1] == n).sum()) for g, n in zip(graphs, nodes, strict=True)]
    low, high = min(degrees), max(degrees)
    k = f"{low}" if low == high else f"{low} to {high}"
    loops = any(d > len(found) for d, found in zip(degrees, neighbors, strict=True))
    part, _, number = name.partition(".")
    if number.isdigit():
        name = f"{part} block {int(number) + 1}"  # counted from 1, as in the figures' text
    heading = name if "graph" in name.lower() else f"{name} graph"
    # Spaces that do not break: a long title is broken between its parts.
    facts = f"{grid}, k = {k}".replace(" ", NO_BREAK).replace(f",{NO_BREAK}", ", ")
    return f"{heading}\n{facts}" + (f" incl.{NO_BREAK}itself" if loops else "")


def _row_labels(
    titles: Sequence[str] | None, scores: Numbers | None, node_scores: Numbers | None, count: int
) -> list[str]:
    parts: list[list[str]] = [[] for _ in range(count)]
    for values, name in ((scores, "scores"), (node_scores, "node_scores")):
        if values is not None:
            symbol = name[:-1].replace("_", " ")
            for part, value in zip(parts, as_numbers(values, name, count), strict=True):
                # Spaces that do not break: a long label is broken between its parts.
                part.append(f"{symbol} = {format_number(value, 1)}".replace(" ", NO_BREAK))
    labels = zip(as_texts(titles, "titles", count), map(", ".join, parts), strict=True)
    return ["\n".join(text for text in lines if text) for lines in labels]
