"""A folder of natural photographs, for distillation and for the penalty term."""

import os
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from pyg_viglad.datasets import list_images
from pyg_viglad.training.step_sampler import step_seed
from pyg_viglad.transforms import to_image

__all__ = ["Photographs"]


class Photographs(Dataset[Tensor]):
    """Photographs below a folder, or scikit-learn's two sample photographs, as squares of one size.

    The penalty term of Eq. 15 wants images unlike the normal ones, and the teacher is distilled on
    such images. EfficientAD takes ImageNet for both.

    Args:
        root: A folder of images; without one, the two photographs that scikit-learn ships.
        size: Side of the squares, in pixels.
        augment: A random square of a random scale and a random mirroring, else the middle.
        min_scale: With ``augment``, the least share of the photograph's area that a square takes.
        grayscale: Probability that a photograph loses its colours (EfficientAD: 0.1 in distillation,
            0.3 in the penalty).
        length: Number of items, the photographs being gone through again and again; by default as
            many as there are photographs.
        seed: With it, an item's photograph, square, mirroring and colours depend on the seed and the
            item's number alone; without it, the photographs come in their order and the rest is
            drawn with torch's global generator.

    Returns of each item: a tensor ``[3, size, size]`` with values in [0, 1].

    Raises:
        FileNotFoundError: If ``root`` is no folder.
        ValueError: If ``root`` holds no image; on access, if a file is no readable image.

    Example:
        >>> Photographs(size=96, length=10)[3].shape
        torch.Size([3, 96, 96])
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        size: int = 256,
        augment: bool = True,
        min_scale: float = 0.1,
        grayscale: float = 0.1,
        length: int | None = None,
        seed: int | None = None,
    ) -> None:
        from torchvision.transforms import v2

        self.sources: list[Any]
        if root is None:
            from sklearn.datasets import load_sample_images

            self.sources = [Image.fromarray(image) for image in load_sample_images().images]
        else:
            self.sources = list_images(root)
        self.length = length or len(self.sources)
        self.seed = seed
        crops: list[Any] = (
            [
                v2.RandomResizedCrop(
                    size, scale=(min_scale, 1.0), ratio=(0.9, 1.1), antialias=True
                ),
                v2.RandomHorizontalFlip(),
            ]
            if augment
            else [v2.Resize(size, antialias=True), v2.CenterCrop(size)]
        )
        self.transform = v2.Compose(
            [
                *crops,
                v2.RandomGrayscale(grayscale),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    @classmethod
    def for_penalty(
        cls, root: str | os.PathLike[str] | None, size: int, steps: int, seed: int
    ) -> "Photographs":
        """Give the photographs of the penalty term, one a step: random squares, three in ten grey."""
        return cls(root, size, min_scale=0.25, grayscale=0.3, length=steps, seed=seed)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Tensor:
        if not 0 <= number < self.length:
            raise IndexError(f"Expected an item below {self.length} (got {number})")
        if self.seed is None:
            return self._square(number % len(self.sources))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step_seed(self.seed, number))
            return self._square(int(torch.randint(len(self.sources), ())))

    def _square(self, place: int) -> Tensor:
        source = self.sources[place]
        if isinstance(source, Path):
            source = to_image(source)
        square: Tensor = self.transform(source)
        return square.as_subclass(Tensor)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({len(self.sources)} photographs)"
