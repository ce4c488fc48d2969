"""Images as tensors and as graphs of patches."""

from pyg_viglad.transforms.image_to_graph import ImageToGraph, patch_centers
from pyg_viglad.transforms.to_image import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageLike,
    ImageNetNormalization,
    as_size,
    check_image_size,
    open_image,
    read_orientation,
    to_batch,
    to_image,
)

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ImageLike",
    "ImageNetNormalization",
    "ImageToGraph",
    "as_size",
    "check_image_size",
    "open_image",
    "patch_centers",
    "read_orientation",
    "to_batch",
    "to_image",
]
