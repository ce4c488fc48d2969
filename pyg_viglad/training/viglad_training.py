"""Training of student and autoencoder with Lightning."""

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from pyg_viglad.models.viglad import ViGLAD
from pyg_viglad.training.step_sampler import step_seed
from pyg_viglad.training.teacher_cache import TeacherCache

__all__ = ["ViGLADTraining"]


class ViGLADTraining(LightningModule):
    """Minimises the sum of ViGLAD's losses (Eq. 15-17) by Adam.

    A training batch is a dictionary of ``images``, a PyG batch with ``img``, and optionally
    ``penalty``, photographs ``[n, 3, H, W]``. The teacher's statistics must be fitted before.

    Args:
        model: The model.
        lr: Learning rate (the paper: 1e-4).
        weight_decay: Weight decay of Adam.
        drop_at: Share of all steps after which the learning rate is divided by 10 (EfficientAD: 0.95).
        seed: With the number of the step, seeds what is drawn in it (colour jitter, dropout).
        cache: The teacher's output for the training images; a batch's ``images`` then hold their
            ``number``.
    """

    def __init__(
        self,
        model: ViGLAD,
        lr: float = 1e-4,
        weight_decay: float = 1e-5,
        drop_at: float = 0.95,
        seed: int = 0,
        cache: TeacherCache | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.lr = lr
        self.weight_decay = weight_decay
        self.drop_at = drop_at
        self.seed = seed
        self.cache = cache

    def training_step(self, batch: dict[str, Any]) -> Tensor:
        """Give the loss of a batch."""
        torch.manual_seed(step_seed(self.seed, self.global_step))
        images = batch["images"]
        known = None if self.cache is None else self.cache.lookup(images.number, images.img)
        parts = self.model.loss(images, batch.get("penalty"), known)
        loss = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            shown = {name: round(float(part), 4) for name, part in parts.items()}
            raise ValueError(f"Expected a finite loss (got {shown} at step {self.global_step})")
        for name, part in parts.items():
            self.log(name, part.detach(), batch_size=1)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=1)
        return loss

    def make_optimizer(self) -> torch.optim.Adam:
        """Adam over student and autoencoder."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        # Fused: one pass over the weights instead of ten, the same steps to rounding.
        return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)

    def configure_optimizers(self) -> Any:
        """Adam, and one drop of the learning rate near the end."""
        optimizer = self.make_optimizer()
        drop = max(1, int(self.drop_at * int(self.trainer.estimated_stepping_batches)))
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [drop], gamma=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
