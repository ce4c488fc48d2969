"""Parts of all commands: the run's folder, its checkpoint, the trained model, options from signatures."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyg_viglad.files import write_text
from pyg_viglad.models import ViGLAD

__all__ = ["OptionsOf", "find_checkpoint", "open_device", "open_model", "open_run"]


class OptionsOf:
    """Marks a command's parameter as the keyword arguments of another callable.

    ``model: Annotated[dict[str, Any] | None, OptionsOf(ViGLAD)]`` becomes ``--model.k``,
    ``--model.size`` and so on, from the signature and the docstring of ViGLAD.

    Args:
        component: A class or function.
        *skip: Parameters that are not options, beside those without a default.
        **defaults: Defaults that replace those of the signature.
    """

    def __init__(self, component: Callable[..., Any], *skip: str, **defaults: Any) -> None:
        self.component = component
        self.skip = skip
        self.defaults = defaults


def open_device(name: str) -> Any:
    """Returns a torch device, after checking that this machine has it.

    Raises:
        ValueError: If there is no such device.
    """
    import torch

    try:
        torch.zeros(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"Expected a device of this machine (got {name!r}: {reason})") from error


def open_model(path: str | os.PathLike[str], device: str = "cpu") -> ViGLAD:
    """Reads a trained model.

    Args:
        path: The folder of a run, with ``model`` inside, or the folder of a model.
        device: A torch device.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If its files or the device cannot be used.
    """
    return ViGLAD.from_pretrained(path).to(open_device(device))


def open_run(output: str | os.PathLike[str], command: str, config: dict[str, Any]) -> Path:
    """Makes the run's folder and writes its options to ``config.yaml``, which ``--config`` reads.

    Raises:
        ValueError: If ``output`` is a file.
    """
    import yaml

    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Expected 'output' to be a folder (got the file '{folder}')")
    folder.mkdir(parents=True, exist_ok=True)
    given = {name: value for name, value in config.items() if value is not None}
    text = yaml.safe_dump(given, sort_keys=False)
    write_text(folder / "config.yaml", f"# pyg-viglad {command} --config config.yaml\n{text}")
    return folder


def find_checkpoint(folder: Path, name: str, module: Any) -> Path:
    """Returns the last checkpoint of a run, after checking that it fits a module.

    Args:
        folder: The run's folder.
        name: Name of the trained module within the Lightning module.
        module: The trained module.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the file is not a checkpoint, or its weights are those of another configuration.
    """
    import torch

    path = folder / "checkpoints" / "last.ckpt"
    if not path.is_file():
        raise FileNotFoundError(f"Expected a checkpoint to resume from (got no file '{path}')")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(f"Expected a checkpoint of training (got '{path}': {kind})") from error
    for key, value in module.named_parameters():
        kept = state.get(f"{name}.{key}")
        if kept is None or kept.shape != value.shape:
            shape = "none" if kept is None else list(kept.shape)
            raise ValueError(
                f"Expected the checkpoint '{path}' to hold '{key}' of {list(value.shape)} (got "
                f"{shape}): was it made with other options?"
            )
    return path
