"""The image files below a folder."""

import os
from pathlib import Path

__all__ = ["IMAGE_SUFFIXES", "list_images"]

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp"}


def list_images(root: str | os.PathLike[str]) -> list[Path]:
    """List the image files of a folder and of all folders below it, in a fixed order.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no image.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = open(f"{folder}/b.png", "w"), open(f"{folder}/a.JPG", "w"), open(f"{folder}/c.txt", "w")
        ...     [path.name for path in list_images(folder)]
        ['a.JPG', 'b.png']
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"Expected a folder of images (got '{root}')")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"Expected at least one image below '{root}' (got none)")
    return paths
