"""PatchCore, PaDiM, FastFlow and EfficientAD as anomalib implements them (extra ``benchmarks``).

Networks, fitting, maps and scores are anomalib's. Its Engine and data modules are left out: they would read,
resize and split the images themselves, and stop by labelled validation images. The teacher, the penalty
images and the backbone's weights are those of the other detectors, where anomalib would download its own.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch_geometric.data import Batch

from benchmarks.grid.detector import Scores
from pyg_viglad.models import (
    GPDN,
    SHIPPED_TEACHER,
    BackboneFeatures,
    BackboneTeacher,
    load_teacher,
)
from pyg_viglad.scoring import ChannelNormalization
from pyg_viglad.training import PenaltyImages
from pyg_viglad.training.data import StepSampler

__all__ = ["EfficientADDetector", "FastFlowDetector", "PaDiMDetector", "PatchCoreDetector"]

_SMALLEST = 256  # anomalib's EfficientAD: below, the encoder's last kernel is larger than its input


@dataclass
class AnomalibDetector:
    """Base class of anomalib's models: a plain loop over our data sets.

    Args:
        image_size: Height and width of the images.
        seed: Seed of weights, order and everything else that is drawn.
        device: A torch device.
        input_size: Side, or height and width, to which images are resized for the model (default: the
            images' own). Maps come back at the size of the images.
        batch_size: Images per batch of statistics and of prediction.

    Raises:
        ValueError: If an argument is out of range, or anomalib is not installed.
    """

    image_size: tuple[int, int]
    seed: int = 0
    device: str = "cpu"
    _: KW_ONLY
    input_size: int | Sequence[int] | None = None
    batch_size: int = 8
    model: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            counts = name in ("iterations", "flow_steps") or name.endswith("batch_size")
            if counts and value < 1:
                raise ValueError(f"Expected {name!r} to be at least 1 (got {value})")
        size = self.image_size if self.input_size is None else self.input_size
        self.input_size = (size, size) if isinstance(size, int) else tuple(size)
        if len(self.input_size) != 2 or min(self.input_size) < 32:
            raise ValueError(
                f"Expected 'input_size' as a side or [height, width] from 32 on (got {size})"
            )

    def fit(self, train: Any, validation: Any, folder: Path) -> dict[str, Any]:
        """Learns from normal images; nothing is written."""
        from lightning import seed_everything

        seed_everything(self.seed, verbose=False)  # anomalib draws from NumPy too
        self.model = self._build().to(self.device)
        facts = self._fit(train, validation)
        self.model.eval()
        return facts

    @torch.no_grad()
    def predict(self, dataset: Any) -> Scores:
        """Scores every image by anomalib's own score and map."""
        if self.model is None:
            raise ValueError("Expected fit() before predict() (got a detector without it)")
        scores, maps = [], []
        for images in self._images(dataset):
            output = self.model(images)
            scores.append(output.pred_score.reshape(len(images)).float().cpu())
            maps.append(_resize(output.anomaly_map.float(), self.image_size)[:, 0].cpu())
        return Scores({"score": torch.cat(scores)}, torch.cat(maps))

    def _build(self) -> Any:
        raise NotImplementedError

    def _fit(self, train: Any, validation: Any) -> dict[str, Any]:
        raise NotImplementedError

    def _images(self, dataset: Any) -> Iterator[Tensor]:
        """Yields the images of a data set once, in batches at the model's size."""
        for batch in DataLoader(dataset, self.batch_size, collate_fn=Batch.from_data_list):
            yield _resize(batch.img.to(self.device), self.input_size)

    def _steps(self, dataset: Any, batch_size: int, iterations: int) -> Iterator[Tensor]:
        """Yields the training images of each iteration, in the order in which ViGLAD sees them."""
        sampler = StepSampler(len(dataset), batch_size, iterations, self.seed)
        loader = DataLoader(dataset, batch_size, sampler=sampler, collate_fn=Batch.from_data_list)
        for batch in loader:
            yield _resize(batch.img.to(self.device), self.input_size)

    def _train(self, parameters: list[nn.Parameter], losses: Iterator[Tensor]) -> dict[str, Any]:
        """Takes a step of Adam for each loss, the learning rate divided by 10 at ``drop``."""
        optimizer = torch.optim.Adam(parameters, self.lr, weight_decay=self.weight_decay)
        drop = max(1, int(self.drop * self.iterations))
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [drop], gamma=0.1)
        final = 0.0
        for loss in losses:
            final = float(loss.detach())
            if not math.isfinite(final):
                raise ValueError(f"Expected a finite loss (got {final})")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return {"iterations": self.iterations, "final_loss": final}


