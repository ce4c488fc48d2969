"""Numbers of images of the published data sets, and whether files on disk have them."""

import os
from pathlib import Path
from typing import NamedTuple

from pyg_viglad.datasets.base import FileDataset
from pyg_viglad.datasets.cad_sd import CADSD
from pyg_viglad.datasets.mvtec_ad import MVTecAD
from pyg_viglad.datasets.mvtec_loco import MVTecLOCO
from pyg_viglad.datasets.problems import _unreadable
from pyg_viglad.datasets.visa import VisA

__all__ = ["EXPECTED", "CheckRow", "Counts", "Expected", "check_data"]


class Counts(NamedTuple):
    """Numbers of training, validation and, by kind, test images."""

    train: int
    val: int
    good: int
    logical: int
    structural: int


class Expected(NamedTuple):
    """Counts of a category's files, and where a publication differs from them."""

    counts: Counts
    known: str = ""
    published: Counts | None = None


class CheckRow(NamedTuple):
    """Result of the check of one category.

    Attributes:
        category: Its name.
        found: Numbers of images on disk (``train``, ``val``, ``good``, ``logical``, ``structural``),
            None if they could not be listed.
        expected: The same numbers of the published files.
        problems: What is missing, differs or cannot be read; empty if all is well.
        known: Known differences between publications.
    """

    category: str
    found: Counts | None
    expected: Counts
    problems: list[str]
    known: str


def _one_class(train: int, good: int, structural: int, known: str = "") -> Expected:
    """Returns the counts of a category of which 10 % of the training images are held out."""
    held = round(train / 10)
    return Expected(Counts(train - held, held, good, 0, structural), known)


EXPECTED: dict[str, dict[str, Expected]] = {
    # Bergmann et al., IJCV 2022, and Table 1 of ViGLAD.
    "mvtec_loco": {
        "breakfast_box": Expected(Counts(351, 62, 102, 83, 90)),
        "juice_bottle": Expected(Counts(335, 54, 94, 142, 94)),
        "pushpins": Expected(Counts(372, 69, 138, 91, 81)),
        "screw_bag": Expected(Counts(360, 60, 122, 137, 82)),
        "splicing_connectors": Expected(
            Counts(360, 60, 119, 108, 85),
            "published with 354 and 59 images for training and validation; the files, and Table 1 of "
            "ViGLAD, have 360 and 60",
            Counts(354, 59, 119, 108, 85),
        ),
    },
    # Zou et al., ECCV 2022, the one-class split; Table 1 of ViGLAD has 10% of it for validation.
    "visa": {
        "candle": _one_class(900, 100, 100),
        "capsules": _one_class(542, 60, 100),
        "cashew": _one_class(450, 50, 100),
        "chewinggum": _one_class(453, 50, 100),
        "fryum": _one_class(450, 50, 100),
        "macaroni1": _one_class(900, 100, 100),
        "macaroni2": _one_class(900, 100, 100),
        "pcb1": _one_class(904, 100, 100),
        "pcb2": _one_class(901, 100, 100),
        "pcb3": _one_class(
            905,
            101,
            100,
            "Table 1 of ViGLAD has 816, 90 and 100 good images; the one-class split has 905 for "
            "training and 101 for testing",
        ),
        "pcb4": _one_class(904, 101, 100, "missing from Tables 1 and 3 of ViGLAD"),
        "pipe_fryum": _one_class(450, 50, 100),
    },
    # The published archive; validation images are held out of the 400 training images.
    "cad_sd": {
        "screw": Expected(
            Counts(328, 72, 210, 84, 82),
            "Table 1 of ViGLAD has 400, 72, 139 and 85: its validation images come from the test "
            "images, and two sums are off by one (72 + 139 of 210 good, 85 of 84 logical); here 72 of "
            "the 400 training images are held out",
        ),
    },
    # Bergmann et al., IJCV 2021; not in ViGLAD's tables.
    "mvtec_ad": {
        "bottle": _one_class(209, 20, 63),
        "cable": _one_class(224, 58, 92),
        "capsule": _one_class(219, 23, 109),
        "carpet": _one_class(280, 28, 89),
        "grid": _one_class(264, 21, 57),
        "hazelnut": _one_class(391, 40, 70),
        "leather": _one_class(245, 32, 92),
        "metal_nut": _one_class(220, 22, 93),
        "pill": _one_class(267, 26, 141),
        "screw": _one_class(320, 41, 119),
        "tile": _one_class(230, 33, 84),
        "toothbrush": _one_class(60, 12, 30),
        "transistor": _one_class(213, 60, 40),
        "wood": _one_class(247, 19, 60),
        "zipper": _one_class(240, 32, 119),
    },
}


