"""Graphs of patches for networkx, Gephi and whatever else reads GraphML or JSON."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_networkx

from pyg_viglad.graphs._edges import edges_of, grids_of, images_of_nodes, ranks_of

__all__ = ["export_graph", "write_graphml", "write_node_link"]

_DIRECTION = "source: the neighbour, target: the centre that chose it"
_STRUCTURE = {"batch", "ptr", "edge_index", "pos"}


def export_graph(graph: Data, image: int | None = None) -> Any:
    """Turn a graph of patches into a directed graph of networkx, with plain numbers as attributes.

    Args:
        graph: A ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]`` (row 0 the neighbour, row 1 the
            centre, nearest first) and ``pos`` ``[N, 2]``.
        image: The number of an image of the batch, whose nodes are then numbered from 0; by default
            all images, as unconnected parts.

    Returns:
        A ``networkx.DiGraph``. An edge runs as in ``edge_index``, from a neighbour to the centre that
        chose it. Nodes have ``x`` and ``y`` (pixels, y down; Gephi places nodes by them, with y up),
        ``row`` and ``column`` where the graph has ``grid_size``, ``image`` where it holds several
        images, and every one-dimensional field of nodes, such as ``combined_score``. Edges have
        ``rank`` (1 for the nearest neighbour, 0 for the node itself) and every one-dimensional field
        of edges, such as ``distance``. The graph has ``direction`` and, of one image, ``height`` and
        ``width`` in pixels where known.

    Raises:
        ValueError: If a field is missing or not finite, an edge occurs twice, or there is no such
            image.

    Example:
        >>> pos = torch.tensor([[2.0, 2.0], [6.0, 2.0]])
        >>> edge_index = torch.tensor([[0, 1, 0], [0, 0, 1]])
        >>> graph = export_graph(Data(pos=pos, edge_index=edge_index, distance=torch.rand(3)))
        >>> graph.nodes[1], graph.edges[1, 0]["rank"]
        ({'x': 6.0, 'y': 2.0}, 1)
    """
    edges = edges_of(graph)
    nodes = int(graph.num_nodes)
    batch, images = images_of_nodes(graph)
    if image is not None and not 0 <= image < images:
        raise ValueError(f"Expected an image from 0 to {images - 1} (got {image})")
    pos = getattr(graph, "pos", None)
    if not isinstance(pos, Tensor) or tuple(pos.shape) != (nodes, 2):
        got = list(pos.shape) if isinstance(pos, Tensor) else pos
        raise ValueError(f"Expected graph.pos of shape [{nodes}, 2] (got {got})")
    if torch.unique(edges[1] * nodes + edges[0]).numel() < edges.size(1):
        raise ValueError("Expected every edge once (got one that occurs again)")
    node_fields, edge_fields = _fields(graph, edges, pos)
    if image is not None:
        # Not graph[image], which drops fields that were added to a batch.
        chosen = batch == image
        kept = chosen[edges[1]]
        edges = edges[:, kept] - int(chosen.long().argmax())
        nodes = int(chosen.sum())
        node_fields = {name: values[chosen] for name, values in node_fields.items()}
        edge_fields = {name: values[kept] for name, values in edge_fields.items()}
    elif images > 1:
        node_fields["image"] = batch
    for name, values in (*node_fields.items(), *edge_fields.items()):
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"Expected finite values of '{name}' (got NaN or infinity)")
    # A Data's "x" is usually features; here it is the horizontal position.
    plain = Data(edge_index=edges, num_nodes=nodes, **node_fields, **edge_fields)
    network = to_networkx(plain, node_attrs=list(node_fields), edge_attrs=list(edge_fields))
    network.graph["direction"] = _DIRECTION
    img_size = getattr(graph, "img_size", None)
    if isinstance(img_size, Tensor) and (image is not None or images == 1):
        height, width = img_size.reshape(-1, 2)[image or 0].tolist()
        network.graph.update(height=height, width=width)
    return network


def _fields(graph: Data, edges: Tensor, pos: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give the one-dimensional fields of nodes and of edges, those that places and order give too."""
    nodes = pos.size(0)
    node_fields = {"x": pos[:, 0], "y": pos[:, 1]}
    if isinstance(getattr(graph, "grid_size", None), Tensor):
        grids = grids_of(graph, "graph")
        batch, _ = images_of_nodes(graph)
        sizes = grids.prod(1)
        place = torch.arange(nodes, device=batch.device) - (sizes.cumsum(0) - sizes)[batch]
        columns = grids[:, 1][batch]
        node_fields.update(row=place // columns, column=place % columns)
    edge_fields = {"rank": ranks_of(edges)}
    for name, values in graph.to_dict().items():
        if not isinstance(values, Tensor) or values.dim() != 1 or name in _STRUCTURE:
            continue
        # Where there are as many edges as nodes, the name decides.
        of_edges = name == "distance" or "edge" in name
        if values.numel() == edges.size(1) and (of_edges or values.numel() != nodes):
            edge_fields[name] = values
        elif values.numel() == nodes and name not in node_fields:
            node_fields[name] = values
    return node_fields, edge_fields


def write_graphml(graph: Data, path: str | os.PathLike[str], image: int | None = None) -> None:
    """Write a graph of patches as GraphML, for Gephi, igraph, ``networkx.read_graphml`` and others.

    Args:
        graph: A graph as :func:`export_graph` takes it, which also says what nodes and edges carry.
        path: The file; written whole or not at all.
        image: The number of an image of the batch; by default all.

    Raises:
        ValueError: If the graph cannot be exported.
        FileNotFoundError: If the file's folder does not exist.

    Example:
        >>> import tempfile, networkx
        >>> graph = Data(pos=torch.rand(2, 2), edge_index=torch.tensor([[1], [0]]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_graphml(graph, f"{folder}/graph.graphml")
        ...     list(networkx.read_graphml(f"{folder}/graph.graphml", node_type=int).edges)
        [(1, 0)]
    """
    import networkx

    text = io.BytesIO()
    networkx.write_graphml(export_graph(graph, image), text)
    _write(path, text.getvalue().decode())


def write_node_link(graph: Data, path: str | os.PathLike[str], image: int | None = None) -> None:
    """Write a graph of patches as node-link JSON, for D3, ``networkx.node_link_graph`` and others.

    The nodes stand under ``"nodes"``, each with its number as ``"id"``; the edges under ``"edges"``, each
    with ``"source"`` and ``"target"``.

    Args:
        graph: A graph as :func:`export_graph` takes it, which also says what nodes and edges carry.
        path: The file; written whole or not at all.
        image: The number of an image of the batch; by default all.

    Raises:
        ValueError: If the graph cannot be exported.
        FileNotFoundError: If the file's folder does not exist.

    Example:
        >>> import tempfile
        >>> graph = Data(pos=torch.rand(2, 2), edge_index=torch.tensor([[1], [0]]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_node_link(graph, f"{folder}/graph.json")
        ...     json.load(open(f"{folder}/graph.json"))["edges"]
        [{'rank': 1, 'source': 1, 'target': 0}]
    """
    import networkx

    values = networkx.node_link_data(export_graph(graph, image), edges="edges")
    _write(path, json.dumps(values, allow_nan=False) + "\n")


def _write(path: str | os.PathLike[str], text: str) -> None:
    from pyg_viglad.files import write_text

    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"Expected a file in an existing folder (got '{path}')")
    write_text(path, text)
