"""Judging images as people have them."""

import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyg_viglad.models._images import as_images
from pyg_viglad.models.prediction import Prediction
from pyg_viglad.transforms import to_image
from pyg_viglad.transforms._image_size import check_image_size

if TYPE_CHECKING:
    from pyg_viglad.models.viglad import ViGLAD

__all__ = ["predict"]


@torch.no_grad()
def predict(model: "ViGLAD", images: Any, batch_size: int) -> Prediction:
    """Judge one image or a list of images, in evaluation mode."""
    several = isinstance(images, list | tuple) or (isinstance(images, Tensor) and images.dim() == 4)
    given = list(images) if several else [images]
    tensors = [to_image(image) for image in given]
    if not tensors:
        raise ValueError("Expected at least one image (got none)")
    for image, tensor in zip(given, tensors, strict=True):
        name = os.fspath(image) if isinstance(image, str | os.PathLike) else ""
        check_image_size(tensor.size(1), tensor.size(2), name)
    resized = torch.cat([as_images(image[None], model.image_size) for image in tensors])
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    parts = [model(batch.to(device)) for batch in resized.split(batch_size)]
    model.train(training)
    return Prediction.cat(parts)
