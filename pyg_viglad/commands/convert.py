"""``pyg-viglad convert``: published checkpoints of vision graph networks as safetensors."""

from pathlib import Path
from typing import Any

from pyg_viglad.files import read_tensors

__all__ = ["convert"]


def convert(file: str, output: str | None = None) -> str:
    """Turn a published checkpoint of Pyramid ViG, ViG or Vision HGNN into a safetensors file.

    The variant and the number of classes follow from the weights. The file loads by from_file of
    PyramidViG, ViG, PyramidViHGNN or ViHGNN, and a detector's encoder starts from that of a
    PyramidViG with --model.encoder_weights. A Vision HGNN computes its means as the public code
    does (padding "last").

    Args:
        file: The checkpoint, .pth or .safetensors. Only plain tensors are unpickled.
        output: The file to write, .safetensors; by default beside the checkpoint, with its name. An
            existing file is overwritten.

    Returns:
        The file written.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it has another layout.
    """
    from pyg_viglad.models import PyramidViG, PyramidViHGNN, ViG, ViHGNN
    from pyg_viglad.models.pyramid_vig import VARIANTS
    from pyg_viglad.models.vig import SIZES

    state, _ = read_tensors(file)
    target = Path(output or Path(file.removesuffix(".tar")).with_suffix(".safetensors"))
    if target.resolve() == Path(file).resolve():
        raise ValueError(
            f"Expected 'output' to be another file than the checkpoint (got '{target}')"
        )
    # The width of the stem tells all variants apart.
    networks: dict[int, tuple[Any, str]] = {
        **{widths[0]: (PyramidViG, variant) for variant, widths in VARIANTS.items()},
        **{width: (ViG, variant) for variant, (width, _) in SIZES.items()},
    }
    position = state.get("pos_embed")
    width = position.size(1) if position is not None and position.dim() == 4 else 0
    if width not in networks:
        raise ValueError(
            f"Expected a published checkpoint of Pyramid ViG, ViG or Vision HGNN in '{file}' "
            f"(got keys such as {', '.join(sorted(state)[:3])})"
        )
    network, variant = networks[width]
    options = {}
    if any(".nn_node_to_hyperedge." in key for key in state):
        network = {PyramidViG: PyramidViHGNN, ViG: ViHGNN}[network]
        options["padding"] = "last"
    head = state.get("prediction.4.bias")
    model = network(variant, num_classes=0 if head is None else head.numel(), **options)
    model.load_reference(state)
    model.save(target)
    print(f"{model}: {target}")
    return str(target)
