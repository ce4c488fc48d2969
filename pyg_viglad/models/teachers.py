"""Teachers: the shipped one, files and public checkpoints, and the backbone they are distilled from."""

import json
import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_viglad.files import read_tensors, write_json, write_tensors
from pyg_viglad.models.gpdn import Network, make_network
from pyg_viglad.models.pdn import PDN, PDNSize

__all__ = ["SHIPPED_TEACHER", "BackboneFeatures", "load_teacher", "save_teacher"]

SHIPPED_TEACHER = "mobilenetv1"

# Layers by the number of convolutions and by whether there is a graph block: name, size, convolutions.
_LAYERS: dict[tuple[int, bool], tuple[Network, PDNSize, tuple[int, ...]]] = {
    (4, False): ("pdn", "small", (1, 2, 3, 4)),
    (6, False): ("pdn", "medium", (1, 2, 3, 4, 5, 6)),
    (3, True): ("gpdn", "small", (1, 2, 4)),
    (5, True): ("gpdn", "medium", (1, 2, 3, 5, 6)),
}
_CONV_KEY = re.compile(r"(?:^|.*\.)(?:conv)?(\d+)\.(weight|bias)$")
# What a file says of a GPDN's block, beside graph_kwargs.
_BLOCK_OPTIONS = ("k", "operator", "graph")
_GRAPH_KEY = re.compile(r"(?:^|.*\.)(vig\..*)$")


def load_teacher(source: str | os.PathLike[str] = SHIPPED_TEACHER) -> PDN:
    """Loads a frozen teacher in evaluation mode; its size follows from its weights.

    Three layouts are recognised by their keys, each also behind a prefix such as ``teacher.``: this
    package's and anomalib's (``conv1.weight``, ...) and the sequential one of the public EfficientAD
    checkpoints (``0.weight``, ``3.weight``, ...). With weights of a graph block it is a
    :class:`~pyg_viglad.models.GPDN`; its ``k``, ``operator``, ``graph`` and ``graph_kwargs`` stand in
    ``.safetensors`` files of :func:`save_teacher` and are the defaults in others.

    Args:
        source: ``"mobilenetv1"``, the small teacher that ships with the package (default), or the path of
            a ``.safetensors``, ``.pth``, ``.pt`` or ``.ckpt`` file. Only plain tensors are unpickled.

    Returns:
        A :class:`~pyg_viglad.PDN` or :class:`~pyg_viglad.models.GPDN`, without gradients and padding.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If keys or shapes are not those of a PDN or GPDN.

    Example:
        >>> load_teacher()
        PDN(small, 384)
    """
    if source == SHIPPED_TEACHER:
        folder = resources.files("pyg_viglad.models") / "weights"
        with resources.as_file(folder / "pdn_small_mobilenetv1.safetensors") as file:
            return _from_state(*read_tensors(file, "teacher weights"), str(source))
    if not Path(source).is_file():
        raise FileNotFoundError(
            f"Expected a teacher file or {SHIPPED_TEACHER!r} (got '{source}', which is no file)"
        )
    return _from_state(*read_tensors(source, "teacher weights"), str(source))


def save_teacher(teacher: PDN, path: str | os.PathLike[str], card: dict[str, Any]) -> None:
    """Writes a teacher's weights in float16, and beside them a JSON card that states their origin.

    Args:
        teacher: The network to save.
        path: The file to write, ``.safetensors``; the card has its name with ``.json``.
        card: Anything JSON can hold: command, seed, final loss, licence.

    Raises:
        ValueError: If the teacher is a GPDN with a custom operator or graph builder, which a file
            cannot hold, or the file's name ends otherwise.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_teacher(PDN("small"), f"{folder}/teacher.safetensors", {"seed": 0})
        ...     load_teacher(f"{folder}/teacher.safetensors")
        PDN(small, 384)
    """
    options = {name: teacher.config[name] for name in _BLOCK_OPTIONS if name in teacher.config}
    if None in options.values():
        raise ValueError(
            f"Expected a teacher with operator and graph by name to save (got {teacher})"
        )
    if teacher.config.get("graph_kwargs"):
        try:
            options["graph_kwargs"] = json.dumps(teacher.config["graph_kwargs"])
        except TypeError as error:
            raise ValueError(f"Expected 'graph_kwargs' that JSON can hold ({error})") from error
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    learned = dict(teacher.named_parameters())
    # Running statistics are few, and some exceed float16.
    state = {
        key: (value.half() if key in learned else value).detach()
        for key, value in teacher.state_dict().items()
    }
    write_tensors(path, state, {key: str(value) for key, value in options.items()} or None)
    write_json(path.with_suffix(".json"), card)


