"""How much of the defects of MVTec LOCO AD the maps find, and how much they find beside."""

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from pyg_viglad.metrics._pixel_ranking import MEMORY, check_limits
from pyg_viglad.metrics._pixels import paired
from pyg_viglad.metrics.saturated_overlap import LIMITS, SaturatedOverlap

__all__ = ["au_spro"]


def au_spro(
    maps: Iterable[Tensor | np.ndarray],
    truths: Iterable[Sequence[tuple[Tensor | np.ndarray, float]]],
    limits: Sequence[float] = LIMITS,
    *,
    memory: int = MEMORY,
) -> dict[float, float]:
    r"""Area under the curve of the saturated per-region overlap over the false-positive rate.

    .. math::
        \frac{1}{L} \int_0^L \mathrm{sPRO} \, d\,\mathrm{FPR}, \qquad
        \mathrm{sPRO} = \frac{1}{m} \sum_{i=1}^m \min\left(\frac{|A_i \cap P|}{s_i}, 1\right)

    as :class:`~pyg_viglad.metrics.SaturatedOverlap` has it. MVTec LOCO AD asks for it on the good
    and the logical images, on the good and the structural ones, and for the mean of the two:
    :func:`~pyg_viglad.metrics.au_spro_by_kind`.

    Args:
        maps: An anomaly map ``[H, W]`` of each image at its original size, finite, higher for more
            anomalous. May be a generator: it is gone through once, and images may differ in size.
        truths: For each image a mask ``[H, W]`` and a saturation area in pixels for each defect,
            empty for a good image; may be a generator as well.
        limits: False-positive rates in (0, 1] up to which to integrate.
        memory: Bytes of values to keep; beyond, the area has a small error that is bounded.

    Returns:
        The area for each limit, in [0, 1], divided by the limit. A map that is the same everywhere
        reaches half the limit.

    Raises:
        ValueError: If the lengths differ, a map is not finite, a mask has another shape than its
            map or is empty, a saturation area is not positive, a limit is out of range, no image
            has a defect, or no pixel is outside of the defects.

    Example:
        >>> defect = np.array([[True, True], [False, False]])
        >>> au_spro([np.array([[3.0, 1.0], [2.0, 0.0]])], [[(defect, 2)]], limits=[0.5, 1.0])
        {0.5: 0.5, 1.0: 0.75}
    """
    checked = check_limits(limits)
    overlap = SaturatedOverlap(memory)
    for anomaly_map, truth in paired(maps, truths, ("maps", "truths")):
        overlap.update(anomaly_map, truth)
    return overlap.compute(checked)
