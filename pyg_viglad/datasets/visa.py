"""VisA: structural anomalies of twelve objects."""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from torch_geometric.data import Data

from pyg_viglad.datasets.base import FileDataset, Sample, as_fraction

__all__ = ["VisA"]

_TABLE = Path("split_csv", "1cls.csv")
_TREES = {
    "raw": """\
root/                   (raw, as published)
  split_csv/1cls.csv                (columns object, split, label, image, mask)
  candle/               (capsules, cashew, chewinggum, fryum, macaroni1, macaroni2,
                         pcb1, pcb2, pcb3, pcb4, pipe_fryum)
    Data/Images/Normal/0000.JPG ...
    Data/Images/Anomaly/000.JPG ...
    Data/Masks/Anomaly/000.png ...
    image_anno.csv                  (optional: the defects of each image)""",
    "prepared": """\
root/                   (prepared; root may also be the folder 1cls itself)
  1cls/candle/          (and so on)
    train/good/0000.JPG ...
    test/good/0000.JPG ...
    test/bad/000.JPG ...
    ground_truth/bad/000.png ...""",
}


class VisA(FileDataset):
    """One object of VisA (Zou et al., "SPot-the-Difference", ECCV 2022); all anomalies are structural.

    Reads the one-class split in both layouts, with the same result: as published with
    ``split_csv/1cls.csv`` (raw), and as the authors' script prepares it (``1cls/<object>/train/good``
    and so on). There are no validation images: a share of the training images is held out.

    Args:
        root: Folder of all objects.
        category: One of ``CATEGORIES``.
        split: ``"train"`` or ``"val"`` (good images only), or ``"test"``.
        image_size: Side length, or height and width, in pixels to which images are resized.
        transform: Applied to the ``Data`` of each image on access.
        layout: ``"raw"``, ``"prepared"``, or ``"auto"``: raw if ``split_csv/1cls.csv`` exists.
        val_fraction: Share of the training images held out for ``"val"``, in (0, 1); at least
            five, or a quarter where that is less.
        seed: Seed of the choice of held-out images.

    Items and attributes are those of :class:`~pyg_viglad.datasets.base.FileDataset`; test images
    have a ``mask``. ``defects`` come from ``image_anno.csv``; without it they are ``bad``.

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
        ('prepared', 8, 2)
    """

    CATEGORIES: ClassVar[tuple[str, ...]] = (
        *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2"),
        *("pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
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
        val = as_fraction(val_fraction)
        self.layout = self._find_layout(layout)
        self.tree = _TREES[self.layout]
        self._masks: dict[Path, Path] = {}
        if self.layout == "prepared":
            if (self.folder / "1cls").is_dir():
                self.folder = self.folder / "1cls"
            self._enter(category)
            test = ("test/good", "test/bad", "ground_truth/bad")
            self._fill("train/good", val, test=test, seed=seed)
            return
        table = self.folder / _TABLE
        self._enter(category)
        self.samples = self._read_split(table)
        self.has_masks = self.split == "test"
        if not self.has_masks:
            self.samples = self._hold_out(self.samples, val, seed)

    def _find_layout(self, layout: str) -> str:
        if layout not in ("auto", *_TREES):
            raise ValueError(
                f"Expected 'layout' to be 'auto', 'raw' or 'prepared' (got {layout!r})"
            )
        self.tree = _TREES.get(layout, "\nor\n".join(_TREES.values()))
        self._need()
        raw = (self.folder / _TABLE).is_file()
        if layout == "raw" and not raw:
            message = f"Expected the file '{self.folder / _TABLE}' (it is missing)"
            raise FileNotFoundError(self._explain(message))
        if layout != "auto":
            return layout
        prepared = (self.folder / "1cls").is_dir() or any(self.folder.glob("*/train/good"))
        if not raw and not prepared:
            message = f"Expected '{_TABLE.as_posix()}', or prepared folders, in '{self.folder}'"
            raise FileNotFoundError(self._explain(message))
        return "raw" if raw else "prepared"

    def _read_split(self, table: Path) -> list[Sample]:
        """Lists the images that the table of the raw layout assigns to the split, by name."""
        split = "test" if self.split == "test" else "train"
        rows = self._read_table(table, ("object", "split", "label", "image", "mask"))
        rows = [row for row in rows if (row["object"], row["split"]) == (self.category, split)]
        if not rows:
            message = f"Expected images of '{self.category}' for '{split}' in '{table}' (got none)"
            raise ValueError(self._explain(message))
        notes = self.folder / "image_anno.csv"
        found = self._read_table(notes, ("image", "label")) if notes.is_file() else []
        defects = {row["image"]: row["label"] for row in found}
        root, samples = table.parents[1], []
        for row in sorted(rows, key=lambda row: row["image"]):
            path = self._below(root, row["image"], table)
            if not path.is_file():
                message = f"Expected the image '{path}', which '{table}' lists (it is missing)"
                raise FileNotFoundError(self._explain(message))
            name = Path(os.path.relpath(path, self.folder)).as_posix()
            if row["label"] == "normal":
                samples.append(Sample(name, path=path))
            elif row["label"] == "anomaly" and row["mask"]:
                defect = defects.get(row["image"]) or "bad"
                samples.append(Sample(name, "structural", defect, path))
                self._masks[path] = self._below(root, row["mask"], table)
            else:
                raise ValueError(
                    f"Expected 'normal', or 'anomaly' with a mask, in '{table}' (got {row})"
                )
        return samples

    @staticmethod
    def _below(root: Path, name: str, table: Path) -> Path:
        """Returns the path of a file that a table names, which must not lead out of the data set."""
        path = root / name
        if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
            raise ValueError(f"Expected files below '{root}' in '{table}' (got '{name}')")
        return path

    def _read_table(self, file: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
        try:
            with file.open(newline="", encoding="utf-8-sig") as lines:
                reader = csv.DictReader(lines)
                rows, found = list(reader), list(reader.fieldnames or [])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"Expected a readable table (got '{file}': {error})") from error
        if not set(columns) <= set(found):
            message = f"Expected the columns {', '.join(columns)} in '{file}' (got {found})"
            raise ValueError(self._explain(message))
        return [{name: (row[name] or "").strip() for name in columns} for row in rows]

    def _mask_files(self, place: int) -> list[Path]:
        sample = self.samples[place]
        if self.layout == "prepared" or sample.kind == "good":
            return super()._mask_files(place)
        file = self._masks[sample.path]
        if not file.is_file():
            raise FileNotFoundError(f"Expected the mask '{file}' (it is missing)")
        return [file]
