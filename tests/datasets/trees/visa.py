"""VisA in both layouts: the published one with its tables, and the prepared one."""

import csv
import shutil

import numpy as np
from PIL import Image

from tests.datasets.trees.images import mask, write_images, write_mask

TRAIN, GOOD = 20, 3
LABELS = ["chunk of wax missing", "melt,foreign particles"]


def write_visa(root, categories=("candle", "pcb4")):
    """Write 20 + 3 good and 2 anomalous images an object, their masks with small values."""
    rows = []
    for category in categories:
        images = root / category / "Data" / "Images"
        good = write_images(images / "Normal", TRAIN + GOOD, ".JPG", digits=4)
        bad = write_images(images / "Anomaly", len(LABELS), ".JPG")
        notes = []
        for place, path in enumerate(good):
            # The test images are spread among the others, as they are in the published table.
            split = "test" if place % 8 == 1 else "train"
            name = path.relative_to(root).as_posix()
            rows.append([category, split, "normal", name, ""])
            notes.append([name, "normal", ""])
        for path, label in zip(bad, LABELS, strict=True):
            target = root / category / "Data" / "Masks" / "Anomaly" / f"{path.stem}.png"
            write_mask(target, mask(1 + int(path.stem), 0, 10, 0, 17))
            name, mask_name = (p.relative_to(root).as_posix() for p in (path, target))
            rows.append([category, "test", "anomaly", name, mask_name])
            notes.append([name, label, mask_name])
        write_table(root / category / "image_anno.csv", ["image", "label", "mask"], notes)
    rows.reverse()
    write_table(
        root / "split_csv" / "1cls.csv", ["object", "split", "label", "image", "mask"], rows
    )
    return root


def write_table(path, columns, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def prepare(raw, target):
    """Copy the raw layout into the prepared one, with masks of 0 and 255."""
    for row in csv.DictReader((raw / "split_csv" / "1cls.csv").open()):
        label = "good" if row["label"] == "normal" else "bad"
        source = raw / row["image"]
        folder = target / "1cls" / row["object"]
        copy = folder / row["split"] / label / source.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
        if label == "bad":
            pixels = np.asarray(Image.open(raw / row["mask"]))
            path = folder / "ground_truth" / "bad" / f"{source.stem}.png"
            write_mask(path, np.where(pixels > 0, 255, 0).astype(np.uint8))
    return target
