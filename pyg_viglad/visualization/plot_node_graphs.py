"""The neighbours of an anomalous patch in one graph after the other (Figure 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch_geometric.data import Data

from pyg_viglad.graphs import select_graphs
from pyg_viglad.visualization._graphs import PatchGraph, split_graph
from pyg_viglad.visualization._inputs import (
    AxesLike,
    Images,
    Maps,
    Numbers,
    as_images,
    as_maps,
    as_numbers,
    as_texts,
    check_counts,
    check_dimming,
    format_number,
)
from pyg_viglad.visualization._places import Nodes, as_places, peak_of_map, peak_of_scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_node_graphs"]

NO_BREAK = "\N{NO-BREAK SPACE}"


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
    r"""Draw the most anomalous patch of each image and its neighbours in each graph (Figure 5).

    A row shows one image, a column one graph: for ViGLAD the graphs before the encoder, after it
    and after the decoder. In each of them the node is the one whose patch contains the image's
    anomalous position

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
        >>> pos = torch.tensor([[2.0, 2.0], [6.0, 2.0], [2.0, 6.0], [6.0, 6.0]])
        >>> edge_index = torch.tensor([[3, 1, 2, 2], [0, 0, 1, 3]])
        >>> size = {"grid_size": torch.tensor([[2, 2]]), "img_size": torch.tensor([[8, 8]])}
        >>> graph = Data(pos=pos, edge_index=edge_index, **size)
        >>> figure = plot_node_graphs(torch.rand(3, 8, 8), {"input": graph}, nodes=[0])
        >>> len(figure.axes)  # one panel and the colour bar
        2
    """
    pictures = as_images(images)
    count = len(pictures)
    sizes = [(int(p.shape[0]), int(p.shape[1])) for p in pictures]
    if not isinstance(graphs, Mapping) or not graphs:
        raise ValueError(
            f"Expected graphs to map names to graphs, at least one (got {type(graphs).__name__})"
        )
    check_counts(num_neighbors=num_neighbors)
    check_dimming(dimming)
    graphs = _chosen(graphs, blocks)
    columns = [split_graph(g, f"graphs[{name!r}]", sizes) for name, g in graphs.items()]
    labels = _row_labels(titles, scores, node_scores, count)
    truths = None if masks is None else as_maps(masks, "masks", count)
    if nodes is not None:
        places = as_places(nodes, columns[0])
    elif anomaly_maps is not None:
        maps = as_maps(anomaly_maps, "anomaly_maps", count)
        places = [
            peak_of_map(torch.from_numpy(m), size) for m, size in zip(maps, sizes, strict=True)
        ]
    else:
        peaks = peak_of_scores(columns[0])
        if peaks is None:
            raise ValueError("Expected nodes or anomaly_maps (got neither)")
        places = peaks
    chosen = [[column[i].node_at(places[i]) for i in range(count)] for column in columns]
    neighbors = [
        [graph.neighbors(node)[:num_neighbors] for graph, node in zip(column, row, strict=True)]
        for column, row in zip(columns, chosen, strict=True)
    ]
    kept = [
        [
            _kept(columns[0][i], neighbors[0][i], columns[j][i], neighbors[j][i]) if j else ""
            for j in range(len(columns))
        ]
        for i in range(count)
    ]

    from pyg_viglad.visualization import _draw, _node_panel, _sheet

    most = max((len(n) for column in neighbors for n in column), default=0)
    sheet = _sheet.make_sheet(
        sizes,
        len(columns),
        panel_size=panel_size,
        largest=2.5,
        row_labels=labels,
        column_titles=[
            _column_title(name, column, nodes_)
            for name, column, nodes_ in zip(graphs, columns, chosen, strict=True)
        ],
        captions=int(any(text for row in kept for text in row)),
        right=(0.75 if width is None else 0.58) if most else 0.0,
        width=width,
        ax=ax,
    )
    colors = _node_panel.rank_colors(max(most, 1))
    for i, row in enumerate(sheet.panels):
        for j, panel in enumerate(row):
            _node_panel.draw_node(
                panel,
                pictures[i],
                columns[j][i],
                chosen[j][i],
                neighbors[j][i],
                colors,
                dimming=dimming,
                width_in_points=sheet.points(panel, sizes[i]),
            )
            if truths is not None:
                _draw.draw_outline(panel, truths[i] > 0.5, sizes[i])
            if kept[i][j]:
                narrow = sheet.points(panel, sizes[i]) < 90
                words = "kept" if narrow else "neighbours kept"
                _draw.caption(panel, f"{kept[i][j]} {words}", sheet.small)
    if most:
        _node_panel.add_rank_bar(sheet, colors, most)
    return sheet.figure


def _kept(first: PatchGraph, before: Sequence[int], graph: PatchGraph, after: Sequence[int]) -> str:
    if graph.grid_size != first.grid_size or not before:
        return ""
    return f"{len(set(before) & set(after))} of {len(before)}"


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


def _column_title(name: str, graphs: Sequence[PatchGraph], nodes: Sequence[int]) -> str:
    times = "\N{MULTIPLICATION SIGN}"
    grids = sorted({graph.grid_size for graph in graphs})
    grid = f"{grids[0][0]} {times} {grids[0][1]}" if len(grids) == 1 else "different grids"
    pairs = list(zip(graphs, nodes, strict=True))
    degrees = sorted({graph.degree(node) for graph, node in pairs})
    k = f"{degrees[0]}" if len(degrees) == 1 else f"{degrees[0]} to {degrees[-1]}"
    loops = any(graph.degree(node) > len(graph.neighbors(node)) for graph, node in pairs)
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
    labels = as_texts(titles, "titles", count)
    parts: list[list[str]] = [[] for _ in labels]
    for values, name, symbol in (
        (scores, "scores", "score"),
        (node_scores, "node_scores", "node score"),
    ):
        if values is not None:
            for part, value in zip(parts, as_numbers(values, name, count), strict=True):
                # Spaces that do not break: a long label is broken between its parts.
                part.append(f"{symbol} = {format_number(value, 1)}".replace(" ", NO_BREAK))
    lines = [(label, ", ".join(part)) for label, part in zip(labels, parts, strict=True)]
    return ["\n".join(text for text in line if text) for line in lines]
