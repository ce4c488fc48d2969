"""Patch graphs: a PyG ``Data`` with a grid of patches, read image by image.

All figures and the viewer read a graph with these functions. The fields that they know:

- ``pos`` ``[N, 2]``: patch centres (x right, y down) in pixels;
- ``edge_index`` ``[2, E]``: row 0 the neighbour, row 1 the centre, nearest first;
- ``grid_size`` ``[B, 2]``: rows and columns of each image's patches;
- ``img_size`` ``[B, 2]``: height and width of each image in pixels, the unit of ``pos``;
- ``distance`` ``[E]``: distances in feature space, and the node scores ``[N]`` of :data:`SCORES`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data
from torch_geometric.utils import cumsum

from pyg_viglad.scoring import peak

__all__ = [
    "SCORES",
    "cells_of",
    "edges_of",
    "graph_of_image",
    "grids_of",
    "image_of_node",
    "most_anomalous_node",
    "neighbors_of",
    "node_at",
    "patch_size",
    "position_of",
    "positions_of",
    "select_image",
]

# Recorded scores of nodes, and the maps of a Prediction that they are read from.
SCORES = {
    "local_score": "local_map",
    "global_score": "global_map",
    "combined_score": "anomaly_map",
    "node_score": "node_map",
}


def graph_of_image(
    graph: Data,
    number: int | None = None,
    *,
    size: tuple[int, int] | None = None,
    name: str = "graph",
) -> Data:
    """Returns the graph of one image, checked, on the CPU, its nodes numbered from 0.

    Args:
        graph: A patch graph of one or several images, with ``pos``, ``edge_index``, ``grid_size`` and
            ``img_size`` (or ``img``, whose height and width then count).
        number: The image's place in the batch. Default: the graph has to be of one image.
        size: Height and width of a picture of the image, to whose pixels ``pos`` (then in float64) and
            ``img_size`` are scaled. Default: unchanged.
        name: What error messages call the graph, such as ``"graphs['input']"``.

    Returns:
        A ``Data`` with the fields of the image's nodes and edges, ``grid_size`` ``[1, 2]`` and
        ``img_size`` ``[1, 2]``.

    Raises:
        ValueError: If a field is missing or does not fit, or edges join nodes of different images.

    Example:
        >>> from pyg_viglad.transforms import ImageToGraph
        >>> data = ImageToGraph(patch_size=8, k=3)(torch.rand(3, 16, 24))
        >>> graph_of_image(data, size=(32, 48)).pos[1].tolist()
        [24.0, 8.0]
    """
    for key in ("pos", "edge_index", "grid_size"):
        _check_field(graph, key, name)
    images = len(grids_of(graph, name))
    positions_of(graph, name)
    if number is None and images != 1:
        raise ValueError(f"Expected {name} to be of one image (got {images})")
    if number is not None and not 0 <= number < images:
        raise ValueError(f"Expected an image of {name} from 0 to {images - 1} (got {number})")
    place = number or 0
    sizes = _image_sizes(graph, images, name)
    one = select_image(graph, place, name).detach().cpu()
    one.img_size = sizes[[place]].cpu()
    if size is not None:
        scale = torch.tensor([size], dtype=torch.float64) / one.img_size
        one.pos = one.pos.double() * scale.flip(1)
        one.img_size = torch.tensor([size])
    return one


def node_at(graph: Data, xy: tuple[float, float]) -> int:
    """Returns the node whose patch contains a position.

    The left and upper edges of a patch belong to it, its right and lower ones to the next patch (at the
    border of the image, to the patch as well).

    Args:
        graph: The patch graph of one image.
        xy: The position (x, y) in the image, in the unit of ``pos``.

    Returns:
        The node's number, in ``[0, N)``.

    Raises:
        ValueError: If ``xy`` lies outside the image, or a field is missing or does not fit.

    Example:
        >>> from pyg_viglad.transforms import ImageToGraph
        >>> node_at(ImageToGraph(patch_size=8, k=3)(torch.rand(3, 16, 24)), (23.5, 1.0))
        2
    """
    # In units of a patch: -0.5 is its left or upper edge, 0.5 its right or lower one.
    size = torch.tensor(patch_size(graph), dtype=torch.float64)
    _check_inside(graph, xy, "a position")
    pos = positions_of(graph).detach().cpu().double()
    offset = (torch.tensor(xy, dtype=torch.float64) - pos) / size
    inside = ((offset >= -0.5) & (offset < 0.5)).all(dim=1).nonzero()
    if len(inside):
        return int(inside[0])
    return int(offset.abs().amax(dim=1).argmin())  # the right and lower border, and rounding


def position_of(
    graph: Data, node: int | Tensor | Sequence[float], name: str = "node"
) -> tuple[float, float]:
    """Returns the position (x, y) of a node's centre; a position is only checked.

    Args:
        graph: The patch graph of one image.
        node: A node's number, or a position (x, y) in the unit of ``pos``.
        name: What error messages call the node.

    Raises:
        ValueError: If there is no such node, or the position lies outside the image.

    Example:
        >>> from pyg_viglad.transforms import ImageToGraph
        >>> position_of(ImageToGraph(patch_size=8, k=3)(torch.rand(3, 16, 24)), 2)
        (20.0, 4.0)
    """
    value = torch.as_tensor(node).detach().cpu()
    if value.dim() == 0 and not value.is_floating_point():
        nodes = len(graph.pos)
        if not 0 <= int(value) < nodes:
            raise ValueError(f"Expected {name} to be from 0 to {nodes - 1} (got {int(value)})")
        x, y = graph.pos[int(value)].tolist()
        return x, y
    if tuple(value.shape) != (2,):
        raise ValueError(f"Expected {name} as a number or a position (x, y) (got {node})")
    x, y = value.double().tolist()
    _check_inside(graph, (x, y), name)
    return x, y


def neighbors_of(graph: Data, node: int) -> Tensor:
    """Returns the neighbours of a node, nearest first, without the node itself.

    The entry ``i`` has rank ``i + 1``, in graphs with self-loops (of rank 0) and without.

    Args:
        graph: A graph with ``edge_index`` ``[2, E]``, row 0 the neighbour, row 1 the centre, the edges
            of one centre ordered nearest first.
        node: The centre.

    Returns:
        The neighbours' numbers, ``[k]``.

    Raises:
        ValueError: If ``edge_index`` does not fit.

    Example:
        >>> graph = Data(edge_index=torch.tensor([[0, 2, 1, 1], [0, 0, 0, 1]]), num_nodes=3)
        >>> neighbors_of(graph, 0)
        tensor([2, 1])
    """
    edges = edges_of(graph)
    neighbors = edges[0, edges[1] == node]
    return neighbors[neighbors != node]


def patch_size(graph: Data) -> tuple[float, float]:
    """Returns width and height of a patch of one image's graph, in the unit of ``pos``.

    Raises:
        ValueError: If a field is missing or the graph is of several images.

    Example:
        >>> from pyg_viglad.transforms import ImageToGraph
        >>> patch_size(ImageToGraph(patch_size=8, k=3)(torch.rand(3, 16, 24)))
        (8.0, 8.0)
    """
    rows, columns = _grid(graph)
    height, width = _image_sizes(graph, 1, "graph")[0].tolist()
    return width / columns, height / rows


def most_anomalous_node(graph: Data) -> int | None:
    """Returns the node of one image's graph with the largest recorded anomaly score.

    Of equal scores the one nearest to the middle of the image counts.

    Args:
        graph: The patch graph of one image, with ``node_score`` ``[N]`` or else ``combined_score``.

    Returns:
        The node's number; None without finite scores.

    Raises:
        ValueError: If ``grid_size`` is missing or does not fit, or the graph is of several images.

    Example:
        >>> graph = Data(grid_size=torch.tensor([[1, 3]]), node_score=torch.tensor([0.0, 4.0, 1.0]))
        >>> most_anomalous_node(graph)
        1
    """
    scores = next((graph[key] for key in ("node_score", "combined_score") if key in graph), None)
    rows, columns = _grid(graph)
    if not isinstance(scores, Tensor) or tuple(scores.shape) != (rows * columns,):
        return None
    return int(peak(scores.view(1, rows, columns))) if bool(scores.isfinite().all()) else None


def edges_of(graph: Data, name: str = "graph") -> Tensor:
    """Returns ``edge_index`` ``[2, E]`` as a plain tensor.

    Raises:
        ValueError: If it is missing or names nodes that do not exist.
    """
    edges = getattr(graph, "edge_index", None)
    if not isinstance(edges, Tensor) or edges.dim() != 2 or edges.size(0) != 2:
        got = list(edges.shape) if isinstance(edges, Tensor) else type(edges).__name__
        raise ValueError(f"Expected {name}.edge_index of shape [2, E] (got {got})")
    if isinstance(edges, EdgeIndex):
        edges = edges.as_tensor()
    nodes = int(graph.num_nodes)
    if edges.numel() and not (int(edges.min()) >= 0 and int(edges.max()) < nodes):
        raise ValueError(
            f"Expected {name}.edge_index to join the nodes 0 to {nodes - 1} "
            f"(got {int(edges.min())} to {int(edges.max())})"
        )
    return edges


def positions_of(graph: Data, name: str = "graph") -> Tensor:
    """Returns ``pos`` ``[N, 2]``.

    Raises:
        ValueError: If it is missing or does not fit the nodes.
    """
    pos = getattr(graph, "pos", None)
    if not isinstance(pos, Tensor) or tuple(pos.shape) != (graph.num_nodes, 2):
        got = list(pos.shape) if isinstance(pos, Tensor) else pos
        raise ValueError(f"Expected {name}.pos of shape [{graph.num_nodes}, 2] (got {got})")
    return pos


def image_of_node(graph: Data) -> tuple[Tensor, int]:
    """Returns the number of each node's image ``[N]``, and the number of images."""
    batch, grids = getattr(graph, "batch", None), getattr(graph, "grid_size", None)
    if isinstance(batch, Tensor):
        # A plain Data can have a batch vector, too, but does not know the number of graphs.
        return batch, graph.num_graphs if isinstance(graph, Batch) else int(batch.max()) + 1
    if isinstance(grids, Tensor) and grids.numel() > 2:
        counts = grids.reshape(-1, 2).prod(1).to(graph.edge_index.device)
        images = torch.arange(len(counts), device=counts.device)
        return images.repeat_interleave(counts), len(counts)
    return torch.zeros(graph.num_nodes, dtype=torch.long, device=graph.edge_index.device), 1


