"""Order of the training images, natural images for the penalty, and the cache of teacher features."""

import hashlib
import mmap
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from pyg_viglad.datasets import list_images
from pyg_viglad.scoring import Shards
from pyg_viglad.transforms import to_image

if TYPE_CHECKING:
    from lightning import Trainer

__all__ = ["PenaltyImages", "StepSampler", "TeacherCache", "shards_of", "step_seed"]


def shards_of(trainer: "Trainer") -> Shards:
    """Returns the shards of a trainer's process group, or a single one while there is no group."""
    return Shards.of_process_group() if trainer.world_size > 1 else Shards()


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Computes the seed of one training step, below 2^63, from the seed of the training.

    Every process, of the given ``rank``, has a seed of its own.

    Example:
        >>> step_seed(0, 1) == step_seed(0, 1), step_seed(0, 1) == step_seed(1, 0)
        (True, False)
    """
    entropy = [seed, step, *([rank] if rank else [])]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


class StepSampler(DistributedSampler[int]):
    """Samples the items of every training step, deterministic in the step number and hence resumable.

    Every round holds each item once, in a new order. The number of loading processes changes nothing. It
    is a ``DistributedSampler`` for Lightning to leave it as it is.

    Args:
        size: Number of items in the data set.
        batch_size: Items per step.
        steps: Steps of the whole training.
        seed: Seed of the orders.
        first_step: Called when the sampling starts; the number of steps already done.
        shuffle: Whether the order is random; else items come in the order of the data set.
        shards: Called when the sampling starts; the processes that divide the items of a step.

    Raises:
        ValueError: If there is no item or no step.

    Example:
        >>> whole = list(StepSampler(3, 2, steps=4, seed=0))
        >>> sorted(whole[:3]), list(StepSampler(3, 2, 4, 0, lambda: 1)) == whole[2:]
        ([0, 1, 2], True)
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        steps: int,
        seed: int,
        first_step: Callable[[], int] = lambda: 0,
        shuffle: bool = True,
        shards: Callable[[], Shards] = Shards,
    ) -> None:
        if size < 1:
            raise ValueError(f"Expected at least one training image (got {size})")
        if steps < 1:
            raise ValueError(f"Expected 'max_steps' to be at least 1 (got {steps})")
        items: Any = range(size)
        super().__init__(items, num_replicas=1, rank=0, shuffle=shuffle, seed=seed)
        self.size = size
        self.batch_size = batch_size
        self.steps = steps
        self.first_step = first_step
        self.shards = shards

    def __len__(self) -> int:
        return self.steps * self.batch_size // self.shards().size

    def __iter__(self) -> Iterator[int]:
        epoch, order = -1, torch.arange(self.size)
        shards = self.shards()
        items = range(self.first_step() * self.batch_size, self.steps * self.batch_size)
        for number in items[shards.rank :: shards.size]:
            if self.shuffle and number // self.size != epoch:
                epoch = number // self.size
                generator = torch.Generator().manual_seed(step_seed(self.seed, epoch))
                order = torch.randperm(self.size, generator=generator)
            yield int(order[number % self.size])


