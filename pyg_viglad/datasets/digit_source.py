"""Where the digits of Digit Anatomy come from, and which split may use which."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pyg_viglad.datasets._digit_files import (
    SIDE,
    Digits,
    read_class_folders,
    read_idx,
    read_mnist,
    read_npz,
)

__all__ = ["DigitSource"]

# MNIST draws its digits 20 pixels high in images of 28.
_GLYPH = 20
_SPLITS = ("train", "val", "test")


class DigitSource:
    """Images of single digits, divided once and for all between training, validation and test.

    Where a source has training and test digits of its own, validation gets half of the training
    digits; otherwise training gets 50 %, validation 15 % and test 35 % of the images of each digit.
    The division depends on the source alone, never on a seed, so that no digit image ever serves
    two splits.

    Args:
        source: ``"digits"`` (scikit-learn's bundled digits, 8x8, enlarged smoothly), ``"mnist"``
            (as torchvision keeps it under ``root``), an ``.npz`` file with ``x_train``,
            ``y_train``, ``x_test`` and ``y_test``, or a folder: with the four IDX files of MNIST,
            with ``train/0`` ... ``test/9``, or with ``0`` ... ``9``; white digits on black.
        root: Folder of ``"mnist"``.
        download: Fetch ``"mnist"`` where it is missing.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If it holds no such digits.

    Example:
        >>> source = DigitSource("digits")
        >>> source.images.shape, len(source.pools["train"][7]), len(source.pools["test"][7])
        ((1797, 28, 28), 90, 63)
    """

    def __init__(
        self,
        source: str | os.PathLike[str] = "digits",
        root: str | os.PathLike[str] = "data",
        download: bool = False,
    ) -> None:
        parts = _read(source, Path(root).expanduser(), download)
        self.images: np.ndarray = np.concatenate([part.images for part in parts])
        """All images, ``[M, 28, 28]``, uint8; training before test digits."""
        self.labels: np.ndarray = np.concatenate([part.labels for part in parts])
        """The digits that they show, ``[M]``."""
        self.pools: dict[str, list[np.ndarray]] = {split: [] for split in _SPLITS}
        """For each split and each digit from 0 to 9, the places of its images."""
        starts = np.cumsum([0, *(len(part.labels) for part in parts)])
        for digit in range(10):
            places = [
                start + np.flatnonzero(part.labels == digit)
                for start, part in zip(starts, parts, strict=False)
            ]
            self._divide(places, digit)

    def _divide(self, places: Sequence[np.ndarray], digit: int) -> None:
        shares = (0.5, 0.5) if len(places) == 2 else (0.5, 0.15, 0.35)
        # Shuffled, as neighbours in a file are often of one hand.
        first = np.random.default_rng(digit).permutation(places[0])
        cuts = np.round(np.cumsum(shares)[:-1] * len(first)).astype(int)
        for split, pool in zip(_SPLITS, [*np.split(first, cuts), *places[1:]], strict=True):
            if len(pool) == 0 and (digit != 0 or split == "test"):
                raise ValueError(
                    f"Expected at least one image of the digit {digit} for '{split}' "
                    f"(got {sum(map(len, places))} of it in all)"
                )
            self.pools[split].append(np.sort(pool))


def _read(source: str | os.PathLike[str], root: Path, download: bool) -> list[Digits]:
    if source == "digits":
        return [_bundled()]
    if source == "mnist":
        return list(read_mnist(root, download))
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"Expected 'source' to be 'digits', 'mnist', an .npz file or a folder (got '{path}', "
            "which does not exist)"
        )
    if path.is_file():
        return list(read_npz(path))
    parts = read_idx(path)
    if parts is not None:
        return list(parts)
    if (path / "train").is_dir() and (path / "test").is_dir():
        return [read_class_folders(path / "train"), read_class_folders(path / "test")]
    return [read_class_folders(path)]


def _bundled() -> Digits:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    margin = (SIDE - _GLYPH) // 2
    images = np.zeros((len(small), SIDE, SIDE), dtype=np.uint8)
    for image, place in zip(small, images, strict=True):
        large = Image.fromarray(image).resize((_GLYPH, _GLYPH), Image.Resampling.BICUBIC)
        place[margin:-margin, margin:-margin] = np.asarray(large)
    return Digits(images, bunch.target.astype(np.int64))
