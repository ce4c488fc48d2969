"""Files that are written whole or not at all, and files of tensors."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "atomic_path",
    "check_download",
    "check_sha256",
    "read_tensors",
    "write_bytes",
    "write_json",
    "write_tensors",
    "write_text",
]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` and moves it there once the block succeeds.

    Where the block fails, the temporary file is removed and an existing file stays as it was.

    Args:
        path: The file to write.

    Raises:
        FileNotFoundError: If its folder does not exist.
        OSError: Of the block, such as that of a full disk; it names the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_path(f"{folder}/notes.txt") as partial:
        ...         _ = partial.write_text("done")
        ...     [file.name for file in Path(folder).iterdir()]
        ['notes.txt']
    """
    path = Path(path).expanduser()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"Expected a file in an existing folder (got '{path}')")
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # such as a full disk's
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Writes bytes to a file."""
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes text to a file, UTF-8 encoded; bytes of file names that are not UTF-8 are written as escapes."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | os.PathLike[str], values: dict[str, Any]) -> None:
    """Writes a dictionary as JSON; numbers that are not finite become ``null``."""
    # json cannot serialise NumPy scalars other than float64.
    text = json.dumps(
        _finite(values), indent=2, allow_nan=False, default=lambda value: value.item()
    )
    write_text(path, text + "\n")


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, "Tensor"],
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes tensors by name, and metadata, to a ``.safetensors`` file.

    Raises:
        ValueError: If the file name does not end in ``.safetensors``.
    """
    from safetensors.torch import save

    if Path(path).suffix != ".safetensors":
        raise ValueError(f"Expected a file name that ends in '.safetensors' (got '{path}')")
    # Not save_file: its files are readable by their owner alone, and its errors are no OSError.
    state = {key: value.contiguous() for key, value in tensors.items()}
    write_bytes(path, save(state, metadata))


def read_tensors(
    path: str | os.PathLike[str], what: str = "weights"
) -> tuple[dict[str, "Tensor"], dict[str, str]]:
    """Reads the tensors of a ``.safetensors`` file, or else of a state dict that torch saved.

    Only plain tensors are unpickled. A state dict may stand under ``"state_dict"``, ``"model"`` or,
    where there is neither, ``"state_dict_ema"``. The prefix ``"module."``, which
    :class:`torch.nn.DataParallel` puts before all names, is removed.

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

    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file of {what} (got '{path}', which is not a file)")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                return tensors, file.metadata() or {}
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's message about a file that it would have to unpickle fills a screen.
        other = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        found = f"got {other[1]}" if other else f"reading it raised {type(error).__name__}"
        raise ValueError(f"Expected '{path}' to hold plain {what} ({found})") from error
    wrappers = ("state_dict", "model", "state_dict_ema")
    while isinstance(state, dict) and (key := next((w for w in wrappers if w in state), None)):
        state = state[key]
    items = state.items() if isinstance(state, dict) else ()
    tensors = {key: value for key, value in items if isinstance(value, torch.Tensor)}
    if not tensors:
        found = f"the keys {list(state)[:3]}" if isinstance(state, dict) else type(state).__name__
        raise ValueError(f"Expected '{path}' to hold a dictionary of tensors (got {found})")
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors, {}


def check_sha256(path: str | os.PathLike[str], expected: str) -> None:
    """Raises ``ValueError`` unless a file has the SHA-256 ``expected``, in hexadecimal digits."""
    found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if found != expected:
        raise ValueError(
            f"Expected '{path}' as it was published, with the SHA-256 {expected} (got {found}); "
            "delete it to download it again"
        )


def check_download(path: str | os.PathLike[str]) -> Path:
    """Returns a file of the Hugging Face cache, which names large files by their SHA-256, checked.

    Raises:
        ValueError: If its SHA-256 differs.
    """
    path = Path(path)
    if re.fullmatch("[0-9a-f]{64}", path.resolve().name):
        check_sha256(path, path.resolve().name)
    return path


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
