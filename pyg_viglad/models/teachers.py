"""Teachers: the shipped one, files and public checkpoints, and backbones to distil or to take as they are."""

import json
import os
import re
from collections.abc import Sequence
from importlib import resources
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyg_viglad.files import check_download, read_tensors, write_json, write_tensors
from pyg_viglad.models.gpdn import Network, make_network
from pyg_viglad.models.pdn import PDN, PDNSize
from pyg_viglad.transforms import ImageNetNormalization

__all__ = [
    "SHIPPED_TEACHER",
    "BackboneFeatures",
    "BackboneTeacher",
    "load_teacher",
    "make_teacher",
    "save_teacher",
]

SHIPPED_TEACHER = "mobilenetv1"

_BACKBONE = "timm:"  # before the name of a backbone that is the teacher itself

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


def load_teacher(
    source: str | os.PathLike[str] = SHIPPED_TEACHER,
    weights: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> "PDN | BackboneTeacher":
    """Loads a frozen teacher in evaluation mode; its size follows from its weights.

    Three layouts are recognised by their keys, each also behind a prefix such as ``teacher.``: this
    package's and anomalib's (``conv1.weight``, ...) and the sequential one of the public EfficientAD
    checkpoints (``0.weight``, ``3.weight``, ...). With weights of a graph block it is a
    :class:`~pyg_viglad.models.GPDN`; its ``k``, ``operator``, ``graph`` and ``graph_kwargs`` stand in
    ``.safetensors`` files of :func:`save_teacher` and are the defaults in others.

    Args:
        source: ``"mobilenetv1"``, the small teacher that ships with the package (default), the path of a
            ``.safetensors``, ``.pth``, ``.pt`` or ``.ckpt`` file, or ``"timm:NAME"`` for a backbone as it
            is. Only plain tensors are unpickled.
        weights: File of the backbone's weights (default: timm downloads them by name).
        **kwargs: Further arguments of :class:`BackboneTeacher`.

    Returns:
        A :class:`~pyg_viglad.PDN` or :class:`~pyg_viglad.models.GPDN`, without gradients and padding, or
        a :class:`BackboneTeacher`.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If keys or shapes are not those of a PDN, GPDN or of the backbone, or ``weights`` or
            ``kwargs`` come without a backbone.

    Example:
        >>> load_teacher()
        PDN(small, 384)
    """
    if str(source).startswith(_BACKBONE):
        return BackboneTeacher(str(source).removeprefix(_BACKBONE), weights, **kwargs)
    if weights is not None or kwargs:
        given = ", ".join([*(["weights"] if weights is not None else []), *kwargs])
        raise ValueError(f"Expected a teacher '{_BACKBONE}NAME' with {given} (got '{source}')")
    if source == SHIPPED_TEACHER:
        folder = resources.files("pyg_viglad.models") / "weights"
        with resources.as_file(folder / "pdn_small_mobilenetv1.safetensors") as file:
            return _from_state(*read_tensors(file, "teacher weights"), str(source))
    if not Path(source).expanduser().is_file():
        raise FileNotFoundError(
            f"Expected a teacher file or {SHIPPED_TEACHER!r} (got '{source}', which is not a file)"
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
    path = Path(path).expanduser()
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

    Any timm model with maps at these strides serves, also one that computes them channels-last (Swin,
    MambaOut). Layers behind the last map are dropped. Transformers that are built for one size of images
    need timm's ``img_size`` among the ``kwargs``, unless they have ``strict_img_size``, which is off here.

    Args:
        name: A timm model with feature maps (default: ``"wide_resnet101_2.tv_in1k"``).
        weights: A ``.safetensors`` or ``.pth`` state dict with that model's own keys, in any precision;
            keys of its head and of dropped layers may be there or not. By default timm downloads the
            weights by name.
        channels: Width of the target (default: 384).
        strides: Strides of the maps of :meth:`maps`, ascending (default: 8 and 16, which distillation
            needs).
        pretrained: Whether to download weights where no file is given (default: True). Otherwise they are
            random, to be replaced by ``load_state_dict``.
        **kwargs: Passed to ``timm.create_model``, such as ``pad_type="same"``.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` with values in [0, 1].
        - **output:** ``[B, channels, H / 8, W / 8]``.

    Raises:
        FileNotFoundError: If ``weights`` is not a file.
        ValueError: If timm does not know the name or an option, the model has no maps at these strides, or
            the weights do not fit it.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str = "wide_resnet101_2.tv_in1k",
        weights: str | os.PathLike[str] | None = None,
        channels: int = 384,
        strides: Sequence[int] = (8, 16),
        *,
        pretrained: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        import timm

        if not timm.is_model(name):
            raise ValueError(f"Expected 'backbone' to be a timm model (got {name!r})")
        if not strides or list(strides) != sorted(set(strides)):
            raise ValueError(f"Expected 'strides' in ascending order (got {list(strides)})")
        state = None if weights is None else read_tensors(weights, "backbone weights")[0]
        try:
            with torch.device("meta"):  # without weights, for its strides alone
                plan: Any = timm.create_model(name, **kwargs)
        except (TypeError, RuntimeError) as error:  # RuntimeError: an unknown tag
            raise ValueError(f"Expected options of the backbone {name!r} ({error})") from error
        # Of several maps of one stride, the last.
        levels = {info["reduction"]: level for level, info in enumerate(plan.feature_info)}
        if any(stride not in levels for stride in strides):
            wanted = " and ".join(str(stride) for stride in strides)
            known = ", ".join(str(stride) for stride in levels)
            raise ValueError(
                f"Expected a backbone with feature maps at strides {wanted} "
                f"(got {name!r} with {known})"
            )
        if "strict_img_size" in signature(type(plan)).parameters:
            kwargs.setdefault("strict_img_size", False)
        # This one of timm's extractors keeps the names of the model's weights, and all maps [B, C, H, W].
        self.net: Any = timm.create_model(
            name,
            pretrained=state is None and pretrained,
            features_only=True,
            feature_cls="getter",
            out_indices=[levels[stride] for stride in strides],
            **kwargs,
        )
        if state is not None:
            self._load(state, f"Expected '{weights}' to fit the backbone {name!r}")
        self.channels = channels
        self.strides = tuple(strides)
        config: Any = self.net.pretrained_cfg
        if state is None and pretrained:
            _check_cached(config)
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(config["std"]).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def _load(self, state: dict[str, Tensor], expected: str) -> None:
        """Loads weights strictly, but for those of layers that are dropped."""
        try:
            missing = self.net.model.load_state_dict(state, strict=False).missing_keys
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(f"{expected} ({reason})") from error
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise ValueError(
                f"{expected} (it lacks {', '.join(missing[:3])}{more}; its first keys: "
                f"{', '.join(list(state)[:3])})"
            )

    def train(self, mode: bool = True) -> "BackboneFeatures":
        """Stays in evaluation mode: the backbone is frozen."""
        return super().train(False)

    @torch.no_grad()
    def maps(self, images: Tensor) -> list[Tensor]:
        """Computes the backbone's own feature maps of images in [0, 1], in the order of the strides."""
        return list(self.net(((images - self.mean) / self.std).to(self.mean)))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Computes the target features of the images."""
        fine, coarse = self.maps(images)
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        both = torch.cat([fine, coarse], dim=1).flatten(2).transpose(1, 2)
        pooled = F.adaptive_avg_pool1d(both, self.channels)
        return pooled.transpose(1, 2).reshape(len(fine), self.channels, *fine.shape[-2:])


def _check_cached(config: dict[str, Any]) -> None:
    """Checks the SHA-256 of the weights that timm downloaded."""
    from huggingface_hub import try_to_load_from_cache

    for name in ("model.safetensors", "pytorch_model.bin"):
        cached = try_to_load_from_cache(config["hf_hub_id"], name) if config["hf_hub_id"] else None
        if isinstance(cached, str):
            check_download(cached)


class BackboneTeacher(nn.Module):
    r"""A frozen timm backbone as teacher, without distillation.

    Its maps are sampled bilinearly where the cells of a PDN look: cell i at pixel :math:`4i + 16.5`, in
    the coordinates in which the image reaches from 0 to H. Cell j of a map of stride s, of an image
    enlarged ``scale`` times, counts as centred at :math:`(j + 1/2)\, s / \text{scale}`. The maps are then
    concatenated.

    Unlike a PDN's, these features have a receptive field of more than 33 x 33 pixels. Stages differ much in
    scale and have many channels; with this teacher :class:`~pyg_viglad.ViGLAD` standardises them and keeps
    384 principal components, or ``whiten`` of them.

    Args:
        name: A timm model, see :class:`BackboneFeatures`.
        weights: Its weights as a file; by default timm downloads them by name.
        strides: Strides of the maps (default: 8 and 16).
        scale: Factor by which images are enlarged before the backbone (default: 2, so that the strides are
            half as many pixels; 1 is four times as fast).
        pretrained: Whether to download weights where no file is given (default: True).
        **kwargs: Passed to ``timm.create_model``.

    Shapes:
        - **input:** images ``[B, 3, H, W]``, ImageNet-normalised as for a PDN; the backbone's own mean and
          standard deviation are applied within.
        - **output:** ``[B, out_channels, (H - 32) / 4, (W - 32) / 4]``.

    Attributes:
        out_channels: Sum of the maps' channels.
        config: The arguments of :func:`make_teacher`.

    Raises:
        FileNotFoundError: If ``weights`` is not a file.
        ValueError: As :class:`BackboneFeatures`, or if ``scale`` is not positive.

    Example:
        >>> teacher = BackboneTeacher("mobilenetv3_small_050", pretrained=False)
        >>> teacher(torch.zeros(1, 3, 96, 128)).shape
        torch.Size([1, 40, 16, 24])
    """

    padding = False

    def __init__(
        self,
        name: str,
        weights: str | os.PathLike[str] | None = None,
        strides: Sequence[int] = (8, 16),
        scale: float = 2,
        *,
        pretrained: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"Expected 'scale' above 0 (got {scale})")
        self.scale = scale
        self.normalize = ImageNetNormalization()
        self.backbone = BackboneFeatures(
            name, weights, strides=strides, pretrained=pretrained, **kwargs
        )
        self.backbone.to(memory_format=torch.channels_last)
        self.out_channels = sum(self.backbone.net.feature_info.channels())
        self.config: dict[str, Any] = {
            "name": f"{_BACKBONE}{name}",
            "strides": list(strides),
            "scale": scale,
            **kwargs,
        }
        self.eval()

    def train(self, mode: bool = True) -> "BackboneTeacher":
        """Stays in evaluation mode: the backbone is frozen."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Computes the features of all cells, in float32 also under autocast."""
        sides = images.shape[-2:]
        pixels = [
            4 * torch.arange((side - 32) // 4, device=images.device, dtype=torch.float32) + 16.5
            for side in sides
        ]
        images = images * self.normalize.std + self.normalize.mean
        if self.scale != 1:
            images = F.interpolate(images, scale_factor=self.scale, mode="bilinear")
        sampled = []
        for features, stride in zip(self.backbone.maps(images), self.backbone.strides, strict=True):
            # To grid_sample, a map reaches from -1 to 1.
            y, x = (
                2 * place * self.scale / (stride * cells) - 1
                for place, cells in zip(pixels, features.shape[-2:], strict=True)
            )
            grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
            grid = grid.expand(len(features), -1, -1, -1)
            with torch.autocast(images.device.type, enabled=False):  # positions need float32
                sampled.append(
                    F.grid_sample(
                        features.float(), grid, padding_mode="border", align_corners=False
                    )
                )
        return torch.cat(sampled, dim=1)

    def __repr__(self) -> str:
        strides = " and ".join(str(stride) for stride in self.backbone.strides)
        name = self.config["name"].removeprefix(_BACKBONE)
        return f"{self.__class__.__name__}({name}, strides {strides}, scale {self.scale:g})"


def make_teacher(name: str, **options: Any) -> PDN | BackboneTeacher:
    """Builds a teacher without its weights from the ``config`` of another.

    Args:
        name: ``"pdn"``, ``"gpdn"`` or ``"timm:NAME"``.
        **options: See :func:`~pyg_viglad.models.make_network` and :class:`BackboneTeacher`.

    Example:
        >>> make_teacher(**PDN("small").config)
        PDN(small, 384)
    """
    if name.startswith(_BACKBONE):
        return BackboneTeacher(name.removeprefix(_BACKBONE), pretrained=False, **options)
    return make_network(name, **options)  # type: ignore[arg-type]  # it tells unknown names
