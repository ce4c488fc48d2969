"""Metrics of anomaly maps: pixel AUROC, AUPRO, and the streaming curve that both integrate."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

__all__ = [
    "MAX_THRESHOLDS",
    "PerRegionOverlap",
    "PixelAUROC",
    "PixelCurve",
    "au_pro",
    "check_map",
    "check_mask",
    "paired",
    "pixel_auroc",
]

MAX_THRESHOLDS = 1 << 20

S = TypeVar("S")
T = TypeVar("T")
_END = object()


class PixelCurve(Metric):
    r"""Accumulates the curve of the overlap with all defects over the false-positive rate of pixels.

    Base class of :class:`PixelAUROC`, :class:`PerRegionOverlap` and
    :class:`~pyg_viglad.metrics.SaturatedOverlap`, which define what a detected pixel adds to
    the overlap. Every distinct value of the maps is a threshold, the points of the curve are joined by
    straight lines, and the area below is taken up to each limit of the false-positive rate and
    divided by it.

    The states are the distinct values, and at each the number of normal pixels and the overlap gained.
    Once there are more than ``max_thresholds``, low bits of the values are cleared until few enough are
    left: memory is bounded (below 300 MB with the default) for any number of images. Until then the curve
    is exact; afterwards it is exact at the thresholds that are left, and :meth:`bounds` limits the error in
    between (with the default it is usually below :math:`10^{-5}`, and the real error about :math:`10^{-8}`).
    :meth:`merge_state` and distributed processes join the images of several metrics.

    Args:
        limits: False-positive rates in (0, 1] up to which to integrate.
        max_thresholds: Number of thresholds up to which the curve is exact, at least 1.
        **kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    values: list[Tensor]
    normal: list[Tensor]
    overlap: list[Tensor]
    dropped_bits: Tensor
    images: Tensor
    regions: Tensor

    def __init__(
        self, limits: Sequence[float], max_thresholds: int = MAX_THRESHOLDS, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.limits = [float(limit) for limit in limits]
        if not self.limits or not all(0 < limit <= 1 for limit in self.limits):
            raise ValueError(
                f"Expected limits of the false-positive rate in (0, 1] (got {self.limits})"
            )
        if max_thresholds < 1:
            raise ValueError(f"Expected 'max_thresholds' of at least 1 (got {max_thresholds})")
        self.max_thresholds = max_thresholds
        self.set_dtype(torch.float64)  # of the states of a process that saw no image, too
        for name in ("values", "normal", "overlap"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self.add_state("dropped_bits", torch.tensor(0), dist_reduce_fx="max")
        for name in ("images", "regions"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    @property
    def exact(self) -> bool:
        """Whether every distinct value is still a threshold."""
        return int(self.dropped_bits) == 0

    def areas(self) -> Tensor:
        """Computes the area up to each limit, divided by it: ``[len(limits)]``, in [0, 1]."""
        return self._integrate()[0]

    def bounds(self) -> Tensor:
        """Computes an upper bound on the error of each of :meth:`areas`: 0 while exact."""
        return self._integrate()[1]

    def add_image(
        self, normal: np.ndarray, defective: np.ndarray, gains: np.ndarray, regions: int
    ) -> None:
        """Adds an image.

        Args:
            normal: Values of the normal pixels, ``[n]``.
            defective: Values of the pixels of defects, ``[d]``.
            gains: What each of these adds to the overlap, ``[d]``; 1 for a whole region.
            regions: Number of regions, of which the overlap is the mean.
        """
        thresholds, counts = np.unique(
            _truncate(normal, int(self.dropped_bits)), return_counts=True
        )
        self._append(
            np.concatenate([thresholds, defective], dtype=np.float64),
            np.concatenate([counts, np.zeros(len(defective))]),
            np.concatenate([np.zeros(len(counts)), gains]),
        )
        self.images += 1
        self.regions += regions
        if sum(map(len, self.values)) > 2 * self.max_thresholds:
            points = self._points(self.max_thresholds)
            self.values, self.normal, self.overlap = [], [], []
            self._append(*points)

    def _append(self, *points: np.ndarray) -> None:
        for state, new in zip((self.values, self.normal, self.overlap), points, strict=True):
            state.append(torch.from_numpy(new).to(self.device))

    def _points(self, at_most: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the thresholds in ascending order, and normal pixels and overlap at each."""
        values, normal, overlap = (
            dim_zero_cat(state).cpu().numpy() for state in (self.values, self.normal, self.overlap)
        )
        values = _truncate(values, int(self.dropped_bits))
        order = np.argsort(values)
        values = values[order]
        if at_most is not None and len(values) > at_most:
            bits = values.view(np.uint64)
            # Neighbours stay apart if a bit differs that is kept; so many may, and no more.
            highest = int(np.partition(bits[1:] ^ bits[:-1], -at_most)[-at_most]).bit_length()
            self.dropped_bits.clamp_(min=min(highest, 63))
            values = _truncate(values, int(self.dropped_bits))
        first = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
        normal, overlap = (np.add.reduceat(counts[order], first) for counts in (normal, overlap))
        return values[first], normal, overlap

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Updates the curve; a single batch need not have both defects and normal pixels."""
        self.update(*args, **kwargs)

    def _integrate(self) -> tuple[Tensor, Tensor]:
        if int(self.regions) == 0:
            raise ValueError(
                f"Expected at least one defect (got none in {int(self.images)} images)"
            )
        _, normal, overlap = self._points()
        if not normal.any():
            raise ValueError("Expected pixels outside of the defects (got none)")
        x, y = (np.cumsum(np.append(0, points[::-1])) for points in (normal, overlap))
        x, y = x / x[-1], y / y[-1]
        width, rise = np.diff(x), np.diff(y)
        areas, bounds = [], []
        for limit in self.limits:
            used = np.diff(x.clip(max=limit))
            part = np.divide(used, width, out=np.zeros_like(used), where=width > 0)
            below_line = rise * part / 2
            areas.append(min(float(used @ (y[:-1] + below_line)) / limit, 1.0))
            # Any rising curve stays in the rectangles between neighbouring points.
            bounds.append(0.0 if self.exact else float(used @ (rise - below_line)) / limit)
        return torch.tensor(areas, dtype=torch.float64), torch.tensor(bounds, dtype=torch.float64)


class PixelAUROC(PixelCurve):
    """Accumulates the area under the ROC curve of pixels, :func:`pixel_auroc`, image by image.

    Args:
        max_thresholds: Number of thresholds up to which the area is exact, as in
            :class:`PixelCurve`.
        **kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> metric = PixelAUROC()
        >>> metric.update(torch.tensor([[3.0, 1.0], [2.0, 1.0]]), torch.tensor([[1, 1], [0, 0]]))
        >>> metric.compute().item()
        0.625
    """

    def __init__(self, max_thresholds: int = MAX_THRESHOLDS, **kwargs: Any) -> None:
        super().__init__([1.0], max_thresholds, **kwargs)

    def update(self, anomaly_map: Tensor | np.ndarray, mask: Tensor | np.ndarray) -> None:
        """Adds an image.

        Args:
            anomaly_map: ``[H, W]``, finite, higher for more anomalous.
            mask: Ground truth ``[H, W]``, non-zero in defects.

        Raises:
            ValueError: If the map is not finite or the mask has another shape.
        """
        values, defect = _check(anomaly_map, mask, int(self.images))
        pixels = int(defect.sum())
        self.add_image(values[~defect], values[defect], np.ones(pixels), pixels)

    def compute(self) -> Tensor:
        """Computes the area, a scalar in [0, 1]."""
        return self.areas()[0]


class PerRegionOverlap(PixelCurve):
    """Accumulates the area under the per-region overlap curve, :func:`au_pro`, image by image.

    Args:
        limit: False-positive rate in (0, 1] up to which to integrate.
        max_thresholds: Number of thresholds up to which the area is exact, as in
            :class:`PixelCurve`.
        **kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> metric = PerRegionOverlap()
        >>> metric.update(torch.eye(3), torch.eye(3).bool())
        >>> metric.compute().item()
        1.0
    """

    def __init__(
        self, limit: float = 0.3, max_thresholds: int = MAX_THRESHOLDS, **kwargs: Any
    ) -> None:
        super().__init__([limit], max_thresholds, **kwargs)

    def update(self, anomaly_map: Tensor | np.ndarray, mask: Tensor | np.ndarray) -> None:
        """Adds an image: arguments as in :meth:`PixelAUROC.update`."""
        from scipy import ndimage

        values, defect = _check(anomaly_map, mask, int(self.images))
        labels, count = ndimage.label(defect, structure=np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())
        self.add_image(values[~defect], values[defect], 1 / sizes[labels[defect]], count)

    def compute(self) -> Tensor:
        """Computes the area divided by the limit, a scalar in [0, 1]."""
        return self.areas()[0]


def pixel_auroc(
    maps: Iterable[Tensor | np.ndarray],
    masks: Iterable[Tensor | np.ndarray],
    *,
    max_thresholds: int = MAX_THRESHOLDS,
) -> float:
    r"""Computes the area under the ROC curve of all pixels of all images.

    .. math::
        \mathrm{AUROC} = \frac{1}{|G||A|} \sum_{g \in G} \sum_{a \in A}
            [v_a > v_g] + \tfrac{1}{2} [v_a = v_g]

    over pixels :math:`A` of defects and all other pixels :math:`G`: scikit-learn's
    ``roc_auc_score`` on all pixels, in bounded memory.

    Args:
        maps: Anomaly map ``[H, W]`` of each image, finite, higher for more anomalous. Any iterable,
            also a generator; images may differ in size.
        masks: Ground truth ``[H, W]`` of each image, non-zero in defects.
        max_thresholds: Number of thresholds up to which the area is exact, as in
            :class:`PixelCurve`.

    Returns:
        The area, in [0, 1].

    Raises:
        ValueError: If the lengths differ, a map is not finite, a mask has another shape than its
            map, no mask has a defect, or no pixel is outside of them.

    Example:
        >>> pixel_auroc([np.array([[3.0, 1.0], [2.0, 1.0]])], [np.array([[1, 1], [0, 0]])])
        0.625
    """
    metric = PixelAUROC(max_thresholds)
    for anomaly_map, mask in paired(maps, masks, ("maps", "masks")):
        metric.update(anomaly_map, mask)
    return metric.compute().item()


def au_pro(
    maps: Iterable[Tensor | np.ndarray],
    masks: Iterable[Tensor | np.ndarray],
    limit: float = 0.3,
    *,
    max_thresholds: int = MAX_THRESHOLDS,
) -> float:
    r"""Computes the area under the curve of the per-region overlap (AUPRO) of MVTec AD.

    .. math::
        \frac{1}{L} \int_0^L \mathrm{PRO} \, d\,\mathrm{FPR}, \qquad
        \mathrm{PRO} = \frac{1}{m} \sum_{i=1}^m \frac{|A_i \cap P|}{|A_i|}

    over the :math:`m` regions of all masks, so that a small defect weighs as much as a large one.
    A region is an 8-connected component of a mask, as in the evaluation of MVTec AD.

    Args:
        maps: Anomaly map ``[H, W]`` of each image, finite, higher for more anomalous. Any iterable,
            also a generator; images may differ in size.
        masks: Ground truth ``[H, W]`` of each image, non-zero in defects.
        limit: False-positive rate in (0, 1] up to which to integrate.
        max_thresholds: Number of thresholds up to which the area is exact, as in
            :class:`PixelCurve`.

    Returns:
        The area divided by the limit, in [0, 1].

    Raises:
        ValueError: As in :func:`pixel_auroc`, and if the limit is out of range.

    Example:
        >>> mask = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])  # one region
        >>> au_pro([np.array([[5.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]])], [mask])
        1.0
    """
    metric = PerRegionOverlap(limit, max_thresholds)
    for anomaly_map, mask in paired(maps, masks, ("maps", "masks")):
        metric.update(anomaly_map, mask)
    return metric.compute().item()


def paired(
    first: Iterable[S], second: Iterable[T], names: tuple[str, str]
) -> Iterator[tuple[S, T]]:
    """Iterates over both, which may be generators, and checks that they end together."""
    for number, (one, other) in enumerate(zip_longest(first, second, fillvalue=_END)):
        if one is _END or other is _END:
            ended = names[0] if one is _END else names[1]
            raise ValueError(
                f"Expected as many {names[0]} as {names[1]} (got only {number} {ended})"
            )
        yield one, other  # type: ignore[misc]


def check_map(anomaly_map: Tensor | np.ndarray, image: str) -> np.ndarray:
    """Returns a map as an array, once it is ``[H, W]``, of real numbers and finite."""
    values = _as_array(anomaly_map)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"Expected a map [H, W] of {image} (got {list(values.shape)})")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"Expected a map of real numbers of {image} (got {values.dtype})")
    invalid = int((~np.isfinite(values)).sum())
    if invalid:
        raise ValueError(
            f"Expected finite values in the map of {image} (got {invalid} of {values.size} not)"
        )
    return values


def check_mask(mask: Tensor | np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Returns a bool mask of the map's shape; non-zero integers are part of the defect."""
    values = _as_array(mask)
    if values.shape != shape:
        raise ValueError(
            f"Expected {name} to be as large as its map {list(shape)} (got {list(values.shape)})"
        )
    if values.dtype.kind == "f" and not np.isin(values, (0, 1)).all():
        raise ValueError(f"Expected {name} to hold bools, whole numbers or 0.0 and 1.0")
    return values.astype(bool)


def _check(
    anomaly_map: Tensor | np.ndarray, mask: Tensor | np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    values = check_map(anomaly_map, f"image {number}")
    return values, check_mask(mask, values.shape, f"the mask of image {number}")


def _as_array(values: Tensor | np.ndarray) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def _truncate(values: np.ndarray, bits: int) -> np.ndarray:
    """Clears low bits of the mantissa of float64, which keeps the order."""
    if bits == 0:
        return values
    return (values.astype(np.float64).view(np.int64) & -(1 << bits)).view(np.float64)