def _from_state(state: dict[str, Tensor], options: dict[str, str], name: str) -> PDN:
    """Builds the network of a state dict in any known layout."""
    if any(key.startswith("teacher.") or ".teacher." in key for key in state):
        state = {key: value for key, value in state.items() if "teacher." in key}
    convs: dict[int, dict[str, Tensor]] = {}
    graph: dict[str, Tensor] = {}
    for key, value in state.items():
        if match := _GRAPH_KEY.match(key):
            graph[match[1]] = value
        elif match := _CONV_KEY.match(key):
            convs.setdefault(int(match[1]), {})[match[2]] = value
    layers = [convs[number] for number in sorted(convs)]
    found = _LAYERS.get((len(layers), bool(graph)))
    if found is None or any(len(layer) != 2 for layer in layers):
        wanted = "3 (small) or 5 (medium) convolutions beside a graph block"
        raise ValueError(
            "Expected the weights and biases of "
            f"{wanted if graph else '4 (small) or 6 (medium) convolutions'} in '{name}' "
            f"(got {len(layers)}; first keys: {', '.join(sorted(state)[:4])})"
        )
    kind, size, numbers = found
    block: dict[str, Any] = {}
    if graph:
        k = options.get("k", "9")
        if not k.isdigit():
            raise ValueError(f"Expected 'k' of the graph block in '{name}' as a number (got {k!r})")
        block = {name: options[name] for name in _BLOCK_OPTIONS if name in options}
        block["k"] = int(k)
        if "graph_kwargs" in options:
            block["graph_kwargs"] = json.loads(options["graph_kwargs"])
    model = make_network(kind, size, layers[-1]["bias"].numel(), **block)
    renamed = {
        f"conv{number}.{part}": value.float()
        for number, layer in zip(numbers, layers, strict=True)
        for part, value in layer.items()
    }
    try:
        model.load_state_dict(renamed | graph)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"Expected the shapes of a {size} {kind.upper()} in '{name}' ({reason})"
        ) from error
    return model.eval().requires_grad_(False)


class BackboneFeatures(nn.Module):
    """Features of a frozen timm backbone at strides 8 and 16, from which a teacher is distilled.

    As in EfficientAD, the two maps are brought to the finer one's grid, concatenated, and averaged over
    neighbouring channels (adaptive pooling) to ``channels``. The backbone sees its image at twice the
    teacher's size, so that its stride of 8 meets the teacher's 4.

    Args:
        name: A timm model with feature maps (default: ``"wide_resnet101_2.tv_in1k"``).
        weights: A ``.safetensors`` or ``.pth`` state dict of that model; by default timm downloads the
            weights by name.
        channels: Width of the target (default: 384).
        strides: Strides of the maps of :meth:`maps` (default: 8 and 16, which distillation needs).
        **kwargs: Passed to ``timm.create_model``, such as ``pad_type="same"``.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` with values in [0, 1].
        - **output:** ``[B, channels, H / 8, W / 8]``.

    Raises:
        FileNotFoundError: If ``weights`` is not a file.
        ValueError: If timm does not know the name, the model has no maps at these strides, or the
            weights do not fit it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str = "wide_resnet101_2.tv_in1k",
        weights: str | os.PathLike[str] | None = None,
        channels: int = 384,
        strides: Sequence[int] = (8, 16),
        **kwargs: Any,
    ) -> None:
        super().__init__()
        import timm

        if weights is not None and not Path(weights).is_file():
            raise FileNotFoundError(f"Expected a file of backbone weights (got '{weights}')")
        if not timm.is_model(name):
            raise ValueError(f"Expected 'backbone' to be a timm model (got {name!r})")
        with torch.device("meta"):  # without weights, for its strides alone
            plan: Any = timm.create_model(name, features_only=True, **kwargs)
        found = plan.feature_info.reduction()
        levels = [number for number, stride in enumerate(found) if stride in strides]
        if len(levels) != len(strides):
            wanted = " and ".join(str(stride) for stride in strides)
            raise ValueError(
                f"Expected a backbone with feature maps at strides {wanted} (got {name!r})"
            )
        net: Any = timm.create_model(
            name, pretrained=weights is None, features_only=True, out_indices=levels, **kwargs
        )
        self.net = net
        if weights is not None:
            self._load(Path(weights))
        config: Any = getattr(net, "pretrained_cfg", None) or net.default_cfg
        self.channels = channels
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(config["std"]).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def _load(self, path: Path) -> None:
        """Loads weights; timm's own loader accepts files that fit feature extractors in part."""
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        try:
            missing = self.net.load_state_dict(state, strict=False).missing_keys
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(f"Expected '{path}' to fit the backbone ({reason})") from error
        if missing:
            raise ValueError(f"Expected '{path}' to fit the backbone (it lacks {missing[0]})")

    def train(self, mode: bool = True) -> "BackboneFeatures":
        """Stays in evaluation mode: the backbone is frozen."""
        return super().train(False)

    @torch.no_grad()
    def maps(self, images: Tensor) -> list[Tensor]:
        """Computes the backbone's own feature maps of images in [0, 1], finest first."""
        return list(self.net((images - self.mean) / self.std))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Computes the target features of the images."""
        fine, coarse = self.maps(images)
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        both = torch.cat([fine, coarse], dim=1).flatten(2).transpose(1, 2)
        pooled = F.adaptive_avg_pool1d(both, self.channels)
        return pooled.transpose(1, 2).reshape(len(fine), self.channels, *fine.shape[-2:])
