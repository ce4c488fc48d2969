"""Networks on images as programs of torch.export and ONNX."""

import io
import os
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from pyg_viglad.files import atomic_path, write_bytes

__all__ = ["export_program"]


def export_program(
    network: nn.Module, images: Tensor, names: Sequence[str], path: str | os.PathLike[str]
) -> Path:
    """Writes a network as a program that runs without this package.

    The number of images, their height and their width stay free.

    Args:
        network: A module in evaluation mode, from images ``[B, 3, H, W]`` to a tuple of tensors.
        images: Images to trace it with: two or more, of a size that has no meaning to the network.
        names: The outputs' names in ONNX; the input is ``images``.
        path: The file to write, ``.onnx`` or ``.pt2``.

    Raises:
        ValueError: If torch cannot export the network, or the file's name ends otherwise.
        FileNotFoundError: If the file's folder does not exist.
        ImportError: If the packages for ONNX are missing.
    """
    path = Path(path).expanduser()
    if path.suffix not in (".onnx", ".pt2"):
        raise ValueError(f"Expected a file name that ends in '.onnx' or '.pt2' (got '{path}')")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"Expected a file in an existing folder (got '{path}')")
    if path.suffix == ".onnx" and find_spec("onnxscript") is None:
        raise ImportError("Expected onnxscript for ONNX: pip install 'pyg-viglad[export]'")
    batch, rows, columns = (
        torch.export.Dim(name, min=smallest)
        for name, smallest in (("batch", 1), ("height", 4), ("width", 4))
    )
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own parts
            program = torch.export.export(
                network, (images,), dynamic_shapes=({0: batch, 2: rows, 3: columns},)
            )
            if path.suffix == ".pt2":
                file = io.BytesIO()
                torch.export.save(program, file)
                write_bytes(path, file.getvalue())
                return path
            onnx = torch.onnx.export(
                program,
                input_names=["images"],
                output_names=list(names),
                dynamo=True,
                verbose=False,
                external_data=False,
            )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"Expected a model that torch can export ({reason})") from error
    if onnx is None:
        raise ValueError("Expected a model that torch can export as ONNX (got no program)")
    with atomic_path(path) as partial:
        onnx.save(partial)
    return path
