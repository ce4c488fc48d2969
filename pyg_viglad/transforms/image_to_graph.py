"""An image as a graph of its patches."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_viglad.nn import KNN, Graph, knn_graph, make_graph, nearest_first
from pyg_viglad.transforms.to_image import ImageLike, to_image

__all__ = ["ImageToGraph", "patch_centers"]


@functional_transform("image_to_graph")
class ImageToGraph(BaseTransform):
    r"""Builds the graph of an image's patches, each connected to the k most similar ones.

    This is the graph :math:`\mathcal{G} = G(I)` of Eq. 1-2 on the pixels themselves; with a learned
    embedding it is :class:`~pyg_viglad.GraphConstructor`.

    Args:
        patch_size: Side of the square patches in pixels (default: 4); it must divide the image's sides.
        k: Number of neighbours of each patch (default: 12).
        dilation: Keep every ``dilation``-th of the ``k * dilation`` nearest patches (default: 1).
        loop: Whether each patch is its own first neighbour (default: True); only with ``graph="knn"``.
        cosine: Whether to compare L2-normalised colours, ignoring brightness (default: True); only with
            ``graph="knn"``.
        graph: Graph builder, see :func:`~pyg_viglad.nn.make_graph` (default: ``"knn"``).
        graph_kwargs: Further arguments of the graph builder.

    Shapes:
        - **input:** an image as :func:`~pyg_viglad.transforms.to_image` takes it, or a ``Data`` with
          ``img`` ``[1, 3, H, W]``, whose other fields are kept.
        - **output:** ``Data`` with ``x [N, 3 * patch_size ** 2]`` (red, green, blue, each row by row, in
          [0, 1]), ``pos [N, 2]`` (patch centres in pixels, x right, y down), ``edge_index [2, N * k]``
          (row 0 the neighbour, row 1 the centre, grouped by centre, nearest first; other graphs than
          ``"knn"`` may have another number), ``img [1, 3, H, W]`` and ``grid_size [1, 2]`` (rows,
          columns). In a ``Batch`` of images of several sizes ``img`` is a list of such tensors.

    Raises:
        ValueError: If the image cannot be read or divided into patches, or has fewer than ``k`` of them
            with ``graph="knn"``; if an argument is out of range.

    Example:
        >>> ImageToGraph(patch_size=4, k=3)(torch.rand(3, 8, 12))
        Data(x=[6, 48], edge_index=[2, 18], pos=[6, 2], img=[1, 3, 8, 12], grid_size=[1, 2])
    """

    def __init__(
        self,
        patch_size: int = 4,
        k: int = 12,
        dilation: int = 1,
        loop: bool = True,
        cosine: bool = True,
        *,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if patch_size < 1:
            raise ValueError(f"Expected 'patch_size' to be at least 1 (got {patch_size})")
        self.patch_size = patch_size
        self.k = k
        self.dilation = dilation
        self.loop = loop
        self.cosine = cosine
        self.graph = make_graph(graph, k, dilation, graph_kwargs)
        if isinstance(self.graph, KNN):
            self.k, self.dilation = self.graph.k, self.graph.dilation
        if getattr(self.graph, "hypergraph", False):
            raise ValueError(
                f"Expected a graph of edges (got {graph!r}: see pyg_viglad.nn.to_hypergraph)"
            )
        if not (isinstance(self.graph, KNN) or (loop and cosine)):
            raise ValueError(
                f"Expected loop=True and cosine=True with graph {graph!r} "
                f"(got loop={loop}, cosine={cosine})"
            )

    def forward(self, data: Data | ImageLike) -> Data:
        """Builds the graph of an image, or of the image in a ``Data``."""
        image = to_image(data)
        data = data if isinstance(data, Data) else Data()
        size = self.patch_size
        height, width = image.shape[1:]
        if height % size or width % size:
            raise ValueError(
                f"Expected height and width divisible by patch_size = {size} "
                f"(got {height} x {width})"
            )
        rows, columns = height // size, width // size
        patches = image.view(3, rows, size, columns, size).permute(1, 3, 0, 2, 4)
        data.x = patches.reshape(rows * columns, 3 * size * size)
        if isinstance(self.graph, KNN):
            data.edge_index = knn_graph(
                data.x, self.k, dilation=self.dilation, loop=self.loop, cosine=self.cosine
            )
        else:
            edge_index = self.graph(data.x, 1, (rows, columns))
            data.edge_index = nearest_first(data.x, edge_index)
        data.pos = patch_centers((rows, columns), (height, width))
        data.img = image[None].as_subclass(_AnySize)
        data.grid_size = torch.tensor([[rows, columns]])
        return data

    def __repr__(self) -> str:
        graph = "" if isinstance(self.graph, KNN) else f", graph={self.graph}"
        return (
            f"{self.__class__.__name__}(patch_size={self.patch_size}, k={self.k}, "
            f"dilation={self.dilation}, loop={self.loop}, cosine={self.cosine}{graph})"
        )


class _AnySize(Tensor):
    """Image tensors ``[B, 3, H, W]`` that PyG batches into a list where their sizes differ."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Returns a list where images of several sizes are concatenated, and plain tensors otherwise."""
        with torch._C.DisableTorchFunctionSubclass():
            if func is torch.cat and len({image.shape[1:] for image in args[0]}) > 1:
                return [image.as_subclass(Tensor) for image in args[0]]
            result = func(*args, **(kwargs or {}))
        # A copy of a graph, or one on another device, batches as the graph does.
        kept = func in (Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.clone, Tensor.detach)
        return result.as_subclass(cls) if kept else result

    def __deepcopy__(self, memo: dict[int, Any]) -> "_AnySize":
        return self.detach().clone()  # type: ignore[return-value]


torch.serialization.add_safe_globals([_AnySize])  # graphs load with weights_only=True


def patch_centers(
    grid_size: tuple[int, int],
    image_size: tuple[int, int],
    device: torch.device | str | None = None,
) -> Tensor:
    """Returns the centres (x, y) of the patches in pixels, row by row, ``[rows * columns, 2]``.

    Args:
        grid_size: Rows and columns of the grid.
        image_size: Height and width in pixels of the image that the grid covers.
        device: Device of the result (default: CPU).

    Example:
        >>> patch_centers((1, 2), (4, 8))
        tensor([[2., 2.],
                [6., 2.]])
    """
    rows, columns = grid_size
    ys = (torch.arange(rows, device=device) + 0.5) * (image_size[0] / rows)
    xs = (torch.arange(columns, device=device) + 0.5) * (image_size[1] / columns)
    return torch.stack([xs.repeat(rows), ys.repeat_interleave(columns)], dim=1)
