"""All metrics of a detector on one category."""

import math
from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from benchmarks.grid.detector import Scores
from pyg_viglad.metrics import (
    au_pro,
    au_spro_by_kind,
    image_auroc,
    image_average_precision,
    image_f1_max,
    pixel_auroc,
)

__all__ = ["MAPS", "METRICS", "measure"]

_OF_IMAGES = {
    "image_auroc": image_auroc,
    "image_f1_max": image_f1_max,
    "image_average_precision": image_average_precision,
}
_OF_PIXELS = {"pixel_auroc": pixel_auroc, "au_pro": au_pro}
METRICS = (*_OF_IMAGES, "defect_auroc", *_OF_PIXELS, "au_spro")
# Name of the maps among the scores.
MAPS = "map"


def measure(
    scores: Scores, dataset: Any, metrics: list[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Computes metrics of every score, and of the maps.

    Args:
        scores: Output of the detector for the test images.
        dataset: The test images, with ``kinds``, ``defects`` and, where there are masks, items with
            ``mask``; maps are compared at the images' original size where the data set knows it.
        metrics: Names among ``METRICS``. ``defect_auroc`` is the image AUROC of each defect against
            the good images; ``au_spro`` needs the saturation areas of MVTec LOCO AD.

    Returns:
        ``{score: {metric: {kind: value}}}``, in [0, 1], without values that do not exist; maps under
        the score ``"map"``, AU-sPRO as ``au_spro@0.05`` and so on.
    """
    kinds = list(dataset.kinds)
    values = {}
    for name, score in scores.images.items():
        values[name] = {m: of(score, kinds) for m, of in _OF_IMAGES.items() if m in metrics}
        if "defect_auroc" in metrics:
            values[name]["defect_auroc"] = _by_defect(score, kinds, list(dataset.defects))
    if scores.maps is not None and len(set(kinds)) > 1 and _has_masks(dataset):
        values[MAPS] = _of_maps(scores.maps, dataset, kinds, metrics)
    return {
        name: {
            metric: {kind: value for kind, value in row.items() if not math.isnan(value)}
            for metric, row in found.items()
        }
        for name, found in values.items()
        if found
    }


def _by_defect(scores: Tensor, kinds: list[str], defects: list[str]) -> dict[str, float]:
    values = {}
    for defect in dict.fromkeys(name for name in defects if name):
        chosen = [i for i, d in enumerate(defects) if kinds[i] == "good" or d == defect]
        values[defect] = image_auroc(scores[chosen], [kinds[i] for i in chosen])["pooled"]
    return values


def _of_maps(
    maps: Tensor, dataset: Any, kinds: list[str], metrics: list[str]
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for metric, function in _OF_PIXELS.items():
        if metric in metrics:
            masks = (_mask(dataset, place) for place in range(len(dataset)))
            found[metric] = {"pooled": function(_placed(maps, dataset), masks)}
    if "au_spro" in metrics and hasattr(dataset, "truths"):
        targets = (dataset.truths(place) for place in range(len(dataset)))
        areas = au_spro_by_kind(_placed(maps, dataset), targets, kinds)
        for limit in areas["mean"]:
            found[f"au_spro@{limit:g}"] = {kind: areas[kind][limit] for kind in areas}
    return found


def _has_masks(dataset: Any) -> bool:
    return bool(dataset.has_masks) if hasattr(dataset, "has_masks") else "mask" in dataset[0]


def _mask(dataset: Any, place: int) -> Tensor:
    if hasattr(dataset, "original_mask"):
        return dataset.original_mask(place)
    return dataset[place].mask[0]


def _placed(maps: Tensor, dataset: Any) -> Iterator[Tensor]:
    """Yields each map at the size of its image's masks."""
    for place, one in enumerate(maps.float()):
        if hasattr(dataset, "original_size"):
            size = dataset.original_size(place)
            resized = F.interpolate(one[None, None], size, mode="bilinear", align_corners=False)
            one = resized[0, 0]
        yield one
