"""Which items each training step sees, told by its number alone."""

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler

__all__ = ["StepSampler", "step_seed"]


def step_seed(seed: int, step: int) -> int:
    """Mix a seed and a step's number into a seed of the step's own, below 2^63.

    Example:
        >>> step_seed(0, 1) == step_seed(0, 1), step_seed(0, 1) == step_seed(1, 0)
        (True, False)
    """
    import numpy as np

    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))


class StepSampler(Sampler[int]):
    """Goes through a data set again and again, each time in another order, from any step on.

    The items of a step depend on ``seed`` and the step's number, not on what was drawn before: training
    that was killed goes on with the very items that were next, and the number of loading processes
    changes nothing.

    Args:
        size: Number of items.
        batch_size: Items a step.
        steps: Steps of the whole training.
        seed: Seed of the orders.
        first_step: Called when the sampling starts; the number of steps already done.
        shuffle: False: the items come in their own order, again and again.

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
    ) -> None:
        if size < 1:
            raise ValueError(f"Expected at least one training image (got {size})")
        if steps < 1:
            raise ValueError(f"Expected training that counts steps, at least one (got {steps})")
        self.size = size
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.first_step = first_step
        self.shuffle = shuffle

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[int]:
        round_ = -1
        order = torch.empty(0, dtype=torch.int64)
        for number in range(self.first_step() * self.batch_size, len(self)):
            if not self.shuffle:
                yield number % self.size
                continue
            if number // self.size != round_:
                round_ = number // self.size
                generator = torch.Generator().manual_seed(step_seed(self.seed, round_))
                order = torch.randperm(self.size, generator=generator)
            yield int(order[number % self.size])
