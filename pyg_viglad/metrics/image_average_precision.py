"""How pure the images with the highest scores are, by kind of anomaly."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from pyg_viglad.metrics._by_kind import by_kind

__all__ = ["image_average_precision"]


def image_average_precision(
    scores: Tensor | np.ndarray | Sequence[float], kinds: Sequence[str]
) -> dict[str, float]:
    r"""Average precision of good images against each kind of anomalous ones.

    .. math::
        \mathrm{AP} = \sum_n (R_n - R_{n-1}) P_n

    where :math:`P_n` and :math:`R_n` are precision and recall when every image with at least the
    :math:`n`-th highest distinct score is called anomalous. It depends on the share of anomalous
    images: a detector that knows nothing reaches this share, not a half.

    Args:
        scores: Anomaly score of each image, ``[N]``, higher for more anomalous.
        kinds: Kind of each image: ``"good"``, ``"logical"`` or ``"structural"``.

    Returns:
        ``"logical"``, ``"structural"``, ``"mean"`` and ``"pooled"`` as
        :func:`~pyg_viglad.metrics.image_auroc` has them, in [0, 1]; NaN for a kind that does not
        occur.

    Raises:
        ValueError: If the lengths differ, a score is not finite, a kind is another, or there is no
            good image.

    Example:
        >>> image_average_precision([0.1, 0.5, 0.4, 0.9], ["good", "good", "logical", "structural"])
        {'logical': 0.5, 'structural': 1.0, 'mean': 0.75, 'pooled': 0.8333333333333333}
    """
    from sklearn.metrics import average_precision_score

    return by_kind(scores, kinds, average_precision_score)
