"""A node's neighbours in the graphs of all blocks, on one strip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch_geometric.data import Data

from pyg_viglad.graphs import (
    graph_of_image,
    most_anomalous_node,
    neighbors_of,
    node_at,
    position_of,
)
from pyg_viglad.transforms import ImageLike
from pyg_viglad.visualization import drawing, inputs
from pyg_viglad.visualization.sheet import AxesLike, make_sheet

__all__ = ["plot_block_strip"]

LEAST = 0.44  # inches: a smaller panel shows nothing


def plot_block_strip(
    image: ImageLike,
    graphs: Mapping[str, Data],
    node: int | inputs.XY | None = None,
    *,
    num_neighbors: int | None = None,
    mask: Any = None,
    dimming: float = 0.7,
    width: float = 7.2,
    ax: AxesLike | None = None,
) -> Figure:
    r"""Plots the neighbours of one patch in the graph of every block, encoder above decoder.

    Each panel shows the patch (red) that contains the position and its neighbours by rank, as
    :func:`~pyg_viglad.visualization.plot_node_graphs` does larger; under it stand the number of the
    block, from 1, and the grid where it changes. ``"out"`` is the graph of the features that leave
    encoder or decoder. Rows without room for all blocks are wrapped.

    Args:
        image: The image, ``[3, H, W]`` in [0, 1]; see :func:`~pyg_viglad.transforms.to_image`.
        graphs: The graphs of one image by name, as :func:`~pyg_viglad.graphs.record_graphs` returns them:
            ``"encoder.0"``, ``"encoder.1"``, ..., ``"encoder"``, ``"decoder.0"``, ... Names that begin
            alike share a row. ``"input"``, the graph of the first block, is not drawn beside that block.
        node: The position (x, y) in pixels of the image, or the number of a node in the grid of the first
            graph. Default: the node of the first graph with the largest recorded ``node_score`` (else
            ``combined_score``).
        num_neighbors: Number of nearest neighbours to draw; default all.
        mask: Ground truth ``[h, w]``, outlined.
        dimming: How far to fade the image, from 0 (not at all) to 1; default 0.7.
        width: Width of the figure in inches; default 7.2, two columns of a journal. One column is 3.5.
        ax: As many axes as graphs are drawn, in an array or list of any shape, in place of a new figure.

    Returns:
        The figure; the panels are its first axes.

    Raises:
        ValueError: If a graph is missing, lacks a field or is of several images, or the node does not
            exist.

    Example:
        >>> import torch
        >>> from pyg_viglad import ViGAutoEncoder
        >>> from pyg_viglad.graphs import record_graphs
        >>> image = torch.rand(3, 64, 64)
        >>> graphs = record_graphs(ViGAutoEncoder(image_size=64, k=4), image)
        >>> figure = plot_block_strip(image, graphs, node=(20.0, 30.0))
        >>> len(figure.axes)  # 12 blocks and what leaves them, twice, and the colour bar
        27
    """
    picture = inputs.as_image(image)
    size = inputs.size_of(picture)
    inputs.check_names(graphs, "graphs")
    inputs.check_arguments(dimming, num_neighbors=num_neighbors)
    truth = inputs.as_mask(mask)
    read = {
        name: graph_of_image(graph, size=size, name=f"graphs[{name!r}]")
        for name, graph in graphs.items()
    }
    first = next(iter(read.values()))
    start = most_anomalous_node(first) if node is None else node
    if start is None:
        raise ValueError("Expected node, or graphs with recorded scores (got neither)")
    place = position_of(first, start)

    groups = _groups(graphs)
    if ax is None:
        most = max(len(names) for names in groups.values())
        lines = math.ceil(most / max(1, int((width - 0.25) / LEAST)))
        columns = math.ceil(most / lines)
        rows = [
            (group, names[i : i + columns])
            for group, names in groups.items()
            for i in range(0, len(names), columns)
        ]
    else:
        rows = [("", [name for names in groups.values() for name in names])]
        columns = len(rows[0][1])
        ax = [ax] if isinstance(ax, Axes) else np.array(ax, dtype=object).ravel()
    sheet = make_sheet(
        [size] * len(rows),
        columns,
        row_labels=[group for group, _ in rows],
        captions=1,
        bottom=0.42,
        largest=1.0,
        width=width,
        ax=ax,
    )
    shown = [name for _, names in rows for name in names]
    chosen = {name: node_at(read[name], place) for name in shown}
    neighbors = {n: neighbors_of(read[n], chosen[n]).tolist()[:num_neighbors] for n in shown}
    ranks = max(len(found) for found in neighbors.values())
    colors = drawing.rank_colors(max(ranks, 1))
    captions = _captions({name: read[name] for name in shown}, ax is not None)
    for (_, names), panels in zip(rows, sheet.panels, strict=True):
        for panel in panels[len(names) :]:
            panel.remove()
        for name, panel in zip(names, panels, strict=False):
            graph, found = read[name], neighbors[name]
            drawing.draw_node(
                panel, picture, graph, chosen[name], found, colors, dimming=dimming, marks=True
            )
            drawing.draw_outline(panel, truth, size, cased=False)
            drawing.caption(panel, captions[name], sheet.small)
    if ranks:
        sheet.add_rank_bar(colors, ranks, (0, columns - 1))
    return sheet.figure


def _groups(graphs: Mapping[str, Data]) -> dict[str, list[str]]:
    """Names of the graphs by the rows that they share."""
    groups: dict[str, list[str]] = {}
    for name in graphs:
        if name == "input" and "encoder.0" in graphs:
            continue
        groups.setdefault(name.partition(".")[0], []).append(name)
    if all(len(names) == 1 for names in groups.values()):  # no blocks: one row of them all
        return {"": [name for names in groups.values() for name in names]}
    return groups


def _captions(graphs: Mapping[str, Data], whole: bool) -> dict[str, str]:
    """The number of each block, and its grid where that changes."""
    captions = {}
    grid = part = None
    for name, graph in graphs.items():
        before = grid, part
        part, _, number = name.partition(".")
        block = str(int(number) + 1) if number.isdigit() else number
        if whole:
            block = f"{part} {block}".strip()
        elif not block:
            block = "out" if part in ("encoder", "decoder") else part
        grid = graph.grid_size[0].tolist()
        new = before != (grid, part)
        captions[name] = f"{block}: {grid[0]}\N{MULTIPLICATION SIGN}{grid[1]}" if new else block
    return captions
