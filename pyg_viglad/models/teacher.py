"""Teacher weights: the teacher that ships with the package, own distilled files, public checkpoints."""

import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from pyg_viglad.models._network import describe_network, make_network
from pyg_viglad.models.pdn import PDN, PDNSize

__all__ = ["SHIPPED_TEACHER", "load_teacher", "save_teacher"]

SHIPPED_TEACHER = "mobilenetv1"

_NUM_CONVS: dict[int, PDNSize] = {4: "small", 6: "medium"}
_KEY = re.compile(r"(?:^|.*\.)(?:conv)?(\d+)\.(weight|bias)$")
# A GPDN has no convolution in the place of its graph block.
_GRAPH_CONVS: dict[tuple[int, ...], PDNSize] = {(1, 2, 4): "small", (1, 2, 3, 5, 6): "medium"}
_GRAPH_KEY = re.compile(r"(?:^|.*\.)(vig\..*)$")


def load_teacher(source: str | os.PathLike[str] = SHIPPED_TEACHER) -> PDN:
    """Load a frozen teacher in evaluation mode, its size told by its weights.

    Three layouts are recognised by their keys, each also behind a common prefix such as ``teacher.``:
    this package's and anomalib's (``conv1.weight``, ...) and the sequential one of the public
    EfficientAD checkpoints (``0.weight``, ``3.weight``, ...). Weights of a graph block beside them make
    it a :class:`~pyg_viglad.models.GPDN`, whose ``k`` and ``operator`` are those that this package writes
    into ``.safetensors`` files, or else the defaults.

    Args:
        source: ``"mobilenetv1"``, the small teacher that ships with the package, or the path of a
            ``.safetensors``, ``.pth``, ``.pt`` or ``.ckpt`` file. Files are never unpickled beyond
            plain tensors.

    Returns:
        A :class:`~pyg_viglad.PDN` or :class:`~pyg_viglad.models.GPDN`, without gradients and without
        padding.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file's keys or shapes are not those of a PDN or GPDN.

    Example:
        >>> load_teacher()
        PDN(small, 384)
    """
    if source == SHIPPED_TEACHER:
        path = (
            resources.files("pyg_viglad.models") / "weights" / "pdn_small_mobilenetv1.safetensors"
        )
        with resources.as_file(path) as file:
            return _from_state(*_read(file), str(source))
    return _from_state(*_read(Path(source)), str(source))


def save_teacher(teacher: PDN, path: str | os.PathLike[str], card: dict[str, Any]) -> None:
    """Write a teacher's weights in float16 and, beside them, a JSON card that says where they are from.

    Args:
        teacher: The network to save.
        path: The file to write, ``.safetensors``; the card stands beside it as ``.json``.
        card: Anything JSON can hold: command, seed, final loss, licence.

    Raises:
        ValueError: If it is a GPDN with an own operator, which a file cannot hold.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_teacher(PDN("small"), f"{folder}/teacher.safetensors", {"seed": 0})
        ...     load_teacher(f"{folder}/teacher.safetensors")
        PDN(small, 384)
    """
    from safetensors.torch import save_file

    _, options = describe_network(teacher)
    if None in options.values():
        raise ValueError(f"Expected a teacher with an operator by name to save (got {teacher})")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    learned = dict(teacher.named_parameters())
    # Running statistics are few, and float16 is too short for some.
    state = {
        key: (value.half() if key in learned else value).detach().contiguous()
        for key, value in teacher.state_dict().items()
    }
    partial = path.with_name(path.name + ".part")
    save_file(state, partial, {key: str(value) for key, value in options.items()} or None)
    partial.replace(path)
    card_path = path.with_suffix(".json")
    partial = card_path.with_name(card_path.name + ".part")
    partial.write_text(json.dumps(card, indent=2) + "\n")
    partial.replace(card_path)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a state dict, and what the file says of its options."""
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a teacher file or {SHIPPED_TEACHER!r} (got '{path}', which is no file)"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                return tensors, file.metadata() or {}
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
    return cast(dict[str, Tensor], state), {}


def _from_state(state: dict[str, Tensor], options: dict[str, str], name: str) -> PDN:
    """Build the network that a state dict of any known layout describes."""
    if any(key.startswith("teacher.") or ".teacher." in key for key in state):
        state = {key: value for key, value in state.items() if "teacher." in key}
    found: dict[int, dict[str, Tensor]] = {}
    graph: dict[str, Tensor] = {}
    for key, value in state.items():
        if (match := _GRAPH_KEY.match(key)) and isinstance(value, Tensor):
            graph[match.group(1)] = value
            continue
        match = _KEY.match(key)
        if match and isinstance(value, Tensor):
            found.setdefault(int(match.group(1)), {})[match.group(2)] = value
    numbers = tuple(sorted(found))
    layers = [found[number] for number in numbers]
    size = _GRAPH_CONVS.get(numbers) if graph else _NUM_CONVS.get(len(layers))
    if size is None or any(len(layer) != 2 for layer in layers):
        keys = ", ".join(sorted(state)[:4])
        wanted = (
            "convolutions 1, 2, 4 (small) or 1, 2, 3, 5, 6 (medium) beside a graph block"
            if graph
            else "4 (small) or 6 (medium) convolutions"
        )
        raise ValueError(
            f"Expected the weights and biases of {wanted} in '{name}' "
            f"(got {len(layers)}; first keys: {keys})"
        )
    channels = layers[-1]["bias"].numel()
    if graph:
        model = make_network("gpdn", size, channels, **_graph_options(options, name))
    else:
        model = make_network("pdn", size, channels)
        numbers = tuple(
            range(1, len(layers) + 1)
        )  # sequential layouts also count what lies between
    renamed = {
        f"conv{number}.{kind}": value.float()
        for number, layer in zip(numbers, layers, strict=True)
        for kind, value in layer.items()
    }
    renamed |= graph
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"Expected the shapes of a {model.size} {type(model).__name__} in '{name}' ({reason})"
        ) from error
    return model.eval().requires_grad_(False)


def _graph_options(options: dict[str, str], name: str) -> dict[str, Any]:
    """Give ``k`` and ``operator`` as a file states them."""
    k = options.get("k", "9")
    if not k.isdigit():
        raise ValueError(f"Expected 'k' of the graph block in '{name}' as a number (got {k!r})")
    return {"k": int(k), "operator": options.get("operator", "max_relative")}
