"""Judging images as people have them."""

import os
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from pyg_viglad.models.prediction import Prediction
from pyg_viglad.scoring import Features, place_map
from pyg_viglad.transforms import check_image_size, to_batch, to_image

if TYPE_CHECKING:
    from pyg_viglad.models.viglad import ViGLAD

__all__ = ["Precision", "autocast", "predict", "predict_features"]

Precision = Literal["float32", "bfloat16", "float16"]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Make the context in which networks compute in a precision.

    Raises:
        ValueError: If the precision is unknown.
    """
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise ValueError(f"Expected 'precision' among {known} (got {precision!r})")
    dtype = torch.bfloat16 if precision == "float32" else getattr(torch, precision)
    return torch.autocast(device.type, dtype, enabled=precision != "float32")


@torch.no_grad()
def predict(
    model: "ViGLAD", images: Any, batch_size: int, precision: Precision = "float32"
) -> Prediction:
    """Judge one image or a list of images, in evaluation mode."""
    device = next(model.parameters()).device
    context = autocast(device, precision)
    several = isinstance(images, list | tuple) or (isinstance(images, Tensor) and images.dim() == 4)
    given = list(images) if several else [images]
    tensors = [to_image(image) for image in given]
    if not tensors:
        raise ValueError("Expected at least one image (got none)")
    for image, tensor in zip(given, tensors, strict=True):
        name = os.fspath(image) if isinstance(image, str | os.PathLike) else ""
        check_image_size(tensor.size(1), tensor.size(2), name)
    resized = torch.cat([to_batch(image[None], model.image_size) for image in tensors])
    training = model.training
    model.eval()
    with context:
        parts = [model(batch.to(device)) for batch in resized.split(batch_size)]
    model.train(training)
    return Prediction.cat(parts)


def predict_features(model: "ViGLAD", features: Features) -> Prediction:
    """Turn features into scores and maps, in float32 whatever the networks computed in."""
    scorer, nodes = model.scorer, model.scorer.nodes
    with torch.autocast(features.teacher.device.type, enabled=False):
        raw = scorer.raw(features)
        local, global_, combined = scorer.maps(raw)
        reconstruction = combined.amax((1, 2))
        feature = scorer.gaussian(raw.vector)
        paper = scorer.fuse(reconstruction, feature)
        node_map = node_score = None
        if raw.node_map is not None and nodes is not None:
            node_score = raw.node_map.amax((1, 2))
            first = 16.5 + 4 * (nodes.window - 1) / 2
            node_map = place_map(raw.node_map, model.image_size, first, 4.0 * nodes.stride)
        score = scorer.total(paper, node_score)
        return Prediction(
            score,
            scorer.threshold(score),
            place_map(combined, model.image_size),
            place_map(local, model.image_size),
            place_map(global_, model.image_size),
            reconstruction,
            feature,
            paper,
            node_map,
            node_score,
        )
