"""Files that are written whole or not at all, and files of tensors."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["atomic_path", "read_tensors", "write_bytes", "write_json", "write_text"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` and moves it there once the block succeeds.

    Where the block fails, the temporary file is removed and an existing file stays as it was.

    Args:
        path: The file to write.

    Raises:
        FileNotFoundError: If its folder does not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(f"{folder}/notes.txt") as partial:
        ...         _ = partial.write_text("done")
        ...     [file.name for file in Path(folder).iterdir()]
        ['notes.txt']
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"Expected a file in an existing folder (got '{path}')")
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes bytes to a file."""
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes text to a file, UTF-8 encoded."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], values: dict[str, Any]) -> None:
    """Writes a dictionary as JSON; numbers that are not finite become ``null``."""
    write_text(path, json.dumps(_finite(values), indent=2, allow_nan=False) + "\n")


def read_tensors(
    path: str | os.PathLike[str], what: str = "weights"
) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """Reads the tensors of a ``.safetensors`` file, or else of a state dict that torch saved.

    Only plain tensors are unpickled. A state dict may stand under ``"state_dict"`` or ``"model"``.

    Args:
        path: The file.
        what: What it should hold, for messages.

    Returns:
        The tensors by name, and the metadata of a ``.safetensors`` file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything else.
    """
    import torch
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file of {what} (got '{path}', which is no file)")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                return tensors, file.metadata() or {}
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's message about a file that it would have to unpickle fills a screen.
        raise ValueError(
            f"Expected '{path}' to hold plain {what} (got {type(error).__name__})"
        ) from error
    while isinstance(state, dict) and ("state_dict" in state or "model" in state):
        state = state.get("state_dict", state.get("model"))
    if not isinstance(state, dict):
        raise ValueError(
            f"Expected '{path}' to hold a dictionary of tensors (got {type(state).__name__})"
        )
    return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}, {}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
