"""Teacher weights: the teacher that ships with the package, own distilled files, public checkpoints."""

import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from pyg_viglad.models.pdn import PDN, PDNSize

__all__ = ["SHIPPED_TEACHER", "load_teacher", "save_teacher"]

SHIPPED_TEACHER = "mobilenetv1"

_NUM_CONVS: dict[int, PDNSize] = {4: "small", 6: "medium"}
_KEY = re.compile(r"(?:^|.*\.)(?:conv)?(\d+)\.(weight|bias)$")


def load_teacher(source: str | os.PathLike[str] = SHIPPED_TEACHER) -> PDN:
    """Load a frozen teacher in evaluation mode, its size told by its weights.

    Three layouts are recognised by their keys, each also behind a common prefix such as ``teacher.``:
    this package's and anomalib's (``conv1.weight``, ...) and the sequential one of the public
    EfficientAD checkpoints (``0.weight``, ``3.weight``, ...).

    Args:
        source: ``"mobilenetv1"``, the small teacher that ships with the package, or the path of a
            ``.safetensors``, ``.pth``, ``.pt`` or ``.ckpt`` file. Files are never unpickled beyond
            plain tensors.

    Returns:
        A :class:`~pyg_viglad.PDN` without gradients and without padding.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file's keys or shapes are not those of a PDN.

    Example:
        >>> load_teacher()
        PDN(small, 384)
    """
    if source == SHIPPED_TEACHER:
        path = (
            resources.files("pyg_viglad.models") / "weights" / "pdn_small_mobilenetv1.safetensors"
        )
        with resources.as_file(path) as file:
            return _from_state(_read(file), str(source))
    return _from_state(_read(Path(source)), str(source))


def save_teacher(teacher: PDN, path: str | os.PathLike[str], card: dict[str, Any]) -> None:
    """Write a teacher's weights in float16 and, beside them, a JSON card that says where they are from.

    Args:
        teacher: The network to save.
        path: The file to write, ``.safetensors``; the card stands beside it as ``.json``.
        card: Anything JSON can hold: command, seed, final loss, licence.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_teacher(PDN("small"), f"{folder}/teacher.safetensors", {"seed": 0})
        ...     load_teacher(f"{folder}/teacher.safetensors")
        PDN(small, 384)
    """
    from safetensors.torch import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().half().contiguous() for key, value in teacher.state_dict().items()}
    partial = path.with_name(path.name + ".part")
    save_file(state, partial)
    partial.replace(path)
    card_path = path.with_suffix(".json")
    partial = card_path.with_name(card_path.name + ".part")
    partial.write_text(json.dumps(card, indent=2) + "\n")
    partial.replace(card_path)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a teacher file or {SHIPPED_TEACHER!r} (got '{path}', which is no file)"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # What torch says of a file that it would have to unpickle fills a screen.
        raise ValueError(
            f"Expected '{path}' to hold plain teacher weights (got {type(error).__name__})"
        ) from error
    while isinstance(state, dict):
        nested = next((state[key] for key in ("state_dict", "model") if key in state), None)
        if nested is None:
            break
        state = nested
    if not isinstance(state, dict):
        raise ValueError(
            f"Expected '{path}' to hold a dictionary of tensors (got {type(state).__name__})"
        )
    return cast(dict[str, Tensor], state)


def _from_state(state: dict[str, Tensor], name: str) -> PDN:
    """Build the PDN that a state dict of any known layout describes."""
    if any(key.startswith("teacher.") or ".teacher." in key for key in state):
        state = {key: value for key, value in state.items() if "teacher." in key}
    found: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = _KEY.match(key)
        if match and isinstance(value, Tensor):
            found.setdefault(int(match.group(1)), {})[match.group(2)] = value
    layers = [found[number] for number in sorted(found)]
    if len(layers) not in _NUM_CONVS or any(len(layer) != 2 for layer in layers):
        keys = ", ".join(sorted(state)[:4])
        raise ValueError(
            f"Expected the weights and biases of 4 (small) or 6 (medium) convolutions in '{name}' "
            f"(got {len(layers)}; first keys: {keys})"
        )
    model = PDN(_NUM_CONVS[len(layers)], out_channels=layers[-1]["bias"].numel())
    renamed = {
        f"conv{number}.{kind}": value.float()
        for number, layer in enumerate(layers, start=1)
        for kind, value in layer.items()
    }
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"Expected the shapes of a {model.size} PDN in '{name}' ({reason})"
        ) from error
    return model.eval().requires_grad_(False)
