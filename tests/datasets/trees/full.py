"""Trees with as many files as the published data sets have, all of them empty."""

import json

from pyg_viglad.datasets.published_counts import EXPECTED
from tests.datasets.trees.images import touch
from tests.datasets.trees.mvtec_loco import CONFIG
from tests.datasets.trees.visa import write_table

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
    write = {"mvtec_loco": _write_mvtec_loco, "visa": _write_visa, "mvtec_ad": _write_mvtec_ad}[
        name
    ]
    rows = []
    for category in categories or EXPECTED[name]:
        rows += write(root, category, EXPECTED[name][category].counts) or []
    if rows:
        table = root / "split_csv" / "1cls.csv"
        write_table(table, ["object", "split", "label", "image", "mask"], rows)


def _write_mvtec_loco(root, category, counts):
    folder = root / category
    touch(folder / "train" / "good", counts.train)
    touch(folder / "validation" / "good", counts.val)
    names = ("good", "logical_anomalies", "structural_anomalies")
    for name, number in zip(names, counts[2:], strict=True):
        touch(folder / "test" / name, number)
        for place in range(number if name != "good" else 0):
            touch(folder / "ground_truth" / name / f"{place:03d}", 1)
    (folder / "defects_config.json").write_text(json.dumps(CONFIG))


def _write_visa(root, category, counts):
    images = f"{category}/Data/Images"
    train, bad = counts.train + counts.val, counts.structural
    touch(root / images / "Normal", train + counts.good, ".JPG", 4)
    touch(root / images / "Anomaly", bad, ".JPG")
    touch(root / category / "Data" / "Masks" / "Anomaly", bad)
    for place in range(train + counts.good):
        split = "train" if place < train else "test"
        yield [category, split, "normal", f"{images}/Normal/{place:04d}.JPG", ""]
    for place in range(bad):
        mask = f"{category}/Data/Masks/Anomaly/{place:03d}.png"
        yield [category, "test", "anomaly", f"{images}/Anomaly/{place:03d}.JPG", mask]


def _write_mvtec_ad(root, category, counts):
    folder = root / category
    touch(folder / "train" / "good", counts.train + counts.val)
    touch(folder / "test" / "good", counts.good)
    touch(folder / "test" / "bent", counts.structural)
    masks = folder / "ground_truth" / "bent"
    masks.mkdir(parents=True)
    for place in range(counts.structural):
        (masks / f"{place:03d}_mask.png").touch()
