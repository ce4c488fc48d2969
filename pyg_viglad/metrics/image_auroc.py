"""How well scores rank anomalous images above good ones, by kind of anomaly."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from pyg_viglad.metrics._by_kind import by_kind

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
    from sklearn.metrics import roc_auc_score

    return by_kind(scores, kinds, roc_auc_score)
