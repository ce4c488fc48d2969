"""The exact curve: every value is kept and is a threshold."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pyg_viglad.metrics._blocks import Blocks

__all__ = ["KeptValues", "Region"]

_SLAB = 1 << 20


class Region(NamedTuple):
    """Pixels of a defect that count: each adds its weight once the threshold falls below it."""

    values: np.ndarray  # sorted upwards
    weight: float
    smallest_weight: float  # of values[0], which may only be part of a pixel

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return self.weight * (len(self.values) - 1) + self.smallest_weight


class KeptValues:
    """Values of good pixels and of regions, from which the curve at all thresholds is read."""

    def __init__(self) -> None:
        self.good = Blocks()
        self.regions: list[Region] = []
        self._region_bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes that the values take."""
        return self.good.nbytes + self._region_bytes

    def add(self, good: np.ndarray, regions: list[Region]) -> None:
        """Take in the pixels of an image."""
        self.good.append(good)
        self.regions += regions
        self._region_bytes += sum(region.values.nbytes for region in regions)

    def share(self, other: "KeptValues") -> None:
        """Take in the other's values without copying them."""
        self.good.share(other.good)
        self.regions += other.regions
        self._region_bytes += other._region_bytes

    def points(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the curve from the highest threshold on, in pieces that begin where one ended.

        Each piece is (good pixels above the threshold, weight above it). Between two values of
        defects only good pixels are passed: the curve is flat there, so it needs no further points.
        """
        blocks = self.good.sorted_arrays()
        passed = weight = 0.0
        for values, weights in _slabs(self.regions):
            below, up_to = _ranks(blocks, values)
            good = np.empty(2 * len(values) + 1)
            good[0] = passed
            good[1::2] = self.good.count - up_to  # all good pixels above the value,
            good[2::2] = self.good.count - below  # and those that are equal to it
            sums = np.cumsum(weights)
            overlap = np.repeat(np.concatenate([[weight], weight + sums]), 2)[:-1]
            yield good, overlap
            passed, weight = good[-1], overlap[-1]
        yield np.array([passed, self.good.count]), np.array([weight, weight])


def _slabs(regions: list[Region]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield distinct values downwards and the weight at each, about a million pixels at a time.

    All regions at once would need several times their memory to be sorted together.
    """
    total = sum(len(region.values) for region in regions)
    step = 1 + total // (1 << 16)
    sample = np.sort(np.concatenate([region.values[::step] for region in regions]))
    edges = np.unique(sample[:: 1 + len(sample) * _SLAB // total])[::-1]
    ends = [len(region.values) for region in regions]
    for edge in [*edges[:-1], edges.dtype.type(-np.inf)]:  # of their dtype: no copy in the search
        values, weights = [], []
        for place, region in enumerate(regions):
            start = int(np.searchsorted(region.values, edge, side="right"))
            chosen = region.values[start : ends[place]]
            if len(chosen):
                values.append(chosen)
                weights.append(np.full(len(chosen), region.weight))
                if start == 0:
                    weights[-1][0] = region.smallest_weight
                ends[place] = start
        if values:
            yield _distinct(np.concatenate(values), np.concatenate(weights))


def _distinct(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(values)[::-1]
    values = values[order]
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return values[starts], np.add.reduceat(weights[order], starts)


def _ranks(blocks: list[np.ndarray], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the good pixels below each value, and up to it; ``values`` go downwards."""
    upwards = values[::-1]
    below = np.zeros(len(values), np.int64)
    up_to = np.zeros(len(values), np.int64)
    for block in blocks:
        first = int(np.searchsorted(block, upwards[0], side="left"))
        last = int(np.searchsorted(block, upwards[-1], side="right"))
        near = block[first:last]  # searching this part alone stays in the processor's cache
        below += first + np.searchsorted(near, upwards, side="left")
        up_to += first + np.searchsorted(near, upwards, side="right")
    return below[::-1], up_to[::-1]
