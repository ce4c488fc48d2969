"""MVTec LOCO AD: logical and structural anomalies of five products."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.datasets.base import FileDataset, read_values

__all__ = ["MVTecLOCO"]


class _DefectType(NamedTuple):
    """An entry of ``defects_config.json``: a name, and a saturation in pixels or as a share."""

    name: str
    threshold: float
    relative: bool


class _Defect(NamedTuple):
    """One defect of an image: its type, mask ``[H, W]`` (bool) and saturation area in pixels."""

    name: str
    mask: Tensor
    saturation_area: int


class MVTecLOCO(FileDataset):
    r"""One category of MVTec LOCO AD (Bergmann et al., IJCV 2022), with one mask per defect.

    The value of a mask names the type of the defect in ``defects_config.json``, which gives a
    saturation threshold :math:`t` to each type. A defect of area :math:`|A|` counts as detected once
    :math:`s \geq 1` of its pixels are (a missing part could have been in many places):

    .. math::
        s = \lfloor t\,|A| \rfloor \text{ if } t \text{ is relative, else } s = \min(t, |A|).

    Args:
        root: Folder of all categories.
        category: One of ``CATEGORIES``, or a folder of own images in the same layout.
        split: ``"train"`` or ``"val"`` (good images only), or ``"test"``.
        image_size: Side length, or height and width, in pixels to which images are resized.
        transform: Applied to the ``Data`` of each image on access.
        defect_masks: Whether test items also have ``defect_mask`` ``[n, H, W]`` (bool, at the
            original size), ``saturation_area`` ``[n]`` and ``defect_names``, for the n defects of the
            image. ``DataLoader(..., follow_batch=["defect_mask"])`` assigns them to the images of a
            batch by ``defect_mask_batch``.

    Items and attributes are those of :class:`~pyg_viglad.datasets.base.FileDataset`; test images
    have a ``mask``, the union of all defects. ``defects`` are the types of the defects of each image,
    joined by commas; the first access reads all masks (seconds).

    Raises:
        FileNotFoundError: If a folder, a mask or ``defects_config.json`` is missing.
        ValueError: If a folder has no images, or a mask does not fit its image or the config.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     os.makedirs(f"{root}/pushpins/train/good")
        ...     Image.new("RGB", (170, 100)).save(f"{root}/pushpins/train/good/000.png")
        ...     train = MVTecLOCO(root, "pushpins", image_size=64)
        ...     train[0].img.shape, train.original_size(0), train.truths(0)
        (torch.Size([1, 3, 64, 64]), (100, 170), [])
    """

    CATEGORIES: ClassVar[tuple[str, ...]] = (
        "breakfast_box",
        "juice_bottle",
        "pushpins",
        "screw_bag",
        "splicing_connectors",
    )
    tree = """\
