"""Metrics of image scores, by kind of anomaly."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["by_kind"]


def by_kind(
    scores: Tensor | np.ndarray | Sequence[float],
    kinds: Sequence[str],
    metric: Callable[[np.ndarray, np.ndarray], float],
) -> dict[str, float]:
    """Evaluate ``metric(anomalous, scores)`` on the good images and each kind of anomalous ones."""
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


def _as_array(scores: Tensor | np.ndarray | Sequence[float]) -> np.ndarray:
    if isinstance(scores, Tensor):
        return scores.detach().to("cpu", torch.float64).numpy()
    return np.asarray(scores, dtype=np.float64)
