"""How many images the published data sets have."""

from typing import NamedTuple

__all__ = ["EXPECTED", "Counts", "Expected"]


class Counts(NamedTuple):
    """Numbers of images: training, validation, and test ones by kind."""

    train: int
    val: int
    good: int
    logical: int
    structural: int


class Expected(NamedTuple):
    """The files of a category, what is known of them, and other numbers that are published."""

    counts: Counts
    known: str = ""
    published: Counts | None = None


def _one_class(train: int, good: int, structural: int, known: str = "") -> Expected:
    """Give the counts of a category without validation images: 10% of the training images."""
    held = round(train / 10)
    return Expected(Counts(train - held, held, good, 0, structural), known)


# Bergmann et al., IJCV 2022, and Table 1 of ViGLAD.
_MVTEC_LOCO = {
    "breakfast_box": Expected(Counts(351, 62, 102, 83, 90)),
    "juice_bottle": Expected(Counts(335, 54, 94, 142, 94)),
    "pushpins": Expected(Counts(372, 69, 138, 91, 81)),
    "screw_bag": Expected(Counts(360, 60, 122, 137, 82)),
    "splicing_connectors": Expected(
        Counts(360, 60, 119, 108, 85),
        "published with 354 and 59 images for training and validation; the files, and Table 1 of "
        "ViGLAD, have 360 and 60",
        Counts(354, 59, 119, 108, 85),
    ),
}

# Zou et al., ECCV 2022, the one-class split; Table 1 of ViGLAD has 10% of it for validation.
_VISA = {
    "candle": _one_class(900, 100, 100),
    "capsules": _one_class(542, 60, 100),
    "cashew": _one_class(450, 50, 100),
    "chewinggum": _one_class(453, 50, 100),
    "fryum": _one_class(450, 50, 100),
    "macaroni1": _one_class(900, 100, 100),
    "macaroni2": _one_class(900, 100, 100),
    "pcb1": _one_class(904, 100, 100),
    "pcb2": _one_class(901, 100, 100),
    "pcb3": _one_class(
        905,
        101,
        100,
        "Table 1 of ViGLAD has 816, 90 and 100 good images; the one-class split has 905 for "
        "training and 101 for testing",
    ),
    "pcb4": _one_class(904, 101, 100, "missing from Tables 1 and 3 of ViGLAD"),
    "pipe_fryum": _one_class(450, 50, 100),
}

# The published archive; validation images are held out of the 400 training ones.
_CAD_SD = {
    "screw": Expected(
        Counts(328, 72, 210, 84, 82),
        "Table 1 of ViGLAD has 400, 72, 139 and 85: its validation images come from the test "
        "images, and two sums are off by one (72 + 139 of 210 good, 85 of 84 logical); here 72 of "
        "the 400 training images are held out",
    ),
}

# Bergmann et al., IJCV 2021; not in ViGLAD's tables.
_MVTEC_AD = {
    "bottle": _one_class(209, 20, 63),
    "cable": _one_class(224, 58, 92),
    "capsule": _one_class(219, 23, 109),
    "carpet": _one_class(280, 28, 89),
    "grid": _one_class(264, 21, 57),
    "hazelnut": _one_class(391, 40, 70),
    "leather": _one_class(245, 32, 92),
    "metal_nut": _one_class(220, 22, 93),
    "pill": _one_class(267, 26, 141),
    "screw": _one_class(320, 41, 119),
    "tile": _one_class(230, 33, 84),
    "toothbrush": _one_class(60, 12, 30),
    "transistor": _one_class(213, 60, 40),
    "wood": _one_class(247, 19, 60),
    "zipper": _one_class(240, 32, 119),
}

EXPECTED: dict[str, dict[str, Expected]] = {
    "mvtec_loco": _MVTEC_LOCO,
    "visa": _VISA,
    "cad_sd": _CAD_SD,
    "mvtec_ad": _MVTEC_AD,
}
