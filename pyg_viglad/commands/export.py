"""``pyg-viglad export``: a trained detector as one file for other programs."""

from pathlib import Path
from typing import Literal

from pyg_viglad.commands.run import open_model

__all__ = ["export"]


def export(
    model: str,
    format: Literal["onnx", "torch"] = "onnx",
    output: str | None = None,
    dtype: Literal["float32", "uint8"] = "float32",
    graphs: bool = False,
) -> str:
    """Write a trained detector as ONNX, or as a program of torch.export, that runs without this package.

    Resizing, networks, calibration and threshold are inside: images of any size in, scores and maps out.

    Args:
        model: The folder of a run or of a model.
        format: "onnx" for ONNX, which needs the extra "export", or "torch" for torch.export.load.
        output: The file to write, .onnx or .pt2; by default model.onnx or model.pt2 in the folder. An
            existing file is overwritten.
        dtype: Type of the images [B, 3, H, W]: float32 in [0, 1], or uint8.
        graphs: Whether the edges of all graphs are outputs, too.

    Returns:
        The file written.

    Raises:
        FileNotFoundError: If there is no such model or folder.
        ValueError: If the model cannot be exported.
        ImportError: If the packages for ONNX are missing.
    """
    suffix = {"onnx": ".onnx", "torch": ".pt2"}[format]
    target = Path(output or Path(model) / f"model{suffix}")
    if target.suffix != suffix:
        raise ValueError(f"Expected 'output' to end in '{suffix}' (got '{target}')")
    detector = open_model(model)
    detector.export(target, dtype, graphs)
    print(f"{detector}: {target} ({target.stat().st_size / 1e6:.0f} MB)")
    return str(target)
