"""Anomaly maps: distances between feature maps, and their position in the image."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["anomaly_map", "peak", "place_map"]


def anomaly_map(first: Tensor, second: Tensor) -> Tensor:
    r"""Computes the squared difference of two feature maps, averaged over the channels (Section III-D).

    .. math::
        m = \frac{1}{C} \sum_c (F_c - G_c)^2

    Args:
        first: ``[B, C, h, w]``: the teacher's features for the local map, the autoencoder's for the
            global one.
        second: The same shape: the first or second half of the student's output.

    Returns:
        Maps ``[B, h, w]``, at least 0, in at least float32.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> import torch
        >>> anomaly_map(torch.zeros(1, 2, 1, 1), torch.tensor([[[[1.]], [[3.]]]]))
        tensor([[[5.]]])
    """
    if first.shape != second.shape:
        raise ValueError(
            f"Expected feature maps of one shape (got {list(first.shape)} and {list(second.shape)})"
        )
    dtype = torch.promote_types(first.dtype, torch.float32)
    return (first.to(dtype) - second.to(dtype)).square().mean(1)


def place_map(
    maps: Tensor, image_size: tuple[int, int], first: float = 16.5, step: float = 4.0
) -> Tensor:
    """Resizes maps to the image, each value at the centre of its receptive field.

    Unpadded networks leave a margin: cell 0 of a PDN describes the pixels 0 to 33, centred at 16.5.
    Values are interpolated between the centres and constant beyond the outermost ones.

    Args:
        maps: ``[B, h, w]``.
        image_size: Height and width of the image in pixels.
        first: Centre of cell 0, in pixels from the image's edge (default: 16.5).
        step: Distance between neighbouring cells in pixels (default: 4).

    Returns:
        Maps ``[B, *image_size]``.

    Example:
        >>> import torch
        >>> placed = place_map(torch.eye(16)[None], (96, 96))
        >>> placed.shape, float(placed[0, 16, 16]) > 0.7
        (torch.Size([1, 96, 96]), True)
    """

    def coordinates(pixels: int, cells: int) -> Tensor:
        centers = torch.arange(pixels, device=maps.device, dtype=torch.float32) + 0.5
        cell = (centers - first) / step
        return (2 * cell + 1) / cells - 1  # grid_sample's coordinates, align_corners=False

    rows = coordinates(image_size[0], maps.size(1))
    columns = coordinates(image_size[1], maps.size(2))
    ys, xs = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([xs, ys], dim=-1).expand(maps.size(0), -1, -1, -1)
    placed = F.grid_sample(
        maps[:, None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return placed[:, 0]


def peak(maps: Tensor) -> Tensor:
    """Returns the position of each map's maximum, of equal values the one nearest to the centre.

    The maps of :func:`place_map` are constant beyond the outermost cells, so that a whole strip along the
    border may hold the maximum; its cell lies at the strip's inner edge.

    Args:
        maps: ``[B, H, W]``.

    Returns:
        Positions ``[B]``, row * W + column.

    Example:
        >>> import torch
        >>> peak(torch.tensor([[[5., 5., 1.], [5., 5., 1.], [0., 0., 0.]]]))
        tensor([4])
    """
    _, height, width = maps.shape
    rows = (torch.arange(height, device=maps.device) - (height - 1) / 2) / height
    columns = (torch.arange(width, device=maps.device) - (width - 1) / 2) / width
    distance = rows[:, None].square() + columns.square()
    highest = maps == maps.amax((1, 2), keepdim=True)
    position: Tensor = torch.where(highest, distance, torch.inf).flatten(1).argmin(1)
    return position
