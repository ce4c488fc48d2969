"""An image as a graph of its patches."""

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from pyg_viglad.nn import knn_graph
from pyg_viglad.transforms.to_image import ImageLike, to_image

__all__ = ["ImageToGraph"]


@functional_transform("image_to_graph")
class ImageToGraph(BaseTransform):
    r"""Turns an image into the graph of its patches, each joined to those most like it.

    The graph :math:`\mathcal{G} = G(I)` of Eq. 1-2 on the pixels themselves: the k patches of the
    most similar colours. With a learned embedding it is :class:`~pyg_viglad.GraphConstructor`.

    Args:
        patch_size: Side of the square patches in pixels; the image's sides must be divisible by it.
        k: Number of neighbours of each patch.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest.
        loop: Each patch is its own first neighbour, otherwise it is none of them.
        cosine: Compare L2-normalised colours, that is regardless of brightness.

    Shapes:
        - **input:** an image as :func:`~pyg_viglad.transforms.to_image` takes them, or a ``Data``
          with ``img`` ``[1, 3, H, W]``, whose other fields are kept.
        - **output:** ``Data`` with ``x [N, 3 * patch_size ** 2]`` (red, green, blue, each row by
          row, in [0, 1]), ``pos [N, 2]`` (x to the right, y down: the patches' centres in pixels),
          ``edge_index [2, N * k]`` (row 0 the neighbour, row 1 the centre, grouped by centre,
          nearest first), ``img [1, 3, H, W]`` and ``grid_size [1, 2]`` (rows, columns).

    Raises:
        ValueError: If the image cannot be read or divided into patches, or there are fewer than
            ``k`` of them.

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
    ) -> None:
        for name, value in (("patch_size", patch_size), ("k", k), ("dilation", dilation)):
            if value < 1:
                raise ValueError(f"Expected '{name}' to be at least 1 (got {value})")
        self.patch_size = patch_size
        self.k = k
        self.dilation = dilation
        self.loop = loop
        self.cosine = cosine

    def forward(self, data: Data | ImageLike) -> Data:
        """Turn an image, or the image of a ``Data``, into a graph."""
        if isinstance(data, Data):
            if "img" not in data:
                raise ValueError(f"Expected a Data with 'img' (got the fields {data.keys()})")
            image = to_image(data.img)
        else:
            image = to_image(data)
            data = Data()
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
        data.edge_index = knn_graph(
            data.x, self.k, dilation=self.dilation, loop=self.loop, cosine=self.cosine
        )
        data.pos = _centres(rows, columns, size, image)
        data.img = image[None]
        data.grid_size = torch.tensor([[rows, columns]])
        return data

    def __repr__(self) -> str:
        return (
            f"{self.__class__.__name__}(patch_size={self.patch_size}, k={self.k}, "
            f"dilation={self.dilation}, loop={self.loop}, cosine={self.cosine})"
        )


def _centres(rows: int, columns: int, size: int, like: Tensor) -> Tensor:
    """Give the centres (x, y) of the patches in pixels, row by row."""
    y = (torch.arange(rows, device=like.device, dtype=like.dtype) + 0.5) * size
    x = (torch.arange(columns, device=like.device, dtype=like.dtype) + 0.5) * size
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=1)
