"""How well maps rank pixels of defects above all others."""

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from pyg_viglad.metrics._kept_values import Region
from pyg_viglad.metrics._pixel_ranking import MEMORY, PixelRanking
from pyg_viglad.metrics._pixels import masked

__all__ = ["pixel_auroc"]


def pixel_auroc(
    maps: Iterable[Tensor | np.ndarray],
    masks: Iterable[Tensor | np.ndarray],
    *,
    memory: int = MEMORY,
) -> float:
    r"""Area under the ROC curve of all pixels of all images.

    .. math::
        \mathrm{AUROC} = \frac{1}{|G||A|} \sum_{g \in G} \sum_{a \in A}
            [v_a > v_g] + \tfrac{1}{2} [v_a = v_g]

    over pixels :math:`A` of defects and all other pixels :math:`G`. It equals scikit-learn's
    ``roc_auc_score`` on all pixels, which for large images would need many times their memory.

    Args:
        maps: An anomaly map ``[H, W]`` of each image, finite, higher for more anomalous. May be a
            generator: it is gone through once.
        masks: A mask ``[H, W]`` of each image, without any pixel for a good image; may be a
            generator as well.
        memory: Bytes of values to keep; beyond, they are counted in bins, as
            :class:`~pyg_viglad.metrics.SaturatedOverlap` describes it.

    Returns:
        The area, in [0, 1].

    Raises:
        ValueError: If the lengths differ, a map is not finite, a mask has another shape than its
            map, no mask has a defect, or no pixel is outside of them.

    Example:
        >>> pixel_auroc([np.array([[3.0, 1.0], [2.0, 1.0]])], [np.array([[1, 1], [0, 0]])])
        0.625
    """
    ranking = PixelRanking(memory)
    for values, defect in masked(maps, masks):
        found = np.sort(values[defect])
        ranking.add(values[~defect], [Region(found, 1.0, 1.0)] if len(found) else [])
    return ranking.values([1.0])[0]
