"""Readers of the files in which images of digits are kept."""

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

__all__ = ["SIDE", "Digits", "read_class_folders", "read_idx", "read_mnist", "read_npz"]

SIDE = 28
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".tif", ".tiff", ".webp"}
_IDX = ("train-images", "train-labels", "t10k-images", "t10k-labels")


class Digits(NamedTuple):
    """Images of digits ``[M, 28, 28]`` (uint8, white on black) and the digits shown ``[M]``."""

    images: np.ndarray
    labels: np.ndarray


def _checked(images: np.ndarray, labels: np.ndarray, name: str) -> Digits:
    if images.ndim != 3 or images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE):
        raise ValueError(
            f"Expected uint8 images [M, {SIDE}, {SIDE}] in '{name}' "
            f"(got {images.dtype} {list(images.shape)})"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"Expected one whole number for each of {len(images)} images in '{name}' "
            f"(got {labels.dtype} {list(labels.shape)})"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() <= 9:
        raise ValueError(
            f"Expected labels from 0 to 9 in '{name}' (got {labels.min()} to {labels.max()})"
        )
    return Digits(images, labels.astype(np.int64))


def read_npz(path: Path) -> tuple[Digits, Digits]:
    """Read training and test digits from the file that Keras distributes."""
    wanted = ("x_train", "y_train", "x_test", "y_test")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in wanted if name not in file]
            if missing:
                raise ValueError(
                    f"Expected the arrays {', '.join(wanted)} in '{path}' (got {sorted(file)})"
                )
            x_train, y_train, x_test, y_test = (file[name] for name in wanted)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, TypeError) as error:
        raise ValueError(f"Expected an .npz archive of arrays (got '{path}': {error})") from error
    return _checked(x_train, y_train, f"{path}: train"), _checked(x_test, y_test, f"{path}: test")


def read_class_folders(folder: Path) -> Digits:
    """Read the images in the sub-folders ``0`` to ``9``, resized to 28x28 where they differ."""
    images, labels = [], []
    for digit in range(10):
        for path in sorted((folder / str(digit)).glob("*")):
            if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
                continue
            try:
                with Image.open(path) as image:
                    gray = image.convert("L")
            except (OSError, SyntaxError, ValueError) as error:
                raise ValueError(f"Expected a readable image (got '{path}': {error})") from error
            if gray.size != (SIDE, SIDE):
                gray = gray.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            images.append(np.asarray(gray))
            labels.append(digit)
    if not images:
        raise ValueError(f"Expected images in sub-folders '0' to '9' of '{folder}' (got none)")
    return _checked(np.stack(images), np.array(labels), str(folder))


def read_idx(folder: Path) -> tuple[Digits, Digits] | None:
    """Read training and test digits from the four IDX files of MNIST, None where none is there."""
    for place in (folder, folder / "raw", folder / "MNIST" / "raw"):
        found = [_find_idx(place, stem) for stem in _IDX]
        if any(found):
            arrays = [_read_idx_file(place, *pair) for pair in zip(found, _IDX, strict=True)]
            return (
                _checked(arrays[0], arrays[1], f"{place}: train"),
                _checked(arrays[2], arrays[3], f"{place}: t10k"),
            )
    return None


def _find_idx(folder: Path, stem: str) -> Path | None:
    rank = 3 if "images" in stem else 1
    names = [f"{stem}{mark}idx{rank}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_idx_file(folder: Path, path: Path | None, stem: str) -> np.ndarray:
    if path is None:
        raise FileNotFoundError(f"Expected the file of '{stem}' beside the others in '{folder}'")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"Expected a readable IDX file (got '{path}': {error})") from error
    # Two zeros, the type (8: unsigned bytes), the rank, then big-endian 32-bit sizes.
    rank = content[3] if len(content) > 4 and content[:3] == b"\0\0\x08" else 0
    sizes = np.frombuffer(content[4 : 4 + 4 * rank], dtype=">u4").astype(np.int64)
    if rank == 0 or len(content) != 4 + 4 * rank + sizes.prod():
        raise ValueError(f"Expected an IDX file of unsigned bytes (got '{path}')")
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(tuple(sizes))


def read_mnist(root: Path, download: bool) -> tuple[Digits, Digits]:
    """Read MNIST where torchvision keeps it, or fetch it there first."""
    from torchvision.datasets import MNIST

    try:
        parts = [MNIST(str(root), train=train, download=download) for train in (True, False)]
    except RuntimeError as error:
        if download:
            raise
        raise FileNotFoundError(
            f"Expected MNIST under '{root}' (got {error}); download=True fetches it"
        ) from error
    train, test = (
        _checked(part.data.numpy(), part.targets.numpy(), f"{root}: MNIST") for part in parts
    )
    return train, test
