"""VisA: structural anomalies of twelve objects."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from torch_geometric.data import Data

from pyg_viglad.datasets._file_dataset import FileDataset
from pyg_viglad.datasets._samples import (
    Sample,
    as_fraction,
    explain,
    good_samples,
    hold_out,
    need_folder,
    open_category,
    read_test,
)
from pyg_viglad.datasets._visa_files import SPLIT_FILE, read_raw

__all__ = ["VisA"]

_RAW = """\
root/                   (raw, as published)
  split_csv/1cls.csv                (columns object, split, label, image, mask)
  candle/               (capsules, cashew, chewinggum, fryum, macaroni1, macaroni2,
                         pcb1, pcb2, pcb3, pcb4, pipe_fryum)
    Data/Images/Normal/0000.JPG ...
    Data/Images/Anomaly/000.JPG ...
    Data/Masks/Anomaly/000.png ...
    image_anno.csv                  (optional: what is wrong with each image)"""
_PREPARED = """\
root/                   (prepared; root may also be the folder 1cls itself)
  1cls/candle/          (and so on)
    train/good/0000.JPG ...
    test/good/0000.JPG ...
    test/bad/000.JPG ...
    ground_truth/bad/000.png ..."""


class VisA(FileDataset):
    """One object of VisA by its one-class split; all its anomalies count as structural.

    Both layouts are read: the published one with ``split_csv/1cls.csv``, and the one that its
    authors' script prepares (``1cls/<object>/train/good`` and so on). They give the same splits.

    Images are read on access. From Zou et al., "SPot-the-Difference Self-Supervised Pre-training for
    Anomaly Detection and Segmentation", ECCV 2022.

    Args:
        root: The folder of all objects.
        category: One of ``CATEGORIES``.
        split: ``"train"`` or ``"val"`` (good images alone), or ``"test"``.
        image_size: Side in pixels, or height and width, to which images are resized bilinearly.
        transform: Called with every image's ``Data`` on access.
        layout: ``"raw"``, ``"prepared"``, or ``"auto"``: raw where there is ``split_csv/1cls.csv``.
        val_fraction: Share of the training images to hold out for ``"val"``; at least one image.
        seed: Decides which ones.

    Attributes:
        kinds: ``good`` or ``structural`` for each image.
        defects: What is wrong with each image, in words, by ``image_anno.csv``; else ``bad``. Empty
            where the image is good.
        names: Path of each image below the object's folder.
        paths: Path of each image.
        images: All images, ``[len, 3, H, W]`` in [0, 1], read anew, without ``transform``.

    Items are ``Data`` with ``img`` ``[1, 3, H, W]`` in [0, 1], ``y`` ``[1]`` (1: anomalous),
    ``kind``, ``defect``, ``name``, ``path`` and, in ``"test"``, ``mask`` ``[1, H, W]`` (bool).

    Raises:
        FileNotFoundError: If a folder, an image or a mask is missing.
        ValueError: If there are no images, or a table or mask does not fit.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     os.makedirs(f"{root}/1cls/candle/train/good")
        ...     for number in range(10):
        ...         Image.new("RGB", (64, 48)).save(f"{root}/1cls/candle/train/good/{number:04d}.JPG")
        ...     train = VisA(root, "candle")
        ...     train.layout, len(train), len(VisA(root, "candle", "val"))
        ('prepared', 9, 1)
    """

    CATEGORIES: ClassVar[tuple[str, ...]] = (
        "candle",
        "capsules",
        "cashew",
        "chewinggum",
        "fryum",
        "macaroni1",
        "macaroni2",
        "pcb1",
        "pcb2",
        "pcb3",
        "pcb4",
        "pipe_fryum",
    )

    def __init__(
        self,
        root: str | os.PathLike[str],
        category: str,
        split: str = "train",
        image_size: int | tuple[int, int] = 256,
        transform: Callable[[Data], Any] | None = None,
        layout: str = "auto",
        val_fraction: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(root, split, image_size, transform)
        as_fraction(val_fraction)
        self.category = category
        self.layout = self._find_layout(self.folder, layout)
        self._masks: dict[Path, Path] = {}
        self.has_masks = self.split == "test"
        samples = self._raw() if self.layout == "raw" else self._prepared()
        if not self.has_masks:
            samples = hold_out(samples, self.split, val_fraction, seed)
        self._fill(samples)

    def _find_layout(self, root: Path, layout: str) -> str:
        if layout not in ("auto", "raw", "prepared"):
            raise ValueError(
                f"Expected 'layout' to be 'auto', 'raw' or 'prepared' (got {layout!r})"
            )
        trees = {"raw": _RAW, "prepared": _PREPARED}.get(layout, f"{_RAW}\nor\n{_PREPARED}")
        need_folder(root, trees)
        raw = (root / SPLIT_FILE).is_file()
        if layout == "raw" and not raw:
            message = f"Expected the file '{root / SPLIT_FILE}' (it is missing)"
            raise FileNotFoundError(explain(message, trees))
        if layout != "auto":
            return layout
        prepared = (root / "1cls").is_dir() or any(root.glob("*/train/good"))
        if not raw and not prepared:
            message = f"Expected '{SPLIT_FILE.as_posix()}', or prepared folders, in '{root}'"
            raise FileNotFoundError(explain(message, trees))
        return "raw" if raw else "prepared"

    def _raw(self) -> list[Sample]:
        root = self.folder
        self.folder = open_category(root, self.category, self.CATEGORIES, _RAW)
        split = "test" if self.split == "test" else "train"
        samples, self._masks = read_raw(root, self.category, split, _RAW)
        return samples

    def _prepared(self) -> list[Sample]:
        root = self.folder / "1cls" if (self.folder / "1cls").is_dir() else self.folder
        self.folder = open_category(root, self.category, self.CATEGORIES, _PREPARED)
        if self.split != "test":
            return good_samples(self.folder / "train" / "good", _PREPARED)
        for name in ("test/good", "test/bad", "ground_truth/bad"):
            need_folder(self.folder / name, _PREPARED)
        return read_test(self.folder / "test", tree=_PREPARED)

    def _mask_files(self, place: int) -> list[Path]:
        if self.layout == "prepared":
            return super()._mask_files(place)
        if self.labels[place].kind == "good":
            return []
        file = self._masks[self._files[place]]
        if not file.is_file():
            raise FileNotFoundError(f"Expected the mask '{file}' (it is missing)")
        return [file]
