"""CAD-SD: numbered folders, no masks, no validation images."""

from tests.datasets.trees.images import write_images

NUMBERS = {
    "test/0_good": 3,
    "test/1_scratch": 1,
    "test/2_paint": 2,
    "test/3_over-coupling": 2,
    "test/4_lacking": 1,
}


def write_cad_sd(root):
    """Write 10 training and 9 test images."""
    for name, number in {"train/0_good": 10, **NUMBERS}.items():
        write_images(root / name, number, ".jpg")
    return root
