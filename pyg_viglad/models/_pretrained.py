"""A model's folder: ``config.json`` and ``model.safetensors``."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_viglad.models._network import make_network

if TYPE_CHECKING:
    from pyg_viglad.models.viglad import ViGLAD

__all__ = ["load_pretrained", "save_pretrained"]


def save_pretrained(model: "ViGLAD", folder: str | os.PathLike[str]) -> None:
    """Write the model's folder, each file whole or not at all."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
        if value.numel()
    }
    partial = folder / "model.safetensors.part"
    save_file(state, partial, metadata={"format": "pt"})
    config = folder / "config.json.part"
    config.write_text(json.dumps({"model": "ViGLAD", **model.config}, indent=2) + "\n")
    partial.replace(folder / "model.safetensors")
    config.replace(folder / "config.json")


def load_pretrained(
    cls: "type[ViGLAD]",
    folder: str | os.PathLike[str],
    **overrides: Any,
) -> "ViGLAD":
    """Read a model's folder; nothing is unpickled."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"Expected a model folder with '{name}' (got '{folder}')")
    try:
        config = json.loads((folder / "config.json").read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"Expected JSON in '{folder / 'config.json'}' ({error})") from error
    if not isinstance(config, dict) or config.pop("model", None) != "ViGLAD":
        raise ValueError(f"Expected the config of a ViGLAD (got '{folder / 'config.json'}')")
    for name in ("autoencoder", "operator"):
        if config.get(name) is None and name not in overrides:
            raise ValueError(
                f"Expected '{name}=' to be given, as '{folder}' was made with an own one (got none)"
            )
    options = config.pop("teacher_options", {})
    if options.get("operator", "") is None and "teacher" not in overrides:
        raise ValueError(
            f"Expected 'teacher=' to be given, as that of '{folder}' has an own operator (got none)"
        )
    config.update(overrides)
    network, size = config.pop("teacher_network", "pdn"), config.pop("teacher_size")
    channels = config.pop("channels")
    teacher = config.pop("teacher", None) or make_network(network, size, channels, **options)
    config["image_size"] = tuple(config["image_size"])
    config["quantiles"] = tuple(config["quantiles"])
    try:
        model = cls(teacher=teacher, **config)
        state = load_file(folder / "model.safetensors")
        # What was not fitted was not saved.
        state = {**{k: v for k, v in model.state_dict().items() if not v.numel()}, **state}
        model.load_state_dict(state)
    except (RuntimeError, TypeError, SafetensorError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"Expected weights that fit the config in '{folder}' ({reason})"
        ) from error
    return model.eval()
