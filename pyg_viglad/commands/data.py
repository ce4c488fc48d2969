"""Data sets by name or path, and the commands ``pyg-viglad data check`` and ``compare``."""

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pyg_viglad.datasets import (
    CheckRow,
    Problem,
    check_data,
    find_leftovers,
    find_problems,
    find_unreadable,
)
from pyg_viglad.training import PenaltyImages

__all__ = [
    "DatasetName",
    "Splits",
    "check",
    "compare",
    "open_data",
    "open_split",
    "refuse_problems",
    "refuse_unreadable",
]

DatasetName = Literal[
    "auto",
    "digit_anatomy",
    "scattered_digits",
    "image_folder",
    "mvtec_loco",
    "mvtec_ad",
    "visa",
    "cad_sd",
]


class Splits(NamedTuple):
    """The splits of one data set."""

    train: Any
    validation: Any
    test: Any


def open_data(
    data: str | os.PathLike[str],
    image_size: tuple[int, int],
    options: dict[str, Any] | None = None,
    dataset: DatasetName = "auto",
) -> Splits:
    """Opens a data set by name or by path.

    Args:
        data: ``digits`` (scikit-learn's), ``mnist`` (below the option ``root``), an ``.npz`` file or a
            folder of MNIST, or a folder of images.
        image_size: Height and width of the images in pixels.
        options: Further arguments of the data set, such as ``{"num_wrong_cells": 3}``.
        dataset: Data set to open; ``auto`` is ``digit_anatomy`` for ``digits``, ``mnist`` and ``.npz`` files,
            ``image_folder`` for all else.

    Raises:
        FileNotFoundError: If ``data`` is neither a name nor a path.
        ValueError: If the options do not fit the data set, or its test images are all anomalous.

    Example:
        >>> [len(split) for split in open_data("digits", (96, 96), {"num_train": 8})]
        [8, 60, 230]
    """
    names = ("train", "val", "test")
    return Splits(*(open_split(data, name, image_size, options, dataset) for name in names))


def refuse_problems(splits: Splits) -> None:
    """Raises ``ValueError`` where the files of a data set would stop a training; reads all of them."""
    opened = {"train": splits.train, "val": splits.validation, "test": splits.test}
    found = [problem.text for problem in find_problems(opened) if problem.stops]
    if found:
        more = (
            f" (and {len(found) - 1} more: 'pyg-viglad data check' with the same options lists all)"
        )
        raise ValueError(found[0] + (more if len(found) > 1 else ""))


def refuse_unreadable(images: PenaltyImages) -> None:
    """Raises ``ValueError`` if a file has no image header; files are not decoded: there may be a million."""
    for text in find_unreadable(path for path in images.sources if isinstance(path, Path)):
        raise ValueError(text)


def open_split(
    data: str | os.PathLike[str],
    split: str,
    image_size: tuple[int, int],
    options: dict[str, Any] | None = None,
    dataset: DatasetName = "auto",
) -> Any:
    """Opens one split of a data set, ``"train"``, ``"val"`` or ``"test"``; see :func:`open_data`."""
    from pyg_viglad.datasets import (
        CADSD,
        DigitAnatomy,
        ImageFolder,
        MVTecAD,
        MVTecLOCO,
        ScatteredDigits,
        VisA,
    )

    name = os.fspath(data)
    if dataset == "auto":
        digits = name in ("digits", "mnist") or name.endswith(".npz")
        dataset = "digit_anatomy" if digits else "image_folder"
    kinds: dict[str, Any] = {
        "digit_anatomy": DigitAnatomy,
        "scattered_digits": ScatteredDigits,
        "image_folder": ImageFolder,
        "mvtec_loco": MVTecLOCO,
        "mvtec_ad": MVTecAD,
        "visa": VisA,
        "cad_sd": CADSD,
    }
    arguments: dict[str, Any] = {**(options or {}), "image_size": image_size}
    drawn = dataset in ("digit_anatomy", "scattered_digits")
    for key in ("split", "image_size", "transform", "source" if drawn else "root"):
        if key in (options or {}):
            raise ValueError(f"Expected 'data_options' other than {key!r}, which is set already")
    if drawn:
        if image_size[0] != image_size[1]:
            raise ValueError(f"Expected square images of digits (got {image_size})")
        arguments = {**arguments, "image_size": image_size[0], "source": name}
    else:
        arguments["root"] = name

    try:
        images = kinds[dataset](split=split, **arguments)
    except TypeError as error:
        raise ValueError(f"Expected 'data_options' that fit the data set ({error})") from error
    if split == "test" and len(images) and "good" not in images.kinds:
        raise ValueError(f"Expected a good image among the test images of '{data}' (got none)")
    return images


