"""Any image that a user may hold, as a float tensor."""

import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

__all__ = ["ImageLike", "to_image"]

ImageLike: TypeAlias = Tensor | np.ndarray[Any, Any] | Image.Image | str | os.PathLike[str]

_SCALES = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.bool: 1.0}


def to_image(value: ImageLike, background: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Tensor:
    """Turn an image of any usual kind into a float tensor.

    Gray images are repeated over the three channels, an alpha channel is composited on
    ``background``, the orientation stored in a photograph's EXIF data is applied, and integers are
    scaled by the range of their type (so 16-bit images keep all their values).

    Args:
        value: A path; a PIL image of any mode; an array ``[H, W]`` or ``[H, W, C]``; or a tensor
            ``[H, W]``, ``[C, H, W]`` or ``[1, C, H, W]``. C is 1 (gray), 2 (gray and alpha), 3 or 4
            (with alpha). Arrays and tensors are bool, uint8, uint16, or floats in [0, 1].
        background: Colour behind transparent pixels, red, green, blue in [0, 1].

    Returns:
        The image ``[3, H, W]``, float32 in [0, 1].

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no readable image, or shape, type or range are others.

    Example:
        >>> to_image(np.full((2, 4), 51, dtype=np.uint8))[:, 0, 0]
        tensor([0.2000, 0.2000, 0.2000])
    """
    if isinstance(value, str | os.PathLike):
        return _from_file(Path(value), background)
    if isinstance(value, Image.Image):
        return _from_pil(value, background)
    if isinstance(value, np.ndarray):
        if value.ndim not in (2, 3):
            raise ValueError(f"Expected an array [H, W] or [H, W, C] (got {list(value.shape)})")
        # Torch reads neither negative strides nor foreign byte orders.
        value = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("="))
        if value.dtype.kind not in "buif" or value.dtype.itemsize > 8:
            raise ValueError(f"Expected bool, uint8, uint16 or float values (got {value.dtype})")
        tensor = torch.from_numpy(value.copy())
        return _from_tensor(tensor.permute(2, 0, 1) if tensor.dim() == 3 else tensor, background)
    if isinstance(value, Tensor):
        return _from_tensor(value, background)
    raise ValueError(
        f"Expected a path, a PIL image, an array or a tensor (got {type(value).__name__})"
    )


def _from_file(path: Path, background: tuple[float, float, float]) -> Tensor:
    if not path.exists():
        raise FileNotFoundError(f"Expected an image file (got '{path}', which does not exist)")
    try:
        with Image.open(path) as image:
            image.load()
            return _from_pil(image, background)
    except (
        OSError,  # truncated data, folders
        UnidentifiedImageError,
        Image.DecompressionBombError,
        SyntaxError,  # what Pillow raises for broken PNG chunks
        ValueError,
    ) as error:
        raise ValueError(f"Expected a readable image file (got '{path}': {error})") from error


def _from_pil(image: Image.Image, background: tuple[float, float, float]) -> Tensor:
    image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        # 16-bit gray; some versions of Pillow give it 32 bits. convert("RGB") would clip it at 255.
        values = np.asarray(image).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise ValueError(
                f"Expected 16-bit values in 0..65535 (got {values.min()} to {values.max()})"
            )
        return to_image(values.astype(np.uint16), background)
    if image.mode == "F":
        return to_image(np.asarray(image), background)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return to_image(np.asarray(image.convert(mode)), background)


def _from_tensor(image: Tensor, background: tuple[float, float, float]) -> Tensor:
    shape = list(image.shape)
    if image.dim() == 4 and image.size(0) == 1:
        image = image[0]
    if image.dim() == 2:
        image = image[None]
    if image.dim() != 3 or image.size(0) not in (1, 2, 3, 4) or image.numel() == 0:
        raise ValueError(f"Expected an image with 1, 2, 3 or 4 channels (got the shape {shape})")
    if image.is_floating_point():
        image = image.to(torch.float32)
        low, high = float(image.min()), float(image.max())
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # also false for NaN
            raise ValueError(f"Expected float values in [0, 1] (got {low:.4g} to {high:.4g})")
        image = image.clamp(0, 1)
    elif image.dtype in _SCALES:
        image = image.to(torch.float32) / _SCALES[image.dtype]
    else:
        raise ValueError(f"Expected bool, uint8, uint16 or float values (got {image.dtype})")
    if image.size(0) in (2, 4):
        color, alpha = image[:-1], image[-1:]
        image = alpha * color + (1 - alpha) * image.new_tensor(background).view(3, 1, 1)
    return image.expand(3, -1, -1).contiguous()