@dataclass
class BackboneDetector(AnomalibDetector):
    """Base class of the models on a frozen ImageNet backbone.

    Args:
        backbone: A timm model.
        weights: Its state dict as a file; by default timm fetches it by name.
        strides: Strides of its maps: 4, 8 and 16 are ``layer1`` to ``layer3`` of a ResNet.
        backbone_options: Further arguments of ``timm.create_model``.
        **kwargs: See :class:`AnomalibDetector`.
    """

    _: KW_ONLY
    backbone: str = "wide_resnet50_2"
    weights: str | None = None
    strides: Sequence[int] = (4, 8, 16)
    backbone_options: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.strides or list(self.strides) != sorted(set(self.strides)):
            raise ValueError(f"Expected 'strides' in ascending order (got {list(self.strides)})")

    def _load_backbone(self, named: bool = True) -> "_Backbone":
        options = self.backbone_options or {}
        features = BackboneFeatures(self.backbone, self.weights, strides=self.strides, **options)
        return _Backbone(features, named)

    def _collect(self, train: Any) -> int:
        """Passes all training images through the model, which collects their features."""
        self.model.train()
        number = 0
        for images in self._images(train):
            self.model(images)
            number += len(images)
        return number


@dataclass
class PatchCoreDetector(BackboneDetector):
    """PatchCore (Roth et al., CVPR 2022): distance to a coreset of all normal patches.

    Args:
        coreset_ratio: Share of the normal patches that is kept, in (0, 1] (paper: 0.25, 0.1 or 0.01).
        num_neighbors: Neighbours in PatchCore's re-weighting of the score; 1 disables it.
        **kwargs: See :class:`BackboneDetector`; the strides are 8 and 16 by default.
    """

    _: KW_ONLY
    strides: Sequence[int] = (8, 16)
    coreset_ratio: float = 0.1
    num_neighbors: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.coreset_ratio <= 1:
            raise ValueError(f"Expected 'coreset_ratio' in (0, 1] (got {self.coreset_ratio})")

    def _build(self) -> Any:
        backbone = self._load_backbone()
        # Made with a small network, which ours replaces: anomalib reads no weights from a file.
        model = _anomalib("patchcore.torch_model").PatchcoreModel(
            ["layer2"], "resnet18", pre_trained=False, num_neighbors=self.num_neighbors
        )
        model.feature_extractor, model.layers = backbone, backbone.layers
        return model

    def _fit(self, train: Any, validation: Any) -> dict[str, Any]:
        images = self._collect(train)
        self.model.subsample_embedding(self.coreset_ratio)
        return {"images": images, "patches": self.model.memory_bank.size(0)}


@dataclass
class PaDiMDetector(BackboneDetector):
    """PaDiM (Defard et al., ICPR 2020): a Gaussian at every position of the image.

    Args:
        num_features: Channels that are drawn of all (paper: 100 of a ResNet-18, 550 of a
            WideResNet-50-2).
        **kwargs: See :class:`BackboneDetector`.
    """

    _: KW_ONLY
    num_features: int = 550

    def _build(self) -> Any:
        backbone = self._load_backbone()
        channels = sum(backbone.channels)
        if not 0 < self.num_features <= channels:
            raise ValueError(
                f"Expected 'num_features' from 1 to {channels} (got {self.num_features})"
            )
        model = _anomalib("padim.torch_model").PadimModel(
            "resnet18", ["layer1"], pre_trained=False, n_features=1
        )
        model.feature_extractor, model.layers = backbone, backbone.layers
        model.n_features_original, model.n_features = channels, self.num_features
        model.idx = torch.randperm(channels)[: self.num_features]
        return model

    def _fit(self, train: Any, validation: Any) -> dict[str, Any]:
        images = self._collect(train)
        self.model.fit()
        return {"images": images}


