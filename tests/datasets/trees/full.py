"""Trees with as many files as the published data sets have, all of them empty."""

import json

from tests.datasets.trees.images import touch
from tests.datasets.trees.mvtec_loco import CONFIG
from tests.datasets.trees.visa import write_table

# Training, validation, and test images: good, logical, structural.
MVTEC_LOCO = {
    "breakfast_box": (351, 62, 102, 83, 90),
    "juice_bottle": (335, 54, 94, 142, 94),
    "pushpins": (372, 69, 138, 91, 81),
    "screw_bag": (360, 60, 122, 137, 82),
    "splicing_connectors": (360, 60, 119, 108, 85),
}
# Training images, and test images: good, anomalous.
VISA = {
    "candle": (900, 100, 100),
    "capsules": (542, 60, 100),
    "cashew": (450, 50, 100),
    "chewinggum": (453, 50, 100),
    "fryum": (450, 50, 100),
    "macaroni1": (900, 100, 100),
    "macaroni2": (900, 100, 100),
    "pcb1": (904, 100, 100),
    "pcb2": (901, 100, 100),
    "pcb3": (905, 101, 100),
    "pcb4": (904, 101, 100),
    "pipe_fryum": (450, 50, 100),
}
MVTEC_AD = {
    "bottle": (209, 20, 63),
    "cable": (224, 58, 92),
    "capsule": (219, 23, 109),
    "carpet": (280, 28, 89),
    "grid": (264, 21, 57),
    "hazelnut": (391, 40, 70),
    "leather": (245, 32, 92),
    "metal_nut": (220, 22, 93),
    "pill": (267, 26, 141),
    "screw": (320, 41, 119),
    "tile": (230, 33, 84),
    "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40),
    "wood": (247, 19, 60),
    "zipper": (240, 32, 119),
}
CAD_SD = {
    "train/0_good": 400,
    "test/0_good": 210,
    "test/1_scratch": 41,
    "test/2_paint": 41,
    "test/3_over-coupling": 44,
    "test/4_lacking": 40,
}


def write_full(root, name, categories=None):
    """Write all categories of a data set, or some."""
    if name == "cad_sd":
        for folder, number in CAD_SD.items():
            touch(root / folder, number, ".jpg")
        return
    table, write = {
        "mvtec_loco": (MVTEC_LOCO, _write_mvtec_loco),
        "visa": (VISA, _write_visa),
        "mvtec_ad": (MVTEC_AD, _write_mvtec_ad),
    }[name]
    rows = []
    for category in categories or table:
        rows += write(root, category, *table[category]) or []
    if rows:
        write_table(
            root / "split_csv" / "1cls.csv", ["object", "split", "label", "image", "mask"], rows
        )


def _write_mvtec_loco(root, category, train, val, *tested):
    folder = root / category
    touch(folder / "train" / "good", train)
    touch(folder / "validation" / "good", val)
    names = ("good", "logical_anomalies", "structural_anomalies")
    for name, number in zip(names, tested, strict=True):
        touch(folder / "test" / name, number)
        for place in range(number if name != "good" else 0):
            touch(folder / "ground_truth" / name / f"{place:03d}", 1)
    (folder / "defects_config.json").write_text(json.dumps(CONFIG))


def _write_visa(root, category, train, good, bad):
    images = f"{category}/Data/Images"
    touch(root / images / "Normal", train + good, ".JPG", 4)
    touch(root / images / "Anomaly", bad, ".JPG")
    touch(root / category / "Data" / "Masks" / "Anomaly", bad)
    for place in range(train + good):
        split = "train" if place < train else "test"
        yield [category, split, "normal", f"{images}/Normal/{place:04d}.JPG", ""]
    for place in range(bad):
        mask = f"{category}/Data/Masks/Anomaly/{place:03d}.png"
        yield [category, "test", "anomaly", f"{images}/Anomaly/{place:03d}.JPG", mask]


def _write_mvtec_ad(root, category, train, good, bad):
    folder = root / category
    touch(folder / "train" / "good", train)
    touch(folder / "test" / "good", good)
    touch(folder / "test" / "bent", bad)
    touch(folder / "ground_truth" / "bent", 0)
    for place in range(bad):
        (folder / "ground_truth" / "bent" / f"{place:03d}_mask.png").touch()
