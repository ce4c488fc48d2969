"""Base classes of the data sets, and the reading of their image files."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data, Dataset

from pyg_viglad.transforms import (
    as_size,
    check_image_size,
    open_image,
    read_orientation,
    to_batch,
    to_image,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "AnomalyDataset",
    "FileDataset",
    "Sample",
    "as_fraction",
    "list_images",
    "read_size",
    "read_values",
]

IMAGE_SUFFIXES = {".gif", ".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp"}

_FEWEST = 5  # images held out for validation at least, but a quarter of all at most


class Sample(NamedTuple):
    """Name, kind (``good``, ``logical`` or ``structural``), defect and file of an image."""

    name: str
    kind: str = "good"
    defect: str = ""
    path: Path = Path()


class AnomalyDataset(Dataset):
    """Base class of all data sets: images whose labels can be read without loading the images.

    Items are ``Data`` with ``img`` ``[1, 3, H, W]`` in [0, 1], ``y`` ``[1]`` (1: anomalous),
    ``kind`` (``good``, ``logical`` or ``structural``), ``defect`` (empty for good images) and ``name``
    (unique in the data set). Subsets (``dataset[:10]``) have the labels of their own images.

    Subclasses fill ``samples`` and implement ``get``.

    Args:
        split: ``"train"`` or ``"val"`` (also ``"validation"``), which hold good images only, or
            ``"test"``.
        transform: Applied to the ``Data`` of each image on access.
    """

    def __init__(self, split: str, transform: Callable[[Data], Any] | None = None) -> None:
        super().__init__(transform=transform)
        self.split = {"validation": "val"}.get(split, split)
        if self.split not in ("train", "val", "test"):
            raise ValueError(f"Expected 'split' to be 'train', 'val' or 'test' (got {split!r})")
        self.samples: list[Sample] = []

    def len(self) -> int:
        """Returns the number of images, including those outside of a subset."""
        return len(self.samples)

    @property
    def kinds(self) -> list[str]:
        """Kind of each image: ``good``, ``logical`` or ``structural``."""
        return [self.samples[i].kind for i in self.indices()]

    @property
    def defects(self) -> list[str]:
        """Defect of each image, empty for good images."""
        return [self.samples[i].defect for i in self.indices()]

    @property
    def names(self) -> list[str]:
        """Name of each image, unique in the data set."""
        return [self.samples[i].name for i in self.indices()]

    def make_data(self, place: int, image: Tensor, **fields: object) -> Data:
        """Builds the item of an image ``[3, H, W]`` from its label and further fields."""
        sample = self.samples[place]
        y = torch.tensor([int(sample.kind != "good")])
        label = {"kind": sample.kind, "defect": sample.defect, "name": sample.name}
        return Data(img=image[None], y=y, **label, **fields)


class FileDataset(AnomalyDataset):
    """Base class of data sets of image files, which are read and resized on access.

    Items also have ``path`` and, where the split has ground truth, ``mask`` ``[1, H, W]`` (bool).

    Args:
        root: Folder of the data set.
        split: ``"train"``, ``"val"`` or ``"test"``.
        image_size: Side length, or height and width, in pixels to which images are resized.
        transform: Applied to the ``Data`` of each image on access.

    Attributes:
        folder: Folder of the images, to which their names are relative.
        has_masks: Whether items have a ``mask``.
        tree: Expected layout of the files, shown in error messages.
    """

    CATEGORIES: ClassVar[tuple[str, ...]] = ()
    tree: str = ""
    # Whether a mask of another size than its image is an error; otherwise it is resized.
    _same_size: ClassVar[bool] = True

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str,
        image_size: int | tuple[int, int],
        transform: Callable[[Data], Any] | None,
    ) -> None:
        super().__init__(split, transform)
        self.image_size = as_size(image_size)
        if min(self.image_size) < 1:
            raise ValueError(f"Expected 'image_size' to be positive (got {image_size})")
        self.folder = Path(root).expanduser()
        self.has_masks = False

    # Opening: which files belong to the split.

    def _enter(self, category: str) -> None:
        """Moves from the folder of all categories to that of one, published or own."""
        self._need()
        if not category or (
            category not in self.CATEGORIES and not (self.folder / category).is_dir()
        ):
            names = ", ".join(repr(name) for name in self.CATEGORIES)
            raise ValueError(f"Expected 'category' to be one of {names} (got {category!r})")
        self.category = category
        self.folder = self._need(category)

    def _fill(
        self,
        train: str,
        val: str | float,
        test: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        """Lists the images of the split.

        Args:
            train: Folder of the training images.
            val: Folder of the validation images, or how many (int) or which share (float; see
                :func:`as_fraction`) of the training images are held out as such.
            test: Folders that the test split needs.
            seed: Seed of the choice of held-out images.
        """
        if self.split == "test":
            for name in test:
                self._need(name)
            self.has_masks = (self.folder / "ground_truth").is_dir()
            self.samples = self._list_test()
        elif isinstance(val, str):
            self.samples = self._list(train if self.split == "train" else val)
        else:
            self.samples = self._hold_out(self._list(train), val, seed)

    def _list(self, name: str, kind: str = "good", defect: str = "") -> list[Sample]:
        """Lists the images of a folder, by name."""
        try:
            paths = list_images(self._need(name), recursive=False)
        except ValueError as error:
            raise ValueError(self._explain(str(error))) from None
        return [
            Sample(path.relative_to(self.folder).as_posix(), kind, defect, path) for path in paths
        ]

    def _list_test(self) -> list[Sample]:
        """Lists the images in the sub-folders of ``test``."""
        samples = []
        for folder in sorted((self.folder / "test").iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                samples += self._list(f"test/{folder.name}", *self._label(folder.name))
        if not samples:
            message = (
                f"Expected sub-folders with images, such as 'good', in '{self.folder / 'test'}'"
            )
            raise ValueError(self._explain(message))
        return samples

    def _label(self, name: str) -> tuple[str, str]:
        """Returns kind and defect of the test images in the sub-folder ``name``."""
        if name == "good":
            return "good", ""
        return ("logical" if name.startswith("logical") else "structural"), name

    def _hold_out(self, samples: list[Sample], part: float, seed: int) -> list[Sample]:
        """Returns the held-out images for the split "val", and the others for "train"."""
        total = len(samples)
        if total < 2:
            raise ValueError(
                f"Expected at least two images in '{samples[0].path.parent}', one of them for "
                "validation (got one)"
            )
        if isinstance(part, int):
            number = part
        else:
            fewest = max(1, min(_FEWEST, total // 4))
            number = min(max(fewest, round(part * total)), total - 1)
        if not 0 < number < total:
            raise ValueError(
                f"Expected 'num_val' from 1 to {total - 1}, with {total} images in "
                f"'{samples[0].path.parent}' (got {part})"
            )
        order = np.random.default_rng(seed).permutation(total)
        chosen = order[:number] if self.split == "val" else order[number:]
        return [samples[i] for i in sorted(chosen)]

    def _need(self, name: str = "") -> Path:
        """Returns a folder below the data set's, which must exist."""
        folder = self.folder / name
        if not folder.is_dir():
            raise FileNotFoundError(
                self._explain(f"Expected the folder '{folder}' (it is missing)")
            )
        return folder

    def _explain(self, message: str) -> str:
        return f"{message}; expected tree:\n{self.tree}" if self.tree else message

    # Reading.

    @property
    def paths(self) -> list[Path]:
        """Path of each image."""
        return [self.samples[i].path for i in self.indices()]

    @property
    def images(self) -> Tensor:
        """All images, ``[len, 3, H, W]`` in [0, 1], without ``transform``; reads all files."""
        images = [self._resize(to_image(path), path) for path in self.paths]
        return torch.stack(images) if images else torch.zeros(0, 3, *self.image_size)

    def get(self, idx: int) -> Data:
        """Reads the image at ``idx`` of the whole data set."""
        path = self.samples[idx].path
        image = to_image(path)
        resized = self._resize(image, path)
        fields = self._read_fields(idx, (image.size(1), image.size(2))) if self.has_masks else {}
        return self.make_data(idx, resized, path=str(path), **fields)

    def original_size(self, index: int) -> tuple[int, int]:
        """Returns height and width of an image before it is resized, from the file's header."""
        return read_size(self.samples[self.indices()[index]].path)

    def original_mask(self, index: int) -> Tensor:
        """Returns the ground truth of an image, ``[H, W]`` (bool), at its original size.

        Raises:
            ValueError: If the image is anomalous and the data set has no masks.
        """
        place = self.indices()[index]
        if not self.has_masks and self.samples[place].kind != "good":
            raise ValueError(f"Expected a data set with masks (got {self})")
        size = self.original_size(index)
        return self._union(self._read_regions(place, size), size)

    def missing_masks(self) -> list[Path]:
        """Returns the paths of the anomalous images without a mask file; reads no file."""
        missing = []
        for place in self.indices() if self.has_masks else ():
            try:
                self._mask_files(place)
            except (FileNotFoundError, ValueError):
                missing.append(self.samples[place].path)
        return missing

    def _read_fields(self, place: int, size: tuple[int, int]) -> dict[str, object]:
        """Reads the ground truth of an image of the original ``size`` as fields of its item."""
        return {"mask": self._union(self._read_regions(place, size), self.image_size)[None]}

    def _read_regions(self, place: int, size: tuple[int, int]) -> list[Tensor]:
        """Reads the masks of an image, ``[H, W]`` each."""
        regions = []
        for file in self._mask_files(place):
            # Compression leaves faint noise around a mask; without it any value counts.
            lossy = file.suffix.lower() in (".jpg", ".jpeg", ".webp")
            region = to_image(file).amax(0) > (0.5 if lossy else 0)
            if self._same_size:
                self._check_mask(file, region.shape, size)
            regions.append(region)
        return regions

    def _mask_files(self, place: int) -> list[Path]:
        """Returns the mask files of an image, none if it is good."""
        sample = self.samples[place]
        if sample.kind == "good":
            return []
        folder = self.folder / "ground_truth" / sample.path.parent.name
        stem = sample.path.stem
        suffixes = sorted(IMAGE_SUFFIXES | {suffix.upper() for suffix in IMAGE_SUFFIXES})
        names = [f"{stem}{end}{suffix}" for end in ("", "_mask") for suffix in suffixes]
        files = [folder / name for name in names if (folder / name).is_file()]
        if (folder / stem).is_dir():
            files += list_images(folder / stem, recursive=False)
        if not files:
            raise FileNotFoundError(f"Expected a mask of '{sample.path}' in '{folder}'")
        return files

    @staticmethod
    def _check_mask(file: Path, shape: Sequence[int], size: tuple[int, int]) -> None:
        if tuple(shape) != size:
            raise ValueError(
                f"Expected the mask '{file}' to be as large as its image, {size[0]}x{size[1]} "
                f"(got {shape[0]}x{shape[1]})"
            )

    def _resize(self, image: Tensor, path: Path) -> Tensor:
        check_image_size(image.size(1), image.size(2), str(path))
        return to_batch(image[None], self.image_size)[0].clamp(0, 1)

    @staticmethod
    def _union(regions: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Returns the union of masks at a common size, at which small defects remain visible."""
        mask = torch.zeros(size, dtype=torch.bool)
        for region in regions:
            if tuple(region.shape) != size:
                region = F.adaptive_max_pool2d(region[None].float(), size)[0] > 0
            mask |= region
        return mask

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self)}, root='{self.folder}', split={self.split!r}, "
            f"image_size={self.image_size})"
        )


def as_fraction(val_fraction: float) -> float:
    """Returns the share of training images to hold out as a float, checked to lie in (0, 1).

    Of few images, five are held out, but not more than a quarter: one or two would not tell the spread of
    normal scores.
    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"Expected 'val_fraction' between 0 and 1 (got {val_fraction})")
    return float(val_fraction)