@dataclass
class FastFlowDetector(BackboneDetector):
    """FastFlow (Yu et al., 2021): the likelihood of features under a 2-D normalising flow.

    Trained by Adam for all its iterations.

    Args:
        flow_steps: Coupling blocks of each flow (paper: 8).
        conv3x3_only: Whether every second block has 3x3 instead of 1x1 convolutions too.
        hidden_ratio: Width of the couplings (paper: 1.0, and 0.16 with a WideResNet-50-2).
        iterations: Optimiser steps (paper: 500 epochs).
        train_batch_size: Images per step (paper: 32).
        lr: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        **kwargs: See :class:`BackboneDetector`.
    """

    _: KW_ONLY
    flow_steps: int = 8
    conv3x3_only: bool = False
    hidden_ratio: float = 1.0
    iterations: int = 6000
    train_batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-5
    drop: float = field(default=1.0, init=False)  # never

    def _build(self) -> Any:
        module = _anomalib("fastflow.torch_model")
        backbone = self._load_backbone(named=False)
        # Made with a small network, which ours replaces: anomalib takes four backbones only.
        model = module.FastflowModel(self.input_size, "resnet18", pre_trained=False, flow_steps=1)
        shapes = [list(m.shape[1:]) for m in backbone(torch.zeros(1, 3, *self.input_size))]
        model.feature_extractor = backbone
        model.norms = nn.ModuleList(nn.LayerNorm(shape) for shape in shapes)
        flow = {k: getattr(self, k) for k in ("flow_steps", "conv3x3_only", "hidden_ratio")}
        model.fast_flow_blocks = nn.ModuleList(
            module.create_fast_flow_block(shape, **flow) for shape in shapes
        )
        return model

    def _fit(self, train: Any, validation: Any) -> dict[str, Any]:
        loss = _anomalib("fastflow.loss").FastflowLoss()
        self.model.train()
        images = self._steps(train, self.train_batch_size, self.iterations)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return self._train(parameters, (loss(*self.model(batch)) for batch in images))


