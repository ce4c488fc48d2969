"""PaDiM, from anomalib."""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.grid._anomalib_detector import AnomalibDetector, anomalib_module
from benchmarks.grid._backbone import Backbone, NamedMaps

__all__ = ["PaDiMDetector"]


class PaDiMDetector(AnomalibDetector):
    """PaDiM (Defard et al., ICPR 2020): a Gaussian at every place of the image.

    anomalib's ``PadimModel``. Needs the extra ``benchmarks``.

    Args:
        image_size: Height and width of the images.
        seed: Seed of the choice of channels.
        device: A torch device.
        backbone: A timm model.
        weights: Its state dict as a file; without one, timm fetches it by name.
        strides: Strides of its maps: 4, 8 and 16 are ``layer1`` to ``layer3`` of a ResNet.
        backbone_options: Further arguments of ``timm.create_model``.
        num_features: Channels that are drawn of all (paper: 100 of a ResNet-18, 550 of a
            WideResNet-50-2).
        input_size: Size to which images are resized for the model; None leaves them.
        batch_size: Images of a batch.

    Raises:
        ValueError: If an argument is out of range, or anomalib is not installed.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        seed: int = 0,
        device: str = "cpu",
        *,
        backbone: str = "wide_resnet50_2",
        weights: str | None = None,
        strides: Sequence[int] = (4, 8, 16),
        backbone_options: dict[str, Any] | None = None,
        num_features: int = 550,
        input_size: int | list[int] | None = None,
        batch_size: int = 8,
    ) -> None:
        super().__init__(image_size, seed, device, input_size, batch_size)
        self.backbone = Backbone(backbone, weights, strides, backbone_options)
        self.num_features = num_features

    def _build(self) -> Any:
        network = self.backbone.load()
        channels = sum(self.backbone.channels(network))
        if not 0 < self.num_features <= channels:
            raise ValueError(
                f"Expected 'num_features' from 1 to {channels} (got {self.num_features})"
            )
        # Made with a small network of anomalib's choice, which ours then replaces.
        model = anomalib_module("padim.torch_model").PadimModel(
            "resnet18", ["layer1"], pre_trained=False, n_features=1
        )
        model.feature_extractor = NamedMaps(network, self.backbone.layers)
        model.layers = self.backbone.layers
        model.n_features_original, model.n_features = channels, self.num_features
        model.idx = torch.randperm(channels)[: self.num_features]
        return model

    def _fit(self, train: Any, validation: Any) -> dict[str, Any]:
        images = self._embed(train)
        self.model.fit()
        return {"images": images}
