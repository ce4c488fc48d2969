"""What all data sets of anomaly detection share."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data, Dataset

__all__ = ["AnomalyDataset", "Label", "as_size", "as_split"]


class Label(NamedTuple):
    """What is known of an image: ``good``, ``logical`` or ``structural``, the defect, a name."""

    kind: str
    defect: str
    name: str


class AnomalyDataset(Dataset):
    """A data set whose images carry labels that can be read without loading the images.

    A subclass fills ``labels``, one an image, and implements ``get``. Subsets (``dataset[:10]``)
    show the labels of their own images.
    """

    def __init__(self, transform: Callable[[Data], Any] | None = None) -> None:
        super().__init__(transform=transform)
        self.labels: Sequence[Label] = []

    def len(self) -> int:
        """Count the images, those outside of a subset included."""
        return len(self.labels)

    @property
    def kinds(self) -> list[str]:
        """Kind of every image: ``good``, ``logical`` or ``structural``."""
        return [self.labels[i].kind for i in self.indices()]

    @property
    def defects(self) -> list[str]:
        """Defect of every image, empty where it is good."""
        return [self.labels[i].defect for i in self.indices()]

    @property
    def names(self) -> list[str]:
        """Name of every image, unique in the data set."""
        return [self.labels[i].name for i in self.indices()]

    def make_data(self, place: int, image: Tensor, **fields: object) -> Data:
        """Join an image ``[3, H, W]``, its label and further fields."""
        label = self.labels[place]
        return Data(
            img=image[None],
            y=torch.tensor([int(label.kind != "good")]),
            kind=label.kind,
            defect=label.defect,
            name=label.name,
            **fields,
        )


def as_split(split: str) -> str:
    """Check the name of a split; ``validation`` is another name of ``val``."""
    name = {"validation": "val"}.get(split, split)
    if name not in ("train", "val", "test"):
        raise ValueError(f"Expected 'split' to be 'train', 'val' or 'test' (got {split!r})")
    return name


def as_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Give height and width of a side length or of both."""
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or not all(isinstance(s, int) and s > 0 for s in size):
        raise ValueError(
            f"Expected 'image_size' to be a positive int or (height, width) (got {image_size})"
        )
    return size[0], size[1]
