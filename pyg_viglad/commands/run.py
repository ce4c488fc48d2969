"""Parts of all commands: the run's folder, its checkpoint, the trained model, options from signatures."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pyg_viglad.files import write_text
from pyg_viglad.models import ViGLAD

__all__ = ["OptionsOf", "close_runs", "find_checkpoint", "open_device", "open_model", "open_run"]

_PATIENCE = 10  # seconds: processes that load images outlive a killed run by a few
_locks: dict[Path, FileLock] = {}

_PICTURES = [f"{name}.png" for name in ("anomaly_maps", "node_graphs", "scores", "roc")]
_PICTURES += ["node_graphs.pdf", "viewer.html"]
_CHECKPOINT = Path("checkpoints") / "last.ckpt"

# Options that say where, how long and how fast a command runs, not what it computes.
_FREE = {
    *("output", "resume", "num_workers", "fit.num_workers", "fit.cache_teacher"),
    *("decay", "licence"),  # of distill, for a training that is extended
    *("trainer.max_steps", "trainer.max_minutes", "trainer.checkpoint_every", "trainer.progress"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes"),
}


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
        torch.zeros(1, device=name).item()  # not on "meta", which holds no values
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

    Pictures of an earlier run are removed: those of this one may be fewer. The folder is locked against
    other processes until :func:`close_runs`, or until this process ends.

    Raises:
        ValueError: If ``output`` is a file, holds the run of another command, or another process has
            locked it.
    """
    import yaml

    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"Expected 'output' to be a folder (got the file '{folder}')")
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() not in _locks:
        lock = FileLock(folder / "lock", timeout=_PATIENCE)
        try:
            lock.acquire()
        except Timeout:
            raise ValueError(
                f"Expected an output folder of this run alone (got '{folder}', locked by another process)"
            ) from None
        _locks[folder.resolve()] = lock
    file = folder / "config.yaml"
    first = file.read_text(encoding="utf-8").partition("\n")[0] if file.is_file() else ""
    other = re.match(r"# pyg-viglad (\w+)", first)
    if other and other[1] != command:
        raise ValueError(
            f"Expected an output folder of '{command}' (got '{folder}' with a run of '{other[1]}')"
        )
    # The checkpoint of an earlier run does not belong to these options.
    if not config.get("resume"):
        (folder / _CHECKPOINT).unlink(missing_ok=True)
    for name in _PICTURES:
        (folder / name).unlink(missing_ok=True)
    given = {k: value for k, value in config.items() if value is not None and k != "resume"}
    text = yaml.safe_dump(given, sort_keys=False)
    write_text(file, f"# pyg-viglad {command} --config config.yaml\n{text}")
    return folder


def close_runs() -> None:
    """Unlocks the folders of this process's runs."""
    while _locks:
        _locks.popitem()[1].release()


def find_checkpoint(config: dict[str, Any], name: str, module: Any) -> Path | None:
    """Returns the last checkpoint of a run, after checking that it fits.

    Args:
        config: The options of the run that resumes. They may differ from those in the folder's
            config.yaml in what says where, how long and how fast it runs.
        name: Name of the trained module within the Lightning module.
        module: The trained module.

    Returns:
        The checkpoint, or None where the run was interrupted before its first.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If an option differs, the file is not a checkpoint, or its weights are those of
            another configuration.
    """
    import zipfile

    import torch

    folder = Path(config["output"])
    began = _check_options(folder / "config.yaml", config)
    path = folder / _CHECKPOINT
    if not path.is_file():
        if began:
            return None
        raise FileNotFoundError(f"Expected a checkpoint to resume from (got no file '{path}')")
    try:
        with zipfile.ZipFile(path) as file:  # torch alone takes wrong bits for weights
            if damaged := file.testzip():
                raise ValueError(
                    f"Expected a whole checkpoint (got '{path}': '{damaged}' is damaged)"
                )
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except ValueError:
        raise
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


def _check_options(file: Path, config: dict[str, Any]) -> bool:
    """Compares options with those of the run that is resumed; returns whether there is one."""
    import yaml

    if not file.is_file():
        return False
    try:
        before = dict(_flat(yaml.safe_load(file.read_text(encoding="utf-8"))))
    except (ValueError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(f"Expected the options of a run in '{file}' to resume it") from error
    for key, value in _flat(yaml.safe_load(yaml.safe_dump(config))):
        # The file lacks options that are None, and options that the package gained since.
        kept = before.get(key, None if key in config else value)
        if key not in _FREE and value != kept:
            raise ValueError(
                f"Expected '{key}' as in '{file}' to resume its training, {kept!r} (got {value!r})"
            )
    return True


def _flat(options: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Iterates over options by their names on the command line, such as ``fit.lr``."""
    for name, value in options.items():
        if isinstance(value, dict) and not prefix and name in ("model", "fit", "trainer"):
            yield from _flat(value, f"{name}.")
        else:
            yield f"{prefix}{name}", value