class PenaltyImages(Dataset[Tensor]):
    """Natural images for the penalty term of Eq. 15, and for the distillation of a teacher.

    The penalty keeps the student from imitating the teacher on images unlike the normal ones.
    EfficientAD takes ImageNet; any folder of natural images serves.

    Args:
        root: A folder of images, searched with all folders below it; without one, the two photographs
            that scikit-learn ships.
        size: Side of the square crops, in pixels.
        augment: Whether crops have a random place, scale and mirroring; else the centre is cropped.
        min_scale: Smallest share of the image's area that a random crop covers, in (0, 1].
        grayscale: Probability that an image loses its colours (EfficientAD: 0.3 in the penalty, 0.1 in
            distillation).
        length: Number of items; by default 100,000 random crops, or one item per image without ``seed``.
        seed: Makes an item depend on the seed and the item's number alone, so that an interrupted
            training can be resumed. With None, images come in the order of their names and crops are
            drawn with torch's global generator.

    Shapes:
        - **item:** ``[3, size, size]`` with values in [0, 1].

    Raises:
        FileNotFoundError: If ``root`` is not a folder.
        ValueError: If ``root`` holds no image; on access, if a file is not a readable image.

    Example:
        >>> PenaltyImages(size=96)[3].shape
        torch.Size([3, 96, 96])
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        size: int = 256,
        augment: bool = True,
        min_scale: float = 0.25,
        grayscale: float = 0.3,
        length: int | None = None,
        seed: int | None = 0,
    ) -> None:
        from torchvision.transforms import v2

        self.sources: list[Any]
        if root is None:
            from sklearn.datasets import load_sample_images

            self.sources = [Image.fromarray(image) for image in load_sample_images().images]
        else:
            self.sources = list_images(root)
        self.length = length or (len(self.sources) if seed is None else 100_000)
        self.seed = seed
        scale, ratio = (min_scale, 1.0), (0.9, 1.1)
        if augment:
            crop = [v2.RandomResizedCrop(size, scale, ratio), v2.RandomHorizontalFlip()]
        else:
            crop = [v2.Resize(size), v2.CenterCrop(size)]
        to_tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        self.transform = v2.Compose([*crop, v2.RandomGrayscale(grayscale), *to_tensor])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Tensor:
        if not 0 <= number < self.length:
            raise IndexError(f"Expected an item below {self.length} (got {number})")
        if self.seed is None:
            return self._crop(number % len(self.sources))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step_seed(self.seed, number))
            return self._crop(int(torch.randint(len(self.sources), ())))

    def _crop(self, number: int) -> Tensor:
        source = self.sources[number]
        image: Tensor = self.transform(to_image(source) if isinstance(source, Path) else source)
        return image.as_subclass(Tensor)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({len(self.sources)} images)"


class TeacherCache:
    """Keeps the teacher's features of every training image in an unlinked memory-mapped file.

    Features are found by the pixels of their image, so that an image that differs from the first round,
    after random transforms, is noticed.

    Args:
        size: Number of images.
        shape: Shape of the features of an image, ``(C, h, w)``.
        dtype: Type in which they are kept.
        folder: Folder of the file; by default the system's temporary folder.
        strict: Whether an image that is not in the cache is an error; else a warning.

    Raises:
        ValueError: If the disk has too little space.

    Example:
        >>> cache = TeacherCache(2, (4, 8, 8), torch.float32)
        >>> images, features = torch.rand(2, 3, 96, 96), torch.rand(2, 4, 8, 8)
        >>> cache.add(images, features)
        >>> torch.equal(cache.find(images.flip(0)), features.flip(0))
        True
    """

    def __init__(
        self,
        size: int,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        folder: str | os.PathLike[str] | None = None,
        strict: bool = True,
    ) -> None:
        channels, height, width = shape
        needed = size * channels * height * width * dtype.itemsize
        folder = Path(folder or tempfile.gettempdir()).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise ValueError(
                f"Expected {needed >> 20} MB of disk in '{folder}' for the teacher's features (got "
                f"{free >> 20} MB): free some or switch 'cache_teacher' off"
            )
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, needed)  # a full disk crashes later
            else:
                file.truncate(needed)
            memory = mmap.mmap(file.fileno(), needed)
        # Channels last, as convolutions return them.
        self._features = torch.frombuffer(memory, dtype=dtype).view(size, height, width, channels)
        self._rows: dict[bytes, int] = {}
        self.strict = strict

    def add(self, images: Tensor, features: Tensor) -> None:
        """Adds images ``[B, 3, H, W]`` and their features ``[B, C, h, w]``."""
        for key, feature in zip(_keys(images), features, strict=True):
            row = self._rows.setdefault(key, len(self._rows))
            self._features[row] = feature.permute(1, 2, 0)

    def find(self, images: Tensor) -> Tensor | None:
        """Returns the features ``[B, C, h, w]`` of images, or None where an image has changed.

        Raises:
            ValueError: If an image has changed and the cache is strict.
        """
        rows = [self._rows.get(key, -1) for key in _keys(images)]
        if -1 in rows:
            reason = (
                "Expected the same training images in every round to cache the teacher's features"
            )
            if self.strict:
                raise ValueError(f"{reason} (got another one): switch 'cache_teacher' off")
            warnings.warn(f"{reason} (got another one): they are computed again", stacklevel=2)
            return None
        return self._features[rows].permute(0, 3, 1, 2).to(images.device, non_blocking=True)


def _keys(images: Tensor) -> list[bytes]:
    pixels = images.detach().cpu().contiguous().view(torch.uint8).numpy()  # NumPy has no bfloat16
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels]
