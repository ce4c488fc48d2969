"""Files that are written whole or not at all."""

import json
import math
from pathlib import Path
from typing import Any

__all__ = ["write_bytes", "write_json", "write_text"]


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file beside its place, then move it there."""
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text, in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write JSON; what is not a number becomes null."""
    write_text(path, json.dumps(_plain(values), indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
