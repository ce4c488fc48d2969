"""Scattered digits: always the same digits, anywhere in the image, one of them wrong."""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.datasets.digits import DigitDataset, DigitSource

__all__ = ["ScatteredDigits"]

# How often each digit moves to another place before an image is drawn.
_ROUNDS = 3


class ScatteredDigits(DigitDataset):
    """Digits scattered over the image: how many objects can a detector keep track of?

    Every good image shows the same ``num_objects`` digits, 1, 2, ..., 9, 1, 2, ...: random images of
    them, white on black, in squares of ``digit_size`` pixels at random places, at least one pixel apart.
    There are three logical anomalies, which only the whole image betrays: ``missing`` (one digit is left
    out), ``twice`` (one digit appears once more than it should) and ``exchanged`` (one digit is replaced by
    another one of the image's), and a structural one, ``blurred`` (one digit is blurred).

    The squares start on a lattice, in which there is room for all; then each in turn moves to a place drawn
    uniformly from all that are free, three times over. Where it stands is one of them, so that this
    cannot fail. At the default ``digit_size`` nothing is left of the lattice (the correlation of first and
    last place is below 0.02 with 20 digits); the largest squares that fit have no room to leave it.

    Images are drawn in memory on construction and depend only on ``seed``, the split and their number.
    An anomalous image is the good image of the same number with one digit altered. No image of a digit is
    used by two splits, whatever the seeds (see :class:`DigitSource`).

    Args:
        split: ``"train"`` or ``"val"`` (good images only), or ``"test"``.
        source: ``"digits"`` (bundled with scikit-learn), ``"mnist"``, an ``.npz`` file of MNIST, or
            a folder (see :class:`DigitSource`).
        image_size: Side length of the images in pixels, at least 32 and divisible by 4.
        num_objects: Digits of a good image, 3 to 20.
        digit_size: Side length of a digit in pixels, at least 8 (default: a seventh of ``image_size``,
            at which there is room for any ``num_objects``, so that only the number differs).
        num_train: Number of images of ``"train"``.
        num_val: Number of images of ``"val"``.
        num_test_good: Number of good images of ``"test"``.
        num_test_anomalous: Number of anomalous images of ``"test"``, divided evenly among ``defects``.
        defects: Defects to draw, in the order of the test images.
        seed: Seed of the images, at least 0.
        transform: Applied to the ``Data`` of each image on access.
        root: Folder of ``source="mnist"``.
        download: Whether to download ``source="mnist"`` if it is missing.

    Items are those of :class:`~pyg_viglad.datasets.AnomalyDataset` with ``mask`` ``[1, S, S]`` (bool). It is
    True over the square of a blurred digit and, for ``twice`` and ``exchanged``, over the squares of all
    digits of which there is one too many, since none of them is more wrong than the others. For
    ``missing`` it is False everywhere, as a missing digit has no place: metrics of images count such an
    image as anomalous, metrics of pixels count its pixels as normal. ``digits``, ``sources`` and ``boxes``
    have ``num_objects + 1`` columns, the last one for the digit that is there ``twice``.

    Raises:
        FileNotFoundError: If the source does not exist.
        ValueError: If an argument is out of range, or so many digits of this size do not fit.

    Example:
        >>> dataset = ScatteredDigits("test", num_objects=5, num_test_good=1, num_test_anomalous=4)
        >>> dataset.defects
        ['', 'missing', 'twice', 'exchanged', 'blurred']
        >>> dataset[2]
        Data(y=[1], img=[1, 3, 96, 96], kind='logical', defect='twice', name='test/twice/002', mask=[1, 96, 96])
        >>> dataset.digits.tolist()
        [[1, 2, 3, 4, 5, -1], [1, 2, 3, -1, 5, -1], [1, 2, 3, 4, 5, 5], [1, 2, 3, 4, 4, -1], [1, 2, 3, 4, 5, -1]]
    """  # noqa: E501

    KINDS: ClassVar[dict[str, str]] = {
        "missing": "logical",
        "twice": "logical",
        "exchanged": "logical",
        "blurred": "structural",
    }

    def __init__(
        self,
        split: str = "train",
        source: str | os.PathLike[str] = "digits",
        image_size: int = 96,
        num_objects: int = 8,
        digit_size: int | None = None,
        num_train: int = 360,
        num_val: int = 60,
        num_test_good: int = 110,
        num_test_anomalous: int = 120,
        defects: Sequence[str] = tuple(KINDS),
        seed: int = 0,
        transform: Callable[[Data], Any] | None = None,
        root: str | os.PathLike[str] = "data",
        download: bool = False,
    ) -> None:
        if image_size < 32 or image_size % 4:
            raise ValueError(
                f"Expected 'image_size' of at least 32 and divisible by 4 (got {image_size})"
            )
        if not 3 <= num_objects <= 20:
            raise ValueError(f"Expected 'num_objects' from 3 to 20 (got {num_objects})")
        digit_size = round(image_size / 7) if digit_size is None else digit_size
        # The lattice from which the squares start, with room for one digit more.
        self._rows = math.ceil(math.sqrt(num_objects + 1))
        largest = image_size // self._rows - 1
        if not 8 <= digit_size <= largest:
            raise ValueError(
                f"Expected 'digit_size' from 8 to {largest}, for {num_objects} digits in an image of "
                f"{image_size} pixels (got {digit_size})"
            )
        numbers = {
            "num_train": num_train,
            "num_val": num_val,
            "num_test_good": num_test_good,
            "num_test_anomalous": num_test_anomalous,
        }
        super().__init__(split, source, image_size, numbers, defects, seed, transform)
        self.num_objects = num_objects
        self.digit_size = digit_size
        self._draw(DigitSource(source, Path(root), download))

    def _draw(self, source: DigitSource) -> None:
        number, most = len(self.samples), self.num_objects + 1
        self._pixels = torch.zeros(number, self.image_size, self.image_size, dtype=torch.uint8)
        self._corners = torch.zeros(number, most, 2, dtype=torch.long)  # top, left
        self._wrong = torch.zeros(number, most, dtype=torch.bool)
        self._digits = torch.full((number, most), -1)
        self._sources = torch.full((number, most), -1)
        for place, sample in enumerate(self.samples):
            self._draw_image(source, place, sample.defect)

    def _draw_image(self, source: DigitSource, place: int, defect: str) -> None:
        """Draws the good image of this number, with the defect."""
        rng, defect_rng = self.generators(place)
        corners = self._scatter(rng)
        digits = np.append(np.arange(self.num_objects) % 9 + 1, -1)
        pools = source.pools[self.split]
        sources = np.array([rng.choice(pools[d]) if d > 0 else -1 for d in digits])
        chosen = int(defect_rng.integers(self.num_objects))
        wrong = np.zeros(len(digits), dtype=bool)
        if defect == "missing":
            digits[chosen] = sources[chosen] = -1
        elif defect in ("twice", "exchanged"):
            new, altered = digits[chosen], -1
            if defect == "exchanged":
                new, altered = defect_rng.choice(np.setdiff1d(digits, [-1, new])), chosen
            digits[altered], sources[altered] = new, defect_rng.choice(pools[new])
            wrong = digits == new
        elif defect == "blurred":
            wrong[chosen] = True
        for number in np.flatnonzero(digits > 0):
            square = self._resize(source.images[sources[number]])
            if defect == "blurred" and number == chosen:
                square = _blur(square)
            (top, left), side = corners[number], self.digit_size
            self._pixels[place, top : top + side, left : left + side] = torch.from_numpy(
                np.array(square)
            )
        for kept, values in (
            (self._corners, corners),
            (self._wrong, wrong),
            (self._digits, digits),
            (self._sources, sources),
        ):
            kept[place] = torch.from_numpy(values)

    def _scatter(self, rng: np.random.Generator) -> np.ndarray:
        """Draws the corners ``[num_objects + 1, 2]`` of squares that do not touch each other."""
        step = self.digit_size + 1
        side = self.image_size - self.digit_size + 1
        cells = rng.permutation(self._rows**2)[: self.num_objects + 1]
        # Spread over the whole image, hence at least a step apart.
        corners = np.stack(np.divmod(cells, self._rows), axis=1) * (side - 1) // (self._rows - 1)
        for number in list(range(len(corners))) * _ROUNDS:
            free = np.ones((side, side), dtype=bool)
            for top, left in np.delete(corners, number, axis=0):
                free[max(0, top - step + 1) : top + step, max(0, left - step + 1) : left + step] = 0
            corners[number] = np.divmod(rng.choice(np.flatnonzero(free)), side)
        return corners

    def _resize(self, pixels: np.ndarray) -> Image.Image:
        """Resizes a digit so that it fills its square in height or width."""
        image = Image.fromarray(pixels)
        size = (self.digit_size, self.digit_size)
        return ImageOps.pad(image.crop(image.getbbox()), size, Image.Resampling.BILINEAR, color=0)

    def get(self, idx: int) -> Data:
        """Returns the image at ``idx`` of the whole data set."""
        mask = torch.zeros(1, self.image_size, self.image_size, dtype=torch.bool)
        for top, left in self._corners[idx][self._wrong[idx]].tolist():
            mask[0, top : top + self.digit_size, left : left + self.digit_size] = True
        return self.make_data(idx, self._to_rgb(self._pixels[idx]), mask=mask)

    @property
    def images(self) -> Tensor:
        """All images, ``[len, 3, image_size, image_size]`` in [0, 1], without ``transform``."""
        return self._to_rgb(self._pixels[list(self.indices())])

    @property
    def boxes(self) -> Tensor:
        """Squares of the digits, ``[len, num_objects + 1, 4]``: left, top, right and bottom in pixels.

        Right and bottom are exclusive; all are -1 where ``digits`` is.
        """
        corners = self._corners[list(self.indices())].flip(-1)
        boxes = torch.cat([corners, corners + self.digit_size], dim=-1)
        return boxes.masked_fill((self.digits < 0)[..., None], -1)

    @staticmethod
    def _to_rgb(pixels: Tensor) -> Tensor:
        return (pixels.float() / 255).unsqueeze(-3).expand(*pixels.shape[:-2], 3, -1, -1).clone()


def _blur(square: Image.Image) -> Image.Image:
    """Blurs a digit within its square, with black around it."""
    border = square.width
    blurred = ImageOps.expand(square, border).filter(ImageFilter.GaussianBlur(square.width / 10))
    return ImageOps.crop(blurred, border)
