"""The saturated overlap of logical and of structural defects, as MVTec LOCO AD reports it."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from pyg_viglad.metrics._pixel_ranking import MEMORY, check_limits
from pyg_viglad.metrics._pixels import paired
from pyg_viglad.metrics.saturated_overlap import LIMITS, SaturatedOverlap

__all__ = ["au_spro_by_kind"]


def au_spro_by_kind(
    maps: Iterable[Tensor | np.ndarray],
    truths: Iterable[Sequence[tuple[Tensor | np.ndarray, float]]],
    kinds: Sequence[str],
    limits: Sequence[float] = LIMITS,
    *,
    memory: int = MEMORY,
) -> dict[str, dict[float, float]]:
    """Area under the curve of the saturated overlap, good images with each kind of anomalous ones.

    The two kinds have each a curve of its own: the false positives of the one kind's images do not
    count for the other. The good images count in both and are kept once.

    Args:
        maps: An anomaly map ``[H, W]`` of each image, as in :func:`~pyg_viglad.metrics.au_spro`.
        truths: For each image a mask and a saturation area for each defect, empty for a good image.
        kinds: Kind of each image: ``"good"``, ``"logical"`` or ``"structural"``.
        limits: False-positive rates in (0, 1] up to which to integrate.
        memory: Bytes of values to keep; beyond, the area has a small error that is bounded.

    Returns:
        ``"logical"``, ``"structural"`` and ``"mean"``: the area for each limit, in [0, 1]. A kind
        that does not occur gives NaN, and so does the mean then.

    Raises:
        ValueError: As in :func:`~pyg_viglad.metrics.au_spro`; if a kind is another, a good image
            has a defect, or an anomalous one has none.

    Example:
        >>> defect = np.array([[True, False]])
        >>> maps = [np.array([[0.0, 1.0]]), np.array([[2.0, 0.0]]), np.array([[0.0, 0.0]])]
        >>> truths = [[], [(defect, 1)], [(defect, 1)]]
        >>> areas = au_spro_by_kind(maps, truths, ["good", "logical", "structural"], limits=[1.0])
        >>> {kind: round(area[1.0], 4) for kind, area in areas.items()}
        {'logical': 1.0, 'structural': 0.3333, 'mean': 0.6667}
    """
    checked = check_limits(limits)
    parts = {kind: SaturatedOverlap(memory) for kind in ("good", "logical", "structural")}
    images = paired(maps, truths, ("maps", "truths"))
    labelled = paired(images, kinds, ("maps", "kinds"))
    for number, ((anomaly_map, truth), kind) in enumerate(labelled):
        if kind not in parts:
            raise ValueError(f"Expected kinds 'good', 'logical', 'structural' (got {kind!r})")
        if (kind == "good") != (len(truth) == 0):
            raise ValueError(
                f"Expected {'no defect' if kind == 'good' else 'a defect'} in the {kind} "
                f"image {number} (got {len(truth)})"
            )
        parts[kind].update(anomaly_map, truth, number)
        if sum(part.ranking.nbytes for part in parts.values()) > memory:
            for part in parts.values():
                part.ranking.bin_values()
    areas = {kind: _area(parts["good"], parts[kind], checked) for kind in ("logical", "structural")}
    mean = {limit: (areas["logical"][limit] + areas["structural"][limit]) / 2 for limit in checked}
    return {**areas, "mean": mean}


def _area(
    good: SaturatedOverlap, anomalous: SaturatedOverlap, limits: list[float]
) -> dict[float, float]:
    if anomalous.ranking.images == 0:
        return dict.fromkeys(limits, math.nan)
    return (good + anomalous).compute(limits)
