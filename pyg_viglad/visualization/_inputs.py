"""What the plotting functions accept, turned into arrays (copies: the input stays as it was)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pyg_viglad.transforms import ImageLike, to_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "AxesLike",
    "Images",
    "Maps",
    "Numbers",
    "as_image",
    "as_images",
    "as_maps",
    "as_mask",
    "as_numbers",
    "as_texts",
    "check_counts",
    "check_dimming",
    "format_number",
]

Array = NDArray[Any]
# One pair of axes, or an array or (nested) list of them.
AxesLike: TypeAlias = Union["Axes", Sequence[Any], NDArray[Any]]
Images = ImageLike | Sequence[ImageLike]
Maps = Tensor | Sequence[Tensor]
Numbers = Tensor | Sequence[float]


def as_images(images: Images) -> list[Array]:
    """Return every image as a float array ``[H, W, 3]`` in [0, 1]."""
    batch: list[Any] = list(images) if _several(images) else [images]  # type: ignore[arg-type]
    if not batch:
        raise ValueError("Expected at least one image in images (got none)")
    arrays = []
    for number, image in enumerate(batch):
        if isinstance(image, str | os.PathLike | Image.Image | np.ndarray):
            image = to_image(image)
        shape = list(getattr(image, "shape", ()))
        if not isinstance(image, Tensor) or len(shape) != 3 or shape[0] not in (1, 3):
            raise ValueError(
                f"Expected images[{number}] to be a tensor [3, H, W] "
                f"(got {type(image).__name__} {shape})"
            )
        values = image.detach().cpu()
        # Bytes are a common slip with an unambiguous meaning.
        values = values.double() / 255 if values.dtype == torch.uint8 else values.double()
        low, high = float(values.min()), float(values.max())
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # also refuses NaN
            raise ValueError(
                f"Expected images[{number}] with values in [0, 1] (got {low:g} to {high:g})"
            )
        array = values.clamp(0, 1).permute(1, 2, 0).numpy()
        arrays.append(np.repeat(array, 3, axis=2) if shape[0] == 1 else array.copy())
    return arrays


def as_image(image: ImageLike) -> Array:
    """Return the one image as a float array ``[H, W, 3]`` in [0, 1]."""
    arrays = as_images(image)
    if len(arrays) != 1:
        raise ValueError(f"Expected one image (got {len(arrays)})")
    return arrays[0]


def _several(images: Images) -> bool:
    if isinstance(images, Tensor | np.ndarray):
        return images.ndim == 4
    return not isinstance(images, str | os.PathLike | Image.Image)


def as_maps(maps: Maps, name: str, count: int) -> list[Array]:
    """Return one float array ``[H, W]`` an image; ``[B, 1, H, W]`` is read as ``[B, H, W]``."""
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


def as_mask(mask: Any) -> NDArray[np.bool_] | None:
    """Return the one mask ``[H, W]``, if there is one."""
    if mask is None:
        return None
    found: NDArray[np.bool_] = as_maps(torch.as_tensor(mask)[None], "mask", 1)[0] > 0.5
    return found


def check_counts(**counts: int | None) -> None:
    """Refuse numbers below 1."""
    for name, number in counts.items():
        if number is not None and number < 1:
            raise ValueError(f"Expected {name} of at least 1 (got {number})")


def check_dimming(dimming: float) -> None:
    """Refuse what is no share."""
    if not 0 <= dimming <= 1:
        raise ValueError(f"Expected dimming in [0, 1] (got {dimming})")


def as_numbers(values: Numbers, name: str, count: int) -> list[float]:
    """Return one finite number an image."""
    numbers = torch.as_tensor(values).detach().cpu().double()
    if tuple(numbers.shape) != (count,):
        raise ValueError(f"Expected {name} of shape [{count}] (got {list(numbers.shape)})")
    if not bool(numbers.isfinite().all()):
        raise ValueError(f"Expected {name} to be finite (got NaN or infinity)")
    return [float(n) for n in numbers]


def as_texts(texts: Sequence[str] | None, name: str, count: int) -> list[str]:
    """Return one text an image, empty ones where there are none."""
    if texts is None:
        return [""] * count
    if isinstance(texts, str) or len(texts) != count:
        got = repr(texts) if isinstance(texts, str) else len(texts)
        raise ValueError(f"Expected {name} for {count} images (got {got})")
    return [str(text) for text in texts]


def format_number(value: float, digits: int) -> str:
    """Write a number with so many digits after the point and a proper minus sign."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")