def check(
    folder: str, dataset: DatasetName = "auto", data_options: dict[str, Any] | None = None
) -> list[Problem]:
    """List all that is wrong with a folder of images before a training: one line each.

    Every image and mask is read. Errors stop a training, notes do not: files and folders that are not
    read, masks of another size than their image, names that differ only in their suffix. Hidden files
    do not count.

    Args:
        folder: The folder, or another data set as train takes it.
        dataset: Data set to open; auto takes digits, mnist and .npz files as digit_anatomy, all else as
            image_folder.
        data_options: Further arguments of the data set, such as {"category": "screw"}.

    Returns:
        What was found.

    Raises:
        ValueError: If an error was found.
    """
    splits: dict[str, Any] = {}
    found: dict[str, Problem] = {}  # by text: splits may share a problem
    for name in ("train", "val", "test"):
        try:
            splits[name] = open_split(folder, name, (256, 256), data_options, dataset)
        except (OSError, ValueError) as error:
            if str(error).startswith("Expected 'data_options'"):
                raise
            text = str(error).partition("; expected tree:")[0]
            found.setdefault(text, Problem(text, True))
    root = next((split.folder for split in splits.values() if hasattr(split, "folder")), folder)
    for problem in (*find_problems(splits), *find_leftovers(Path(root), splits)):
        found.setdefault(problem.text, problem)
    for problem in found.values():
        print(f"{'error' if problem.stops else 'note'}: {' '.join(problem.text.split())}")
    print(", ".join(f"{len(split)} {name} images" for name, split in splits.items()))
    errors = sum(problem.stops for problem in found.values())
    if errors:
        raise ValueError(f"Expected '{folder}' to be ready for a training (errors: {errors})")
    return list(found.values())


def compare(
    name: Literal["mvtec_loco", "visa", "cad_sd", "mvtec_ad"], root: str, read: bool = False
) -> list[CheckRow]:
    """Compare a data set on disk with the published one: its categories, images and masks.

    Args:
        name: The data set.
        root: Its folder, with one folder per category.
        read: Also read every image and mask (minutes).

    Returns:
        One row per category.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If something is missing or differs.
    """
    rows = check_data(name, root, read)
    print(_format_rows(rows))
    wrong = [row.category for row in rows if row.problems]
    if wrong:
        raise ValueError(
            f"Expected the published {name} in '{root}' (differs in {len(wrong)} of {len(rows)} "
            f"categories: {', '.join(wrong)})"
        )
    return rows


def _format_rows(rows: list[CheckRow]) -> str:
    """Formats numbers of images, one row per category, with what is wrong or known below."""
    fields = rows[0].expected._fields
    lines = [f"{'images':22}" + "".join(f"{field:>12}" for field in fields)]
    for row in rows:
        found = row.found or ("-",) * len(fields)
        status = "missing" if row.found is None else "differs" if row.problems else "as expected"
        lines.append(f"{row.category:22}" + "".join(f"{n:>12}" for n in found) + f"  {status}")
        if row.found is not None and row.found != row.expected:
            numbers = "".join(f"{n:>12}" for n in row.expected)
            lines.append(f"{'  published files':22}{numbers}")
        lines += [f"  ! {problem}" for problem in row.problems]
        lines += [f"  note: {row.known}"] if row.known else []
    return "\n".join(lines)
