"""MVTec LOCO AD: logical and structural anomalies of five products."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.datasets._defects_config import DefectConfig, read_defects_config
from pyg_viglad.datasets._file_dataset import FileDataset, check_mask_size
from pyg_viglad.datasets._read_file import read_size, read_values
from pyg_viglad.datasets._samples import good_samples, need_folder, open_category, read_test

__all__ = ["MVTecLOCO"]

_TREE = """\
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


class _Channel(NamedTuple):
    """One defect of an image: its name, its mask ``[H, W]`` and its saturation area in pixels."""

    defect: str
    mask: Tensor
    saturation_area: int


class MVTecLOCO(FileDataset):
    r"""One product of MVTec LOCO AD, with its own splits and one mask a defect.

    Each defect of an image has a mask of its own, whose value names the type of the defect in
    ``defects_config.json``. There, every type has a saturation threshold: so many pixels :math:`s` of
    a defect of area :math:`|A|` count as all of it (a missing part could have been in many places),

    .. math::
        s = \lfloor t\,|A| \rfloor \text{ where the threshold } t \text{ is relative, else }
        s = \min(t, |A|).

    Images and masks are read on access. From Bergmann et al., "Beyond Dents and Scratches: Logical
    Constraints in Unsupervised Anomaly Detection and Localization", IJCV 2022.

    Args:
        root: The folder of all products.
        category: One of ``CATEGORIES``, or the folder of an own product laid out in the same way.
        split: ``"train"`` or ``"val"`` (good images alone), or ``"test"``.
        image_size: Side in pixels, or height and width, to which images are resized bilinearly.
        transform: Called with every image's ``Data`` on access.
        defect_masks: Whether items of ``"test"`` also hold ``defect_mask`` ``[n, H, W]`` (bool, at
            the original size), ``saturation_area`` ``[n]`` and ``defect_names``, the names of the
            n defects. Batches join them; ``DataLoader(..., follow_batch=["defect_mask"])`` tells by
            ``defect_mask_batch`` which image a defect belongs to.

    Attributes:
        kinds: ``good``, ``logical`` or ``structural`` for each image.
        defects: Types of the defects of each image, joined by commas, empty where it is good. They
            stand in the masks: the first use reads them all (seconds).
        names: Path of each image below the product's folder.
        paths: Path of each image.
        images: All images, ``[len, 3, H, W]`` in [0, 1], read anew, without ``transform``.

    Items are ``Data`` with ``img`` ``[1, 3, H, W]`` in [0, 1], ``y`` ``[1]`` (1: anomalous),
    ``kind``, ``defect``, ``name``, ``path`` and, in ``"test"``, ``mask`` ``[1, H, W]`` (bool), the
    union of all defects.

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
        self.category = category
        self.defect_masks = defect_masks
        self.folder = open_category(self.folder, category, self.CATEGORIES, _TREE)
        self.has_masks = self.split == "test"
        self._configs: dict[int, DefectConfig] = {}
        if self.has_masks:
            self._configs = read_defects_config(self.folder / "defects_config.json", _TREE)
            for name in ("good", "logical_anomalies", "structural_anomalies"):
                need_folder(self.folder / "test" / name, _TREE)
            need_folder(self.folder / "ground_truth", _TREE)
            # What defect it is stands in the masks, not in the name of the folder.
            found = [s._replace(defect="") for s in read_test(self.folder / "test", tree=_TREE)]
            self._fill(found)
        else:
            name = {"train": "train", "val": "validation"}[self.split]
            self._fill(good_samples(self.folder / name / "good", _TREE))

    @property
    def defects(self) -> list[str]:
        """Types of the defects of every image, empty where it is good; reads the masks once."""
        for place in self.indices():
            if self.labels[place].kind != "good" and not self.labels[place].defect:
                self._channels(place, read_size(self._files[place]))
        return super().defects

    def truths(self, index: int) -> list[tuple[Tensor, int]]:
        """Read the defects of an image as AU-sPRO takes them.

        Args:
            index: Place of the image, as in ``dataset[index]``.

        Returns:
            For each defect, its mask ``[H, W]`` (bool) at the image's original size and its saturation
            area in pixels; nothing for a good image.
        """
        place = self.indices()[index]
        channels = self._channels(place, read_size(self._files[place]))
        return [(channel.mask, channel.saturation_area) for channel in channels]

    def _read_fields(self, place: int, size: tuple[int, int]) -> dict[str, object]:
        if not self.has_masks:
            return {}
        channels = self._channels(place, size)
        masks = [channel.mask for channel in channels]
        fields: dict[str, object] = {"mask": self._union(masks, self.image_size)[None]}
        if self.defect_masks:
            none = torch.zeros(0, *size, dtype=torch.bool)
            fields["defect_mask"] = torch.stack(masks) if masks else none
            fields["saturation_area"] = torch.tensor([c.saturation_area for c in channels]).long()
            fields["defect_names"] = [channel.defect for channel in channels]
        return fields

    def _regions(self, place: int, size: tuple[int, int]) -> list[Tensor]:
        return [channel.mask for channel in self._channels(place, size)]

    def _channels(self, place: int, size: tuple[int, int]) -> list[_Channel]:
        channels = []
        for file in self._mask_files(place):
            values = read_values(file)
            check_mask_size(file, values.shape, size)
            channels.append(self._channel(file, values))
        if channels:
            names = ",".join(dict.fromkeys(channel.defect for channel in channels))
            self.labels[place] = self.labels[place]._replace(defect=names)
        return channels

    def _channel(self, file: Path, values: np.ndarray) -> _Channel:
        value = int(values.max())
        mask = values == value
        if value == 0 or not np.array_equal(mask, values != 0):
            found = np.unique(values[values != 0]).tolist()
            raise ValueError(f"Expected one value besides 0 in the mask '{file}' (got {found})")
        if value not in self._configs:
            raise ValueError(
                f"Expected a mask whose value is a 'pixel_value' of "
                f"'{self.folder / 'defects_config.json'}' (got {value} in '{file}')"
            )
        config = self._configs[value]
        area = config.saturation_area(int(mask.sum()))
        return _Channel(config.name, torch.from_numpy(mask), area)