def grids_of(graph: Data, name: str = "graph") -> Tensor:
    """Returns rows and columns of each image's grid of patches, ``[B, 2]``.

    Raises:
        ValueError: If ``grid_size`` is missing or does not fit the nodes.
    """
    _check_field(graph, "grid_size", name)
    batch, edges = getattr(graph, "batch", None), getattr(graph, "edge_index", None)
    # A model on a GPU records graphs whose grid_size is on the CPU.
    device = edges.device if isinstance(edges, Tensor) else None
    grids: Tensor = graph.grid_size.reshape(-1, 2).to(device=device)
    sizes = grids.prod(1)
    if isinstance(batch, Tensor):
        nodes = torch.bincount(batch, minlength=len(sizes)).tolist()
        fits = nodes == sizes.tolist()
    else:
        nodes = graph.num_nodes
        fits = nodes == int(sizes.sum())
    if not fits:
        raise ValueError(f"Expected {name}.grid_size of {nodes} nodes (got {grids.tolist()})")
    return grids


def cells_of(graph: Data) -> tuple[Tensor, Tensor]:
    """Returns row and column of each node in its image's grid of patches, ``[N]`` each."""
    grids, (batch, _) = grids_of(graph), image_of_node(graph)
    number = torch.arange(len(batch), device=batch.device) - cumsum(grids.prod(1))[batch]
    columns = grids[batch, 1]
    return number // columns, number % columns


