"""A few test images and their anomaly maps, for Figure 3."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyg_viglad.files import atomic_path
from pyg_viglad.scoring import MapCalibration

__all__ = ["read_examples", "write_examples"]

_MOST_DEFECTS = 5


def write_examples(path: Path, maps: Tensor, validation: Tensor, dataset: Any) -> None:
    """Writes one image of each defect, or of each kind where there are many defects.

    Which ones does not depend on the scores, so that all detectors show the same images. Maps are
    calibrated as ViGLAD's are, by the quantiles of the validation maps ``[B, H, W]``, so that maps of
    different detectors have one scale.
    """
    labels = list(dataset.kinds)
    if not hasattr(dataset, "truths"):  # whose defects are only known from its masks
        defects = list(dataset.defects)
        labels = defects if len(set(defects)) <= _MOST_DEFECTS else labels
    places = []
    for label in dict.fromkeys(labels):
        same = [place for place, other in enumerate(labels) if other == label]
        places.append(same[len(same) // 2])
    calibration = MapCalibration()
    calibration.fit(validation)
    items = [dataset[place] for place in places]
    content = {
        "images": (torch.cat([item.img for item in items]) * 255).round().to(torch.uint8).numpy(),
        "maps": calibration(maps[places]).float().numpy(),
        "titles": np.array([str(item.defect or item.kind) for item in items]),
    }
    if "mask" in items[0]:
        content["masks"] = torch.cat([item.mask for item in items]).numpy()
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **content)


def read_examples(path: Path) -> dict[str, Any]:
    """Reads what :func:`write_examples` wrote, images in [0, 1]."""
    with np.load(path) as file:
        found: dict[str, Any] = {name: torch.from_numpy(file[name]) for name in ("images", "maps")}
        found["images"] = found["images"].float() / 255
        found["titles"] = file["titles"].tolist()
        found["masks"] = torch.from_numpy(file["masks"]) if "masks" in file.files else None
    return found
