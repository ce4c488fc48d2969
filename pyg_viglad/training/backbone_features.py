"""What a teacher is distilled from: mid-level features of an ImageNet backbone."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BackboneFeatures"]


class BackboneFeatures(nn.Module):
    """Features of a frozen timm backbone at strides 8 and 16, pooled to as many channels as the teacher has.

    This is the target of EfficientAD's distillation: the two maps are brought to the finer one's grid,
    concatenated, and averaged over neighbouring channels (adaptive pooling) to ``channels``. The
    backbone sees its image at twice the teacher's size, so that its stride of 8 meets the teacher's 4.

    Args:
        name: A timm model that can give feature maps.
        weights: A ``.safetensors`` or ``.pth`` state dict of that model; without one the weights are
            fetched by name, as timm does.
        channels: Width of the target.
        strides: Strides of the maps that :meth:`maps` gives; distillation wants 8 and 16.
        **kwargs: Passed to ``timm.create_model``, such as ``pad_type="same"``.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` with values in [0, 1].
        - **output:** ``[B, channels, H / 8, W / 8]``.

    Raises:
        FileNotFoundError: If ``weights`` is no file.
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
        probe: Any = timm.create_model(name, features_only=True, **kwargs)
        found = probe.feature_info.reduction()
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
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        try:
            missing = self.net.load_state_dict(state, strict=False).missing_keys
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(f"Expected '{path}' to fit the backbone ({reason})") from error
        if missing:
            raise ValueError(f"Expected '{path}' to fit the backbone (it lacks {missing[0]})")

    def train(self, mode: bool = True) -> "BackboneFeatures":
        """Stay in evaluation mode whatever is asked: the backbone is frozen."""
        return super().train(False)

    @torch.no_grad()
    def maps(self, images: Tensor) -> list[Tensor]:
        """Give the backbone's own feature maps of images in [0, 1], finest first."""
        return list(self.net((images - self.mean) / self.std))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Give the target features of the images."""
        fine, coarse = self.maps(images)
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        both = torch.cat([fine, coarse], dim=1).flatten(2).transpose(1, 2)
        pooled = F.adaptive_avg_pool1d(both, self.channels)
        return pooled.transpose(1, 2).reshape(len(fine), self.channels, *fine.shape[-2:])
