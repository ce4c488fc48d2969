"""Validation of the figures' arguments and their conversion to arrays, always as copies."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.graphs import position_of
from pyg_viglad.transforms import ImageLike, to_image

__all__ = [
    "XY",
    "Array",
    "Images",
    "Maps",
    "Mask",
    "Nodes",
    "Numbers",
    "as_image",
    "as_images",
    "as_maps",
    "as_mask",
    "as_masks",
    "as_numbers",
    "as_positions",
    "check_arguments",
    "check_names",
    "size_of",
]

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Images: TypeAlias = ImageLike | Sequence[ImageLike]
Maps: TypeAlias = Tensor | Sequence[Tensor]
Numbers: TypeAlias = Tensor | Sequence[float]
XY: TypeAlias = tuple[float, float]
Nodes: TypeAlias = Tensor | Sequence[int] | Sequence[XY] | XY | int


def as_images(images: Images) -> list[Array]:
    """Returns every image as a float array ``[H, W, 3]`` in [0, 1]."""
    if isinstance(images, Tensor | np.ndarray):
        several = images.ndim == 4
    else:
        several = not isinstance(images, str | os.PathLike | Image.Image)
    batch: list[Any] = list(images) if several else [images]  # type: ignore[arg-type]
    if not batch:
        raise ValueError("Expected at least one image in images (got none)")
    arrays = []
    for number, image in enumerate(batch):
        try:
            values = to_image(image.detach() if isinstance(image, Tensor) else image)
        except ValueError as error:
            raise ValueError(f"{error}, in images[{number}]") from error
        arrays.append(values.cpu().permute(1, 2, 0).numpy().copy())
    return arrays


def as_image(image: ImageLike) -> Array:
    """Returns the one image as a float array ``[H, W, 3]`` in [0, 1]."""
    arrays = as_images(image)
    if len(arrays) != 1:
        raise ValueError(f"Expected one image (got {len(arrays)})")
    return arrays[0]


def size_of(picture: Array) -> tuple[int, int]:
    """Returns height and width of a picture in pixels."""
    return int(picture.shape[0]), int(picture.shape[1])


def as_maps(maps: Maps, name: str, count: int) -> list[Array]:
    """Returns one float array ``[H, W]`` per image; ``[B, 1, H, W]`` is read as ``[B, H, W]``."""
    if len(maps) != count:
        raise ValueError(f"Expected {name} for {count} images (got {len(maps)})")
    arrays = []
    for number, entry in enumerate(maps):
        values = torch.as_tensor(entry).detach().cpu().double()
        if values.dim() == 3 and values.size(0) == 1:
            values = values[0]
        if values.dim() != 2 or values.numel() == 0:
            raise ValueError(
                f"Expected {name}[{number}] of shape [H, W] (got {list(values.shape)})"
            )
        if not bool(values.isfinite().all()):
            raise ValueError(f"Expected {name}[{number}] to be finite (got NaN or infinity)")
        arrays.append(values.numpy().copy())
    return arrays


def as_masks(masks: Maps | None, count: int) -> list[Mask] | None:
    """Returns one mask ``[H, W]`` per image, if there are any."""
    return None if masks is None else [m > 0.5 for m in as_maps(masks, "masks", count)]


def as_mask(mask: Any) -> Mask | None:
    """Returns the one mask ``[H, W]``, if there is one."""
    if mask is None:
        return None
    values = np.array(mask) if isinstance(mask, Image.Image) else mask
    found: Mask = as_maps(torch.as_tensor(values)[None], "mask", 1)[0] > 0.5
    return found


def as_numbers(values: Numbers, name: str, count: int) -> list[float]:
    """Returns one finite number per image."""
    numbers = torch.as_tensor(values).detach().cpu().double()
    if tuple(numbers.shape) != (count,):
        raise ValueError(f"Expected {name} of shape [{count}] (got {list(numbers.shape)})")
    if not bool(numbers.isfinite().all()):
        raise ValueError(f"Expected {name} to be finite (got NaN or infinity)")
    return [float(n) for n in numbers]


def as_positions(nodes: Nodes, graphs: Sequence[Data]) -> list[XY]:
    """Returns one position in pixels of the picture per graph, from positions or node numbers.

    For one graph, a number or position needs no list around it.
    """
    values, count = torch.as_tensor(nodes).detach().cpu(), len(graphs)
    if count == 1 and tuple(values.shape) in ((), (2,)):
        values = values[None]
    numbers = tuple(values.shape) == (count,) and not values.is_floating_point()
    if not numbers and tuple(values.shape) != (count, 2):
        raise ValueError(
            f"Expected nodes to be positions [{count}, 2] or node numbers [{count}] "
            f"(got {values.dtype} {list(values.shape)})"
        )
    return [
        position_of(graph, value, f"nodes[{number}]")
        for number, (graph, value) in enumerate(zip(graphs, values, strict=True))
    ]


def check_arguments(dimming: float, **counts: int | None) -> None:
    """Checks that ``dimming`` lies in [0, 1] and that counts are at least 1."""
    for name, number in counts.items():
        if number is not None and number < 1:
            raise ValueError(f"Expected {name} of at least 1 (got {number})")
    if not 0 <= dimming <= 1:
        raise ValueError(f"Expected dimming in [0, 1] (got {dimming})")


def check_names(values: Any, name: str) -> None:
    """Checks that graphs or maps are a dictionary with at least one entry."""
    if not isinstance(values, Mapping) or not values:
        raise ValueError(
            f"Expected {name} to map names to {name}, at least one (got {type(values).__name__})"
        )
