"""EfficientAD, from anomalib."""

from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.grid._anomalib_detector import AnomalibDetector, anomalib_module
from benchmarks.grid._loops import in_order, in_steps
from pyg_viglad.models.gpdn import GPDN
from pyg_viglad.models.teacher import SHIPPED_TEACHER, load_teacher
from pyg_viglad.training import PenaltyImages

__all__ = ["EfficientADDetector"]

# Below, the last convolution of its encoder is larger than its input.
_SMALLEST = 256


class EfficientADDetector(AnomalibDetector):
    """EfficientAD (Batzner et al., WACV 2024) as anomalib implements it.

    anomalib's ``EfficientAdModel`` with a teacher and photographs of our own, where anomalib would
    download both. Adam, one image a step, the learning rate divided by 10 at 95 %. Needs the extra
    ``benchmarks``. ViGLAD with ``autoencoder="conv"`` is the same method by this package.

    Args:
        image_size: Height and width of the images.
        seed: Seed of weights, order, photographs and augmentation.
        device: A torch device.
        size: Layers of the student, ``"small"`` or ``"medium"``.
        teacher: ``"mobilenetv1"`` (ships with the package) or a teacher file.
        penalty: Folder of natural photographs; without one, scikit-learn's two.
        iterations: Optimiser steps (paper: 70,000).
        lr: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        input_size: Size to which images are resized for the model, at least 256, which its
            autoencoder needs; by default the images' own, but at least 256.
        batch_size: Images of a batch of statistics and of prediction.

    Raises:
        FileNotFoundError: If the teacher's file does not exist.
        ValueError: If an argument is out of range, or anomalib is not installed.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        seed: int = 0,
        device: str = "cpu",
        *,
        size: Literal["small", "medium"] = "medium",
        teacher: str = SHIPPED_TEACHER,
        penalty: str | None = None,
        iterations: int = 70_000,
        lr: float = 1e-4,
        weight_decay: float = 1e-5,
        input_size: int | list[int] | None = None,
        batch_size: int = 8,
    ) -> None:
        if input_size is None:
            input_size = [max(side, _SMALLEST) for side in image_size]
        super().__init__(image_size, seed, device, input_size, batch_size)
        if min(self.input_size) < _SMALLEST:
            raise ValueError(
                f"Expected 'input_size' of at least {_SMALLEST} for anomalib's EfficientAD "
                f"(got {self.input_size})"
            )
        if size not in ("small", "medium"):
            raise ValueError(f"Expected 'size' to be 'small' or 'medium' (got {size!r})")
        if iterations < 1:
            raise ValueError(f"Expected 'iterations' of at least 1 (got {iterations})")
        self.size = size
        self.teacher = teacher
        self.penalty = penalty
        self.iterations = iterations
        self.lr = lr
        self.weight_decay = weight_decay

    def _build(self) -> Any:
        module = anomalib_module("efficient_ad.torch_model")
        ours = load_teacher(self.teacher)
        if isinstance(ours, GPDN):
            raise ValueError(f"Expected a PDN as 'teacher' of anomalib's EfficientAD (got {ours})")
        model = module.EfficientAdModel(
            ours.out_channels, module.EfficientAdModelSize(self.size), padding=False
        )
        types = {
            "small": module.SmallPatchDescriptionNetwork,
            "medium": module.MediumPatchDescriptionNetwork,
        }
        model.teacher = types[ours.size](ours.out_channels).eval()
        model.teacher.load_state_dict(ours.state_dict())
        model.teacher.requires_grad_(False)
        return model

    def _fit(self, train: Any, validation: Any) -> dict[str, Any]:
        self._fit_teacher_statistics(train)
        model = self.model
        model.train()
        model.teacher.eval()
        parameters = [*model.student.parameters(), *model.ae.parameters()]
        optimizer = torch.optim.Adam(parameters, self.lr, weight_decay=self.weight_decay)
        drop = max(1, int(0.95 * self.iterations))
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [drop], gamma=0.1)
        photographs = PenaltyImages(
            self.penalty, max(self.input_size), length=self.iterations, seed=self.seed
        )
        loss = torch.zeros(())
        steps = in_steps(train, 1, self.iterations, self.seed, self.device)
        for images, penalty in zip(steps, DataLoader(photographs, 1), strict=True):
            parts = model(self._prepare(images), self._prepare(penalty.to(self.device)))
            loss = torch.stack(parts).sum()
            if not torch.isfinite(loss):
                raise ValueError(f"Expected a finite loss (got {float(loss)})")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self._fit_quantiles(validation)
        return {"iterations": self.iterations, "final_loss": float(loss.detach())}

    @torch.no_grad()
    def _fit_teacher_statistics(self, train: Any) -> None:
        """Mean and standard deviation of the teacher's channels; anomalib's sums, in float64."""
        number = 0
        total = squares = torch.zeros(())
        for images in in_order(train, self.batch_size, self.device):
            features = self.model.teacher(self._prepare(images)).double()
            number += features[:, 0].numel()
            total = total.to(features) + features.sum((0, 2, 3))
            squares = squares.to(features) + features.square().sum((0, 2, 3))
        mean = total / number
        std = (squares / number - mean.square()).clamp(min=1e-12).sqrt()
        fitted = {"mean": mean, "std": std}
        for name, value in fitted.items():
            self.model.mean_std[name] = _frozen(value.float()[None, :, None, None])

    @torch.no_grad()
    def _fit_quantiles(self, validation: Any) -> None:
        """Quantiles 0.9 and 0.995 of the maps of the validation images."""
        self.model.eval()
        pairs = [
            self.model.get_maps(self._prepare(images), normalize=False)
            for images in in_order(validation, self.batch_size, self.device)
        ]
        reduce = anomalib_module("efficient_ad.torch_model").reduce_tensor_elems
        for name, maps in zip(("st", "ae"), zip(*pairs, strict=True), strict=True):
            values = reduce(torch.cat(maps))
            for letter, quantile in (("a", 0.9), ("b", 0.995)):
                value = torch.quantile(values, quantile)
                self.model.quantiles[f"q{letter}_{name}"] = _frozen(value)


def _frozen(value: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(value, requires_grad=False)
