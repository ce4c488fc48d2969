"""What image files hold, beside the picture that ``to_image`` gives."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

__all__ = ["read_size", "read_values"]

# Orientations of EXIF that turn the image by 90 degrees.
_TURNED = (5, 6, 7, 8)
# Under one of these names an orientation may stand in a PNG file, also behind the picture.
_PNG_NAMES = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    if not path.is_file():
        raise FileNotFoundError(f"Expected an image file (got '{path}', which does not exist)")
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise ValueError(f"Expected a readable image file (got '{path}': {error})") from error


def read_size(path: Path) -> tuple[int, int]:
    """Read an image's height and width, turned as its EXIF data say, without the picture."""
    with _opened(path) as image:
        width, height = image.size
        # Pillow would decode a whole PNG image to be sure that it has no orientation.
        plain = image.format == "PNG" and not _mentions(path, _PNG_NAMES)
        turned = not plain and image.getexif().get(ExifTags.Base.Orientation) in _TURNED
    return (width, height) if turned else (height, width)


def _mentions(path: Path, names: tuple[bytes, ...]) -> bool:
    content = path.read_bytes()
    return any(name in content for name in names)


def read_values(path: Path) -> np.ndarray:
    """Read the stored values of an image of one channel, ``[H, W]``, unscaled."""
    with _opened(path) as image:
        values = np.asarray(image)
        mode = image.mode
    if values.ndim != 2 or values.dtype.kind not in "bui":
        raise ValueError(f"Expected a mask of one channel of whole numbers (got '{path}': {mode})")
    return values
