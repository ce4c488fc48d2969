"""Maps and masks as users have them, checked and as arrays."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_map", "as_mask", "masked", "paired"]

S = TypeVar("S")
T = TypeVar("T")
_END = object()


def paired(
    first: Iterable[S], second: Iterable[T], names: tuple[str, str]
) -> Iterator[tuple[S, T]]:
    """Go once through both, which may be generators; they have to end together."""
    for number, (one, other) in enumerate(zip_longest(first, second, fillvalue=_END)):
        if one is _END or other is _END:
            ended = names[0] if one is _END else names[1]
            raise ValueError(
                f"Expected as many {names[0]} as {names[1]} (got only {number} {ended})"
            )
        yield one, other  # type: ignore[misc]


def as_map(anomaly_map: Tensor | np.ndarray, image: str) -> np.ndarray:
    """Give a finite ``[H, W]`` map in float32 or, where it came in more bits, in float64."""
    values = _as_array(anomaly_map)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"Expected a map [H, W] of {image} (got {list(values.shape)})")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"Expected a map of real numbers of {image} (got {values.dtype})")
    wide = np.promote_types(values.dtype, np.float32) != np.float32
    values = values.astype(np.float64 if wide else np.float32, copy=False)
    finite = int(np.isfinite(values).sum())
    if finite < values.size:
        raise ValueError(
            f"Expected finite values in the map of {image} "
            f"(got {values.size - finite} of {values.size} not)"
        )
    return values


def as_mask(mask: Tensor | np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Give a bool mask of the map's shape; numbers other than zero are part of the defect."""
    values = _as_array(mask)
    if values.shape != shape:
        raise ValueError(
            f"Expected {name} to be as large as its map {list(shape)} (got {list(values.shape)})"
        )
    if values.dtype.kind == "f" and not np.isin(values, (0, 1)).all():
        raise ValueError(f"Expected {name} to hold bools, whole numbers or 0.0 and 1.0")
    return values if values.dtype == np.bool_ else values != 0


def masked(
    maps: Iterable[Tensor | np.ndarray], masks: Iterable[Tensor | np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Go once through maps and one mask an image, checked."""
    for number, (anomaly_map, mask) in enumerate(paired(maps, masks, ("maps", "masks"))):
        values = as_map(anomaly_map, f"image {number}")
        yield values, as_mask(mask, values.shape, f"the mask of image {number}")


def _as_array(values: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)
