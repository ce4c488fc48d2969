"""Paths, arrays, PIL images and batches as float tensors."""

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from operator import index
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.nn import KeepTypes

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "ImageLike",
    "ImageNetNormalization",
    "as_size",
    "check_image_size",
    "open_image",
    "read_orientation",
    "to_batch",
    "to_image",
]

ImageLike: TypeAlias = Tensor | np.ndarray[Any, Any] | Image.Image | str | os.PathLike[str]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# How an image is turned upright, by its EXIF orientation.
_TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_VALUES = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.bool: 1.0}


def to_image(
    value: ImageLike | Data, background: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Tensor:
    """Returns an image as a float tensor.

    Gray images are repeated over the three channels, an alpha channel is composited on ``background``, the
    EXIF orientation is applied, and integers are scaled by the range of their type, so that 16-bit gray
    images keep all their values. Of several frames or pages the first is read. Among lossless
    formats, damaged pixels are detected in PNG files only, which have checksums; damaged metadata are
    ignored.

    Args:
        value: A path; a PIL image of any mode; an array ``[H, W]`` or ``[H, W, C]``; a tensor
            ``[H, W]``, ``[C, H, W]`` or ``[1, C, H, W]``; or a ``Data`` with such a tensor as ``img``. C
            is 1 (gray), 2 (gray and alpha), 3 or 4 (with alpha). Arrays and tensors are bool, uint8,
            uint16, or floats in [0, 1].
        background: Colour behind transparent pixels, red, green, blue in [0, 1] (default: black).

    Returns:
        The image ``[3, H, W]``, float32 in [0, 1].

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, or shape, type or range are not those above.

    Example:
        >>> to_image(np.full((2, 4), 51, dtype=np.uint8))[:, 0, 0]
        tensor([0.2000, 0.2000, 0.2000])
    """
    if isinstance(value, Data):
        return to_image(_img(value), background)
    if isinstance(value, str | os.PathLike):
        with open_image(value) as picture:
            picture.load()
            return _from_pil(picture, background)
    if isinstance(value, Image.Image):
        return _from_pil(value, background)
    if isinstance(value, np.ndarray):
        return _from_tensor(_from_array(value), background)
    if isinstance(value, Tensor):
        return _from_tensor(value, background)
    raise ValueError(
        f"Expected a path, a PIL image, an array, a tensor or a Data (got {type(value).__name__})"
    )


def to_batch(
    images: Tensor | Data,
    image_size: tuple[int, int] | None = None,
    *,
    normalized: bool = False,
) -> Tensor:
    """Returns the images of a tensor or of a PyG batch, checked and resized.

    Args:
        images: ``[B, 3, H, W]``, or a ``Data`` or ``Batch`` with such an ``img``, or with a list of
            such of several sizes; floating point.
        image_size: Height and width in pixels; other images are resized to it (bilinear, antialiased).
            Required for several sizes.
        normalized: Whether the images are normalised already; otherwise values must lie in [0, 1], which
            is checked on the CPU only, because reading values back from another device would synchronise
            with it.

    Returns:
        Images ``[B, 3, *image_size]``.

    Raises:
        ValueError: If there is no image, or shape, type or range are not those above.

    Example:
        >>> to_batch(torch.rand(2, 3, 40, 60), (32, 48)).shape
        torch.Size([2, 3, 32, 48])
    """
    if isinstance(images, Data):
        images = _img(images)
        if isinstance(images, list):
            if image_size is None:
                sizes = [tuple(image.shape[-2:]) for image in images]
                raise ValueError(f"Expected images of one size (got {sizes})")
            return torch.cat([to_batch(i, image_size, normalized=normalized) for i in images])
    if not isinstance(images, Tensor) or images.dim() != 4 or images.size(1) != 3:
        shape = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"Expected images [B, 3, H, W] (got {shape})")
    if not images.is_floating_point():
        raise ValueError(f"Expected floating-point images (got {images.dtype})")
    if images.size(0) == 0:
        raise ValueError("Expected at least one image (got none)")
    check_image_size(images.size(2), images.size(3))
    if not normalized and images.device.type == "cpu" and not torch.compiler.is_exporting():
        _check_range(images)
    sides = images.shape[-2:]
    # Sides that an export leaves free are symbols, which may not be compared.
    free = any(isinstance(side, torch.SymInt) for side in sides)
    if image_size is not None and (free or sides != image_size):
        # Resized in float32 at least: half precision has no antialiasing on a CPU.
        exact = images.float() if images.dtype.itemsize < 4 else images
        images = F.interpolate(
            exact, size=image_size, mode="bilinear", align_corners=False, antialias=True
        ).to(images.dtype)
    return images


def as_size(image_size: int | Iterable[int]) -> tuple[int, int]:
    """Returns height and width of an image size: one number or two, of any integer type.

    Raises:
        ValueError: If it is anything else.

    Example:
        >>> as_size(np.int64(96)), as_size([96, 128])
        ((96, 96), (96, 128))
    """
    sides: Any = image_size if isinstance(image_size, Iterable) else (image_size, image_size)
    try:
        height, width = map(index, sides)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected 'image_size' to be an int or (height, width) (got {image_size!r})"
        ) from error
    return height, width


