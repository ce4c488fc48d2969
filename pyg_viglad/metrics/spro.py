"""AU-sPRO of MVTec LOCO AD: the saturated per-region overlap."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pyg_viglad.metrics.pixel import MAX_THRESHOLDS, PixelCurve, check_map, check_mask, paired

__all__ = ["LIMITS", "SaturatedOverlap", "au_spro", "au_spro_by_kind"]

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)


class SaturatedOverlap(PixelCurve):
    r"""Accumulates the area under the saturated per-region overlap curve, image by image.

    For the pixels :math:`P_t` of all maps above a threshold :math:`t`, the :math:`m` defects
    :math:`A_i` of all images with saturation areas :math:`s_i`, and the pixels :math:`G` outside of
    every defect

    .. math::
        \mathrm{sPRO}(t) = \frac{1}{m} \sum_{i=1}^m \min\left(\frac{|A_i \cap P_t|}{s_i}, 1\right),
        \qquad \mathrm{FPR}(t) = \frac{|P_t \cap G|}{|G|}

    and the curve of the one over the other is integrated up to a limit of the false-positive rate
    and divided by it, as defined in `"Beyond Dents and Scratches: Logical Constraints in
    Unsupervised Anomaly Detection and Localization" <https://doi.org/10.1007/s11263-022-01578-9>`_.
    All distinct values are thresholds up to ``max_thresholds``, as in
    :class:`~pyg_viglad.metrics.PixelCurve`; the original evaluation refines a set of thresholds
    until the gaps are at most 0.001.

    Args:
        limits: False-positive rates in (0, 1] up to which to integrate.
        max_thresholds: Number of thresholds up to which the areas are exact.
        **kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> metric = SaturatedOverlap(limits=[0.3])
        >>> defect = np.array([[True, True, True, False], [False, False, False, False]])
        >>> metric.update(np.array([[4.0, 3.0, 0.0, 2.0], [1.0, 0.0, 0.0, 0.0]]), [(defect, 2)])
        >>> metric.update(np.zeros((2, 4)), [])
        >>> metric.compute()  # two pixels of the defect are enough
        {0.3: 1.0}
    """

    def __init__(
        self,
        limits: Sequence[float] = LIMITS,
        max_thresholds: int = MAX_THRESHOLDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(limits, max_thresholds, **kwargs)

    def update(
        self,
        anomaly_map: Tensor | np.ndarray,
        targets: Sequence[tuple[Tensor | np.ndarray, float]],
        number: int | None = None,
    ) -> None:
        """Adds an image.

        Args:
            anomaly_map: ``[H, W]`` at the image's original size, finite, higher for more anomalous.
            targets: Mask ``[H, W]`` and saturation area in pixels of each defect, empty for a good
                image. Masks may overlap. A saturation area larger than the mask counts as the
                mask's area, as in the protocol.
            number: Number of the image in errors (default: of images added so far).

        Raises:
            ValueError: If the map is not finite, a mask has another shape or is empty, or a
                saturation area is not positive; the image is not added then.
        """
        image = f"image {int(self.images) if number is None else number}"
        values = check_map(anomaly_map, image)
        normal = np.ones(values.shape, dtype=bool)
        found, gains = [np.empty(0)], [np.empty(0)]
        for channel, (mask, area) in enumerate(targets):
            name = f"mask {channel} of {image}"
            defect = check_mask(mask, values.shape, name)
            highest, gain = _saturated(values[defect], float(area), name)
            found.append(highest)
            gains.append(gain)
            normal &= ~defect
        self.add_image(values[normal], np.concatenate(found), np.concatenate(gains), len(targets))

    def compute(self) -> dict[float, float]:
        """Computes the area for each limit, divided by the limit, in [0, 1].

        Raises:
            ValueError: If no image has a defect, or no pixel is outside of the defects.
        """
        return dict(zip(self.limits, self.areas().tolist(), strict=True))


def au_spro(
    maps: Iterable[Tensor | np.ndarray],
    targets: Iterable[Sequence[tuple[Tensor | np.ndarray, float]]],
    limits: Sequence[float] = LIMITS,
    *,
    max_thresholds: int = MAX_THRESHOLDS,
) -> dict[float, float]:
    r"""Computes the area under the curve of the saturated per-region overlap (AU-sPRO).

    .. math::
        \frac{1}{L} \int_0^L \mathrm{sPRO} \, d\,\mathrm{FPR}, \qquad
        \mathrm{sPRO} = \frac{1}{m} \sum_{i=1}^m \min\left(\frac{|A_i \cap P|}{s_i}, 1\right)

    as in :class:`SaturatedOverlap`. MVTec LOCO AD reports it for each kind of anomaly:
    :func:`au_spro_by_kind`.

    Args:
        maps: Anomaly map ``[H, W]`` of each image at its original size, finite, higher for more
            anomalous. Any iterable, also a generator; images may differ in size.
        targets: For each image the mask ``[H, W]`` and the saturation area in pixels of each
            defect, empty for a good image.
        limits: False-positive rates in (0, 1] up to which to integrate.
        max_thresholds: Number of thresholds up to which the areas are exact.

    Returns:
        The area for each limit, divided by the limit, in [0, 1]. A constant map reaches half the
        limit.

    Raises:
        ValueError: If the lengths differ, a map is not finite, a mask has another shape than its
            map or is empty, a saturation area is not positive, a limit is out of range, no image
            has a defect, or no pixel is outside of the defects.

    Example:
        >>> defect = np.array([[True, True], [False, False]])
        >>> au_spro([np.array([[3.0, 1.0], [2.0, 0.0]])], [[(defect, 2)]], limits=[0.5, 1.0])
        {0.5: 0.5, 1.0: 0.75}
    """
    metric = SaturatedOverlap(limits, max_thresholds)
    for anomaly_map, target in paired(maps, targets, ("maps", "targets")):
        metric.update(anomaly_map, target)
    return metric.compute()


def au_spro_by_kind(
    maps: Iterable[Tensor | np.ndarray],
    targets: Iterable[Sequence[tuple[Tensor | np.ndarray, float]]],
    kinds: Sequence[str],
    limits: Sequence[float] = LIMITS,
    *,
    max_thresholds: int = MAX_THRESHOLDS,
) -> dict[str, dict[float, float]]:
    """Computes AU-sPRO of the good images with each kind of anomalous ones, and its mean.

    Each kind has a curve of its own: false positives in images of the other kind do not count.

    Args:
        maps: Anomaly map ``[H, W]`` of each image, as in :func:`au_spro`.
        targets: For each image the mask and the saturation area of each defect, empty for a good
            image.
        kinds: Kind of each image: ``"good"``, ``"logical"`` or ``"structural"``.
        limits: False-positive rates in (0, 1] up to which to integrate.
        max_thresholds: Number of thresholds up to which the areas are exact.

    Returns:
        ``"logical"``, ``"structural"`` and ``"mean"``: the area for each limit, in [0, 1]. NaN for
        a kind that does not occur, and for the mean then.

    Raises:
        ValueError: As in :func:`au_spro`; if a kind is unknown, a good image has a defect, or an
            anomalous one has none.

    Example:
        >>> defect = np.array([[True, False]])
        >>> maps = [np.array([[0.0, 1.0]]), np.array([[2.0, 0.0]]), np.array([[0.0, 0.0]])]
        >>> targets = [[], [(defect, 1)], [(defect, 1)]]
        >>> areas = au_spro_by_kind(maps, targets, ["good", "logical", "structural"], limits=[1.0])
        >>> {kind: round(area[1.0], 4) for kind, area in areas.items()}
        {'logical': 1.0, 'structural': 0.3333, 'mean': 0.6667}
    """
    parts = {
        kind: SaturatedOverlap(limits, max_thresholds) for kind in ("good", "logical", "structural")
    }
    images = paired(maps, targets, ("maps", "targets"))
    for number, ((anomaly_map, target), kind) in enumerate(
        paired(images, kinds, ("maps", "kinds"))
    ):
        if kind not in parts:
            raise ValueError(f"Expected kinds 'good', 'logical', 'structural' (got {kind!r})")
        if (kind == "good") != (len(target) == 0):
            raise ValueError(
                f"Expected {'no defect' if kind == 'good' else 'a defect'} in the {kind} "
                f"image {number} (got {len(target)})"
            )
        parts[kind].update(anomaly_map, target, number)
    areas = {}
    for kind in ("logical", "structural"):
        part = parts[kind]
        areas[kind] = dict.fromkeys(part.limits, math.nan)
        if int(part.images):
            part.merge_state(parts["good"])
            areas[kind] = part.compute()
    areas["mean"] = {
        limit: (area + areas["structural"][limit]) / 2 for limit, area in areas["logical"].items()
    }
    return areas


def _saturated(values: np.ndarray, area: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the highest values of a defect, as many as saturate it, and what each adds."""
    if not len(values):
        raise ValueError(f"Expected {name} to hold a defect (got no pixel)")
    if not area > 0:
        raise ValueError(f"Expected a positive saturation area of {name} (got {area})")
    area = min(area, len(values))
    count = math.ceil(area)
    highest = np.partition(values, len(values) - count)[len(values) - count :]  # the lowest first
    gains = np.full(count, 1 / area)
    gains[0] = 1 - (count - 1) / area
    return highest, gains
