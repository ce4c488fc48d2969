"""Data sets of image files, read on access."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.datasets._anomaly_dataset import AnomalyDataset, Label, as_size, as_split
from pyg_viglad.datasets._read_file import read_size
from pyg_viglad.datasets._samples import Sample, images_in
from pyg_viglad.transforms import check_image_size, to_image

__all__ = ["FileDataset", "check_mask_size"]


class FileDataset(AnomalyDataset):
    """Image files, resized on access, with the masks of what is wrong where there are any.

    A subclass finds the images of its split and calls ``_fill``. Where the masks do not lie in
    ``ground_truth/<folder of the image>``, it overrides ``_mask_files``.

    Attributes:
        folder: Folder below which the images lie; their names are relative to it.
        has_masks: Whether items have a ``mask``.
    """

    # Whether a mask of another size than its image is an error, or resized.
    _same_size: ClassVar[bool] = True

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str,
        image_size: int | tuple[int, int],
        transform: Callable[[Data], Any] | None,
    ) -> None:
        super().__init__(transform)
        self.split = as_split(split)
        self.image_size = as_size(image_size)
        self.folder = Path(root).expanduser()
        self.has_masks = False
        self.labels: list[Label] = []
        self._files: list[Path] = []

    def _fill(self, samples: Sequence[Sample]) -> None:
        self._files = [sample.path for sample in samples]
        self.labels = [
            Label(kind, defect, path.relative_to(self.folder).as_posix())
            for path, kind, defect in samples
        ]

    @property
    def paths(self) -> list[Path]:
        """Path of every image."""
        return [self._files[i] for i in self.indices()]

    @property
    def images(self) -> Tensor:
        """All images, ``[len, 3, H, W]`` in [0, 1], read anew at every call."""
        images = [self._resize(to_image(self._files[i])) for i in self.indices()]
        return torch.stack(images) if images else torch.zeros(0, 3, *self.image_size)

    def original_size(self, index: int) -> tuple[int, int]:
        """Height and width of an image before it is resized, read from the file's header."""
        return read_size(self._files[self.indices()[index]])

    def original_mask(self, index: int) -> Tensor:
        """What is wrong with an image, ``[H, W]`` (bool) at its original size.

        Raises:
            ValueError: If the image is anomalous and this data set has no masks.
        """
        place = self.indices()[index]
        if not self.has_masks and self.labels[place].kind != "good":
            raise ValueError(f"Expected a data set with masks (got {self})")
        size = read_size(self._files[place])
        return self._union(self._regions(place, size), size)

    def missing_masks(self) -> list[Path]:
        """List the anomalous images without a mask file, without reading any."""
        missing = []
        for place in self.indices() if self.has_masks else ():
            try:
                self._mask_files(place)
            except (FileNotFoundError, ValueError):
                missing.append(self._files[place])
        return missing

    def get(self, idx: int) -> Data:
        """Read one image as ``Data``."""
        path = self._files[idx]
        image = to_image(path)
        check_image_size(image.size(1), image.size(2), str(path))
        fields = self._read_fields(idx, (image.size(1), image.size(2)))
        return self.make_data(idx, self._resize(image), path=str(path), **fields)

    def _read_fields(self, place: int, size: tuple[int, int]) -> dict[str, object]:
        """Read what an item holds beside its image, whose original size is given."""
        if not self.has_masks:
            return {}
        return {"mask": self._union(self._regions(place, size), self.image_size)[None]}

    def _regions(self, place: int, size: tuple[int, int]) -> list[Tensor]:
        """Read the masks of an image, one a file, ``[H, W]``."""
        regions = []
        for file in self._mask_files(place):
            region = to_image(file).amax(0) > 0
            if self._same_size:
                check_mask_size(file, region.shape, size)
            regions.append(region)
        return regions

    def _mask_files(self, place: int) -> list[Path]:
        """Find the mask files of an image, none where it is good."""
        if self.labels[place].kind == "good":
            return []
        path = self._files[place]
        folder = self.folder / "ground_truth" / path.parent.name
        stem = folder / path.stem
        files = [stem.with_name(f"{path.stem}{end}.png") for end in ("", "_mask")]
        files = [file for file in files if file.is_file()]
        files += images_in(stem) if stem.is_dir() else []
        if not files:
            raise FileNotFoundError(f"Expected a mask of '{path}' in '{folder}'")
        return files

    def _resize(self, image: Tensor) -> Tensor:
        resized = F.interpolate(
            image[None], self.image_size, mode="bilinear", align_corners=False, antialias=True
        )
        return resized[0].clamp(0, 1)

    @staticmethod
    def _union(regions: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        mask = torch.zeros(size, dtype=torch.bool)
        for region in regions:
            if tuple(region.shape) != size:
                # The maximum over each target pixel, so that small defects do not vanish.
                region = F.adaptive_max_pool2d(region[None].float(), size)[0] > 0
            mask |= region
        return mask

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self)}, root='{self.folder}', split={self.split!r}, "
            f"image_size={self.image_size})"
        )


def check_mask_size(file: Path, shape: Sequence[int], size: tuple[int, int]) -> None:
    """Check that a mask is as large as its image, without which the two do not lie together."""
    if tuple(shape) != size:
        raise ValueError(
            f"Expected the mask '{file}' to be as large as its image, {size[0]}x{size[1]} "
            f"(got {shape[0]}x{shape[1]})"
        )
