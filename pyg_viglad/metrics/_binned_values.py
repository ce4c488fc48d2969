"""The curve at about 32,000 thresholds for every doubling of the value, in memory that is fixed."""

from collections.abc import Iterator

import numpy as np

from pyg_viglad.metrics._kept_values import KeptValues, Region

__all__ = ["BinnedValues"]

_DROPPED_BITS = 8
_BINS = 1 << (32 - _DROPPED_BITS)
_CHUNK = 1 << 22


class BinnedValues:
    """Counts of good pixels and weights of regions in bins that share 15 bits of the mantissa.

    The curve is exact at every bin's edge, since a region's pixels beyond its saturation are left
    out before they are counted; only the way between two edges is not known.
    """

    def __init__(self) -> None:
        # Pages that are never written take no memory: maps touch few of the bins.
        self._good = np.zeros(_BINS, np.int64)
        self._regions = np.zeros(_BINS, np.float64)

    def add(self, good: np.ndarray, regions: list[Region]) -> None:
        """Take in the pixels of an image."""
        for start in range(0, len(good), _CHUNK):
            np.add.at(self._good, _keys(good[start : start + _CHUNK]), 1)
        for region in regions:
            keys = _keys(region.values)
            np.add.at(self._regions, keys[1:], region.weight)
            self._regions[keys[0]] += region.smallest_weight

    def add_kept(self, kept: KeptValues) -> None:
        """Take in all values that another has kept."""
        for array in kept.good.arrays():
            self.add(array, [])
        self.add(np.empty(0, np.float32), kept.regions)

    def add_binned(self, other: "BinnedValues") -> None:
        """Take in another's counts."""
        for mine, others in ((self._good, other._good), (self._regions, other._regions)):
            used = np.flatnonzero(others)
            mine[used] += others[used]

    def points(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the curve from the highest threshold on: (good pixels above it, weight above)."""
        used = np.union1d(np.flatnonzero(self._good), np.flatnonzero(self._regions))[::-1]
        yield (
            np.concatenate([[0.0], np.cumsum(self._good[used])]),
            np.concatenate([[0.0], np.cumsum(self._regions[used])]),
        )


def _keys(values: np.ndarray) -> np.ndarray:
    """Number the bin of each value: the first bits of a float32, so turned that they ascend."""
    with np.errstate(over="ignore"):  # too large for float32 is infinite: still in order
        single = values.astype(np.float32) + np.float32(0)  # no negative zero
    bits = single.view(np.uint32)
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (ascending >> _DROPPED_BITS).astype(np.int64)
