"""PatchCore, from anomalib."""

from collections.abc import Sequence
from typing import Any

from benchmarks.grid._anomalib_detector import AnomalibDetector, anomalib_module
from benchmarks.grid._backbone import Backbone, NamedMaps

__all__ = ["PatchCoreDetector"]


class PatchCoreDetector(AnomalibDetector):
    """PatchCore (Roth et al., CVPR 2022): distance to a coreset of all normal patches.

    anomalib's ``PatchcoreModel``. Needs the extra ``benchmarks``.

    Args:
        image_size: Height and width of the images.
        seed: Seed of the coreset.
        device: A torch device.
        backbone: A timm model.
        weights: Its state dict as a file; without one, timm fetches it by name.
        strides: Strides of its maps: 8 and 16 are ``layer2`` and ``layer3`` of a ResNet.
        backbone_options: Further arguments of ``timm.create_model``.
        coreset_ratio: Share of the normal patches that is kept (paper: 0.25, 0.1 or 0.01).
        num_neighbors: Neighbours that weigh the score; 1 leaves the weight out.
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
        strides: Sequence[int] = (8, 16),
        backbone_options: dict[str, Any] | None = None,
        coreset_ratio: float = 0.1,
        num_neighbors: int = 9,
        input_size: int | list[int] | None = None,
        batch_size: int = 8,
    ) -> None:
        super().__init__(image_size, seed, device, input_size, batch_size)
        if not 0 < coreset_ratio <= 1:
            raise ValueError(f"Expected 'coreset_ratio' in (0, 1] (got {coreset_ratio})")
        self.backbone = Backbone(backbone, weights, strides, backbone_options)
        self.coreset_ratio = coreset_ratio
        self.num_neighbors = num_neighbors

    def _build(self) -> Any:
        network = self.backbone.load()
        # Made with a small network of anomalib's choice, which ours then replaces: anomalib itself
        # neither reads weights from a file nor takes arguments of timm.
        model = anomalib_module("patchcore.torch_model").PatchcoreModel(
            ["layer2"], "resnet18", pre_trained=False, num_neighbors=self.num_neighbors
        )
        model.feature_extractor = NamedMaps(network, self.backbone.layers)
        model.layers = self.backbone.layers
        return model

    def _fit(self, train: Any, validation: Any) -> dict[str, Any]:
        images = self._embed(train)
        self.model.subsample_embedding(self.coreset_ratio)
        return {"images": images, "patches": self.model.memory_bank.size(0)}
