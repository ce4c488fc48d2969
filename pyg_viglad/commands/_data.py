"""The data sets behind ``--data``."""

from typing import Any, Literal, NamedTuple

from pyg_viglad.commands._run import PathLike

__all__ = ["DatasetName", "Splits", "open_data"]

DatasetName = Literal[
    "auto", "digit_anatomy", "image_folder", "mvtec_loco", "mvtec_ad", "visa", "cad_sd"
]

_SPLITS: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")


class Splits(NamedTuple):
    """The splits of one data set."""

    train: Any
    validation: Any
    test: Any


def open_data(
    data: PathLike,
    image_size: tuple[int, int],
    options: dict[str, Any] | None = None,
    dataset: DatasetName = "auto",
) -> Splits:
    """Open a data set by name or by path.

    Args:
        data: ``digits`` (scikit-learn's), ``mnist`` (below the option ``root``), an ``.npz`` or a
            folder of MNIST, or a folder of images.
        image_size: Height and width of the images.
        options: Further arguments of the data set, such as ``{"num_wrong_cells": 3}``.
        dataset: ``digit_anatomy`` or ``image_folder``; ``auto`` takes the latter for a folder.

    Raises:
        FileNotFoundError: If ``data`` is neither a name nor a path.
        ValueError: If the options do not fit.
    """
    from pyg_viglad.datasets import CADSD, DigitAnatomy, ImageFolder, MVTecAD, MVTecLOCO, VisA

    options = options or {}
    name = str(data)
    if dataset == "auto":
        digits = name in ("digits", "mnist") or name.endswith(".npz")
        dataset = "digit_anatomy" if digits else "image_folder"
    try:
        if dataset == "digit_anatomy":
            if image_size[0] != image_size[1]:
                raise ValueError(f"Expected square images of digits (got {image_size})")
            side = image_size[0]
            return Splits(*(DigitAnatomy(s, name, side, **options) for s in _SPLITS))
        types: dict[str, Any] = {
            "image_folder": ImageFolder,
            "mvtec_loco": MVTecLOCO,
            "mvtec_ad": MVTecAD,
            "visa": VisA,
            "cad_sd": CADSD,
        }
        common = {"image_size": image_size, **options}
        return Splits(*(types[dataset](name, split=s, **common) for s in _SPLITS))
    except TypeError as error:
        raise ValueError(f"Expected 'data_options' that fit the data set ({error})") from error