root/
  breakfast_box/        (juice_bottle, pushpins, screw_bag, splicing_connectors)
    train/good/000.png ...
    validation/good/000.png ...
    test/good/000.png ...
    test/logical_anomalies/000.png ...
    test/structural_anomalies/000.png ...
    ground_truth/logical_anomalies/000/000.png, 001.png ...     (one defect a file)
    ground_truth/structural_anomalies/000/000.png ...
    defects_config.json"""

    def __init__(
        self,
        root: str | os.PathLike[str],
        category: str,
        split: str = "train",
        image_size: int | tuple[int, int] = 256,
        transform: Callable[[Data], Any] | None = None,
        defect_masks: bool = False,
    ) -> None:
        super().__init__(root, split, image_size, transform)
        self.defect_masks = defect_masks
        self._enter(category)
        self._types = self._read_config() if self.split == "test" else {}
        kinds = ("good", "logical_anomalies", "structural_anomalies")
        needed = [*(f"test/{kind}" for kind in kinds), "ground_truth"]
        self._fill("train/good", "validation/good", test=needed)

    def _label(self, name: str) -> tuple[str, str]:
        return super()._label(name)[0], ""  # The masks name the defects, not the folder.

    @property
    def defects(self) -> list[str]:
        """Types of the defects of each image, joined by commas; reads all masks once."""
        for index, place in enumerate(self.indices()):
            if self.samples[place].kind != "good" and not self.samples[place].defect:
                self._read_defects(place, self.original_size(index))
        return super().defects

    def truths(self, index: int) -> list[tuple[Tensor, int]]:
        """Returns the defects of an image as :func:`~pyg_viglad.metrics.au_spro` takes them.

        Args:
            index: Place of the image, as in ``dataset[index]``.

        Returns:
            For each defect its mask ``[H, W]`` (bool) at the image's original size and its saturation
            area in pixels; an empty list for good images.
        """
        defects = self._read_defects(self.indices()[index], self.original_size(index))
        return [(defect.mask, defect.saturation_area) for defect in defects]

    def _read_fields(self, place: int, size: tuple[int, int]) -> dict[str, object]:
        defects = self._read_defects(place, size)
        masks = [defect.mask for defect in defects]
        fields: dict[str, object] = {"mask": self._union(masks, self.image_size)[None]}
        if self.defect_masks:
            none = torch.zeros(0, *size, dtype=torch.bool)
            fields["defect_mask"] = torch.stack(masks) if masks else none
            fields["saturation_area"] = torch.tensor([d.saturation_area for d in defects]).long()
            fields["defect_names"] = [defect.name for defect in defects]
        return fields

    def _read_regions(self, place: int, size: tuple[int, int]) -> list[Tensor]:
        return [defect.mask for defect in self._read_defects(place, size)]

    def _read_defects(self, place: int, size: tuple[int, int]) -> list[_Defect]:
        """Reads the defects of an image of the original ``size`` and names them in its sample."""
        defects = []
        for file in self._mask_files(place):
            values = read_values(file)
            self._check_mask(file, values.shape, size)
            defects.append(self._as_defect(file, values))
        if defects:
            names = ",".join(dict.fromkeys(defect.name for defect in defects))
            self.samples[place] = self.samples[place]._replace(defect=names)
        return defects

    def _as_defect(self, file: Path, values: np.ndarray) -> _Defect:
        value = int(values.max())
        mask = values == value
        if value == 0 or not np.array_equal(mask, values != 0):
            found = np.unique(values[values != 0]).tolist()
            raise ValueError(f"Expected one value besides 0 in the mask '{file}' (got {found})")
        if value not in self._types:
            raise ValueError(
                f"Expected a mask whose value is a 'pixel_value' of "
                f"'{self.folder / 'defects_config.json'}' (got {value} in '{file}')"
            )
        name, threshold, relative = self._types[value]
        area = int(mask.sum())
        saturation = threshold * area if relative else min(threshold, area)
        return _Defect(name, torch.from_numpy(mask), max(1, int(saturation)))

    def _read_config(self) -> dict[int, _DefectType]:
        """Reads the types of defects by the value of their pixels in the masks."""
        path = self.folder / "defects_config.json"
        if not path.is_file():
            message = f"Expected the file '{path}' (it is missing)"
            raise FileNotFoundError(self._explain(message))
        try:
            entries = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"Expected a readable JSON file (got '{path}': {error})") from error
        if not isinstance(entries, list) or not entries:
            raise ValueError(
                f"Expected a list of defects in '{path}' (got {type(entries).__name__})"
            )
        types: dict[int, _DefectType] = {}
        for entry in entries:
            value, defect_type = _as_type(entry, path)
            if value in types:
                raise ValueError(f"Expected different pixel values in '{path}' (got {value} twice)")
            types[value] = defect_type
        return types


def _as_type(entry: Any, path: Path) -> tuple[int, _DefectType]:
    try:
        value, name = entry["pixel_value"], entry["defect_name"]
        threshold, relative = entry["saturation_threshold"], entry["relative_saturation"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            "Expected 'defect_name', 'pixel_value', 'saturation_threshold' and "
            f"'relative_saturation' for each defect in '{path}' (got {entry!r})"
        ) from error
    if not (
        isinstance(name, str)
        and name
        and all(isinstance(number, int | float) for number in (value, threshold))
        and value in range(1, 256)
        and relative in (False, True)
        and (0 < threshold <= 1 if relative else threshold >= 1)
    ):
        raise ValueError(
            "Expected a name, a pixel value from 1 to 255 and a saturation threshold that is a share in "
            f"(0, 1] if relative, else a number of pixels, in '{path}' (got {entry!r})"
        )
    return int(value), _DefectType(name, float(threshold), bool(relative))
