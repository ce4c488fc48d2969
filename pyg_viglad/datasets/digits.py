"""Digit Anatomy: the digits 1 to 9 in a 3x3 grid, some of them wrong."""

import gzip
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.datasets.base import IMAGE_SUFFIXES, AnomalyDataset, Sample
from pyg_viglad.files import check_sha256
from pyg_viglad.transforms import open_image

__all__ = ["DigitAnatomy", "DigitDataset", "DigitSource"]

_SPLITS = ("train", "val", "test")
# Side lengths in pixels of a cell, of an image of 3x3 cells, and of a digit's image in the sources.
_CELL, _SIDE, _DIGIT = 32, 96, 28
# A flipped 1 or 8 still looks like itself.
_FLIPPABLE = (2, 3, 4, 5, 6, 7, 9)
# torchvision compares MD5 alone.
_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


class DigitDataset(AnomalyDataset):
    """Base class of data sets whose images are composed of digits, in memory, on construction.

    Subclasses set ``KINDS`` and fill ``_digits`` and ``_sources``, a row per image.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        source: Source of the digits (see :class:`DigitSource`).
        image_size: Side length of the images in pixels.
        numbers: ``num_train``, ``num_val``, ``num_test_good`` and ``num_test_anomalous`` by name.
        defects: Defects to draw, among ``KINDS``, in the order of the test images.
        seed: Seed of the images, at least 0.
        transform: Applied to the ``Data`` of each image on access.
    """

    # The kind of anomaly of each defect.
    KINDS: ClassVar[dict[str, str]] = {}
    _digits: Tensor
    _sources: Tensor

    def __init__(
        self,
        split: str,
        source: str | os.PathLike[str],
        image_size: int,
        numbers: dict[str, int],
        defects: Sequence[str],
        seed: int,
        transform: Callable[[Data], Any] | None,
    ) -> None:
        super().__init__(split, transform)
        for name, number in {**numbers, "seed": seed}.items():
            if number < 0:
                raise ValueError(f"Expected '{name}' of at least 0 (got {number})")
        known = not isinstance(defects, str) and set(defects) <= set(self.KINDS)
        if not known or len(set(defects)) < len(defects):
            raise ValueError(
                f"Expected 'defects' among {list(self.KINDS)}, each once (got {defects!r})"
            )
        if not defects and numbers["num_test_anomalous"]:
            raise ValueError("Expected 'defects' for the anomalous test images (got none)")
        self.image_size = image_size
        self.source = os.fspath(source)
        self.seed = seed
        good = {"train": "num_train", "val": "num_val", "test": "num_test_good"}[self.split]
        drawn = [""] * numbers[good]
        if self.split == "test":
            each, rest = divmod(numbers["num_test_anomalous"], max(1, len(defects)))
            for place, defect in enumerate(defects):
                drawn += [defect] * (each + (place < rest))
        self.samples = [
            Sample(
                f"{self.split}/{defect or 'good'}/{i:03d}", self.KINDS.get(defect, "good"), defect
            )
            for i, defect in enumerate(drawn)
        ]

    def generators(self, place: int) -> tuple[np.random.Generator, np.random.Generator]:
        """Returns the random streams of an image: of the good image, and of its defect."""
        key = [self.seed, _SPLITS.index(self.split), place]
        return np.random.default_rng([*key, 0]), np.random.default_rng([*key, 1])

    @property
    def digits(self) -> Tensor:
        """Digits of each image, ``[len, n]``; -1 where there is none."""
        return self._digits[list(self.indices())]

    @property
    def sources(self) -> Tensor:
        """Place of each digit in the source, ``[len, n]``; -1 where there is none."""
        return self._sources[list(self.indices())]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self)}, split={self.split!r}, source={self.source!r}, "
            f"image_size={self.image_size})"
        )


