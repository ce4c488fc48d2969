"""The saturated overlap of maps with defects, gathered image by image."""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from pyg_viglad.metrics._kept_values import Region
from pyg_viglad.metrics._pixel_ranking import MEMORY, PixelRanking, check_limits
from pyg_viglad.metrics._pixels import as_map, as_mask

__all__ = ["LIMITS", "SaturatedOverlap"]

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)


class SaturatedOverlap:
    r"""Area under the curve of the saturated per-region overlap (sPRO), of MVTec LOCO AD.

    For the pixels :math:`P_t` of all maps above a threshold :math:`t`, the :math:`m` defects
    :math:`A_i` (channels of the truth of all images) with saturation areas :math:`s_i`, and the
    pixels :math:`G` outside of every defect

    .. math::
        \mathrm{sPRO}(t) = \frac{1}{m} \sum_{i=1}^m \min\left(\frac{|A_i \cap P_t|}{s_i}, 1\right),
        \qquad \mathrm{FPR}(t) = \frac{|P_t \cap G|}{|G|}

    and the curve of the one over the other, a line between its points, is integrated up to a limit
    of the false-positive rate and divided by it. The definition is that of `"Beyond Dents and
    Scratches: Logical Constraints in Unsupervised Anomaly Detection and Localization"
    <https://doi.org/10.1007/s11263-022-01578-9>`_; all distinct values are thresholds, where its
    evaluation refines a set of them until the gaps are at most 0.001.

    Images are gone through once. As long as they fit in ``memory``, the values outside of the
    defects and the highest ones in each defect (as many as saturate it) are kept, 4 bytes each
    (8 for maps in float64), and the area is exact. Beyond, they are counted in bins 1/32768 of a
    value wide; the curve is then exact at the edges of the bins, and :meth:`bounds` says how far
    the area may be off at most (a warning, if by more than 0.001). A category of MVTec LOCO AD in
    float32 is exact with the default. ``good + logical`` joins the images of two accumulators.

    Args:
        memory: Bytes of values to keep.

    Example:
        >>> overlap = SaturatedOverlap()
        >>> defect = np.array([[True, True, True, False], [False, False, False, False]])
        >>> overlap.update(np.array([[4.0, 3.0, 0.0, 2.0], [1.0, 0.0, 0.0, 0.0]]), [(defect, 2)])
        >>> overlap.update(np.zeros((2, 4)), [])
        >>> overlap.compute(limits=[0.3])  # two pixels of the defect are enough
        {0.3: 1.0}
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self.ranking = PixelRanking(memory)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(images={self.ranking.images}, "
            f"defects={self.ranking.regions}, exact={self.exact})"
        )

    @property
    def exact(self) -> bool:
        """Whether all values have been kept, so that areas are exact."""
        return self.ranking.exact

    def update(
        self,
        anomaly_map: Tensor | np.ndarray,
        truth: Sequence[tuple[Tensor | np.ndarray, float]],
        number: int | None = None,
    ) -> None:
        """Take in an image.

        Args:
            anomaly_map: ``[H, W]`` at the image's original size, finite, higher for more anomalous.
            truth: A mask ``[H, W]`` and a saturation area in pixels for each defect, empty for a
                good image. Masks may overlap. A saturation area larger than the mask counts as the
                mask's area, as in the protocol; an area of the whole mask gives plain overlap.
            number: Number of the image in errors (default: how many came before it).

        Raises:
            ValueError: If a map is not finite, a mask has another shape or is empty, or a
                saturation area is not positive. The message names the image; it is left out.
        """
        image = f"image {self.ranking.images if number is None else number}"
        values = as_map(anomaly_map, image)
        outside = np.ones(values.shape, dtype=bool)
        regions = []
        for number, (mask, area) in enumerate(truth):
            name = f"mask {number} of {image}"
            chosen = as_mask(mask, values.shape, name)
            regions.append(_saturated(values[chosen], float(area), name))
            outside &= ~chosen
        self.ranking.add(values[outside] if regions else values.reshape(-1), regions)

    def compute(self, limits: Sequence[float] = LIMITS) -> dict[float, float]:
        """Integrate the curve up to each limit of the false-positive rate and divide by the limit.

        Args:
            limits: False-positive rates in (0, 1].

        Returns:
            The area for each limit, in [0, 1].

        Raises:
            ValueError: If a limit is out of range, no image has a defect, or no pixel is outside of
                the defects.
        """
        checked = check_limits(limits)
        return dict(zip(checked, self.ranking.values(checked), strict=True))

    def bounds(self, limits: Sequence[float] = LIMITS) -> dict[float, float]:
        """Bound the error of each area of :meth:`compute`: 0 where it is exact."""
        checked = check_limits(limits)
        areas = self.ranking.areas(checked)
        return {limit: bound for limit, (_, bound) in zip(checked, areas, strict=True)}

    def __add__(self, other: "SaturatedOverlap") -> "SaturatedOverlap":
        """Join the images of both without copying what they keep."""
        result = SaturatedOverlap()
        result.ranking = self.ranking.merged(other.ranking)
        return result


def _saturated(values: np.ndarray, area: float, name: str) -> Region:
    if not len(values):
        raise ValueError(f"Expected {name} to hold a defect (got no pixel)")
    if not (math.isfinite(area) and area > 0):
        raise ValueError(f"Expected a positive saturation area of {name} (got {area})")
    area = min(area, len(values))
    count = math.ceil(area)
    # Lower values come when the region is saturated: they would add nothing.
    highest = np.partition(values, len(values) - count)[len(values) - count :]
    return Region(np.sort(highest), 1 / area, 1 - (count - 1) / area)
