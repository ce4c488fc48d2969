"""MVTec LOCO AD: one mask a defect, whose value is explained by defects_config.json."""

import json

from tests.datasets.trees.images import mask, write_images, write_mask

CONFIG = [
    {
        "defect_name": "missing_pushpin",
        "pixel_value": 251,
        "saturation_threshold": 40,
        "relative_saturation": False,
    },
    {
        "defect_name": "additional_pushpin",
        "pixel_value": 3,
        "saturation_threshold": 100000,
        "relative_saturation": False,
    },
    {
        "defect_name": "extra_cable",
        "pixel_value": 7,
        "saturation_threshold": 0.5,
        "relative_saturation": True,
    },
    {
        "defect_name": "color",
        "pixel_value": 129,
        "saturation_threshold": 1.0,
        "relative_saturation": True,
    },
]

# The masks of each anomalous image, with a defect and a saturation area for each.
MASKS = {
    "logical_anomalies/000": [
        (mask(251, 0, 10, 0, 17), "missing_pushpin", 40),
        (mask(3, 10, 20, 0, 5), "additional_pushpin", 50),
    ],
    "logical_anomalies/001": [(mask(7, 3, 6, 4, 15), "extra_cable", 16)],
    "logical_anomalies/002": [
        (mask(251, 0, 2, 0, 2), "missing_pushpin", 4),
        (mask(251, 5, 15, 5, 15), "missing_pushpin", 40),
        (mask(129, 19, 20, 33, 34), "color", 1),
    ],
    "structural_anomalies/000": [(mask(129, 4, 7, 0, 34), "color", 102)],
    "structural_anomalies/001": [(mask(129), "color", 680)],
}


def write_mvtec_loco(root, category="pushpins"):
    """Write 6 training, 2 validation and 3 + 3 + 2 test images."""
    folder = root / category
    write_images(folder / "train" / "good", 6)
    write_images(folder / "validation" / "good", 2)
    for name, number in (("good", 3), ("logical_anomalies", 3), ("structural_anomalies", 2)):
        write_images(folder / "test" / name, number)
    for name, channels in MASKS.items():
        for place, (pixels, _, _) in enumerate(channels):
            write_mask(folder / "ground_truth" / name / f"{place:03d}.png", pixels)
    (folder / "defects_config.json").write_text(json.dumps(CONFIG))
    return folder