def select_image(graph: Data, number: int, name: str = "graph") -> Data:
    """Returns the part of a batch that belongs to one image, its nodes numbered from 0.

    Unlike ``batch[number]`` it keeps fields that were added to the batch.

    Raises:
        ValueError: If edges join nodes of different images.
    """
    edges = edges_of(graph, name)
    batch, images = image_of_node(graph)
    inside = batch[edges] == number
    if not torch.equal(*inside):
        raise ValueError(f"Expected {name}.edge_index to join nodes of the same image")
    fields = {**graph.to_dict(), "edge_index": edges}
    of_images = {key: fields.pop(key, None) for key in ("grid_size", "img_size", "img")}
    for key in ("batch", "ptr"):
        fields.pop(key, None)
    one = Data(**fields).subgraph(batch == number)
    # Where there are as many edges as nodes, PyG takes it for a field of the nodes.
    distance = fields.get("distance")
    if isinstance(distance, Tensor) and tuple(distance.shape) == (edges.size(1),):
        one.distance = distance[inside[1]]
    for key, values in of_images.items():
        if isinstance(values, list):
            one[key] = values[number]
        elif isinstance(values, Tensor):
            values = values if key == "img" else values.reshape(-1, 2)
            one[key] = values[[number]] if len(values) == images else values
    return one


def _check_field(graph: Data, key: str, name: str) -> None:
    if not isinstance(getattr(graph, key, None), Tensor):
        fields = graph.keys() if isinstance(graph, Data) else type(graph).__name__
        raise ValueError(f"Expected {name} to have the field {key!r} (got {fields})")


def _grid(graph: Data) -> tuple[int, int]:
    """Returns rows and columns of the graph of one image."""
    grids = grids_of(graph)
    if len(grids) != 1:
        raise ValueError(f"Expected the graph of one image (got {len(grids)})")
    rows, columns = grids[0].tolist()
    return rows, columns


def _image_sizes(graph: Data, images: int, name: str) -> Tensor:
    """Returns height and width of each image ``[B, 2]``, from ``img_size`` or else from ``img``."""
    img = getattr(graph, "img", None)
    if getattr(graph, "img_size", None) is None and isinstance(img, Tensor | list):
        several = img if isinstance(img, list) else [img] * images
        return torch.tensor([image.shape[-2:] for image in several])
    _check_field(graph, "img_size", name)
    sizes: Tensor = graph.img_size.reshape(-1, 2)
    if len(sizes) != images:
        raise ValueError(f"Expected {name}.img_size of shape [{images}, 2] (got {len(sizes)} rows)")
    if not bool((sizes > 0).all()):
        raise ValueError(f"Expected {name}.img_size above 0 (got {sizes.tolist()})")
    return sizes


def _check_inside(graph: Data, xy: tuple[float, float], name: str) -> None:
    height, width = _image_sizes(graph, 1, "graph")[0].tolist()
    if not (0 <= xy[0] <= width and 0 <= xy[1] <= height):
        raise ValueError(
            f"Expected {name} inside the image of {width:g} x {height:g} pixels "
            f"(got x={xy[0]:g}, y={xy[1]:g})"
        )
