"""The learned stem that embeds images as graphs of patches (Fig. 2 of the paper)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn.inits import reset

from pyg_viglad.nn import KNN, Graph, Hyperedges, make_graph, nearest_first, to_nodes
from pyg_viglad.transforms import as_size, patch_centers, to_batch

__all__ = ["GraphConstructor", "add_position", "grid_graphs"]


def grid_graphs(
    x: Tensor,
    edge_index: Tensor,
    grid_size: tuple[int, int],
    image_size: tuple[int, int],
    **fields: Tensor,
) -> Batch:
    """Returns the graphs of equal grids of patches as a PyG batch.

    Args:
        x: Node features ``[B * H * W, C]``, image after image, row by row.
        edge_index: Edges ``[2, E]``, image after image.
        grid_size: Rows and columns ``(H, W)``.
        image_size: Height and width in pixels of the image that the grid covers.
        **fields: Further fields, of one row per edge or of equally many rows per image.

    Returns:
        A ``Batch`` of ``Data(x, edge_index, pos, grid_size, img_size)``: ``pos [H * W, 2]`` are the
        patches' centres in pixels (x to the right, y down).

    Raises:
        ValueError: If there are no images, or hyperedges in the place of edges.

    Example:
        >>> import torch
        >>> grid_graphs(torch.zeros(8, 5), torch.arange(8).expand(2, 8), (2, 2), (8, 8))[1].pos
        tensor([[2., 2.],
                [6., 2.],
                [2., 6.],
                [6., 6.]])
    """
    if isinstance(edge_index, Hyperedges):
        raise ValueError("Expected edges (got hyperedges; see to_hypergraph)")
    if x.size(0) == 0:
        raise ValueError("Expected at least one image (got none)")
    nodes = grid_size[0] * grid_size[1]
    pos = patch_centers(grid_size, image_size, x.device).to(x.dtype)
    x = x.unflatten(0, (-1, nodes))
    counts = torch.bincount(edge_index[1] // nodes, minlength=x.size(0)).tolist()
    edges = edge_index.split(counts, dim=1)
    parts = {
        name: rows.split(counts if len(rows) == sum(counts) else len(rows) // x.size(0))
        for name, rows in fields.items()
    }
    return Batch.from_data_list(
        [
            Data(
                x=x[number],
                edge_index=edges[number] - number * nodes,
                pos=pos,
                grid_size=torch.tensor([grid_size]),
                img_size=torch.tensor([image_size]),
                **{name: rows[number] for name, rows in parts.items()},
            )
            for number in range(x.size(0))
        ]
    )


def add_position(maps: Tensor, position: Tensor) -> Tensor:
    """Adds a position embedding ``[1, C, H', W']`` to maps ``[B, C, H, W]``, resized bicubically.

    Example:
        >>> add_position(torch.zeros(2, 5, 4, 6), torch.ones(1, 5, 2, 2)).shape
        torch.Size([2, 5, 4, 6])
    """
    if position.shape[-2:] != maps.shape[-2:]:
        position = F.interpolate(position, maps.shape[-2:], mode="bicubic", align_corners=False)
    return maps + position


class GraphConstructor(nn.Module):
    r"""Embeds images as grids of nodes, each joined with its k nearest neighbours (Eq. 1-2, Fig. 2).

    The stem is conv 3x3 stride 2, BN, GELU, conv 3x3 stride 2, BN, GELU, conv 3x3, BN: one node per
    4 x 4 pixels. A learnable position embedding is added. The graph :math:`\mathcal{G} = G(I)` has an
    edge from each of the k nodes nearest in feature space, the node itself being the first.

    Args:
        channels: Number of channels of the node features.
        image_size: Side or ``(height, width)`` of the images for which the position embedding is
            made; at other sizes it is interpolated.
        k: Number of neighbours, lowered where the image has fewer nodes.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest.
        graph: Graph builder, see :func:`~pyg_viglad.nn.make_graph`.
        graph_kwargs: Further arguments of the graph builder.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` or a ``Batch`` with ``img``; H and W divisible by 4.
        - **output:** a ``Batch`` with ``x [B * N, channels]``, ``edge_index``, ``pos``, ``grid_size``
          and ``img_size``, where ``N = H / 4 * W / 4``.

    Raises:
        ValueError: If the images have another shape.

    Example:
        >>> import torch
        >>> GraphConstructor(48, image_size=32, k=9)(torch.rand(2, 3, 32, 32))
        DataBatch(x=[128, 48], edge_index=[2, 1152], pos=[128, 2], grid_size=[2, 2], img_size=[2, 2], batch=[128], ptr=[3])
    """  # noqa: E501

    def __init__(
        self,
        channels: int = 48,
        image_size: int | tuple[int, int] = 224,
        k: int = 12,
        dilation: int = 1,
        *,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        height, width = as_size(image_size)
        if height % 4 or width % 4 or min(height, width) < 4:
            raise ValueError(f"Expected 'image_size' to be divisible by 4 (got {height} x {width})")
        self.channels = channels
        self.k = k
        self.dilation = dilation
        self.graph = make_graph(graph, k, dilation, graph_kwargs)
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(channels // 2),
            nn.GELU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
            nn.BatchNorm2d(channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )
        self.position = nn.Parameter(torch.zeros(1, channels, height // 4, width // 4))

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        reset(self.stem)
        nn.init.zeros_(self.position)

    def embed(self, images: Tensor, whole_cells: bool = True) -> tuple[Tensor, tuple[int, int]]:
        """Returns the node features ``[B * N, channels]`` and the grid's ``(rows, columns)``.

        Args:
            images: Images ``[B, 3, H, W]``.
            whole_cells: Whether H and W must be divisible by 4; otherwise the grid's sides are rounded
                up.
        """
        if whole_cells and (images.size(2) % 4 or images.size(3) % 4):
            raise ValueError(
                f"Expected sides divisible by 4 (got {images.size(2)} x {images.size(3)})"
            )
        # With the channels last the nodes are a view of the stem's output.
        grid = self.stem(images.contiguous(memory_format=torch.channels_last))
        grid = add_position(grid, self.position)
        return to_nodes(grid), (grid.size(2), grid.size(3))

    def connect(self, x: Tensor, num_graphs: int, grid_size: tuple[int, int] | None = None) -> Any:
        """Returns the edges ``[2, E]`` among the nodes of each image."""
        return self.graph(x, num_graphs, grid_size)

    def forward(self, images: Tensor | Batch) -> Batch:
        """Returns the graphs of the images."""
        images = to_batch(images, normalized=True)
        x, grid_size = self.embed(images)
        edge_index = self.connect(x, images.size(0), grid_size)
        if isinstance(edge_index, Tensor) and not isinstance(self.graph, KNN):
            edge_index = nearest_first(x, edge_index)
        return grid_graphs(x, edge_index, grid_size, (images.size(2), images.size(3)))

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.channels}, k={self.k}, dilation={self.dilation})"