def check_data(name: str, root: str | os.PathLike[str], read: bool = False) -> list[CheckRow]:
    """Compares the numbers of images of a data set on disk with the published ones.

    Images held out of the training images count as validation images: 10 % for VisA and MVTec AD, 72
    for CAD-SD. Where files and publication differ, both numbers are accepted.

    Args:
        name: ``"mvtec_loco"``, ``"visa"``, ``"cad_sd"`` or ``"mvtec_ad"``.
        root: Folder of all categories.
        read: Whether to read every image and mask (minutes); by default the check only looks whether
            each anomalous image has a mask.

    Returns:
        One row per category.

    Raises:
        FileNotFoundError: If ``root`` does not exist, or no category can be read in it.
        ValueError: If there is no data set of this name, or no category can be read.

    Example:
        >>> import tempfile
        >>> folders = {"train/0_good": 400, "test/0_good": 210, "test/1_scratch": 41}
        >>> folders |= {"test/2_paint": 41, "test/3_over-coupling": 44, "test/4_lacking": 39}
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name, number in folders.items():
        ...         folder = Path(root, name)
        ...         folder.mkdir(parents=True)
        ...         for place in range(number):
        ...             (folder / f"{place:03d}.jpg").touch()
        ...     check_data("cad_sd", root)[0].problems
        ['83 logical images instead of 84']
    """
    if name not in EXPECTED:
        names = ", ".join(repr(known) for known in EXPECTED)
        raise ValueError(f"Expected 'name' to be one of {names} (got {name!r})")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected the folder '{folder}' (it is missing)")
    rows, errors = [], []
    for category, expected in EXPECTED[name].items():
        try:
            splits = [_open(name, folder, category, split) for split in ("train", "val", "test")]
            rows.append(_check(category, expected, splits, read))
        except (FileNotFoundError, ValueError) as error:
            problems = [_first_line(error)]
            rows.append(CheckRow(category, None, expected.counts, problems, expected.known))
            errors.append(error)
    if len(errors) == len(rows):
        raise errors[0]  # It shows the expected tree.
    return rows


def _open(name: str, root: Path, category: str, split: str) -> FileDataset:
    if name == "cad_sd":
        return CADSD(root, split)
    types = {"mvtec_loco": MVTecLOCO, "visa": VisA, "mvtec_ad": MVTecAD}
    dataset: FileDataset = types[name](root, category, split)
    return dataset


def _check(category: str, expected: Expected, splits: list[FileDataset], read: bool) -> CheckRow:
    train, val, test = splits
    tested = (test.kinds.count(kind) for kind in ("good", "logical", "structural"))
    found = Counts(len(train), len(val), *tested)
    problems = []
    if found not in (expected.counts, expected.published):
        problems = [
            f"{number} {field} images instead of {wanted}"
            for field, number, wanted in zip(Counts._fields, found, expected.counts, strict=True)
            if number != wanted
        ]
    if read:
        for split in splits:
            errors = map(_first_line, _unreadable(split.get, split.indices()))
            problems += _summary(f"unreadable {split.split} images", list(errors))
    else:
        missing = [str(path) for path in test.missing_masks()]
        problems += _summary("images without a mask", missing)
    return CheckRow(category, found, expected.counts, problems, expected.known)


def _summary(what: str, found: list[str]) -> list[str]:
    return [f"{what}: {len(found)}, the first: {found[0]}"] if found else []


def _first_line(error: Exception | str) -> str:
    return str(error).splitlines()[0].removesuffix("; expected tree:")
