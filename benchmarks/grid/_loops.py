"""Images in batches, for detectors without a trainer of their own."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.data import Batch

from pyg_viglad.training.data import StepSampler

__all__ = ["in_order", "in_steps", "resize"]


def in_order(dataset: Any, batch_size: int, device: str) -> Iterator[Tensor]:
    """Go through the images ``[B, 3, H, W]`` of a data set once."""
    for batch in DataLoader(dataset, batch_size, collate_fn=Batch.from_data_list):
        yield batch.img.to(device)


def in_steps(dataset: Any, batch_size: int, steps: int, seed: int, device: str) -> Iterator[Tensor]:
    """Go through the training images again and again, in the order in which ViGLAD sees them."""
    sampler = StepSampler(len(dataset), batch_size, steps, seed)
    loader = DataLoader(dataset, batch_size, sampler=sampler, collate_fn=Batch.from_data_list)
    for batch in loader:
        yield batch.img.to(device)


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring images ``[B, 3, H, W]`` or maps ``[B, 1, H, W]`` to a size, where it is another one."""
    if images.shape[-2:] == torch.Size(size):
        return images
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
