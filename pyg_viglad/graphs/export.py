"""Patch graphs for networkx, Gephi and other programs that read GraphML or JSON."""

from __future__ import annotations

import io
import json
import os
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import to_networkx

from pyg_viglad.files import write_bytes, write_text
from pyg_viglad.graphs.measures import neighbor_ranks
from pyg_viglad.graphs.patches import (
    cells_of,
    edges_of,
    image_of_node,
    positions_of,
    select_image,
)

__all__ = ["export_graph", "write_graphml", "write_node_link"]


def export_graph(graph: Data, image: int | None = None) -> Any:
    """Returns a patch graph as a directed graph of networkx, with plain numbers as attributes.

    Args:
        graph: A ``Data`` or ``Batch`` with ``edge_index`` ``[2, E]`` (row 0 the neighbour, row 1 the
            centre, nearest first) and ``pos`` ``[N, 2]``.
        image: The number of an image of the batch, whose nodes are then numbered from 0. Default: all
            images, as unconnected parts.

    Returns:
        A ``networkx.DiGraph`` whose edges run from a neighbour to its centre. Nodes have ``x`` and ``y``
        (pixels, y down; Gephi places nodes by them, with y up), ``row`` and ``column`` where the graph
        has ``grid_size``, ``image`` where it holds several images, and every one-dimensional node field,
        such as ``combined_score``. Edges have ``rank`` (1 for the nearest neighbour, 0 for a self-loop)
        and every one-dimensional edge field, such as ``distance``. The graph has ``direction`` and, for
        one image, ``height`` and ``width`` in pixels where known.

    Raises:
        ValueError: If a field is missing or not finite, an edge occurs twice, or there is no such image.

    Example:
        >>> pos = torch.tensor([[2.0, 2.0], [6.0, 2.0]])
        >>> edge_index = torch.tensor([[0, 1, 0], [0, 0, 1]])
        >>> graph = export_graph(Data(pos=pos, edge_index=edge_index, distance=torch.rand(3)))
        >>> graph.nodes[1], graph.edges[1, 0]["rank"]
        ({'x': 6.0, 'y': 2.0}, 1)
    """
    edges = edges_of(graph)
    images = image_of_node(graph)[1]
    if image is not None:
        if not 0 <= image < images:
            raise ValueError(f"Expected an image from 0 to {images - 1} (got {image})")
        graph, images = select_image(graph, image), 1
        edges = graph.edge_index
    nodes, pos = int(graph.num_nodes), positions_of(graph)
    if torch.unique(edges[1] * nodes + edges[0]).numel() < edges.size(1):
        raise ValueError("Expected every edge once (got one that occurs again)")

    # A Data's "x" usually holds features; here it is the horizontal position.
    of_nodes = {"x": pos[:, 0], "y": pos[:, 1]}
    of_edges = {"rank": neighbor_ranks(edges)}
    if isinstance(getattr(graph, "grid_size", None), Tensor):
        of_nodes["row"], of_nodes["column"] = cells_of(graph)
    for key, values in graph.to_dict().items():
        if isinstance(values, Tensor) and values.dim() == 1 and key not in ("batch", "ptr"):
            # Where there are as many edges as nodes, PyG takes a name without "edge" for a node field.
            if graph.is_edge_attr(key) or (key == "distance" and len(values) == edges.size(1)):
                of_edges.setdefault(key, values)
            elif graph.is_node_attr(key):
                of_nodes.setdefault(key, values)
    if images > 1:
        of_nodes["image"], _ = image_of_node(graph)
    if shared := of_nodes.keys() & of_edges.keys():
        raise ValueError(
            f"Expected different names for nodes and edges (got {sorted(shared)} twice)"
        )
    for name, values in (*of_nodes.items(), *of_edges.items()):
        if not bool(torch.isfinite(values).all()):
            raise ValueError(f"Expected finite values of '{name}' (got NaN or infinity)")

    plain = Data(edge_index=edges, num_nodes=nodes, **of_nodes, **of_edges)
    network = to_networkx(plain, node_attrs=list(of_nodes), edge_attrs=list(of_edges))
    network.graph["direction"] = "source: the neighbour, target: the centre that chose it"
    if isinstance(getattr(graph, "img_size", None), Tensor) and images == 1:
        network.graph["height"], network.graph["width"] = graph.img_size.reshape(2).tolist()
    return network


def write_graphml(graph: Data, path: str | os.PathLike[str], image: int | None = None) -> None:
    """Writes a patch graph as GraphML, for Gephi, igraph, ``networkx.read_graphml`` and others.

    Args:
        graph: A graph as :func:`export_graph` takes it, which also lists the attributes.
        path: The file; written whole or not at all.
        image: The number of an image of the batch; default all.

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
    write_bytes(path, text.getvalue())


def write_node_link(graph: Data, path: str | os.PathLike[str], image: int | None = None) -> None:
    """Writes a patch graph as node-link JSON, for D3, ``networkx.node_link_graph`` and others.

    Nodes stand under ``"nodes"``, each with its number as ``"id"``; edges under ``"edges"``, each with
    ``"source"`` and ``"target"``.

    Args:
        graph: A graph as :func:`export_graph` takes it, which also lists the attributes.
        path: The file; written whole or not at all.
        image: The number of an image of the batch; default all.

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
    write_text(path, json.dumps(values, allow_nan=False) + "\n")
