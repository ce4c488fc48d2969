"""MVTec AD: one folder a defect."""

from tests.datasets.trees.images import mask, write_images, write_mask


def write_mvtec_ad(root, category="bottle"):
    """Write 10 training and 2 + 1 + 2 test images."""
    folder = root / category
    write_images(folder / "train" / "good", 10)
    for name, number in (("broken_large", 2), ("contamination", 1), ("good", 2)):
        paths = write_images(folder / "test" / name, number)
        for path in paths if name != "good" else ():
            pixels = mask(255, 0, 10, 0, 17)
            write_mask(folder / "ground_truth" / name / f"{path.stem}_mask.png", pixels)
    return folder
