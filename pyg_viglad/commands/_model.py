"""The trained model behind ``--model``."""

from pathlib import Path
from typing import TYPE_CHECKING

from pyg_viglad.commands._run import PathLike, open_device

if TYPE_CHECKING:
    from pyg_viglad.models import ViGLAD

__all__ = ["open_model"]


def open_model(path: PathLike, device: str = "cpu") -> "ViGLAD":
    """Read a trained model.

    Args:
        path: The folder of a run, with ``model`` inside, or the folder of a model.
        device: A torch device.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If its files or the device cannot be used.
    """
    from pyg_viglad.models import ViGLAD

    folder = Path(path)
    if (folder / "model").is_dir() and not (folder / "config.json").is_file():
        folder = folder / "model"
    return ViGLAD.from_pretrained(folder).to(open_device(device))
