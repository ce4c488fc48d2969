"""Statistics over the images of several processes, merged from sums."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Subset

__all__ = ["ALONE", "Shards"]


class Shards(NamedTuple):
    r"""Splits images among the processes of :mod:`torch.distributed` and merges their statistics.

    Process r of R has the images r, r + R, r + 2R, ... Sums are added up and values of single images are
    joined in the images' order, so that all processes get the result of one process with all images, up
    to rounding. Feature maps stay where they are. All processes must make the same calls.

    Attributes:
        rank: Number r of this process (default: 0).
        size: Number R of processes (default: 1; then nothing is communicated).

    Example:
        >>> list(Shards(rank=1, size=2).deal([0, 10, 20, 30, 40]))
        [10, 30]
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def of_process_group(cls) -> "Shards":
        """Returns the place of this process in the default group, or that of a single process."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())
        return cls()

    def deal(self, images: Any) -> Any:
        """Returns this process's part of a tensor ``[n, ...]`` or a dataset.

        Raises:
            ValueError: If there are fewer images than processes, or they cannot be read in any order.
        """
        if self.size == 1:
            return images
        if isinstance(images, Tensor):
            part: Any = images[self.rank :: self.size]
        elif hasattr(images, "__getitem__") and hasattr(images, "__len__"):
            part = Subset(images, range(self.rank, len(images), self.size))
        else:
            raise ValueError(
                "Expected a tensor or dataset, which several processes can share "
                f"(got a {type(images).__name__})"
            )
        if len(images) < self.size:
            raise ValueError(
                f"Expected an image for each of {self.size} processes (got {len(images)})"
            )
        return part

    def sum(self, values: Tensor | int) -> Tensor:
        """Adds up the values of all processes, of the same shape in each."""
        values = torch.as_tensor(values)
        if self.size == 1:
            return values
        total = values.detach().to(_device(), copy=True).contiguous()
        torch.distributed.all_reduce(total)
        return total.to(values.device)

    def mean(self, values: Tensor) -> Tensor:
        """Computes the mean over the first dimension of ``[n, ...]``, n being all images of all processes."""
        return self.sum(values.sum(0)) / self.sum(len(values)).to(values.device)

    def gather(self, values: Tensor) -> Tensor:
        """Joins values ``[n, ...]`` of each process's images, in the order of all images."""
        if self.size == 1:
            return values
        number = int(self.sum(len(values)))
        longest = -(-number // self.size)
        padded = values.new_zeros(longest, *values.shape[1:], device=_device())
        padded[: len(values)] = values.detach()
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        torch.distributed.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[:number].to(values.device)


ALONE = Shards()


def _device() -> str:
    """Device of what the process group communicates."""
    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
