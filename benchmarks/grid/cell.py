"""One cell of a grid: a data set, a category, a model and a seed."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

__all__ = ["Cell"]

# Raised when a cell of the same parameters would give another result.
_FORMAT = 2
# Parameters that are files or folders: a file counts by its content, a folder by its name.
_PATHS = ("root", "teacher", "teacher_weights", "encoder_weights", "weights", "penalty")
# Options that change only the test images: cells that differ in nothing else share a fit.
_TEST_OPTIONS = {
    "digit_anatomy": ("num_wrong_cells", "defects", "num_test_good", "num_test_anomalous"),
    "scattered_digits": ("defects", "num_test_good", "num_test_anomalous"),
}


@dataclass(frozen=True)
class Cell:
    """What is computed once, in a folder of its own.

    Args:
        data: Name of the data set in tables.
        category: Name of its category in tables.
        model: Name of the model in tables.
        seed: Seed of everything that is drawn.
        params: All that decides the result: ``dataset``, ``root``, ``options``, ``reseed``,
            ``image_size``, ``model`` (with ``type``), ``metrics``, ``examples``.

    Example:
        >>> cell = Cell("Digits", "1 wrong", "ViGLAD", 0, {"model": {"type": "viglad"}})
        >>> cell.name
        'digits-1_wrong-viglad-seed0-6d780ca5e6'
    """

    data: str
    category: str
    model: str
    seed: int
    params: dict[str, Any] = field(hash=False)

    @cached_property
    def key(self) -> str:
        """Hash of all that decides the result; names in tables do not."""
        return self._hash(self.params)

    @cached_property
    def fit_key(self) -> str:
        """Hash of all that decides the fitted detector, shared by cells with other test images."""
        params = {k: v for k, v in self.params.items() if k not in ("metrics", "examples")}
        ignored = _TEST_OPTIONS.get(str(params.get("dataset")), ())
        options = params.get("options") or {}
        params["options"] = {k: v for k, v in options.items() if k not in ignored}
        return self._hash(params)

    def _hash(self, params: dict[str, Any]) -> str:
        content = {"format": _FORMAT, "seed": self.seed, "params": _fingerprint(params)}
        text = json.dumps(content, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def name(self) -> str:
        """Name of the cell's folder: readable, and unique by its key."""
        parts = [
            re.sub(r"[^a-z0-9]+", "_", part.lower()).strip("_")
            for part in (self.data, self.category, self.model)
        ]
        return "-".join([*parts, f"seed{self.seed}", self.key])

    def __str__(self) -> str:
        return f"{self.data} / {self.category} / {self.model} / seed {self.seed}"


def _fingerprint(value: Any, key: str = "") -> Any:
    """Replaces the paths of files by hashes of their content."""
    if isinstance(value, dict):
        return {name: _fingerprint(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_fingerprint(item) for item in value]
    if key in _PATHS and isinstance(value, str):
        path = Path(value).expanduser()
        if path.is_file():
            stat = path.stat()
            return f"sha256:{_digest(path, stat.st_mtime_ns, stat.st_size)}"
        if path.is_dir():
            return path.resolve().name
    return value


@lru_cache(maxsize=256)
def _digest(path: Path, mtime: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
