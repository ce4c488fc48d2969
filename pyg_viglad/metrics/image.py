"""Metrics of image scores, by kind of anomaly."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["image_auroc", "image_average_precision", "image_f1_max"]


def image_auroc(
    scores: Tensor | np.ndarray | Sequence[float], kinds: Sequence[str]
) -> dict[str, float]:
    r"""Computes the area under the ROC curve of good images against each kind of anomalous ones.

    .. math::
        \mathrm{AUROC} = \frac{1}{|G||A|} \sum_{g \in G} \sum_{a \in A}
            [s_a > s_g] + \tfrac{1}{2} [s_a = s_g]

    Args:
        scores: Anomaly score of each image, ``[N]``, higher for more anomalous.
        kinds: Kind of each image: ``"good"``, ``"logical"`` or ``"structural"``.

    Returns:
        ``"logical"`` and ``"structural"`` (each against the good images), ``"mean"`` (of these two,
        as MVTec LOCO AD is reported) and ``"pooled"`` (all anomalous images against the good ones),
        in [0, 1]. NaN for a kind that does not occur, and for the mean then.

    Raises:
        ValueError: If the lengths differ, a score is not finite, a kind is unknown, or there is no
            good image.

    Example:
        >>> image_auroc([0.1, 0.4, 0.4, 0.9], ["good", "good", "logical", "structural"])
        {'logical': 0.75, 'structural': 1.0, 'mean': 0.875, 'pooled': 0.875}
    """
    from sklearn.metrics import roc_auc_score

    return _by_kind(scores, kinds, roc_auc_score)


def image_average_precision(
    scores: Tensor | np.ndarray | Sequence[float], kinds: Sequence[str]
) -> dict[str, float]:
    r"""Computes the average precision of good images against each kind of anomalous ones.

    .. math::
        \mathrm{AP} = \sum_n (R_n - R_{n-1}) P_n

    where :math:`P_n` and :math:`R_n` are precision and recall when every image with at least the
    :math:`n`-th highest distinct score is called anomalous. Chance level is the share of anomalous
    images, not 0.5.

    Args:
        scores: Anomaly score of each image, ``[N]``, higher for more anomalous.
        kinds: Kind of each image: ``"good"``, ``"logical"`` or ``"structural"``.

    Returns:
        ``"logical"``, ``"structural"``, ``"mean"`` and ``"pooled"`` as in :func:`image_auroc`.

    Raises:
        ValueError: As in :func:`image_auroc`.

    Example:
        >>> image_average_precision([0.1, 0.5, 0.4, 0.9], ["good", "good", "logical", "structural"])
        {'logical': 0.5, 'structural': 1.0, 'mean': 0.75, 'pooled': 0.8333333333333333}
    """
    from sklearn.metrics import average_precision_score

    return _by_kind(scores, kinds, average_precision_score)


def image_f1_max(
    scores: Tensor | np.ndarray | Sequence[float], kinds: Sequence[str]
) -> dict[str, float]:
    r"""Computes the highest F1 score of any threshold, good images against each kind of anomalous ones.

    .. math::
        F_1^{\max} = \max_t \frac{2\,TP_t}{2\,TP_t + FP_t + FN_t}

    where an image is called anomalous if its score is at least :math:`t`. The threshold is chosen on
    the labels, separately per kind: an upper bound for a detector with a fixed threshold.

    Args:
        scores: Anomaly score of each image, ``[N]``, higher for more anomalous.
        kinds: Kind of each image: ``"good"``, ``"logical"`` or ``"structural"``.

    Returns:
        ``"logical"``, ``"structural"``, ``"mean"`` and ``"pooled"`` as in :func:`image_auroc`.

    Raises:
        ValueError: As in :func:`image_auroc`.

    Example:
        >>> image_f1_max([0.1, 0.6, 0.5, 0.9], ["good", "good", "logical", "structural"])["pooled"]
        0.8
    """
    from sklearn.metrics import precision_recall_curve

    def f1_max(anomalous: np.ndarray, values: np.ndarray) -> float:
        precision, recall, _ = precision_recall_curve(anomalous, values)
        total = precision + recall
        return float((2 * precision * recall / np.where(total > 0, total, 1)).max())

    return _by_kind(scores, kinds, f1_max)


def _by_kind(
    scores: Tensor | np.ndarray | Sequence[float],
    kinds: Sequence[str],
    metric: Callable[[np.ndarray, np.ndarray], float],
) -> dict[str, float]:
    """Evaluates ``metric(anomalous, scores)`` on the good images and each kind of anomalous ones."""
    if isinstance(scores, Tensor):
        scores = scores.detach().to("cpu", torch.float64).numpy()
    values = np.asarray(scores, dtype=np.float64)
    labels = np.asarray(list(kinds), dtype=str)
    if values.shape != labels.shape:
        raise ValueError(
            f"Expected as many scores [N] as kinds (got {list(values.shape)} and {len(labels)})"
        )
    unknown = sorted(set(labels.tolist()) - {"good", "logical", "structural"})
    if unknown:
        raise ValueError(f"Expected kinds 'good', 'logical', 'structural' (got {unknown})")
    invalid = int((~np.isfinite(values)).sum())
    if invalid:
        raise ValueError(f"Expected finite scores (got {invalid} of {len(values)} not)")
    good = labels == "good"
    if not good.any():
        raise ValueError(f"Expected at least one good image (got none of {len(labels)})")

    def evaluate(anomalous: np.ndarray) -> float:
        if not anomalous.any():
            return math.nan
        chosen = good | anomalous
        return float(metric(anomalous[chosen], values[chosen]))

    logical, structural = evaluate(labels == "logical"), evaluate(labels == "structural")
    return {
        "logical": logical,
        "structural": structural,
        "mean": (logical + structural) / 2,
        "pooled": evaluate(~good),
    }
