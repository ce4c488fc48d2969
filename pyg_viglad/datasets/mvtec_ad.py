"""MVTec AD: structural anomalies of fifteen objects and textures."""

import os
from collections.abc import Callable
from typing import Any, ClassVar

from torch_geometric.data import Data

from pyg_viglad.datasets._file_dataset import FileDataset
from pyg_viglad.datasets._samples import (
    as_fraction,
    good_samples,
    hold_out,
    need_folder,
    open_category,
    read_test,
)

__all__ = ["MVTecAD"]

_TREE = """\
root/
  bottle/               (cable, capsule, carpet, grid, hazelnut, leather, metal_nut, pill,
                         screw, tile, toothbrush, transistor, wood, zipper)
    train/good/000.png ...
    test/good/000.png ...
    test/broken_large/000.png ...               (one folder a defect)
    ground_truth/broken_large/000_mask.png ..."""


class MVTecAD(FileDataset):
    """One object or texture of MVTec AD; all its anomalies count as structural.

    Images are read on access. From Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021.

    Args:
        root: The folder of all objects and textures.
        category: One of ``CATEGORIES``, or the folder of own images laid out in the same way.
        split: ``"train"`` or ``"val"`` (good images alone), or ``"test"``.
        image_size: Side in pixels, or height and width, to which images are resized bilinearly.
        transform: Called with every image's ``Data`` on access.
        val_fraction: Share of the training images to hold out for ``"val"``; at least one image.
        seed: Decides which ones.

    Attributes:
        kinds: ``good`` or ``structural`` for each image.
        defects: Name of each image's defect, empty where it is good.
        names: Path of each image below the category's folder.
        paths: Path of each image.
        images: All images, ``[len, 3, H, W]`` in [0, 1], read anew, without ``transform``.

    Items are ``Data`` with ``img`` ``[1, 3, H, W]`` in [0, 1], ``y`` ``[1]`` (1: anomalous),
    ``kind``, ``defect``, ``name``, ``path`` and, in ``"test"``, ``mask`` ``[1, H, W]`` (bool).

    Raises:
        FileNotFoundError: If a folder or a mask is missing.
        ValueError: If a folder has no images, or a mask does not fit its image.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     os.makedirs(f"{root}/tile/train/good")
        ...     for number in range(10):
        ...         Image.new("RGB", (84, 84)).save(f"{root}/tile/train/good/{number:03d}.png")
        ...     len(MVTecAD(root, "tile", "train")), len(MVTecAD(root, "tile", "val"))
        (9, 1)
    """

    CATEGORIES: ClassVar[tuple[str, ...]] = (
        "bottle",
        "cable",
        "capsule",
        "carpet",
        "grid",
        "hazelnut",
        "leather",
        "metal_nut",
        "pill",
        "screw",
        "tile",
        "toothbrush",
        "transistor",
        "wood",
        "zipper",
    )

    def __init__(
        self,
        root: str | os.PathLike[str],
        category: str,
        split: str = "train",
        image_size: int | tuple[int, int] = 256,
        transform: Callable[[Data], Any] | None = None,
        val_fraction: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(root, split, image_size, transform)
        as_fraction(val_fraction)
        self.category = category
        self.folder = open_category(self.folder, category, self.CATEGORIES, _TREE)
        self.has_masks = self.split == "test"
        if self.has_masks:
            need_folder(self.folder / "test" / "good", _TREE)
            need_folder(self.folder / "ground_truth", _TREE)
            self._fill(read_test(self.folder / "test", tree=_TREE))
        else:
            samples = good_samples(self.folder / "train" / "good", _TREE)
            self._fill(hold_out(samples, self.split, val_fraction, seed))
