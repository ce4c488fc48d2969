"""Distillation of a teacher from an ImageNet backbone, by EfficientAD's procedure."""

from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from pyg_viglad.models.pdn import PDN
from pyg_viglad.training.backbone_features import BackboneFeatures
from pyg_viglad.transforms import ImageNetNormalization

__all__ = ["Distillation", "target_statistics"]


@torch.no_grad()
def target_statistics(features: BackboneFeatures, batches: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each target channel over batches of images, in float64.

    Returns:
        Two tensors ``[channels]``, float32.
    """
    count = 0
    total = torch.zeros(features.channels, dtype=torch.float64)
    squares = torch.zeros(features.channels, dtype=torch.float64)
    for images in batches:
        values = features(images).double().transpose(0, 1).flatten(1).cpu()
        count += values.size(1)
        total += values.sum(1)
        squares += values.square().sum(1)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), std.clamp(min=1e-6).float()


class Distillation(LightningModule):
    r"""Trains a padded PDN or GPDN to give an ImageNet backbone's features.

    With the backbone's features :math:`\Psi` of the image at twice the size, normalised per channel, the
    loss is :math:`\frac{1}{CWH} \sum_c \|\Psi(I)_c - T(I)_c\|_F^2` (EfficientAD, Section 3.1 and
    Algorithm 3). The learning rate is constant, but for a linear decay over the last ``decay`` of all
    steps.

    Args:
        teacher: The network to train, with ``padding=True``.
        features: The frozen backbone.
        mean: Mean of the target's channels, ``[C]``.
        std: Their standard deviation, ``[C]``.
        lr: Learning rate of Adam.
        weight_decay: Its weight decay.
        decay: Share of the steps, at the end, over which the learning rate falls to 0.
    """

    def __init__(
        self,
        teacher: PDN,
        features: BackboneFeatures,
        mean: Tensor,
        std: Tensor,
        lr: float = 1e-4,
        weight_decay: float = 1e-5,
        decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.teacher = teacher
        self.features = features
        self.lr = lr
        self.weight_decay = weight_decay
        self.decay = decay
        self.register_buffer("target_mean", mean.view(1, -1, 1, 1))
        self.register_buffer("target_std", std.view(1, -1, 1, 1))
        self.normalize = ImageNetNormalization()
        self.features.to(memory_format=torch.channels_last)
        self.smooth_loss: float | None = None

    def training_step(self, images: Tensor) -> Tensor:
        """Give the loss of one batch of images, seen at full size by the backbone, at half by the teacher."""
        target = (self.features(images) - self.target_mean) / self.target_std
        small = F.interpolate(images, scale_factor=0.5, mode="area")
        output = self.teacher(self.normalize(small))
        loss = F.mse_loss(output.float(), target.float())
        value = float(loss.detach())
        self.smooth_loss = (
            value if self.smooth_loss is None else 0.99 * self.smooth_loss + 0.01 * value
        )
        self.log("loss", value, prog_bar=True)
        self.log("smooth_loss", self.smooth_loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Adam over the teacher's weights."""
        optimizer = torch.optim.Adam(
            self.teacher.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )
        steps = int(self.trainer.estimated_stepping_batches)
        falling = max(1, round(self.decay * steps))

        def factor(step: int) -> float:
            return min(1.0, max(0.0, (steps - step) / falling)) if self.decay else 1.0

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