class DigitAnatomy(DigitDataset):
    """Digit Anatomy (Section IV-A of the paper, after Xiang et al., "SQUID", CVPR 2023).

    Each cell shows a random image of its digit, white on black, of which a random square is cropped
    and resized to 32x32, as torchvision's ``RandomResizedCrop(32, scale, ratio=(1, 1))`` does. (SQUID's
    ``scale=(0.6, 1.3)`` has the same effect: torchvision rejects squares larger than the image.) There
    are two logical anomalies: ``disorder`` (cells have changed places) and ``flip`` (cells are
    mirrored left to right or upside down; never 1 and 8, and 3 only left to right, since those would
    look the same), and two structural ones: ``missing`` (black cells) and ``novel`` (zeros in place of
    other digits).

    Images are drawn in memory on construction and depend only on ``seed``, the split and their
    number. An anomalous image is the good image of the same number with some cells altered: with
    ``num_test_good=230, num_test_anomalous=0`` the same seed draws all of them unaltered. No image of
    a digit is used by two splits, whatever the seeds (see :class:`DigitSource`).

    Args:
        split: ``"train"`` or ``"val"`` (good images only), or ``"test"``.
        source: ``"digits"`` (bundled with scikit-learn), ``"mnist"``, an ``.npz`` file of MNIST, or
            a folder (see :class:`DigitSource`).
        image_size: Side length of the images in pixels, at least 96 and divisible by 4; images are
            drawn at 96 and enlarged bilinearly on access.
        num_wrong_cells: Wrong cells of an anomalous image, 1 to 9. ``disorder`` displaces at least
            two (1 and 2 both swap a pair; more move in a ring), and ``flip`` has at most seven.
        num_train: Number of images of ``"train"``.
        num_val: Number of images of ``"val"``.
        num_test_good: Number of good images of ``"test"``.
        num_test_anomalous: Number of anomalous images of ``"test"``, divided evenly among ``defects``.
        defects: Defects to draw, in the order of the test images.
        scale: Smallest and largest area of a crop as a share of the digit's image, in (0, 1].
        seed: Seed of the images, at least 0.
        transform: Applied to the ``Data`` of each image on access.
        root: Folder of ``source="mnist"``.
        download: Whether to download ``source="mnist"`` if it is missing.

    Items are those of :class:`~pyg_viglad.datasets.AnomalyDataset` with ``mask`` ``[1, S, S]`` (bool),
    True over wrong cells. ``digits`` and ``sources`` have a column per cell, row by row.

    Raises:
        FileNotFoundError: If the source does not exist.
        ValueError: If an argument is out of range.

    Example:
        >>> dataset = DigitAnatomy("test", num_test_good=2, num_test_anomalous=4)
        >>> dataset.defects
        ['', '', 'disorder', 'flip', 'missing', 'novel']
        >>> dataset[5]
        Data(y=[1], img=[1, 3, 96, 96], kind='structural', defect='novel', name='test/novel/005', mask=[1, 96, 96])
        >>> dataset.digits[2].tolist()
        [1, 2, 3, 7, 5, 6, 4, 8, 9]
    """  # noqa: E501

    # As in the paper.
    KINDS: ClassVar[dict[str, str]] = {
        "disorder": "logical",
        "flip": "logical",
        "missing": "structural",
        "novel": "structural",
    }

    def __init__(
        self,
        split: str = "train",
        source: str | os.PathLike[str] = "digits",
        image_size: int = _SIDE,
        num_wrong_cells: int = 1,
        num_train: int = 360,
        num_val: int = 60,
        num_test_good: int = 110,
        num_test_anomalous: int = 120,
        defects: Sequence[str] = tuple(KINDS),
        scale: tuple[float, float] = (0.6, 1.0),
        seed: int = 0,
        transform: Callable[[Data], Any] | None = None,
        root: str | os.PathLike[str] = "data",
        download: bool = False,
    ) -> None:
        if image_size < _SIDE or image_size % 4:
            raise ValueError(
                f"Expected 'image_size' of at least {_SIDE} and divisible by 4 (got {image_size})"
            )
        if not 1 <= num_wrong_cells <= 9:
            raise ValueError(f"Expected 'num_wrong_cells' from 1 to 9 (got {num_wrong_cells})")
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"Expected 'scale' as 0 < smallest <= largest <= 1 (got {scale})")
        numbers = {
            "num_train": num_train,
            "num_val": num_val,
            "num_test_good": num_test_good,
            "num_test_anomalous": num_test_anomalous,
        }
        super().__init__(split, source, image_size, numbers, defects, seed, transform)
        self.num_wrong_cells = num_wrong_cells
        self.scale = scale
        self._draw(DigitSource(source, root, download))

    def _draw(self, source: "DigitSource") -> None:
        number = len(self.samples)
        self._pixels = torch.zeros(number, _SIDE, _SIDE, dtype=torch.uint8)
        self._wrong = torch.zeros(number, 9, dtype=torch.bool)
        self._digits = torch.zeros(number, 9, dtype=torch.long)
        self._sources = torch.zeros(number, 9, dtype=torch.long)
        # torchvision draws its crops from torch's global generator, whose state is kept.
        with torch.random.fork_rng(devices=[]):
            for place, sample in enumerate(self.samples):
                cells = self._draw_cells(source, place, sample.defect)
                self._pixels[place] = torch.from_numpy(cells.image())
                self._wrong[place] = torch.from_numpy(cells.wrong)
                self._digits[place] = torch.from_numpy(cells.digits)
                self._sources[place] = torch.from_numpy(cells.sources)

    def _draw_cells(self, source: "DigitSource", place: int, defect: str) -> "_Cells":
        from torchvision.transforms import RandomResizedCrop

        crop = RandomResizedCrop(_CELL, self.scale, ratio=(1.0, 1.0))
        pools = source.pools[self.split]
        rng, defect_rng = self.generators(place)

        def draw(digit: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
            chosen = int(rng.choice(pools[digit]))
            # One number would do. Three keep the digits that earlier versions drew for a seed.
            torch.default_generator.manual_seed(int(rng.integers(2**63, size=3)[0]))
            return np.asarray(crop(Image.fromarray(source.images[chosen]))), chosen

        pixels, sources = zip(*(draw(digit, rng) for digit in range(1, 10)), strict=True)
        cells = _Cells(np.stack(pixels), np.arange(1, 10), np.array(sources))
        if defect:
            cells.alter(defect, self.num_wrong_cells, defect_rng, lambda: draw(0, defect_rng))
        return cells

    def get(self, idx: int) -> Data:
        """Returns the image at ``idx`` of the whole data set."""
        mask = self._wrong[idx].view(3, 3).repeat_interleave(_CELL, 0).repeat_interleave(_CELL, 1)
        if self.image_size != _SIDE:
            size = (self.image_size, self.image_size)
            mask = F.interpolate(mask[None, None].float(), size, mode="nearest-exact")[0, 0] > 0.5
        return self.make_data(idx, self._enlarge(self._pixels[idx : idx + 1])[0], mask=mask[None])

    @property
    def images(self) -> Tensor:
        """All images, ``[len, 3, image_size, image_size]`` in [0, 1], without ``transform``."""
        return self._enlarge(self._pixels[list(self.indices())])

    def _enlarge(self, pixels: Tensor) -> Tensor:
        gray = pixels[:, None].float() / 255
        if self.image_size != _SIDE:
            size = (self.image_size, self.image_size)
            gray = F.interpolate(gray, size, mode="bilinear", align_corners=False)
        return gray.repeat(1, 3, 1, 1)


class _Cells:
    """The nine cells of an image, row by row: pixels ``[9, 32, 32]``, digits and sources ``[9]``."""

    def __init__(self, pixels: np.ndarray, digits: np.ndarray, sources: np.ndarray) -> None:
        self.pixels = pixels
        self.digits = digits
        self.sources = sources
        self.wrong = np.zeros(9, dtype=bool)

    def image(self) -> np.ndarray:
        """Joins the cells to ``[96, 96]``."""
        return self.pixels.reshape(3, 3, _CELL, _CELL).swapaxes(1, 2).reshape(_SIDE, _SIDE)

    def alter(
        self,
        defect: str,
        number: int,
        rng: np.random.Generator,
        draw_zero: Callable[[], tuple[np.ndarray, int]],
    ) -> None:
        """Applies a defect to ``number`` cells in place and marks them as wrong."""
        order = rng.permutation(9)
        if defect == "flip":
            order = order[np.isin(self.digits[order], _FLIPPABLE)]
        chosen = order[: max(number, 2) if defect == "disorder" else number]
        if defect == "disorder":
            # Each chosen cell takes the place of the next, so that none stays where it was.
            moved = np.roll(chosen, 1)
            for values in (self.pixels, self.digits, self.sources):
                values[chosen] = values[moved]
        for cell in chosen:
            if defect == "flip":
                # A 3 upside down looks the same.
                upside_down = self.digits[cell] != 3 and rng.random() < 0.5
                self.pixels[cell] = np.flip(self.pixels[cell], 0 if upside_down else 1)
            elif defect == "missing":
                self.pixels[cell], self.digits[cell], self.sources[cell] = 0, -1, -1
            elif defect == "novel":
                self.pixels[cell], self.sources[cell] = draw_zero()
                self.digits[cell] = 0
        self.wrong[chosen] = True


class DigitSource:
    """Images of single digits, divided between training, validation and test.

    Where a source has training and test digits of its own, validation gets half of the training
    digits; otherwise training gets 50 %, validation 15 % and test 35 % of the images of each digit.
    The division depends only on the source, never on a seed, so that no digit image is used by two
    splits.

    Args:
        source: ``"digits"`` (scikit-learn's bundled digits, 8x8, enlarged smoothly), ``"mnist"``
            (as torchvision keeps it under ``root``), an ``.npz`` file with ``x_train``,
            ``y_train``, ``x_test`` and ``y_test``, or a folder: with the four IDX files of MNIST,
            with ``train/0`` ... ``test/9``, or with ``0`` ... ``9``; white digits on black.
        root: Folder of ``"mnist"``.
        download: Whether to download ``"mnist"`` if it is missing.

    Raises:
        FileNotFoundError: If the file or folder does not exist.
        ValueError: If it does not contain such digits.

    Example:
        >>> source = DigitSource("digits")
        >>> source.images.shape, len(source.pools["train"][7]), len(source.pools["test"][7])
        ((1797, 28, 28), 90, 63)
    """

    def __init__(
        self,
        source: str | os.PathLike[str] = "digits",
        root: str | os.PathLike[str] = "data",
        download: bool = False,
    ) -> None:
        parts = _read_digits(source, Path(root).expanduser(), download)
        self.images: np.ndarray = np.concatenate([part.images for part in parts])
        """All images, ``[M, 28, 28]``, uint8; training before test digits."""
        self.labels: np.ndarray = np.concatenate([part.labels for part in parts])
        """Their digits, ``[M]``."""
        self.pools: dict[str, list[np.ndarray]] = {split: [] for split in _SPLITS}
        """For each split and each digit from 0 to 9, the places of its images."""
        starts = np.cumsum([0, *(len(part.labels) for part in parts)])
        for digit in range(10):
            places = [
                start + np.flatnonzero(part.labels == digit)
                for start, part in zip(starts, parts, strict=False)
            ]
            self._divide(places, digit)

    def _divide(self, places: Sequence[np.ndarray], digit: int) -> None:
        shares = (0.5, 0.5) if len(places) == 2 else (0.5, 0.15, 0.35)
        # Shuffled, since neighbours in a file are often of one hand.
        first = np.random.default_rng(digit).permutation(places[0])
        cuts = np.round(np.cumsum(shares)[:-1] * len(first)).astype(int)
        for split, pool in zip(_SPLITS, [*np.split(first, cuts), *places[1:]], strict=True):
            if len(pool) == 0 and (digit != 0 or split == "test"):
                raise ValueError(
                    f"Expected at least one image of the digit {digit} for '{split}' "
                    f"(got {sum(map(len, places))} of it in all)"
                )
            self.pools[split].append(np.sort(pool))


class _Digits(NamedTuple):
    """Images of digits ``[M, 28, 28]`` (uint8, white on black) and their digits ``[M]``."""

    images: np.ndarray
    labels: np.ndarray


def _read_digits(source: str | os.PathLike[str], root: Path, download: bool) -> list[_Digits]:
    """Reads training and test digits, or all where the source does not divide them."""
    if source == "digits":
        return [_read_bundled()]
    if source == "mnist":
        return _read_mnist(root, download)
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"Expected 'source' to be 'digits', 'mnist', an .npz file or a folder (got '{path}', "
            "which does not exist)"
        )
    if path.is_file():
        return _read_npz(path)
    for folder in (path, path / "raw", path / "MNIST" / "raw"):
        if parts := _read_idx(folder):
            return parts
    if (path / "train").is_dir() and (path / "test").is_dir():
        return [_read_class_folders(path / "train"), _read_class_folders(path / "test")]
    return [_read_class_folders(path)]