@dataclass
class EfficientADDetector(AnomalibDetector):
    """EfficientAD (Batzner et al., WACV 2024) with a teacher and penalty images of our own.

    Trained by Adam, one image per step, the learning rate divided by 10 at 95 %. ViGLAD with
    ``autoencoder="conv"`` and ``losses="efficientad"`` is the same method by this package.

    Args:
        size: Layers of the student, ``"small"`` or ``"medium"``.
        teacher: ``"mobilenetv1"`` (ships with the package) or a teacher file.
        penalty: Folder of natural images (default: scikit-learn's two photographs).
        iterations: Optimiser steps (paper: 70,000).
        lr: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        **kwargs: See :class:`AnomalibDetector`; ``input_size`` is at least 256, also by default.
    """

    _: KW_ONLY
    size: Literal["small", "medium"] = "medium"
    teacher: str = SHIPPED_TEACHER
    penalty: str | None = None
    iterations: int = 70_000
    lr: float = 1e-4
    weight_decay: float = 1e-5
    drop: float = field(default=0.95, init=False)

    def __post_init__(self) -> None:
        if self.input_size is None:
            self.input_size = [max(side, _SMALLEST) for side in self.image_size]
        super().__post_init__()
        if min(self.input_size) < _SMALLEST:
            raise ValueError(
                f"Expected 'input_size' of at least {_SMALLEST} for anomalib's EfficientAD "
                f"(got {self.input_size})"
            )
        if self.size not in ("small", "medium"):
            raise ValueError(f"Expected 'size' to be 'small' or 'medium' (got {self.size!r})")

    def _build(self) -> Any:
        module = _anomalib("efficient_ad.torch_model")
        ours = load_teacher(self.teacher)
        if isinstance(ours, GPDN | BackboneTeacher):
            raise ValueError(f"Expected a PDN as 'teacher' of anomalib's EfficientAD (got {ours})")
        sizes = {
            "small": module.SmallPatchDescriptionNetwork,
            "medium": module.MediumPatchDescriptionNetwork,
        }
        channels = ours.out_channels
        model = module.EfficientAdModel(
            channels, module.EfficientAdModelSize(self.size), padding=False
        )
        model.teacher = sizes[ours.size](channels).eval().requires_grad_(False)
        model.teacher.load_state_dict(ours.state_dict())
        return model

    def _fit(self, train: Any, validation: Any) -> dict[str, Any]:
        self._fit_teacher_statistics(train)
        model = self.model.train()
        model.teacher.eval()
        penalty = PenaltyImages(
            self.penalty, max(self.input_size), length=self.iterations, seed=self.seed
        )
        pairs = zip(self._steps(train, 1, self.iterations), DataLoader(penalty, 1), strict=True)
        losses = (
            torch.stack(model(images, _resize(other.to(self.device), self.input_size))).sum()
            for images, other in pairs
        )
        facts = self._train([*model.student.parameters(), *model.ae.parameters()], losses)
        self._fit_quantiles(validation)
        return facts

    @torch.no_grad()
    def _fit_teacher_statistics(self, train: Any) -> None:
        """Fits mean and standard deviation of the teacher's channels, in float64."""
        statistics = ChannelNormalization(self.model.mean_std["mean"].numel()).to(self.device)
        statistics.fit(self.model.teacher(images) for images in self._images(train))
        for name in ("mean", "std"):
            value = getattr(statistics, name).view(1, -1, 1, 1)
            self.model.mean_std[name] = nn.Parameter(value, requires_grad=False)

    @torch.no_grad()
    def _fit_quantiles(self, validation: Any) -> None:
        """Fits the quantiles 0.9 and 0.995 of the maps of the validation images."""
        self.model.eval()
        images = self._images(validation)
        pairs = [self.model.get_maps(batch, normalize=False) for batch in images]
        reduce = _anomalib("efficient_ad.torch_model").reduce_tensor_elems
        for name, maps in zip(("st", "ae"), zip(*pairs, strict=True), strict=True):
            values = reduce(torch.cat(maps))
            for letter, quantile in (("a", 0.9), ("b", 0.995)):
                value = torch.quantile(values, quantile)
                key = f"q{letter}_{name}"
                self.model.quantiles[key] = nn.Parameter(value, requires_grad=False)


class _Backbone(nn.Module):
    """A backbone's maps as anomalib's feature extractor (by name) or timm's (a list) returns them."""

    def __init__(self, features: BackboneFeatures, named: bool) -> None:
        super().__init__()
        self.features = features
        self.channels = list(features.net.feature_info.channels())
        self.layers = [f"map{number}" for number in range(len(self.channels))]
        self.named = named

    def forward(self, images: Tensor) -> Any:
        maps = self.features.maps(images)
        return dict(zip(self.layers, maps, strict=True)) if self.named else maps


def _anomalib(name: str) -> Any:
    """Imports a module of anomalib's image models."""
    try:
        return import_module(f"anomalib.models.image.{name}")
    except ImportError as error:
        raise ValueError(
            "Expected the extra 'benchmarks' for this model: pip install 'pyg-viglad[benchmarks]' "
            f"(got: {error})"
        ) from error


def _resize(images: Tensor, size: Sequence[int]) -> Tensor:
    """Resizes images or maps ``[B, C, H, W]`` that have another size."""
    if images.shape[-2:] == torch.Size(size):
        return images
    return F.interpolate(
        images, size=tuple(size), mode="bilinear", align_corners=False, antialias=True
    )
