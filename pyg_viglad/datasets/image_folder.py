"""Any folder of images."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch_geometric.data import Data

from pyg_viglad.datasets._file_dataset import FileDataset
from pyg_viglad.datasets._samples import Sample, as_fraction, hold_out, images_in, read_test

__all__ = ["ImageFolder"]


class ImageFolder(FileDataset):
    """A folder of images, either of good ones alone or laid out like MVTec AD and MVTec LOCO AD.

    - ``root/*.png``: good images, held-out ones among them for validation; no test images.
    - ``root/train/good``, ``root/validation/good`` (or ``val``; without it, some of the training
      images are held out, never test images) and ``root/test/<name>``: good images in ``good``,
      logical anomalies where the name begins with ``logical``, structural ones in all others.
      Without ``test``, there are no test images. Where there is ``root/ground_truth``, test images
      have a mask: the union of ``ground_truth/<name>/<image>.png``, ``<image>_mask.png`` and
      ``<image>/*.png``, empty for good images.

    Images are read on access.

    Args:
        root: The folder.
        split: ``"train"`` or ``"val"`` (good images alone), or ``"test"``.
        image_size: Side in pixels, or height and width, to which images are resized bilinearly.
        transform: Called with every image's ``Data`` on access.
        val_fraction: Share of the training images to hold out where there is no folder of
            validation images; at least one image.
        seed: Decides which ones.

    Attributes:
        kinds: ``good``, ``logical`` or ``structural`` for each image.
        defects: Name of each image's folder, empty where the image is good.
        names: Path of each image below ``root``.
        paths: Path of each image.
        images: All images, ``[len, 3, H, W]`` in [0, 1], read anew, without ``transform``.

    Items are ``Data`` with ``img`` ``[1, 3, H, W]`` in [0, 1], ``y`` ``[1]`` (1: anomalous),
    ``kind``, ``defect``, ``name``, ``path`` and, where there is one, ``mask`` ``[1, H, W]``.

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
        (9, 1, torch.Size([1, 3, 24, 32]))
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
    ) -> None:
        super().__init__(root, split, image_size, transform)
        as_fraction(val_fraction)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"Expected a folder of images (got '{self.folder}')")
        if self.split == "test":
            self.has_masks = (self.folder / "ground_truth").is_dir()
            self._fill(self._test())
        else:
            self._fill(self._good(val_fraction, seed))

    def _good(self, val_fraction: float, seed: int) -> list[Sample]:
        validation = next(
            (self.folder / name for name in ("validation", "val") if (self.folder / name).is_dir()),
            None,
        )
        if self.split == "val" and validation is not None:
            return [Sample(path) for path in images_in(_good_folder(validation))]
        samples = [Sample(path) for path in images_in(self._train_folder())]
        return samples if validation else hold_out(samples, self.split, val_fraction, seed)

    def _train_folder(self) -> Path:
        if (self.folder / "train").is_dir():
            return _good_folder(self.folder / "train")
        if (self.folder / "test").is_dir():
            raise FileNotFoundError(f"Expected the folder '{self.folder / 'train'}' beside 'test'")
        return self.folder

    def _test(self) -> list[Sample]:
        folder = self.folder / "test"
        if not folder.is_dir():
            images_in(self._train_folder())  # so that a wrong folder is noticed
            return []
        return read_test(folder)


def _good_folder(folder: Path) -> Path:
    return folder / "good" if (folder / "good").is_dir() else folder