def list_images(root: str | os.PathLike[str], recursive: bool = True) -> list[Path]:
    """Returns the image files of a folder, sorted, without hidden ones; links are followed.

    Args:
        root: The folder.
        recursive: Whether to include the files of all folders below it.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it contains no image.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.png", "a.JPG", "c.txt"):
        ...         Path(folder, name).touch()
        ...     [path.name for path in list_images(folder)]
        ['a.JPG', 'b.png']
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"Expected a folder of images (got '{root}')")
    seen: set[str] = set()
    paths: list[Path] = []
    for folder, folders, names in os.walk(root, followlinks=True):
        # A link to a folder above would lead round in circles.
        again = os.path.realpath(folder) in seen
        seen.add(os.path.realpath(folder))
        folders[:] = [n for n in folders if recursive and not again and not n.startswith(".")]
        found = () if again else (Path(folder, n) for n in names if not n.startswith("."))
        paths += [p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    paths.sort()
    if not paths:
        raise ValueError(f"Expected images in '{root}' (got none)")
    return paths


def read_size(path: Path) -> tuple[int, int]:
    """Returns height and width of an image file, turned as its EXIF data say, without decoding it."""
    with open_image(path) as image:
        width, height = image.size
        # Pillow decodes a whole PNG file to look for an orientation, which hardly any has.
        names = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
        plain = image.format == "PNG" and not any(name in path.read_bytes() for name in names)
        turned = not plain and read_orientation(image) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def read_values(path: Path) -> np.ndarray:
    """Returns the stored values of an image file of one channel, ``[H, W]``, unscaled."""
    with open_image(path) as image:
        values = np.asarray(image)
        mode = image.mode
    if values.ndim != 2 or values.dtype.kind not in "bui":
        raise ValueError(f"Expected a mask of one channel of whole numbers (got '{path}': {mode})")
    return values
