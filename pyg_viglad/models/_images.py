"""How images enter the networks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from pyg_viglad.transforms._image_size import check_image_size

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "ImageNetNormalization", "as_images", "jitter_color"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ImageNetNormalization(nn.Module):
    """Subtracts the ImageNet mean from images in [0, 1] and divides by its standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images ``[B, 3, H, W]``."""
        return (images - self.mean) / self.std


def as_images(images: Tensor | Data, image_size: tuple[int, int]) -> Tensor:
    """Give images ``[B, 3, *image_size]`` of a tensor or of a batch with ``img``.

    Raises:
        ValueError: If the shape is another, a value is not finite, or values leave [0, 1].
    """
    if isinstance(images, Data):
        if "img" not in images:
            raise ValueError(f"Expected a batch with 'img' (got the fields {images.keys()})")
        images = images.img
    if not isinstance(images, Tensor) or images.dim() != 4 or images.size(1) != 3:
        shape = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"Expected images [B, 3, H, W] (got {shape})")
    if not images.is_floating_point():
        raise ValueError(f"Expected floating-point images in [0, 1] (got {images.dtype})")
    low, high = float(images.min()), float(images.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also false for NaN
        raise ValueError(f"Expected images with values in [0, 1] (got {low:.3g} to {high:.3g})")
    check_image_size(images.size(2), images.size(3))
    if images.shape[-2:] != image_size:
        images = F.interpolate(
            images, size=image_size, mode="bilinear", align_corners=False, antialias=True
        )
    return images


def jitter_color(images: Tensor) -> Tensor:
    """Change brightness, contrast or saturation, one of them, by a factor from U(0.8, 1.2).

    The augmentation of EfficientAD's autoencoder branch, drawn for each image apart with torch's
    global generator.

    Args:
        images: ``[B, 3, H, W]`` in [0, 1].

    Returns:
        The same shape, in [0, 1].
    """
    changed = []
    for image in images:
        factor = float(torch.empty(()).uniform_(0.8, 1.2))
        kind = int(torch.randint(3, ()))
        gray = (image * image.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0, keepdim=True)
        other = (torch.zeros_like(gray), gray.mean(), gray)[kind]
        changed.append((factor * image + (1 - factor) * other).clamp(0, 1))
    return torch.stack(changed)
