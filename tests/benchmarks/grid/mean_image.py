"""A detector of our own for the tests of the grid; it loads no library that they do not need."""

import os
import time
from pathlib import Path

import torch

from benchmarks.grid import Scores


class MeanImage:
    """The plainest detector: the distance to the mean training image.

    It notes every fit, waits, and ends badly where it is told to.
    """

    def __init__(self, image_size, seed=0, device="cpu", *, log=None, wait=0.0, end="well"):
        self.seed, self.log, self.wait, self.end = seed, log, wait, end

    def fit(self, train, validation, folder):
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{self.seed}\n")
        time.sleep(self.wait)
        if self.end == "death":
            os._exit(9)
        if self.end == "error":
            raise ValueError("Expected another end")
        self.mean = torch.stack([item.img[0] for item in train]).mean(0)
        return {"iterations": self.seed}

    def predict(self, dataset):
        maps = torch.stack([(item.img[0] - self.mean).square().mean(0) for item in dataset])
        return Scores({"score": maps.mean((1, 2)), "peak": maps.amax((1, 2))}, maps)
