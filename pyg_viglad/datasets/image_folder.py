"""Any folder of images."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.datasets._anomaly_dataset import AnomalyDataset, Label, as_size, as_split
from pyg_viglad.datasets.list_images import IMAGE_SUFFIXES
from pyg_viglad.transforms import to_image

__all__ = ["ImageFolder"]


class ImageFolder(AnomalyDataset):
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

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        image_size: int | tuple[int, int] = 256,
        transform: Callable[[Data], Any] | None = None,
        val_fraction: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(transform)
        self.split = as_split(split)
        self.image_size = as_size(image_size)
        if not 0 < val_fraction < 1:
            raise ValueError(f"Expected 'val_fraction' between 0 and 1 (got {val_fraction})")
        self.folder = Path(root).expanduser()
        if not self.folder.is_dir():
            raise FileNotFoundError(f"Expected a folder of images (got '{self.folder}')")
        found = self._test() if self.split == "test" else self._good(val_fraction, seed)
        self._files = [path for path, _, _ in found]
        self.labels = [
            Label(kind, defect, path.relative_to(self.folder).as_posix())
            for path, kind, defect in found
        ]

    def _good(self, val_fraction: float, seed: int) -> list[tuple[Path, str, str]]:
        validation = next(
            (self.folder / name for name in ("validation", "val") if (self.folder / name).is_dir()),
            None,
        )
        if self.split == "val" and validation is not None:
            paths = _images_in(_good_folder(validation))
        else:
            paths = _images_in(self._train_folder())
            if validation is None:
                if len(paths) < 2:
                    raise ValueError(
                        f"Expected at least two images in '{paths[0].parent}', one of them for "
                        "validation (got one)"
                    )
                order = np.random.default_rng(seed).permutation(len(paths))
                number = min(max(1, round(val_fraction * len(paths))), len(paths) - 1)
                chosen = order[:number] if self.split == "val" else order[number:]
                paths = [paths[i] for i in sorted(chosen)]
        return [(path, "good", "") for path in paths]

    def _train_folder(self) -> Path:
        if (self.folder / "train").is_dir():
            return _good_folder(self.folder / "train")
        if (self.folder / "test").is_dir():
            raise FileNotFoundError(f"Expected the folder '{self.folder / 'train'}' beside 'test'")
        return self.folder

    def _test(self) -> list[tuple[Path, str, str]]:
        folder = self.folder / "test"
        if not folder.is_dir():
            _images_in(self._train_folder())  # so that a wrong folder is noticed
            return []
        found = []
        for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
            kind = "logical" if sub.name.startswith("logical") else "structural"
            label = ("good", "") if sub.name == "good" else (kind, sub.name)
            found += [(path, *label) for path in _images_in(sub)]
        if not found:
            raise ValueError(f"Expected sub-folders with images, such as 'good', in '{folder}'")
        return found

    @property
    def paths(self) -> list[Path]:
        """Path of every image."""
        return [self._files[i] for i in self.indices()]

    @property
    def images(self) -> Tensor:
        """All images, ``[len, 3, H, W]`` in [0, 1], read anew at every call."""
        images = [self._read(self._files[i]) for i in self.indices()]
        return torch.stack(images) if images else torch.zeros(0, 3, *self.image_size)

    def get(self, idx: int) -> Data:
        """Read one image as ``Data``."""
        path = self._files[idx]
        data = self.make_data(idx, self._read(path), path=str(path))
        if self.split == "test" and (self.folder / "ground_truth").is_dir():
            data.mask = self._read_mask(path, self.labels[idx].kind == "good")[None]
        return data

    def _read(self, path: Path) -> Tensor:
        image = F.interpolate(
            to_image(path)[None],
            self.image_size,
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        return image[0].clamp(0, 1)

    def _read_mask(self, path: Path, good: bool) -> Tensor:
        mask = torch.zeros(self.image_size, dtype=torch.bool)
        if good:
            return mask
        folder = self.folder / "ground_truth" / path.parent.name
        stem = folder / path.stem
        files = [stem.with_name(f"{path.stem}{end}.png") for end in ("", "_mask")]
        files = [file for file in files if file.is_file()]
        files += _images_in(stem) if stem.is_dir() else []
        if not files:
            raise FileNotFoundError(f"Expected a mask of '{path}' in '{folder}'")
        for file in files:
            # The maximum over each target pixel, so that small defects do not vanish.
            marked = (to_image(file).amax(0, keepdim=True) > 0).float()
            mask |= F.adaptive_max_pool2d(marked, self.image_size)[0] > 0
        return mask

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self)}, root='{self.folder}', split={self.split!r}, "
            f"image_size={self.image_size})"
        )


def _good_folder(folder: Path) -> Path:
    return folder / "good" if (folder / "good").is_dir() else folder


def _images_in(folder: Path) -> list[Path]:
    """List the images of a folder, without its sub-folders, by name; hidden files are left out."""
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )
    if not paths:
        raise ValueError(f"Expected images in '{folder}' (got none)")
    return paths
