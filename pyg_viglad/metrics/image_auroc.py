"""How well scores rank anomalous images above good ones, by kind of anomaly."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["image_auroc"]


def image_auroc(
    scores: Tensor | np.ndarray | Sequence[float], kinds: Sequence[str]
) -> dict[str, float]:
    r"""Area under the ROC curve of good images against each kind of anomalous ones.

    .. math::
        \mathrm{AUROC} = \frac{1}{|G||A|} \sum_{g \in G} \sum_{a \in A}
            [s_a > s_g] + \tfrac{1}{2} [s_a = s_g]

    Args:
        scores: Anomaly score of each image, ``[N]``, higher for more anomalous.
        kinds: Kind of each image: ``"good"``, ``"logical"`` or ``"structural"``.

    Returns:
        ``"logical"`` and ``"structural"`` (each against the good images), ``"mean"`` (of these two,
        as MVTec LOCO AD is reported) and ``"pooled"`` (all anomalous images against the good ones):
        shares in [0, 1], not per cent. A kind that does not occur gives NaN, and so does the mean
        then; without any anomaly, pooled is NaN as well.

    Raises:
        ValueError: If the lengths differ, a score is not finite, a kind is another, or there is no
            good image.

    Example:
        >>> image_auroc([0.1, 0.4, 0.4, 0.9], ["good", "good", "logical", "structural"])
        {'logical': 0.75, 'structural': 1.0, 'mean': 0.875, 'pooled': 0.875}
    """
    values = _as_array(scores)
    labels = np.asarray(list(kinds), dtype=str)
    if values.shape != labels.shape:
        raise ValueError(
            f"Expected as many scores [N] as kinds (got {list(values.shape)} and {len(labels)})"
        )
    unknown = sorted(set(labels.tolist()) - {"good", "logical", "structural"})
    if unknown:
        raise ValueError(f"Expected kinds 'good', 'logical', 'structural' (got {unknown})")
    finite = int(np.isfinite(values).sum())
    if finite < len(values):
        raise ValueError(
            f"Expected finite scores (got {len(values) - finite} of {len(values)} not)"
        )
    good = labels == "good"
    if not good.any():
        raise ValueError(f"Expected at least one good image (got none of {len(labels)})")
    logical = _auroc(values, good, labels == "logical")
    structural = _auroc(values, good, labels == "structural")
    return {
        "logical": logical,
        "structural": structural,
        "mean": (logical + structural) / 2,
        "pooled": _auroc(values, good, ~good),
    }


def _as_array(scores: Tensor | np.ndarray | Sequence[float]) -> np.ndarray:
    if isinstance(scores, Tensor):
        return scores.detach().to("cpu", torch.float64).numpy()
    return np.asarray(scores, dtype=np.float64)


def _auroc(scores: np.ndarray, good: np.ndarray, anomalous: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    if not anomalous.any():
        return math.nan
    chosen = good | anomalous
    return float(roc_auc_score(anomalous[chosen], scores[chosen]))
