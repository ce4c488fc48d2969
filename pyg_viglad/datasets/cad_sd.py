"""CAD-SD: screws that are scratched, painted, too many or missing."""

import os
from collections.abc import Callable
from typing import Any, ClassVar

from torch_geometric.data import Data

from pyg_viglad.datasets.base import FileDataset

__all__ = ["CADSD"]

_LABELS = {
    "0_good": ("good", ""),
    "1_scratch": ("structural", "scratch"),
    "2_paint": ("structural", "paint"),
    "3_over-coupling": ("logical", "over-coupling"),
    "4_lacking": ("logical", "lacking"),
}


class CADSD(FileDataset):
    """The co-occurrence anomaly detection screw dataset (Ishida et al., "SA-PatchCore", IEEE Access 2023).

    Scratches and paint are structural anomalies; too many parts (``over-coupling``) and too few
    (``lacking``) are logical ones. The data set has no masks and no validation images: some of the
    training images are held out, never test images.

    Args:
        root: The folder with ``train`` and ``test``.
        split: ``"train"`` or ``"val"`` (good images only), or ``"test"``.
        image_size: Side length, or height and width, in pixels to which images are resized.
        transform: Applied to the ``Data`` of each image on access.
        num_val: Number of training images (400 as published) held out for ``"val"``.
        seed: Seed of the choice of held-out images.

    Items and attributes are those of :class:`~pyg_viglad.datasets.base.FileDataset`, without masks.

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
    tree = """\
root/
  train/0_good/*.jpg
  test/0_good/*.jpg
  test/1_scratch/*.jpg
  test/2_paint/*.jpg
  test/3_over-coupling/*.jpg
  test/4_lacking/*.jpg"""

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
        self._need()
        self._fill("train/0_good", int(num_val), test=[f"test/{n}" for n in _LABELS], seed=seed)

    def _label(self, name: str) -> tuple[str, str]:
        if name not in _LABELS:
            message = f"Expected no folder '{name}' in '{self.folder / 'test'}'"
            raise ValueError(self._explain(message))
        return _LABELS[name]
