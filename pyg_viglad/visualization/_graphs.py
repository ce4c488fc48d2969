"""A batch of patch graphs, read image by image in the pixels of the pictures drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Data

from pyg_viglad.visualization._neighbors import neighbors_of, node_at

__all__ = ["PatchGraph", "one_graph", "split_graph"]

# Recorded scores of nodes that say which one is the most anomalous, the first that is there.
SCORES = ("node_score", "combined_score")


@dataclass(frozen=True)
class PatchGraph:
    """The graph of one image.

    Attributes:
        name: What error messages call it.
        pos: Patch centres ``[N, 2]`` in pixels of the picture (not of the image the graph saw).
        grid_size: Rows and columns.
        picture_size: Height and width of the picture in pixels.
        edges: The edges of the whole batch ``[2, E]``.
        first: The number of this image's first node in the batch.
        scores: Anomaly scores of the nodes ``[N]``, where they were recorded.
        distance: Lengths of the batch's edges in feature space ``[E]``, where they were recorded.
    """

    name: str
    pos: Tensor
    grid_size: tuple[int, int]
    picture_size: tuple[int, int]
    edges: Tensor
    first: int
    scores: Tensor | None = None
    distance: Tensor | None = None

    @property
    def patch_size(self) -> tuple[float, float]:
        """Width and height of a patch in pixels of the picture."""
        (rows, columns), (height, width) = self.grid_size, self.picture_size
        return width / columns, height / rows

    def node_at(self, xy: tuple[float, float]) -> int:
        """Return the node whose patch contains the position."""
        return node_at(self.pos, self.grid_size, self.picture_size, xy)

    def degree(self, node: int) -> int:
        """Return how many neighbours the graph lists for the node, itself included."""
        return int((self.edges[1] == node + self.first).sum())

    def neighbors(self, node: int) -> list[int]:
        """Return the node's neighbours, nearest first, without itself."""
        numbers = (neighbors_of(self.edges, node + self.first) - self.first).tolist()
        if any(not 0 <= n < self.pos.size(0) for n in numbers):
            raise ValueError(
                f"Expected {self.name}.edge_index to join nodes of the same image "
                f"(got neighbours {[n + self.first for n in numbers]} "
                f"for node {node + self.first} of nodes "
                f"{self.first} to {self.first + self.pos.size(0) - 1})"
            )
        return [int(n) for n in numbers]

    def links(self) -> tuple[Tensor, Tensor | None]:
        """Return all edges ``[2, E]`` but those from a node to itself, and their distances."""
        pairs = self.edges - self.first
        count = self.pos.size(0)
        inside = (pairs >= 0) & (pairs < count)
        own = inside[1] & (pairs[0] != pairs[1])
        if not bool(inside[0][own].all()):
            raise ValueError(f"Expected {self.name}.edge_index to join nodes of the same image")
        return pairs[:, own], None if self.distance is None else self.distance[own]


def one_graph(graph: Data, name: str, picture_size: tuple[int, int]) -> PatchGraph:
    """Read the graph of one image; see :func:`split_graph`."""
    return split_graph(graph, name, [picture_size])[0]


def split_graph(
    graph: Data, name: str, picture_sizes: Sequence[tuple[int, int]]
) -> list[PatchGraph]:
    """Split a ``Data`` or ``Batch`` into one :class:`PatchGraph` an image.

    Args:
        graph: The graphs of all images, with ``pos``, ``edge_index``, ``grid_size`` and
            ``img_size`` (or ``img``, whose height and width then count).
        name: What error messages call it.
        picture_sizes: Height and width of each picture.

    Returns:
        The graphs, with positions in pixels of the pictures.

    Raises:
        ValueError: If a field is missing or does not fit the pictures.
    """
    pos, edges, shapes = (_field(graph, key, name) for key in ("pos", "edge_index", "grid_size"))
    edges = edges.as_tensor() if isinstance(edges, EdgeIndex) else edges
    grids = shapes.reshape(-1, 2).tolist()
    if len(grids) != len(picture_sizes):
        raise ValueError(
            f"Expected {name} to hold one graph for each of the {len(picture_sizes)} images "
            f"(got {len(grids)})"
        )
    sizes = _image_sizes(graph, name, len(grids))
    total = sum(rows * columns for rows, columns in grids)
    if pos.dim() != 2 or tuple(pos.shape) != (total, 2):
        raise ValueError(
            f"Expected {name}.pos of shape [{total}, 2] for grid_size {grids} "
            f"(got {list(pos.shape)})"
        )
    scores = next((_numbers(graph, key, total) for key in SCORES if key in graph), None)
    distance = _numbers(graph, "distance", edges.size(1)) if "distance" in graph else None
    graphs, first = [], 0
    for (rows, columns), (seen_h, seen_w), (height, width) in zip(
        grids, sizes, picture_sizes, strict=True
    ):
        scale = torch.tensor([width / seen_w, height / seen_h], dtype=torch.float64)
        part = pos[first : first + rows * columns].double() * scale
        own = None if scores is None else scores[first : first + rows * columns]
        graphs.append(
            PatchGraph(name, part, (rows, columns), (height, width), edges, first, own, distance)
        )
        first += rows * columns
    return graphs


def _field(graph: Data, key: str, name: str) -> Tensor:
    value = getattr(graph, key, None)
    if not isinstance(value, Tensor):
        fields = graph.keys() if isinstance(graph, Data) else type(graph).__name__
        raise ValueError(f"Expected {name} to have the field {key!r} (got {fields})")
    return value.detach().cpu()


def _numbers(graph: Data, key: str, count: int) -> Tensor | None:
    """A field with a finite number for each node or edge; None where it is something else."""
    values = getattr(graph, key)
    if not isinstance(values, Tensor) or tuple(values.shape) != (count,):
        return None
    values = values.detach().cpu().double()
    return values if bool(values.isfinite().all()) else None


def _image_sizes(graph: Data, name: str, count: int) -> list[list[float]]:
    """Heights and widths of the images that the graphs saw."""
    images = getattr(graph, "img", None)
    if getattr(graph, "img_size", None) is None and isinstance(images, Tensor):
        return [[float(n) for n in images.shape[-2:]]] * count
    sizes = _field(graph, "img_size", name).reshape(-1, 2)
    if len(sizes) != count:
        raise ValueError(f"Expected {name}.img_size of shape [{count}, 2] (got {len(sizes)} rows)")
    if not bool((sizes > 0).all()):
        raise ValueError(f"Expected {name}.img_size above 0 (got {sizes.tolist()})")
    return [[float(n) for n in size] for size in sizes]
