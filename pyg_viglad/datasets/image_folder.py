"""Any folder of images."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from torch_geometric.data import Data

from pyg_viglad.datasets.base import FileDataset, as_fraction

__all__ = ["ImageFolder"]

_GOOD = ("good", "ok", "normal")


class ImageFolder(FileDataset):
    """A folder of images: good ones only, or laid out like MVTec AD or MVTec LOCO AD.

    - ``root/*.png``: good images, some held out for validation; no test images.
    - ``root/train/good`` and ``root/validation/good`` (or ``val``; without it some of the training
      images are held out), and ``root/test/<name>``: good images in ``good``, ``ok`` or ``normal``
      (of ``train`` and ``validation`` also without such a folder),
      logical anomalies where the name begins with a word of ``logical``, structural ones in all others.
      Capital letters do not matter. If ``root/ground_truth`` exists, test images have a mask: the union
      of ``ground_truth/<name>/<image>.png``, ``<image>_mask.png`` and ``<image>/*.png``, or of files of
      other formats.

    Args:
        root: The folder.
        split: ``"train"`` or ``"val"`` (good images only), or ``"test"``.
        image_size: Side length, or height and width, in pixels to which images are resized.
        transform: Applied to the ``Data`` of each image on access.
        val_fraction: Share of the training images held out where there is no folder of validation
            images, in (0, 1); at least five, or a quarter where that is less.
        seed: Seed of the choice of held-out images.
        logical: Beginnings of the names of folders with logical anomalies (default: ``"logical"``).

    Items and attributes are those of :class:`~pyg_viglad.datasets.base.FileDataset`; ``defects`` are
    the names of the folders of the anomalous images.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If a folder has no images, or an argument is out of range.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for number in range(10):
        ...         Image.new("RGB", (40, 30)).save(f"{root}/{number}.png")
        ...     train = ImageFolder(root, "train", image_size=(24, 32))
        ...     len(train), len(ImageFolder(root, "val")), train[0].img.shape
        (8, 2, torch.Size([1, 3, 24, 32]))
    """

    _same_size = False

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        image_size: int | tuple[int, int] = 256,
        transform: Callable[[Data], Any] | None = None,
        val_fraction: float = 0.1,
        seed: int = 0,
        logical: Sequence[str] = ("logical",),
    ) -> None:
        super().__init__(root, split, image_size, transform)
        words = (logical,) if isinstance(logical, str) else logical
        self.logical = tuple(word.lower() for word in words)
        share = as_fraction(val_fraction)
        self._need()
        tested = (self.folder / "test").is_dir()
        if self.split == "test" and tested:
            self._fill(train="", val="")
            return
        if tested:
            self._need("train")
        train = self._good_folder("train") or ""
        if self.split == "test":
            self._list(train)  # A folder without images is an error for every split.
        else:
            val = self._good_folder("validation") or self._good_folder("val") or share
            self._fill(train, val, seed=seed)

    def _label(self, name: str) -> tuple[str, str]:
        if name.lower() in _GOOD:
            return "good", ""
        return ("logical" if name.lower().startswith(self.logical) else "structural"), name

    def _good_folder(self, name: str) -> str | None:
        """Returns the folder of good images in ``name``, ``name`` without one, or None without either."""
        if not (self.folder / name).is_dir():
            return None
        inner = [path.name for path in (self.folder / name).iterdir() if path.is_dir()]
        good = sorted(folder for folder in inner if folder.lower() in _GOOD)
        if len(good) > 1:
            raise ValueError(
                f"Expected one folder of good images in '{self.folder / name}' "
                f"(got {', '.join(good)})"
            )
        return f"{name}/{good[0]}" if good else name
