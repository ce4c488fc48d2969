"""Areas under curves of pixels: what is found of the defects over what is wrongly found beside."""

import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from pyg_viglad.metrics._binned_values import BinnedValues
from pyg_viglad.metrics._kept_values import KeptValues, Region

__all__ = ["MEMORY", "PixelRanking", "check_limits"]

MEMORY = 2_700_000_000
_TOLERANCE = 0.001


class PixelRanking:
    """Pixels of many images, added image by image, and the area under their curve.

    Args:
        memory: Bytes up to which all values are kept and the curve is exact. Beyond, they are
            counted in bins, and the area has a bound on its error.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self.memory = memory
        self.good = 0
        self.weight = 0.0
        self.images = 0
        self.regions = 0
        self._values: KeptValues | BinnedValues = KeptValues()

    @property
    def exact(self) -> bool:
        """Whether all values have been kept."""
        return isinstance(self._values, KeptValues)

    @property
    def nbytes(self) -> int:
        """Bytes of the values kept, 0 once they are counted in bins."""
        return self._values.nbytes if isinstance(self._values, KeptValues) else 0

    def add(self, good: np.ndarray, regions: list[Region]) -> None:
        """Take in the pixels of an image."""
        self._values.add(good, regions)
        self.good += len(good)
        self.weight += sum(region.total for region in regions)
        self.images += 1
        self.regions += len(regions)
        if self.nbytes > self.memory:
            self.bin_values()

    def bin_values(self) -> None:
        """Count the kept values in bins and let go of them."""
        if isinstance(self._values, KeptValues):
            binned = BinnedValues()
            binned.add_kept(self._values)
            self._values = binned

    def merged(self, other: "PixelRanking") -> "PixelRanking":
        """Give the pixels of both; values that are kept are shared, not copied."""
        result = PixelRanking(max(self.memory, other.memory))
        for part in (self, other):
            result.good += part.good
            result.weight += part.weight
            result.images += part.images
            result.regions += part.regions
        parts = (self._values, other._values)
        if self.exact and other.exact:
            result._values = _shared(parts)
        else:
            result._values = _binned(parts)
        return result

    def areas(self, limits: Sequence[float]) -> list[tuple[float, float]]:
        """Integrate up to each false-positive rate and divide by it: (area, bound on its error)."""
        if self.regions == 0:
            raise ValueError(
                f"Expected at least one defect to be found (got none in {self.images} images)"
            )
        if self.good == 0:
            raise ValueError("Expected pixels outside of the defects (got none)")
        ends = [limit * self.good for limit in limits]
        areas, errors = np.zeros(len(ends)), np.zeros(len(ends))
        for good, weight in self._values.points():
            for place, end in enumerate(ends):
                if good[0] < end:
                    area, error = _area(good, weight, end)
                    areas[place] += area
                    errors[place] += error
            if good[-1] >= max(ends):
                break
        whole = self.weight * np.asarray(ends)
        shares = np.clip(areas / whole, 0, 1)
        bounds = np.zeros(len(ends)) if self.exact else errors / whole
        return list(zip(shares.tolist(), bounds.tolist(), strict=True))

    def values(self, limits: Sequence[float]) -> list[float]:
        """Give the areas alone, with a warning where the bound on the error is not small."""
        areas = self.areas(limits)
        worst = max(bound for _, bound in areas)
        if worst > _TOLERANCE:
            warnings.warn(
                f"The maps did not fit in 'memory' ({self.memory} bytes), and so many of their values "
                f"are equal or nearly so that the area is only known to within {worst:.2g}",
                stacklevel=4,
            )
        return [area for area, _ in areas]


def check_limits(limits: Sequence[float]) -> list[float]:
    """Check limits of the false-positive rate."""
    checked = [float(limit) for limit in limits]
    if not checked or not all(0 < limit <= 1 for limit in checked):
        raise ValueError(f"Expected limits of the false-positive rate in (0, 1] (got {checked})")
    return checked


def _area(x: np.ndarray, y: np.ndarray, end: float) -> tuple[float, float]:
    """Integrate the line through the points up to ``end``.

    Any rising curve through the points stays in the rectangles between neighbouring ones, which
    bounds the error.
    """
    widths = np.diff(x)
    used = np.diff(np.minimum(x, end))
    low, rise = y[:-1], np.diff(y)
    part = np.divide(used, widths, out=np.zeros_like(used), where=widths > 0)
    above = rise * part / 2  # the mean height over `low`
    return float(used @ (low + above)), float(used @ (rise - above))


def _shared(parts: Iterable[KeptValues | BinnedValues]) -> KeptValues:
    kept = KeptValues()
    for part in parts:
        if isinstance(part, KeptValues):
            kept.share(part)
    return kept


def _binned(parts: Iterable[KeptValues | BinnedValues]) -> BinnedValues:
    binned = BinnedValues()
    for part in parts:
        if isinstance(part, KeptValues):
            binned.add_kept(part)
        else:
            binned.add_binned(part)
    return binned
