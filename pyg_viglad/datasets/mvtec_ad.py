"""MVTec AD: structural anomalies of fifteen objects and textures."""

import os
from collections.abc import Callable
from typing import Any, ClassVar

from torch_geometric.data import Data

from pyg_viglad.datasets.base import FileDataset, as_fraction

__all__ = ["MVTecAD"]


class MVTecAD(FileDataset):
    """One category of MVTec AD (Bergmann et al., IJCV 2021); all its anomalies are structural.

    The data set has no validation images: a share of the training images is held out.

    Args:
        root: Folder of all categories.
        category: One of ``CATEGORIES``, or a folder of own images in the same layout.
        split: ``"train"`` or ``"val"`` (good images only), or ``"test"``.
        image_size: Side length, or height and width, in pixels to which images are resized.
        transform: Applied to the ``Data`` of each image on access.
        val_fraction: Share of the training images held out for ``"val"``, in (0, 1); at least
            five, or a quarter where that is less.
        seed: Seed of the choice of held-out images.

    Items and attributes are those of :class:`~pyg_viglad.datasets.base.FileDataset`; test images
    have a ``mask``, and ``defects`` are the names of their folders.

    Raises:
        FileNotFoundError: If a folder or a mask is missing.
        ValueError: If a folder has no images, or a mask has another size than its image.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     os.makedirs(f"{root}/tile/train/good")
        ...     for number in range(10):
        ...         Image.new("RGB", (84, 84)).save(f"{root}/tile/train/good/{number:03d}.png")
        ...     len(MVTecAD(root, "tile", "train")), len(MVTecAD(root, "tile", "val"))
        (8, 2)
    """

    CATEGORIES: ClassVar[tuple[str, ...]] = (
        *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut"),
        *("pill", "screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
    )
    tree = """\
root/
  bottle/               (cable, capsule, carpet, grid, hazelnut, leather, metal_nut, pill,
                         screw, tile, toothbrush, transistor, wood, zipper)
    train/good/000.png ...
    test/good/000.png ...
    test/broken_large/000.png ...               (one folder a defect)
    ground_truth/broken_large/000_mask.png ..."""

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
        val = as_fraction(val_fraction)
        self._enter(category)
        self._fill("train/good", val, test=("test/good", "ground_truth"), seed=seed)
