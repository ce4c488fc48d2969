"""How well the best threshold separates anomalous images from good ones, by kind of anomaly."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from pyg_viglad.metrics._by_kind import by_kind

__all__ = ["image_f1_max"]


def image_f1_max(
    scores: Tensor | np.ndarray | Sequence[float], kinds: Sequence[str]
) -> dict[str, float]:
    r"""Highest F1 score that any threshold reaches, good images against each kind of anomalous ones.

    .. math::
        F_1^{\max} = \max_t \frac{2\,TP_t}{2\,TP_t + FP_t + FN_t}

    where an image is called anomalous if its score is at least :math:`t`. The threshold is chosen
    with the labels in hand, each kind its own, so this is a ceiling and not what a detector with a
    fixed threshold reaches.

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
        >>> image_f1_max([0.1, 0.6, 0.5, 0.9], ["good", "good", "logical", "structural"])["pooled"]
        0.8
    """
    return by_kind(scores, kinds, _f1_max)


def _f1_max(anomalous: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(anomalous, scores)
    total = precision + recall
    return float((2 * precision * recall / np.where(total > 0, total, 1)).max())
