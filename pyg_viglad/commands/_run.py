"""What all commands share: the device, the run folder, its checkpoint."""

import os
from pathlib import Path
from typing import Any

from pyg_viglad.files import write_text

__all__ = ["PathLike", "find_checkpoint", "open_device", "open_run"]

PathLike = str | os.PathLike[str]


def open_device(name: str) -> Any:
    """Give a torch device that can be used here.

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


def open_run(output: PathLike, command: str, config: dict[str, Any]) -> Path:
    """Make the run's folder and write its resolved config, which ``--config`` reads again.

    Raises:
        ValueError: If ``output`` is a file.
    """
    import yaml

    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Expected 'output' to be a folder (got the file '{folder}')")
    folder.mkdir(parents=True, exist_ok=True)
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in config.items()}
    text = f"# pyg-viglad {command} --config config.yaml\n" + yaml.safe_dump(plain, sort_keys=False)
    write_text(folder / "config.yaml", text)
    return folder


def find_checkpoint(folder: Path, name: str, module: Any) -> str:
    """Find the last checkpoint of a run, and see that it is one of this module.

    Args:
        folder: The run's folder.
        name: What the Lightning module calls the module that it trains.
        module: The module.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the file is none, or its weights are those of another configuration.
    """
    import torch

    path = folder / "checkpoints" / "last.ckpt"
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a checkpoint to resume from (got '{path}', which is no file)"
        )
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
    return str(path)
