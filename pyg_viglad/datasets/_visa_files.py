"""The tables of VisA's raw layout."""

import csv
from pathlib import Path

from pyg_viglad.datasets._samples import Sample, explain

__all__ = ["SPLIT_FILE", "read_raw"]

SPLIT_FILE = Path("split_csv", "1cls.csv")
_COLUMNS = ("object", "split", "label", "image", "mask")


def read_raw(
    root: Path, category: str, split: str, tree: str
) -> tuple[list[Sample], dict[Path, Path]]:
    """List the images of a category that ``split_csv/1cls.csv`` gives to a split.

    Args:
        root: The folder of all categories.
        category: The object.
        split: ``"train"`` or ``"test"``, as the file calls them.
        tree: Shown where something is missing.

    Returns:
        The images by name, anomalous ones first, and the mask of each of these.
    """
    file = root / SPLIT_FILE
    rows = [row for row in _read_table(file, _COLUMNS, tree) if row["object"] == category]
    rows = [row for row in rows if row["split"] == split]
    if not rows:
        message = f"Expected images of '{category}' for '{split}' in '{file}' (got none)"
        raise ValueError(explain(message, tree))
    defects = _read_defects(root, category, tree)
    samples, masks = [], {}
    for row in sorted(rows, key=lambda row: row["image"]):
        path = root / row["image"]
        if not path.is_file():
            raise FileNotFoundError(
                explain(f"Expected the image '{path}', which '{file}' lists (it is missing)", tree)
            )
        if row["label"] == "normal":
            samples.append(Sample(path))
        elif row["label"] == "anomaly" and row["mask"]:
            samples.append(Sample(path, "structural", defects.get(row["image"]) or "bad"))
            masks[path] = root / row["mask"]
        else:
            raise ValueError(
                f"Expected 'normal', or 'anomaly' with a mask, in '{file}' (got {row})"
            )
    return samples, masks


def _read_defects(root: Path, category: str, tree: str) -> dict[str, str]:
    """Read what is wrong with each image, where the category's table of annotations is there."""
    file = root / category / "image_anno.csv"
    if not file.is_file():
        return {}
    return {row["image"]: row["label"] for row in _read_table(file, ("image", "label"), tree)}


def _read_table(file: Path, columns: tuple[str, ...], tree: str) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            rows = list(reader)
            found = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"Expected a readable table (got '{file}': {error})") from error
    if not set(columns) <= set(found):
        wanted = ", ".join(columns)
        raise ValueError(explain(f"Expected the columns {wanted} in '{file}' (got {found})", tree))
    return [{name: (row[name] or "").strip() for name in columns} for row in rows]
