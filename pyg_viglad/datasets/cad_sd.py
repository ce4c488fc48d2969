"""CAD-SD: screws that are scratched, painted, too many or missing."""

import os
from collections.abc import Callable
from typing import Any, ClassVar

from torch_geometric.data import Data

from pyg_viglad.datasets._file_dataset import FileDataset
from pyg_viglad.datasets._samples import explain, good_samples, hold_out, need_folder, read_test

__all__ = ["CADSD"]

_TREE = """\
root/
  train/0_good/*.jpg
  test/0_good/*.jpg
  test/1_scratch/*.jpg
  test/2_paint/*.jpg
  test/3_over-coupling/*.jpg
  test/4_lacking/*.jpg"""

_LABELS = {
    "0_good": ("good", ""),
    "1_scratch": ("structural", "scratch"),
    "2_paint": ("structural", "paint"),
    "3_over-coupling": ("logical", "over-coupling"),
    "4_lacking": ("logical", "lacking"),
}


class CADSD(FileDataset):
    """The co-occurrence anomaly detection screw dataset: which parts belong together.

    Scratches and paint are structural anomalies; too many parts (``over-coupling``) and too few
    (``lacking``), which break a rule of co-occurrence, are logical ones. It has no masks and no
    validation images: those are held out of the training images, never of the test images.

    Images are read on access. From Ishida et al., "SA-PatchCore: Anomaly Detection in Dataset With
    Co-Occurrence Relationships Using Self-Attention", IEEE Access 2023.

    Args:
        root: The folder with ``train`` and ``test``.
        split: ``"train"`` or ``"val"`` (good images alone), or ``"test"``.
        image_size: Side in pixels, or height and width, to which images are resized bilinearly.
        transform: Called with every image's ``Data`` on access.
        num_val: How many of the training images (400 as published) to hold out for ``"val"``.
        seed: Decides which ones.

    Attributes:
        kinds: ``good``, ``logical`` or ``structural`` for each image.
        defects: ``scratch``, ``paint``, ``over-coupling`` or ``lacking``; empty for good images.
        names: Path of each image below ``root``.
        paths: Path of each image.
        images: All images, ``[len, 3, H, W]`` in [0, 1], read anew, without ``transform``.

    Items are ``Data`` with ``img`` ``[1, 3, H, W]`` in [0, 1], ``y`` ``[1]`` (1: anomalous),
    ``kind``, ``defect``, ``name`` and ``path``.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If a folder has no images or an unknown name, or ``num_val`` leaves no image.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     os.makedirs(f"{root}/train/0_good")
        ...     for number in range(10):
        ...         Image.new("RGB", (70, 70)).save(f"{root}/train/0_good/{number:03d}.jpg")
        ...     len(CADSD(root, "train", num_val=3)), len(CADSD(root, "val", num_val=3))
        (7, 3)
    """

    CATEGORIES: ClassVar[tuple[str, ...]] = ("screw",)

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        image_size: int | tuple[int, int] = 256,
        transform: Callable[[Data], Any] | None = None,
        num_val: int = 72,
        seed: int = 0,
    ) -> None:
        super().__init__(root, split, image_size, transform)
        need_folder(self.folder, _TREE)
        if self.split == "test":
            for name in _LABELS:
                need_folder(self.folder / "test" / name, _TREE)
            self._fill(read_test(self.folder / "test", self._label, _TREE))
            return
        samples = good_samples(self.folder / "train" / "0_good", _TREE)
        if not 0 < num_val < len(samples):
            raise ValueError(
                f"Expected 'num_val' from 1 to {len(samples) - 1}, with {len(samples)} images in "
                f"'{self.folder / 'train' / '0_good'}' (got {num_val})"
            )
        self._fill(hold_out(samples, self.split, int(num_val), seed))

    def _label(self, name: str) -> tuple[str, str]:
        if name not in _LABELS:
            message = f"Expected no folder '{name}' in '{self.folder / 'test'}'"
            raise ValueError(explain(message, _TREE))
        return _LABELS[name]
