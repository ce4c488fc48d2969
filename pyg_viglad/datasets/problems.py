"""What is wrong with the files of a data set, found before a training."""

import os
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

from pyg_viglad.datasets.base import IMAGE_SUFFIXES, AnomalyDataset, FileDataset, read_size
from pyg_viglad.transforms import check_image_size, to_image

__all__ = ["Problem", "find_leftovers", "find_problems", "find_unreadable"]

_FEW = 5  # validation images
_TABLES = ("defects_config.json", "image_anno.csv")  # read for MVTec LOCO AD and VisA


class Problem(NamedTuple):
    """Something wrong with a data set, and whether it stops a training."""

    text: str
    stops: bool


def find_problems(splits: Mapping[str, AnomalyDataset]) -> Iterator[Problem]:
    """Finds what stops a training or weakens it: too few images, images and masks that cannot be read.

    Every file is read once, as a training reads it.

    Args:
        splits: Some of the splits ``"train"``, ``"val"`` and ``"test"``.

    Example:
        >>> from pyg_viglad.datasets import DigitAnatomy
        >>> [problem.text for problem in find_problems({"train": DigitAnatomy(num_train=1)})]
        ['Expected at least two training images (got 1)']
    """
    numbers = {name: len(split) for name, split in splits.items()}
    if numbers.get("train", 2) < 2:
        yield Problem(f"Expected at least two training images (got {numbers['train']})", True)
    held_out = numbers.get("val", _FEW)
    if held_out < 1:
        yield Problem("Expected at least one validation image (got none)", True)
    elif held_out < _FEW:
        text = (
            f"Expected at least {_FEW} validation images for a reliable threshold (got {held_out})"
        )
        yield Problem(text, False)
    for split in splits.values():
        if isinstance(split, FileDataset):
            yield from (Problem(text, True) for text in _unreadable(split.get, split.indices()))


def find_leftovers(folder: Path, splits: Mapping[str, AnomalyDataset]) -> Iterator[Problem]:
    """Finds what no training notices: files that no split reads, names and masks that are ambiguous.

    Where a split is missing, since it could not be opened, images that the others do not have are read
    here.

    Args:
        folder: Folder of the data set.
        splits: Its splits ``"train"``, ``"val"`` and ``"test"``, or some of them.
    """
    if splits and not any(isinstance(split, FileDataset) for split in splits.values()):
        return
    used: set[Path] = set()
    stems: dict[Path, Path] = {}
    for split in splits.values():
        if not isinstance(split, FileDataset):
            continue
        for place, path in zip(split.indices(), split.paths, strict=True):
            used.add(path)
            try:
                masks = split._mask_files(place) if split.has_masks else []
            except (FileNotFoundError, ValueError):  # told by find_problems
                masks = []
            same = stems.setdefault(path.with_name(path.stem.lower()), path)
            if same != path:
                yield Problem(f"Expected different names (got '{same}' and '{path}')", False)
            used.update(masks)
            yield from _other_sizes(path, masks)
    unread: dict[Path, list[Path]] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        if not shown and not folders:
            # An empty folder in 'test' stops a training.
            stops = Path(place).parent == Path(folder) / "test"
            yield Problem(f"Expected images in '{place}' (got none)", stops)
        unread[Path(place)] = [p for p in shown if p not in used and p.name not in _TABLES]
    if len(splits) < 3:
        images = [
            p for paths in unread.values() for p in paths if p.suffix.lower() in IMAGE_SUFFIXES
        ]
        yield from (Problem(text, True) for text in _unreadable(_read, images))
        return
    for place, paths in unread.items():
        if paths:
            what = "masks with an image" if "ground_truth" in place.parts else "files that are read"
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            yield Problem(f"Expected {what} in '{place}' (got '{paths[0].name}'{more})", False)


def find_unreadable(paths: Iterable[Path]) -> Iterator[str]:
    """Finds files that are no images, from their headers alone; yields a message for each."""
    return _unreadable(read_size, paths)


def _unreadable(read: Any, items: Any) -> Iterator[str]:
    """Calls a function of every item, several at once; yields the messages of its errors."""

    def attempt(item: Any) -> str | None:
        try:
            read(item)
        except (OSError, ValueError) as error:
            return str(error)
        return None

    with ThreadPool(min(4, os.cpu_count() or 1)) as pool:  # images of many megapixels fill memory
        yield from filter(None, pool.imap(attempt, items))


def _read(path: Path) -> None:
    image = to_image(path)
    check_image_size(image.size(1), image.size(2), str(path))


def _other_sizes(path: Path, masks: list[Path]) -> Iterator[Problem]:
    """Yields the masks whose size is not that of their image; find_problems reports unreadable files."""
    for mask in masks:
        try:
            sizes = [read_size(file) for file in (path, mask)]
        except (OSError, ValueError):
            continue
        if sizes[0] != sizes[1]:
            (height, width), found = sizes
            text = f"Expected the mask '{mask}' to be as large as its image, {height}x{width}"
            yield Problem(f"{text} (got {found[0]}x{found[1]})", False)
