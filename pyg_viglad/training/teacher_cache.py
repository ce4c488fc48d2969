"""The frozen teacher's output for the training images, computed once."""

import copy
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyg_viglad.models.viglad import ViGLAD

__all__ = ["Numbered", "TeacherCache", "open_cache"]

_MB = 2**20


class TeacherCache:
    """Keeps the teacher's output for every training image, so that a step need not run the teacher.

    Features are kept before their normalisation: in memory up to a limit, the rest in a mapped file that
    no longer has a name (or, where a system does not allow that, one that :meth:`close` removes). With
    each image's features goes a mark of its pixels: an image that came out otherwise than at first, as
    random transforms make them, is noticed instead of being given features that are not its own.

    Args:
        size: Number of images.
        shape: Shape of an image's features, ``(C, h, w)``.
        dtype: What they are kept in; that in which the teacher would give them in a step.
        limit_mb: How many MB of them are held in memory.
        folder: Where the file for the rest is made.
        strict: What happens to an image that changed: an error, or a warning and no more cached features.

    Raises:
        ValueError: If the limit is negative or the disk has no room for the rest.

    Example:
        >>> cache = TeacherCache(2, (1, 1, 2), torch.float32)
        >>> images = torch.rand(2, 3, 96, 96)
        >>> kept = list(cache.keep([(images, torch.tensor([[[[1., 2.]]], [[[3., 4.]]]]))]))
        >>> cache.lookup(torch.tensor([1]), images[1:])
        tensor([[[[3., 4.]]]])
    """

    def __init__(
        self,
        size: int,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        limit_mb: float = 2048,
        folder: str | os.PathLike[str] | None = None,
        strict: bool = True,
    ) -> None:
        if limit_mb < 0:
            raise ValueError(f"Expected 'cache_mb' of at least 0 (got {limit_mb})")
        channels, height, width = shape
        row = (height, width, channels)  # as convolutions give them, channels last
        bytes_ = height * width * channels * dtype.itemsize
        held = min(size, int(limit_mb * _MB // bytes_))
        self.strict = strict
        self._path: Path | None = None
        self._marks = torch.full((size,), torch.nan, dtype=torch.float64)
        self._parts = [torch.empty(held, *row, dtype=dtype)]
        if held < size:
            mapped = self._map((size - held) * height * width * channels, dtype, folder)
            self._parts.append(mapped.view(-1, *row))

    def _map(
        self, number: int, dtype: torch.dtype, folder: str | os.PathLike[str] | None
    ) -> Tensor:
        """Map a new file of so many values, and take its name away."""
        place = Path(folder or tempfile.gettempdir())
        place.mkdir(parents=True, exist_ok=True)
        needed, free = number * dtype.itemsize, shutil.disk_usage(place).free
        if needed > free:
            raise ValueError(
                f"Expected {needed / _MB:.0f} MB of disk in '{place}' for the teacher's features (got "
                f"{free / _MB:.0f} MB): raise 'cache_mb' or switch 'cache_teacher' off"
            )
        handle, name = tempfile.mkstemp(".part", "teacher-features-", place)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, needed)  # else a disk that fills up kills the process
            else:
                os.truncate(handle, needed)
            mapped = torch.from_file(name, shared=True, size=number, dtype=dtype)
        finally:
            os.close(handle)
            try:
                os.unlink(name)
            except PermissionError:  # of systems that do not part names from files in use
                self._path = Path(name)
        return mapped

    def keep(self, pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        """Take images ``[B, 3, H, W]`` and features ``[B, C, h, w]`` in order, and pass the features on."""
        number = 0
        for images, features in pairs:
            self._marks[number : number + len(images)] = _mark(images)
            for feature in features.detach():
                self._row(number).copy_(feature.permute(1, 2, 0))
                number += 1
            yield features

    def lookup(self, numbers: Tensor, images: Tensor) -> Tensor | None:
        """Give the features ``[B, C, h, w]`` of some images, whose numbers are ``[B]``.

        Returns:
            The features, or None where they cannot be served any more.

        Raises:
            ValueError: If an image is another one than at first, and the cache is strict.
        """
        if not self._parts:
            return None
        numbers = numbers.cpu()
        same = torch.isclose(_mark(images), self._marks[numbers], rtol=1e-9, atol=0)
        if not same.all():
            number = int(numbers[~same][0])
            reason = (
                "Expected the same training images in every round to cache the teacher's features (got "
                f"another image {number} than at first)"
            )
            if self.strict:
                raise ValueError(f"{reason}: switch 'cache_teacher' off")
            warnings.warn(f"{reason}: they are computed anew from here on", stacklevel=2)
            self.close()
            return None
        rows = torch.stack([self._row(number) for number in numbers.tolist()])
        return rows.permute(0, 3, 1, 2).to(images.device, non_blocking=True)

    def _row(self, number: int) -> Tensor:
        held = len(self._parts[0])
        return self._parts[0][number] if number < held else self._parts[1][number - held]

    def close(self) -> None:
        """Give memory and disk back."""
        self._parts = []
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None


class Numbered(Dataset[Any]):
    """A data set of ``Data`` whose items know their ``number``, ``[1]``."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int) -> Any:
        data = copy.copy(self.dataset[place])
        data.number = torch.tensor([place])
        return data


def open_cache(
    model: ViGLAD,
    train: Any,
    wanted: bool | None,
    trainer: Any,
    limit_mb: float,
    folder: str | os.PathLike[str] | None,
) -> TeacherCache | None:
    """Make an empty cache where it is wanted; with ``None``, where it pays and surely applies.

    It pays on a CPU, where the teacher costs a tenth of a step and more, and a copy next to nothing. It
    applies where an image is the same in every round: the data set has no ``transform``.
    """
    if wanted is False:
        return None
    on_cpu = trainer.strategy.root_device.type == "cpu"
    if wanted is None and (not on_cpu or _has_transform(train)):
        return None
    height, width = model.image_size
    shape = (model.teacher.out_channels, (height - 32) // 4, (width - 32) // 4)
    dtype = _dtype(str(trainer.precision))
    try:
        return TeacherCache(len(train), shape, dtype, limit_mb, folder, strict=wanted is True)
    except (OSError, ValueError) as error:
        if wanted or limit_mb < 0:
            raise
        warnings.warn(f"The teacher's features are not cached: {error}", stacklevel=2)
        return None


def _dtype(precision: str) -> torch.dtype:
    """Tell in what the teacher gives its features under a Lightning precision."""
    kinds = {"bf16": torch.bfloat16, "16": torch.float16, "64": torch.float64}
    return kinds.get(precision.split("-")[0], torch.float32)


def _has_transform(dataset: Any) -> bool:
    """Tell whether a data set, or the one that it is a subset of, changes its images on access."""
    while dataset is not None:
        if getattr(dataset, "transform", None) is not None:
            return True
        dataset = getattr(dataset, "dataset", None)
    return False


def _mark(images: Tensor) -> Tensor:
    """Give a number ``[B]`` for each image that any change of its pixels or their places changes."""
    values = images.detach().cpu().double().flatten(1)
    return values @ torch.linspace(1, 2, values.size(1), dtype=torch.float64)
