"""A few test images and their maps, for Figure 3."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.grid.detector import Scores

__all__ = ["read_examples", "write_examples"]

_MOST = 5


def write_examples(path: Path, scores: Scores, validation: Tensor | None, dataset: Any) -> None:
    """Keep one image of each defect, or of each kind where there are many defects.

    Which ones does not depend on the scores, so that all detectors show the same images. Maps are
    calibrated as ViGLAD's are, by the quantiles of the validation maps: only so can maps of different
    detectors stand on one scale.
    """
    from pyg_viglad.scoring import MapCalibration

    if scores.maps is None or validation is None:
        return
    places = _choose(dataset)
    calibration = MapCalibration()
    calibration.fit(validation)
    items = [dataset[place] for place in places]
    images = torch.cat([item.img for item in items])
    content = {
        "images": (images * 255).round().to(torch.uint8).numpy(),
        "maps": calibration(scores.maps[places]).to(torch.float32).numpy(),
        "titles": np.array([str(item.defect or item.kind) for item in items]),
    }
    if "mask" in items[0]:
        content["masks"] = torch.cat([item.mask for item in items]).numpy()
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        np.savez_compressed(file, **content)
    partial.replace(path)


def read_examples(path: Path) -> dict[str, Any]:
    """Read what :func:`write_examples` wrote, images in [0, 1]."""
    with np.load(path) as file:
        found: dict[str, Any] = {name: file[name] for name in file.files}
    found["images"] = torch.from_numpy(found["images"]).float() / 255
    found["maps"] = torch.from_numpy(found["maps"])
    found["titles"] = found["titles"].tolist()
    if "masks" in found:
        found["masks"] = torch.from_numpy(found["masks"])
    return found


def _choose(dataset: Any) -> list[int]:
    """The middle image of each defect or kind."""
    labels = list(dataset.kinds)
    if not hasattr(dataset, "truths"):  # whose defects are only known from its masks
        defects = list(dataset.defects)
        labels = defects if len(set(defects)) <= _MOST else labels
    chosen = []
    for label in dict.fromkeys(labels):
        places = [place for place, other in enumerate(labels) if other == label]
        chosen.append(places[len(places) // 2])
    return chosen
