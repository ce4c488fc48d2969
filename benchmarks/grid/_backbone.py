"""The one backbone that all methods with a backbone share."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pyg_viglad.training.backbone_features import BackboneFeatures

__all__ = ["Backbone", "NamedMaps"]


class Backbone:
    """A timm model by name, and the strides of the maps a method takes from it.

    Args:
        name: A timm model.
        weights: A state dict of it as a ``.safetensors`` or ``.pth`` file; without one, timm
            fetches its weights by name.
        strides: Strides of the maps, finest first.
        options: Further arguments of ``timm.create_model``, such as ``{"pad_type": "same"}``.
    """

    def __init__(
        self,
        name: str,
        weights: str | None,
        strides: Sequence[int],
        options: dict[str, Any] | None,
    ) -> None:
        self.strides = tuple(strides)
        if list(self.strides) != sorted(set(self.strides)) or not self.strides:
            raise ValueError(f"Expected 'strides' in ascending order (got {list(strides)})")
        self.name = name
        self.weights = weights
        self.options = options or {}

    @property
    def layers(self) -> list[str]:
        """A name for each map."""
        return [f"stride{stride}" for stride in self.strides]

    def load(self) -> BackboneFeatures:
        """Build the frozen backbone, which takes images in [0, 1]."""
        return BackboneFeatures(self.name, self.weights, strides=self.strides, **self.options)

    def channels(self, network: BackboneFeatures) -> list[int]:
        """Give the width of each map."""
        return list(network.net.feature_info.channels())


class NamedMaps(nn.Module):
    """A backbone's maps by name, as anomalib's feature extractor gives them."""

    def __init__(self, network: BackboneFeatures, layers: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.layers = list(layers)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Give the maps of images in [0, 1]."""
        return dict(zip(self.layers, self.network.maps(images), strict=True))
