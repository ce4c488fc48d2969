"""Which images of a tree belong to a split, and what their folders say of them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyg_viglad.datasets.list_images import IMAGE_SUFFIXES

__all__ = [
    "Sample",
    "as_fraction",
    "explain",
    "good_samples",
    "hold_out",
    "images_in",
    "need_folder",
    "open_category",
    "read_test",
]


class Sample(NamedTuple):
    """An image file, its kind (``good``, ``logical`` or ``structural``) and its defect."""

    path: Path
    kind: str = "good"
    defect: str = ""


def explain(message: str, tree: str) -> str:
    """Add the expected tree of files, if one is given, to what is wrong."""
    return f"{message}; expected tree:\n{tree}" if tree else message


def need_folder(folder: Path, tree: str) -> Path:
    """Give the folder back, which must be there."""
    if not folder.is_dir():
        raise FileNotFoundError(explain(f"Expected the folder '{folder}' (it is missing)", tree))
    return folder


def open_category(root: Path, category: str, categories: tuple[str, ...], tree: str) -> Path:
    """Find the folder of a category; own ones are allowed where there is such a folder."""
    need_folder(root, tree)
    if not category or (category not in categories and not (root / category).is_dir()):
        names = ", ".join(repr(name) for name in categories)
        raise ValueError(f"Expected 'category' to be one of {names} (got {category!r})")
    return need_folder(root / category, tree)


def images_in(folder: Path, tree: str = "") -> list[Path]:
    """List the images of a folder, without its sub-folders, by name; hidden files are left out."""
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )
    if not paths:
        raise ValueError(explain(f"Expected images in '{folder}' (got none)", tree))
    return paths


def good_samples(folder: Path, tree: str) -> list[Sample]:
    """List a folder of good images, which must be there."""
    return [Sample(path) for path in images_in(need_folder(folder, tree), tree)]


def read_test(
    folder: Path,
    label: Callable[[str], tuple[str, str]] | None = None,
    tree: str = "",
) -> list[Sample]:
    """List the images in the sub-folders of a folder of test images.

    Args:
        folder: The folder.
        label: Gives kind and defect for the name of a sub-folder. By default, ``good`` is good, names
            that begin with ``logical`` are logical defects, all others structural ones.
        tree: Shown where there are no images.
    """
    label = label or _label
    samples = []
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        if sub.name.startswith("."):
            continue
        kind, defect = label(sub.name)
        samples += [Sample(path, kind, defect) for path in images_in(sub, tree)]
    if not samples:
        message = f"Expected sub-folders with images, such as 'good', in '{folder}'"
        raise ValueError(explain(message, tree))
    return samples


def _label(name: str) -> tuple[str, str]:
    if name == "good":
        return "good", ""
    return ("logical" if name.startswith("logical") else "structural"), name


def as_fraction(val_fraction: float) -> float:
    """Check the share of the training images to hold out."""
    if not 0 < val_fraction < 1:
        raise ValueError(f"Expected 'val_fraction' between 0 and 1 (got {val_fraction})")
    return val_fraction


def hold_out(samples: list[Sample], split: str, part: float, seed: int) -> list[Sample]:
    """Hold training images out for validation, and give those of one split in their order.

    Args:
        samples: All training images.
        split: ``"train"`` or ``"val"``.
        part: How many to hold out (int), or which share (float): at least one, and not all.
        seed: Decides which ones.
    """
    if len(samples) < 2:
        raise ValueError(
            f"Expected at least two images in '{samples[0].path.parent}', one of them for "
            "validation (got one)"
        )
    number = part if isinstance(part, int) else round(part * len(samples))
    number = min(max(1, number), len(samples) - 1)
    order = np.random.default_rng(seed).permutation(len(samples))
    chosen = order[:number] if split == "val" else order[number:]
    return [samples[place] for place in sorted(chosen)]