def _check_digits(images: np.ndarray, labels: np.ndarray, name: str) -> _Digits:
    if images.dtype != np.uint8 or images.shape[1:] != (_DIGIT, _DIGIT):
        raise ValueError(
            f"Expected uint8 images [M, {_DIGIT}, {_DIGIT}] in '{name}' "
            f"(got {images.dtype} {list(images.shape)})"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"Expected one whole number for each of {len(images)} images in '{name}' "
            f"(got {labels.dtype} {list(labels.shape)})"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() <= 9:
        raise ValueError(
            f"Expected labels from 0 to 9 in '{name}' (got {labels.min()} to {labels.max()})"
        )
    return _Digits(images, labels.astype(np.int64))


def _read_bundled() -> _Digits:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    images = np.zeros((len(small), _DIGIT, _DIGIT), dtype=np.uint8)
    # As in MNIST, digits are 20 pixels high.
    for image, place in zip(small, images, strict=True):
        large = Image.fromarray(image).resize((20, 20), Image.Resampling.BICUBIC)
        place[4:-4, 4:-4] = np.asarray(large)
    return _Digits(images, bunch.target.astype(np.int64))


def _read_mnist(root: Path, download: bool) -> list[_Digits]:
    if download:
        from torchvision.datasets import MNIST

        MNIST(str(root), download=True)
    folder = root / "MNIST" / "raw"
    for name, expected in _MNIST_SHA256.items() if download else ():
        if (folder / name).is_file():
            check_sha256(folder / name, expected)
    parts = _read_idx(folder)
    if not parts:
        raise FileNotFoundError(
            f"Expected the files of MNIST in '{folder}' (got none); download=True fetches them"
        )
    return parts


def _read_npz(path: Path) -> list[_Digits]:
    """Reads the file that Keras distributes."""
    wanted = ("x_train", "y_train", "x_test", "y_test")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = sorted(file)
            arrays = [file[name] for name in wanted if name in file]
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"Expected an .npz archive of arrays (got '{path}': {error})") from error
    if len(arrays) < len(wanted):
        raise ValueError(f"Expected the arrays {', '.join(wanted)} in '{path}' (got {found})")
    x_train, y_train, x_test, y_test = arrays
    return [
        _check_digits(x_train, y_train, f"{path}: train"),
        _check_digits(x_test, y_test, f"{path}: test"),
    ]


