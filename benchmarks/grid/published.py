"""Figures that others published, to stand beside measured ones."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["PUBLISHED", "Source"]

# {(data set, category): {column: {kind: per cent}}}; "*" is any category, "average" their mean.
Figures = dict[tuple[str, str], dict[str, dict[str, float]]]


class Source(NamedTuple):
    """Where figures are from.

    Attributes:
        title: A short name for tables.
        note: The citation, and how the figures are read.
        figures: ``{(data set, category): {column: {kind: value}}}``, in per cent.
    """

    title: str
    note: str
    figures: Figures

    def look_up(self, dataset: str, category: str, column: str, kind: str) -> float | None:
        """Returns a figure in per cent, or None; an average that is not printed is computed from the rows."""
        for place in ((dataset, category), (dataset, "*")):
            if category == "average" and place[1] == "*":
                break
            value = self.figures.get(place, {}).get(column, {}).get(kind)
            if value is not None:
                return value
        if category != "average":
            return None
        rows = [
            row[column][kind]
            for (name, place), row in self.figures.items()
            if name == dataset and place != "*" and kind in row.get(column, {})
        ]
        return sum(rows) / len(rows) if len(rows) > 1 else None


_METHODS = ("EfficientAD", "PUAD", "PatchCore", "PaDiM", "FastFlow", "ViGLAD")


def _rows(
    dataset: str,
    kinds: Sequence[str],
    rows: Mapping[str, Sequence[float]],
    columns: Sequence[str] = _METHODS,
) -> Figures:
    return {
        (dataset, category): {
            column: dict.fromkeys(kinds, value)
            for column, value in zip(columns, values, strict=True)
        }
        for category, values in rows.items()
    }


def _kinds(columns: Mapping[str, Sequence[float]]) -> Figures:
    """Figures of the ablations, all of screw bag: logical, structural and their mean."""
    return {
        ("mvtec_loco", "screw_bag"): {
            column: dict(zip(("logical", "structural", "mean"), values, strict=True))
            for column, values in columns.items()
        }
    }


_PAPER = "Zoghlami et al., ViGLAD, IEEE Access 2024"

PUBLISHED: dict[str, Source] = {
    "viglad_table2": Source(
        "ViGLAD, Table 2",
        f"{_PAPER}, Table 2, logical anomalies, means of 5 runs without a deviation. The label column "
        "of the print lacks splicing connectors: its row stands under CAD-SD, and CAD-SD's without a "
        "label. The number of wrong cells of Digit Anatomy is not stated; with as many logical as "
        "structural anomalies, pooled AUROC and mean AUROC are the same number.",
        {
            **_rows(
                "mvtec_loco",
                ["logical"],
                {
                    "screw_bag": (55.26, 79.47, 58.08, 48.80, 67.78, 81.83),
                    "breakfast_box": (84.49, 89.44, 57.04, 45.51, 58.07, 93.95),
                    "juice_bottle": (99.97, 99.98, 35.93, 54.30, 55.52, 99.68),
                    "pushpins": (98.94, 96.61, 49.43, 48.86, 64.46, 87.30),
                    "splicing_connectors": (96.21, 96.38, 57.74, 49.53, 76.29, 92.43),
                },
            ),
            **_rows("cad_sd", ["logical"], {"*": (99.63, 99.38, 73.29, 48.37, 66.70, 99.91)}),
            **_rows(
                "digit_anatomy",
                ["mean", "pooled"],
                {"*": (93.78, 96.08, 88.66, 94.39, 86.27, 96.11)},
            ),
        },
    ),
    "viglad_table3": Source(
        "ViGLAD, Table 3",
        f"{_PAPER}, Table 3, means of 5 runs without a deviation. pcb4 is not in it: the average is "
        "over 11 of the 12 objects.",
        _rows(
            "visa",
            ["structural"],
            {
                "candle": (98.92, 98.99, 95.84, 85.40, 96.84, 99.08),
                "capsules": (85.93, 81.75, 46.80, 44.93, 71.80, 92.91),
                "cashew": (98.26, 98.87, 55.27, 51.11, 84.71, 99.01),
                "chewinggum": (99.96, 99.90, 30.47, 30.48, 99.91, 99.70),
                "fryum": (98.82, 98.74, 30.72, 53.59, 91.91, 98.41),
                "macaroni1": (99.75, 99.61, 55.48, 55.91, 90.88, 99.06),
                "macaroni2": (97.70, 94.42, 72.52, 51.47, 49.75, 92.58),
                "pcb1": (99.98, 99.96, 43.72, 74.80, 79.64, 99.89),
                "pcb2": (99.84, 99.95, 45.76, 56.56, 74.43, 99.78),
                "pcb3": (99.02, 99.03, 98.79, 37.27, 68.95, 98.97),
                "pipe_fryum": (99.94, 99.60, 57.92, 94.39, 79.27, 99.65),
            },
        ),
    ),
    "viglad_table4": Source(
        "ViGLAD, Table 4",
        f"{_PAPER}, Table 4. Medium is Table 6's run with k = 9, not Table 2's with k = 12.",
        _kinds({"small": (78.07, 91.69, 84.88), "medium": (81.14, 90.68, 85.91)}),
    ),
    "viglad_table5": Source(
        "ViGLAD, Table 5",
        f"{_PAPER}, Table 5. The last column mixes the logical figure of k = 12 with the structural "
        "one and the mean of k = 9.",
        _kinds(
            {
                "teacher": (64.83, 89.27, 77.05),
                "student, first half": (64.15, 87.30, 75.72),
                "student, second half": (81.83, 90.68, 85.91),
            }
        ),
    ),
    "viglad_table6": Source(
        "ViGLAD, Table 6",
        f"{_PAPER}, Table 6.",
        _kinds(
            {
                "k = 3": (77.62, 93.35, 85.48),
                "k = 9": (81.14, 90.68, 85.91),
                "k = 12": (81.83, 91.64, 86.73),
                "k = 15": (79.10, 94.50, 86.80),
            }
        ),
    ),
    "efficientad": Source(
        "EfficientAD",
        "Batzner et al., EfficientAD, WACV 2024 (EfficientAD-M), with its own runs of the others; means "
        "over all categories.",
        {
            ("mvtec_loco", "average"): {
                "EfficientAD": {"logical": 86.8, "structural": 94.7, "mean": 90.7},
                "PatchCore": {"logical": 75.8, "structural": 84.8, "mean": 80.3},
                "FastFlow": {"logical": 75.5, "structural": 82.9, "mean": 79.2},
            },
            ("visa", "average"): {
                "EfficientAD": {"structural": 98.1},
                "PatchCore": {"structural": 94.3},
                "FastFlow": {"structural": 93.9},
            },
        },
    ),
    "puad": Source(
        "PUAD",
        "Sugawara and Imamura, PUAD, ICIP 2024, medium; AUROC of all anomalies together (pooled), which "
        "is not the mean of logical and structural that others report.",
        {
            ("mvtec_loco", category): {
                "EfficientAD": {"pooled": efficientad},
                "PUAD": {"pooled": puad},
            }
            for category, efficientad, puad in (
                ("breakfast_box", 85.90, 89.18),
                ("juice_bottle", 97.51, 99.68),
                ("pushpins", 94.00, 93.09),
                ("screw_bag", 68.71, 82.44),
                ("splicing_connectors", 97.02, 96.78),
            )
        },
    ),
    "other_protocols": Source(
        "printed, other protocol",
        "Juice bottle: logical anomalies, Table 2 of ViGLAD, from all 335 training images and with the "
        "published good test images. Transistor: Sugawara and Imamura, PUAD, small, all anomalies together.",
        {
            ("image_folder", "juice bottle"): {
                column: {"logical": value}
                for column, value in zip(
                    _METHODS, (99.97, 99.98, 35.93, 54.30, 55.52, 99.68), strict=True
                )
            },
            ("image_folder", "transistor"): {
                "EfficientAD": {"pooled": 98.83},
                "PUAD": {"pooled": 98.88},
            },
        },
    ),
}
