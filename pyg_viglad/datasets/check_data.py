"""Whether a data set on disk is the published one."""

import os
from pathlib import Path
from typing import NamedTuple

from pyg_viglad.datasets._expected_counts import EXPECTED, Counts
from pyg_viglad.datasets._file_dataset import FileDataset
from pyg_viglad.datasets._samples import need_folder
from pyg_viglad.datasets.cad_sd import CADSD
from pyg_viglad.datasets.mvtec_ad import MVTecAD
from pyg_viglad.datasets.mvtec_loco import MVTecLOCO
from pyg_viglad.datasets.visa import VisA

__all__ = ["CheckRow", "check_data"]

_SPLITS = ("train", "val", "test")


class CheckRow(NamedTuple):
    """What was found of a category.

    Attributes:
        category: Its name.
        found: Numbers of images on disk (``train``, ``val``, ``good``, ``logical``, ``structural``),
            None where they could not be listed.
        expected: The same numbers, of the published files.
        problems: What is missing, differs or cannot be read; nothing if all is well.
        known: What is known of differing publications.
    """

    category: str
    found: Counts | None
    expected: Counts
    problems: list[str]
    known: str


def check_data(name: str, root: str | os.PathLike[str], read: bool = False) -> list[CheckRow]:
    """Compare the numbers of images of a data set on disk with the published ones.

    Images that are held out of the training images count as validation images, 10% of VisA and MVTec
    AD and 72 of CAD-SD. Numbers that only the publication has, and not its files, are accepted.

    Args:
        name: ``"mvtec_loco"``, ``"visa"``, ``"cad_sd"`` or ``"mvtec_ad"``.
        root: The folder of all categories.
        read: Whether to read every image and mask as well (minutes), instead of only looking whether
            there is a mask for each anomalous image.

    Returns:
        One row a category.

    Raises:
        FileNotFoundError: If there is no folder ``root``, or no category can be read in it.
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
    folder = need_folder(Path(root).expanduser(), "")
    rows, errors = [], []
    for category, (counts, known, _) in EXPECTED[name].items():
        try:
            rows.append(_check(name, folder, category, read))
        except (FileNotFoundError, ValueError) as error:
            rows.append(CheckRow(category, None, counts, [_first_line(error)], known))
            errors.append(error)
    if len(errors) == len(rows):
        raise errors[0]  # which shows the expected tree
    return rows


def _check(name: str, root: Path, category: str, read: bool) -> CheckRow:
    counts, known, published = EXPECTED[name][category]
    splits = [_open(name, root, category, split) for split in _SPLITS]
    kinds = splits[2].kinds
    tested = (kinds.count(kind) for kind in ("good", "logical", "structural"))
    found = Counts(len(splits[0]), len(splits[1]), *tested)
    problems = []
    if found not in (counts, published):
        problems = [
            f"{number} {field} images instead of {wanted}"
            for field, number, wanted in zip(Counts._fields, found, counts, strict=True)
            if number != wanted
        ]
    if read:
        for split in splits:
            problems += _summary(_unreadable(split), f"unreadable {split.split} images")
    else:
        missing = [str(path) for path in splits[2].missing_masks()]
        problems += _summary(missing, "images without a mask")
    return CheckRow(category, found, counts, problems, known)


def _open(name: str, root: Path, category: str, split: str) -> FileDataset:
    if name == "cad_sd":
        return CADSD(root, split)
    types = {"mvtec_loco": MVTecLOCO, "visa": VisA, "mvtec_ad": MVTecAD}
    dataset: FileDataset = types[name](root, category, split)
    return dataset


def _unreadable(dataset: FileDataset) -> list[str]:
    errors = []
    for place in range(len(dataset)):
        try:
            dataset[place]
        except (FileNotFoundError, ValueError) as error:
            errors.append(_first_line(error))
    return errors


def _summary(found: list[str], what: str) -> list[str]:
    return [f"{what}: {len(found)}, the first: {found[0]}"] if found else []


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].removesuffix("; expected tree:")