def _read_class_folders(folder: Path) -> _Digits:
    """Reads the images in the sub-folders ``0`` to ``9``."""
    images, labels = [], []
    for path in sorted(folder.glob("[0-9]/*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        with open_image(path) as image:
            gray = image.convert("L")
        if gray.size != (_DIGIT, _DIGIT):
            gray = gray.resize((_DIGIT, _DIGIT), Image.Resampling.BILINEAR)
        images.append(np.asarray(gray))
        labels.append(int(path.parent.name))
    if not images:
        raise ValueError(f"Expected images in sub-folders '0' to '9' of '{folder}' (got none)")
    return _check_digits(np.stack(images), np.array(labels), str(folder))


def _read_idx(folder: Path) -> list[_Digits]:
    """Reads the four IDX files of MNIST; an empty list if none of them is in the folder."""
    stems = ("train-images", "train-labels", "t10k-images", "t10k-labels")
    names = {stem: [f"{stem}[-.]idx?-ubyte{end}" for end in ("", ".gz")] for stem in stems}
    files = {
        stem: [file for name in names[stem] for file in folder.glob(name) if file.is_file()]
        for stem in stems
    }
    if not any(files.values()):
        return []
    for stem, found in files.items():
        if not found:
            raise FileNotFoundError(
                f"Expected the file of '{stem}' beside the others in '{folder}'"
            )
    images, labels, test_images, test_labels = (_read_idx_file(files[stem][0]) for stem in stems)
    return [
        _check_digits(images, labels, f"{folder}: train"),
        _check_digits(test_images, test_labels, f"{folder}: t10k"),
    ]


def _read_idx_file(path: Path) -> np.ndarray:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"Expected a readable IDX file (got '{path}': {error})") from error
    # Two zeros, the type (8: unsigned bytes), the rank, then big-endian 32-bit sizes.
    rank = content[3] if len(content) > 4 and content[:3] == b"\0\0\x08" else 0
    sizes = np.frombuffer(content[4 : 4 + 4 * rank], dtype=">u4").astype(np.int64)
    if rank == 0 or len(content) != 4 + 4 * rank + sizes.prod():
        raise ValueError(f"Expected an IDX file of unsigned bytes (got '{path}')")
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(tuple(sizes))
