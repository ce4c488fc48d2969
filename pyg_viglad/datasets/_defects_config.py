"""The file in which MVTec LOCO AD says how much of a defect must be found."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pyg_viglad.datasets._samples import explain

__all__ = ["DefectConfig", "read_defects_config"]


class DefectConfig(NamedTuple):
    """A type of defect: its name, and the area that saturates, in pixels or as a share."""

    name: str
    threshold: float
    relative: bool

    def saturation_area(self, area: int) -> int:
        """Give the pixels of a defect of ``area`` pixels that have to be found, at least one."""
        wanted = self.threshold * area if self.relative else min(self.threshold, area)
        return max(1, int(wanted))


def read_defects_config(path: Path, tree: str) -> dict[int, DefectConfig]:
    """Read the types of defects, by the value of their pixels in the masks.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not list types of defects.
    """
    if not path.is_file():
        raise FileNotFoundError(explain(f"Expected the file '{path}' (it is missing)", tree))
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"Expected a readable JSON file (got '{path}': {error})") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"Expected a list of defects in '{path}' (got {type(entries).__name__})")
    configs: dict[int, DefectConfig] = {}
    for entry in entries:
        value, config = _read_entry(entry, path)
        if value in configs:
            raise ValueError(f"Expected different pixel values in '{path}' (got {value} twice)")
        configs[value] = config
    return configs


def _read_entry(entry: Any, path: Path) -> tuple[int, DefectConfig]:
    try:
        value, name = entry["pixel_value"], entry["defect_name"]
        threshold, relative = entry["saturation_threshold"], entry["relative_saturation"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            "Expected 'defect_name', 'pixel_value', 'saturation_threshold' and "
            f"'relative_saturation' for each defect in '{path}' (got {entry!r})"
        ) from error
    numbers = all(isinstance(number, int | float) for number in (value, threshold))
    if not (
        isinstance(name, str)
        and name
        and numbers
        and value in range(1, 256)
        and relative in (False, True)
        and (0 < threshold <= 1 if relative else threshold >= 1)
    ):
        raise ValueError(
            "Expected a name, a pixel value from 1 to 255 and a saturation threshold that is a share in "
            f"(0, 1] if relative, else a number of pixels, in '{path}' (got {entry!r})"
        )
    return int(value), DefectConfig(name, float(threshold), bool(relative))
