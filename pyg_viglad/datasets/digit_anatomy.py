"""Digit Anatomy: nine digits in order, some of them wrong."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.datasets._anomaly_dataset import AnomalyDataset, Label, as_split
from pyg_viglad.datasets._digit_cells import CELL, DEFECTS, Cells, alter, render_cell
from pyg_viglad.datasets.digit_source import DigitSource

__all__ = ["DigitAnatomy"]

_SIDE = 3 * CELL


class DigitAnatomy(AnomalyDataset):
    """Images of the digits 1 to 9 in a 3x3 grid, good ones and ones with wrong cells.

    A cell shows a random image of its digit, cut at random (60 to 130 % of its area) and resized to
    32x32, white on black. There are two logical anomalies: ``disorder`` (cells have changed places)
    and ``flip`` (cells are mirrored left to right or upside down; never 1 and 8, and 3 only left to
    right, since those would look the same), and two structural ones: ``missing`` (black cells) and
    ``novel`` (zeros in the place of other digits).

    Images are drawn in memory on construction and depend on ``seed``, the split and their number
    alone. An anomalous image is the good one of the same number, altered: with
    ``num_test_good=230, num_test_anomalous=0`` the same seed gives what all of them were before.
    No image of a digit serves two splits, whatever the seeds (see ``DigitSource``).

    The images are those of Section IV-A of the paper, after Xiang et al., "SQUID" (2023).

    Args:
        split: ``"train"`` or ``"val"`` (good images alone), or ``"test"``.
        source: ``"digits"`` (bundled with scikit-learn), ``"mnist"``, an ``.npz`` file of MNIST, or
            a folder (see ``DigitSource``).
        image_size: Side of the images in pixels, at least 96 and divisible by 4; images are drawn
            at 96 and enlarged bilinearly on access.
        altered: Wrong cells in an anomalous image, 1 to 9. ``disorder`` displaces at least two (1
            and 2 both swap a pair; more move in a ring) and ``flip`` has no more than seven to flip.
        num_train: Images of ``"train"``.
        num_val: Images of ``"val"``.
        num_test_good: Good images of ``"test"``.
        num_test_anomalous: Anomalous images of ``"test"``, shared out evenly among ``kinds``.
        kinds: Defects to draw, in the order of the test images.
        scale: Smallest and largest share of a digit image's area that a cell shows.
        seed: At least 0.
        transform: Called with every image's ``Data`` on access.
        root: Folder of ``source="mnist"``.
        download: Fetch ``source="mnist"`` where it is missing.

    Attributes:
        sources: Place in the source of each cell's digit image, ``[len, 9]``; -1 where
            the cell is black.
        digits: Digit of each cell, ``[len, 9]``; -1 where the cell is black.
        images: All images, ``[len, 3, image_size, image_size]`` in [0, 1], without ``transform``.
        kinds: ``good``, ``logical`` or ``structural`` for each image.
        defects: Defect of each image, empty where it is good.
        names: Name of each image.

    Items are ``Data`` with ``img`` ``[1, 3, S, S]`` in [0, 1], ``y`` ``[1]`` (1: anomalous),
    ``kind``, ``defect``, ``name`` and ``mask`` ``[1, S, S]`` (True over wrong cells).

    Raises:
        FileNotFoundError: If the source does not exist.
        ValueError: If an argument is out of range.

    Example:
        >>> dataset = DigitAnatomy("test", num_test_good=2, num_test_anomalous=4)
        >>> dataset.defects
        ['', '', 'disorder', 'flip', 'missing', 'novel']
        >>> dataset[5]
        Data(y=[1], img=[1, 3, 96, 96], kind='structural', defect='novel', name='test/novel/005', mask=[1, 96, 96])
        >>> dataset.digits[2].tolist()
        [1, 2, 3, 7, 5, 6, 4, 8, 9]
    """  # noqa: E501

    def __init__(
        self,
        split: str = "train",
        source: str | os.PathLike[str] = "digits",
        image_size: int = _SIDE,
        altered: int = 1,
        num_train: int = 360,
        num_val: int = 60,
        num_test_good: int = 110,
        num_test_anomalous: int = 120,
        kinds: Sequence[str] = tuple(DEFECTS),
        scale: tuple[float, float] = (0.6, 1.3),
        seed: int = 0,
        transform: Callable[[Data], Any] | None = None,
        root: str | os.PathLike[str] = "data",
        download: bool = False,
    ) -> None:
        super().__init__(transform)
        self.split = as_split(split)
        counts = {
            "num_train": num_train,
            "num_val": num_val,
            "num_test_good": num_test_good,
            "num_test_anomalous": num_test_anomalous,
        }
        _check(image_size, altered, counts, kinds, scale, seed)
        self.image_size = image_size
        self.source = os.fspath(source)
        self.altered = altered
        self.scale = scale
        self.seed = seed
        number = {"train": num_train, "val": num_val, "test": num_test_good}[self.split]
        defects = [""] * number
        if self.split == "test":
            each, rest = divmod(num_test_anomalous, max(1, len(kinds)))
            for place, kind in enumerate(kinds):
                defects += [kind] * (each + (place < rest))
        self.labels = [
            Label(DEFECTS.get(d, "good"), d, f"{self.split}/{d or 'good'}/{i:03d}")
            for i, d in enumerate(defects)
        ]
        self._draw(DigitSource(source, root, download))

    def _draw(self, source: DigitSource) -> None:
        number = len(self.labels)
        pictures = np.zeros((number, _SIDE, _SIDE), dtype=np.uint8)
        wrong = np.zeros((number, 9), dtype=bool)
        digits, sources = np.zeros((2, number, 9), dtype=np.int64)
        for place, label in enumerate(self.labels):
            cells = self._draw_cells(source, place, label.defect)
            pictures[place], wrong[place] = cells.picture(), cells.wrong
            digits[place], sources[place] = cells.digits, cells.sources
        self._pictures, self._wrong = torch.from_numpy(pictures), torch.from_numpy(wrong)
        self._digits, self._sources = torch.from_numpy(digits), torch.from_numpy(sources)

    def _draw_cells(self, source: DigitSource, place: int, defect: str) -> Cells:
        pools = source.pools[self.split]
        # A stream of random numbers for every image, and another one for what is wrong with it.
        key = [self.seed, ("train", "val", "test").index(self.split), place]
        rng = np.random.default_rng([*key, 0])
        defect_rng = np.random.default_rng([*key, 1])

        def draw(digit: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
            chosen = int(rng.choice(pools[digit]))
            return render_cell(source.images[chosen], rng, self.scale), chosen

        pictures, sources = zip(*(draw(digit, rng) for digit in range(1, 10)), strict=True)
        cells = Cells(np.stack(pictures), np.arange(1, 10), np.array(sources))
        if defect:
            alter(cells, defect, self.altered, defect_rng, lambda: draw(0, defect_rng))
        return cells

    def get(self, idx: int) -> Data:
        """Give one image as ``Data``."""
        mask = self._wrong[idx].view(3, 3).repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)
        if self.image_size != _SIDE:
            size = (self.image_size, self.image_size)
            mask = F.interpolate(mask[None, None].float(), size, mode="nearest-exact")[0, 0] > 0.5
        image = self._scaled(self._pictures[idx : idx + 1])
        return self.make_data(idx, image[0], mask=mask[None])

    @property
    def images(self) -> Tensor:
        """All images, ``[len, 3, image_size, image_size]`` in [0, 1]."""
        return self._scaled(self._pictures[list(self.indices())])

    @property
    def digits(self) -> Tensor:
        """Digit of each cell, ``[len, 9]``; -1 where the cell is black."""
        return self._digits[list(self.indices())]

    @property
    def sources(self) -> Tensor:
        """Place in the source of each cell's digit image, ``[len, 9]``; -1 where black."""
        return self._sources[list(self.indices())]

    def _scaled(self, pictures: Tensor) -> Tensor:
        gray = pictures[:, None].float() / 255
        if self.image_size != _SIDE:
            size = (self.image_size, self.image_size)
            gray = F.interpolate(gray, size, mode="bilinear", align_corners=False)
        return gray.repeat(1, 3, 1, 1)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self)}, split={self.split!r}, source={self.source!r}, "
            f"image_size={self.image_size})"
        )


def _check(
    image_size: int,
    altered: int,
    counts: dict[str, int],
    kinds: Sequence[str],
    scale: tuple[float, float],
    seed: int,
) -> None:
    if image_size < _SIDE or image_size % 4:
        raise ValueError(
            f"Expected 'image_size' of at least {_SIDE} and divisible by 4 (got {image_size})"
        )
    if not 1 <= altered <= 9:
        raise ValueError(f"Expected 'altered' from 1 to 9 (got {altered})")
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"Expected '{name}' of at least 0 (got {count})")
    if isinstance(kinds, str) or len(set(kinds)) < len(kinds) or not set(kinds) <= set(DEFECTS):
        raise ValueError(f"Expected 'kinds' among {list(DEFECTS)}, each once (got {kinds!r})")
    if not kinds and counts["num_test_anomalous"]:
        raise ValueError("Expected 'kinds' for the anomalous test images (got none)")
    if not 0 < scale[0] <= scale[1]:
        raise ValueError(f"Expected 'scale' as 0 < smallest <= largest (got {scale})")
    if seed < 0:
        raise ValueError(f"Expected 'seed' of at least 0 (got {seed})")
