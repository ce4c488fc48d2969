"""All metrics of a detector on one category."""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.grid.detector import Scores

__all__ = ["MAPS", "METRICS", "check_metrics", "measure"]

# Of image scores, and of maps; the latter only where the data set has masks.
METRICS = (
    "image_auroc",
    "image_f1_max",
    "image_average_precision",
    "defect_auroc",
    "pixel_auroc",
    "au_pro",
    "au_spro",
)
# Name of the maps among the scores.
MAPS = "map"

Values = dict[str, dict[str, dict[str, float]]]


def check_metrics(names: Any) -> list[str]:
    """Check a list of metrics.

    Raises:
        ValueError: If one is not known.
    """
    found = names if isinstance(names, list) else [names]
    for name in found:
        if name not in METRICS:
            raise ValueError(f"Expected 'metrics' among {', '.join(METRICS)} (got {name!r})")
    return [str(name) for name in found]


def measure(scores: Scores, dataset: Any, metrics: list[str]) -> Values:
    """Evaluate metrics of every score, and of the maps.

    Args:
        scores: What the detector says of the test images.
        dataset: The test images, with ``kinds``, ``defects`` and, where there are masks, items with
            ``mask``; maps are judged at the images' original size where the data set knows it.
        metrics: Names among ``METRICS``. ``defect_auroc`` is the image AUROC of each defect against
            the good images; ``au_spro`` needs the saturation areas of MVTec LOCO AD.

    Returns:
        ``{score: {metric: {kind: value}}}``, in [0, 1], without values that do not exist; maps under
        the score ``"map"``, AU-sPRO as ``au_spro@0.05`` and so on.
    """
    from pyg_viglad.metrics import image_auroc, image_average_precision, image_f1_max

    of_images = {
        "image_auroc": image_auroc,
        "image_f1_max": image_f1_max,
        "image_average_precision": image_average_precision,
    }
    kinds = list(dataset.kinds)
    values: Values = {}
    for name, score in scores.images.items():
        found = {
            metric: function(score, kinds)
            for metric, function in of_images.items()
            if metric in metrics
        }
        if "defect_auroc" in metrics:
            found["defect_auroc"] = _by_defect(score, kinds, list(dataset.defects))
        values[name] = found
    if scores.maps is not None:
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
    from pyg_viglad.metrics import image_auroc

    values = {}
    for defect in dict.fromkeys(name for name in defects if name):
        chosen = [i for i, d in enumerate(defects) if kinds[i] == "good" or d == defect]
        values[defect] = image_auroc(scores[chosen], [kinds[i] for i in chosen])["pooled"]
    return values


def _of_maps(
    maps: Tensor, dataset: Any, kinds: list[str], metrics: list[str]
) -> dict[str, dict[str, float]]:
    from pyg_viglad.metrics import au_pro, au_spro_by_kind, pixel_auroc

    found: dict[str, dict[str, float]] = {}
    if not _has_masks(dataset) or len(set(kinds)) < 2:
        return found
    for metric, function in (("pixel_auroc", pixel_auroc), ("au_pro", au_pro)):
        if metric in metrics:
            masks = (_mask(dataset, place) for place in range(len(dataset)))
            found[metric] = {"pooled": function(_placed(maps, dataset), masks)}
    if "au_spro" in metrics and hasattr(dataset, "truths"):
        truths = (dataset.truths(place) for place in range(len(dataset)))
        areas = au_spro_by_kind(_placed(maps, dataset), truths, kinds)
        for limit in areas["mean"]:
            found[f"au_spro@{limit:g}"] = {kind: areas[kind][limit] for kind in areas}
    return found


def _has_masks(dataset: Any) -> bool:
    if hasattr(dataset, "has_masks"):
        return bool(dataset.has_masks)
    return len(dataset) > 0 and "mask" in dataset[0]


def _mask(dataset: Any, place: int) -> Tensor:
    if hasattr(dataset, "original_mask"):
        return dataset.original_mask(place)  # type: ignore[no-any-return]
    return dataset[place].mask[0]  # type: ignore[no-any-return]


def _placed(maps: Tensor, dataset: Any) -> Iterator[Tensor]:
    """Give each map at the size of its image's masks."""
    for place, one in enumerate(maps):
        if not hasattr(dataset, "original_size"):
            yield one
            continue
        size = dataset.original_size(place)
        yield F.interpolate(one[None, None], size=size, mode="bilinear", align_corners=False)[
            0, 0
        ].to(torch.float32)