def check_image_size(height: int, width: int, name: str = "") -> None:
    """Raises ``ValueError`` if an image is smaller than one patch of 4 x 4 pixels."""
    if height < 4 or width < 4:
        where = f" in '{name}'" if name else ""
        raise ValueError(
            f"Expected an image of at least 4 x 4 pixels{where} (got {height} x {width})"
        )


class ImageNetNormalization(KeepTypes):
    """Subtracts the ImageNet mean from images in [0, 1] and divides by the standard deviation.

    The result has the images' type.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalises images ``[B, 3, H, W]``."""
        return ((images - self.mean) / self.std).to(images.dtype)


def _img(data: Data) -> Any:
    if "img" not in data:
        raise ValueError(f"Expected a Data with 'img' (got the fields {data.keys()})")
    img = data.img
    # ImageToGraph makes a subclass, of which any operation makes a tensor.
    return img[:] if isinstance(img, Tensor) and type(img) is not Tensor else img


@contextmanager
def open_image(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """Opens an image file for a block of statements, and names it in the errors of reading it.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is no image or damaged, or the block raises an error.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"Expected an image file (got '{path}', which does not exist)")
    if not path.is_file():  # a pipe would be waited for
        raise ValueError(f"Expected a readable image file (got '{path}', which is not a file)")
    try:
        with Image.open(_without_damage(path)) as image:
            if image.format == "EPS":  # Pillow would run Ghostscript
                raise ValueError("EPS holds no pixels")
            yield image
    except Exception as error:  # damaged files raise errors of any type
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "of no known format" if unknown else str(error) or type(error).__name__
        raise ValueError(f"Expected a readable image file (got '{path}': {reason})") from error


def _without_damage(path: Path) -> Path | BytesIO:
    """Returns a PNG without damaged metadata, and any other file as it is.

    Pillow rejects the whole image for a damaged text chunk, and does not check the pixels' checksums.
    """
    with path.open("rb") as file:
        if file.read(8) != _PNG:
            return path
        content = _PNG + file.read()
    sound, start, name = [_PNG], 8, b""
    while start < len(content) and name != b"IEND":
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        chunk, start = content[start:end], end
        name = chunk[4:8]
        if zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big"):
            sound.append(chunk)
        elif name[:1].isupper() or name == b"tRNS":  # ancillary chunks begin with a small letter
            raise ValueError(f"damaged chunk {name!r}")
    return BytesIO(b"".join(sound))


def read_orientation(image: Image.Image) -> int:
    """Returns an image's orientation by its EXIF data, from 1 (upright) to 8; 1 where they are damaged."""
    try:
        orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata raise errors of any type
        return 1
    return orientation if orientation in _TURNS else 1


def _from_pil(image: Image.Image, background: tuple[float, float, float]) -> Tensor:
    turn = _TURNS[read_orientation(image)]
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "I" or image.mode.startswith("I;16"):
        # 16-bit gray, which some versions of Pillow read as 32 bits; convert("RGB") would clip it at 255.
        values = np.asarray(image).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise ValueError(
                f"Expected 16-bit values in 0..65535 (got {values.min()} to {values.max()})"
            )
        if image.has_transparency_data:  # one of the values
            opaque = values != image.info["transparency"]
            values = np.dstack([values, 65535 * opaque])
        return to_image(values.astype(np.uint16), background)
    if image.mode == "F":
        return to_image(np.asarray(image), background)
    if image.mode == "La":
        image = image.convert("LA")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return to_image(np.asarray(image.convert(mode)), background)


def _from_array(array: np.ndarray[Any, Any]) -> Tensor:
    if array.ndim not in (2, 3):
        raise ValueError(f"Expected an array [H, W] or [H, W, C] (got {list(array.shape)})")
    if array.dtype.kind not in "buif" or array.dtype.itemsize > 8:
        raise ValueError(f"Expected bool, uint8, uint16 or float values (got {array.dtype})")
    # torch reads neither negative strides nor foreign byte orders.
    tensor = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    return tensor.permute(2, 0, 1) if tensor.dim() == 3 else tensor


def _from_tensor(image: Tensor, background: tuple[float, float, float]) -> Tensor:
    shape = list(image.shape)
    if image.dim() == 4 and image.size(0) == 1:
        image = image[0]
    if image.dim() == 2:
        image = image[None]
    if image.dim() != 3 or image.size(0) not in (1, 2, 3, 4) or image.numel() == 0:
        raise ValueError(f"Expected an image with 1, 2, 3 or 4 channels (got the shape {shape})")
    if image.is_floating_point():
        _check_range(image)
        image = image.to(torch.float32).clamp(0, 1)
    elif image.dtype in _MAX_VALUES:
        image = image.to(torch.float32) / _MAX_VALUES[image.dtype]
    else:
        raise ValueError(f"Expected bool, uint8, uint16 or float values (got {image.dtype})")
    if image.size(0) in (2, 4):
        color, alpha = image[:-1], image[-1:]
        image = alpha * color + (1 - alpha) * image.new_tensor(background).view(3, 1, 1)
    return image.expand(3, -1, -1).contiguous()


def _check_range(images: Tensor) -> None:
    low, high = float(images.detach().min()), float(images.detach().max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also false for NaN
        raise ValueError(f"Expected values in [0, 1] (got {low:.4g} to {high:.4g})")
