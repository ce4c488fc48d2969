"""How much of each connected defect the maps find, and how much they find beside."""

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from pyg_viglad.metrics._kept_values import Region
from pyg_viglad.metrics._pixel_ranking import MEMORY, PixelRanking, check_limits
from pyg_viglad.metrics._pixels import masked

__all__ = ["au_pro"]


def au_pro(
    maps: Iterable[Tensor | np.ndarray],
    masks: Iterable[Tensor | np.ndarray],
    limit: float = 0.3,
    *,
    memory: int = MEMORY,
) -> float:
    r"""Area under the curve of the per-region overlap (AUPRO) of MVTec AD.

    .. math::
        \frac{1}{L} \int_0^L \mathrm{PRO} \, d\,\mathrm{FPR}, \qquad
        \mathrm{PRO} = \frac{1}{m} \sum_{i=1}^m \frac{|A_i \cap P|}{|A_i|}

    over the :math:`m` regions of all masks, so that a small defect weighs as much as a large one.
    A region is a connected component of a mask, pixels that touch at a corner included
    (8-connected), as in the evaluation of MVTec AD. All distinct values are thresholds.

    Args:
        maps: An anomaly map ``[H, W]`` of each image, finite, higher for more anomalous. May be a
            generator: it is gone through once.
        masks: A mask ``[H, W]`` of each image, without any pixel for a good image; may be a
            generator as well.
        limit: False-positive rate in (0, 1] up to which to integrate.
        memory: Bytes of values to keep; beyond, they are counted in bins, as
            :class:`~pyg_viglad.metrics.SaturatedOverlap` describes it.

    Returns:
        The area divided by the limit, in [0, 1].

    Raises:
        ValueError: If the lengths differ, a map is not finite, a mask has another shape than its
            map, the limit is out of range, no mask has a defect, or no pixel is outside of them.

    Example:
        >>> mask = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])  # one region
        >>> au_pro([np.array([[5.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]])], [mask])
        1.0
    """
    checked = check_limits([limit])
    ranking = PixelRanking(memory)
    for values, defect in masked(maps, masks):
        ranking.add(values[~defect], _components(values, defect))
    return ranking.values(checked)[0]


def _components(values: np.ndarray, mask: np.ndarray) -> list[Region]:
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count == 0:
        return []
    chosen, labels = values[mask], labels[mask]
    sizes = np.bincount(labels)[1:]
    regions = np.split(chosen[np.lexsort((chosen, labels))], np.cumsum(sizes)[:-1])
    return [Region(region, 1 / len(region), 1 / len(region)) for region in regions]
