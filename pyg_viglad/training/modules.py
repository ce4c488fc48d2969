"""Lightning modules: training of ViGLAD's student and autoencoder, distillation of its teacher."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor

from pyg_viglad.models import PDN, BackboneFeatures, ViGLAD
from pyg_viglad.nn import synchronize_batch_norms
from pyg_viglad.scoring import ALONE, ChannelNormalization
from pyg_viglad.training.data import TeacherCache, shards_of, step_seed
from pyg_viglad.transforms import ImageNetNormalization

__all__ = ["DistillationModule", "ViGLADModule"]


class ViGLADModule(LightningModule):
    """Trains ViGLAD's student and autoencoder: the sum of the losses of Eq. 15-17, minimised by Adam.

    A batch is a dictionary of ``images``, a PyG batch with ``img``, and optionally ``penalty``, natural
    images ``[n, 3, H, W]``, as :func:`pyg_viglad.training.fit` builds it. In several processes each has a
    part of the batch; losses, gradients and batch normalizations are those of the whole, but for the
    mining of ``losses="efficientad"``, which each process does in its part.

    Args:
        model: The model, its teacher statistics fitted unless there are ``images``.
        lr: Learning rate (the paper: 1e-4).
        weight_decay: Weight decay of Adam (EfficientAD: 1e-5).
        drop_at: Share of all steps after which the learning rate is divided by 10 (EfficientAD: 0.95).
        seed: Seed of what is drawn in a step (colour jitter, dropout), together with the step's number.
        images: The training images, on which missing teacher statistics are fitted before the first step,
            by all processes together.
        cache: For the teacher's features of the training images; it is filled before the first step.

    Raises:
        ValueError: In a step whose loss is not finite.

    Example:
        >>> from torch_geometric.data import Data
        >>> model = ViGLAD("small", image_size=96, autoencoder="conv")
        >>> images = torch.rand(2, 3, 96, 96)
        >>> model.fit_teacher_statistics(images)
        >>> float(ViGLADModule(model).training_step({"images": Data(img=images)})) > 0
        True
    """

    def __init__(
        self,
        model: ViGLAD,
        lr: float = 1e-4,
        weight_decay: float = 1e-5,
        drop_at: float = 0.95,
        seed: int = 0,
        images: Any = None,
        cache: TeacherCache | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.lr = lr
        self.weight_decay = weight_decay
        self.drop_at = drop_at
        self.seed = seed
        self.images = images
        self.cache = cache
        self.shards = ALONE

    def setup(self, stage: str) -> None:
        """Fits the teacher's statistics and fills the cache, once the processes can communicate."""
        move_to_gpu(self)
        self.shards = shards_of(self.trainer)
        normalization = self.model.teacher_normalization
        if self.cache is not None:
            # Every process needs the features of all images.
            outputs = self._cached_outputs(self.cache)
            if normalization.fitted:
                deque(outputs, maxlen=0)
            else:
                normalization.fit(outputs)
        elif self.images is not None and not normalization.fitted:
            self.model.fit_teacher_statistics(self.images, self.shards)

    def _cached_outputs(self, cache: TeacherCache) -> Iterator[Tensor]:
        for images, outputs in self.model.teacher_outputs(self.images):
            cache.add(images, outputs)
            yield outputs

    def training_step(self, batch: dict[str, Any]) -> Tensor:
        """Computes the loss of a batch."""
        torch.manual_seed(step_seed(self.seed, self.global_step, self.shards.rank))
        images = batch["images"]
        teacher = None if self.cache is None else self.cache.find(images.img)
        with synchronize_batch_norms(self.model, self.shards.size):
            parts = self.model.loss(images, batch.get("penalty"), teacher)
        loss = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            shown = {name: round(float(part), 4) for name, part in parts.items()}
            raise ValueError(f"Expected a finite loss (got {shown} at step {self.global_step})")
        found = {name: part.detach() for name, part in parts.items()}
        self.log_dict(found, batch_size=1, sync_dist=True)
        self.log("loss", loss.detach(), prog_bar=True, batch_size=1, sync_dist=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Adam:
        """Returns Adam over student and autoencoder."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        # Fused: one pass over the weights instead of ten, the same steps to rounding.
        return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True)

    def on_train_batch_start(self, *_: Any) -> None:
        """Sets the step's learning rate, with its one drop near the end."""
        drop = max(1, int(self.drop_at * int(self.trainer.estimated_stepping_batches)))
        _set_learning_rate(self, self.lr if self.global_step < drop else 0.1 * self.lr)


class DistillationModule(LightningModule):
    r"""Distils a teacher, a padded PDN or GPDN, from the features of an ImageNet backbone.

    With the backbone's features :math:`\Psi` of the image at twice the teacher's size, normalised per
    channel, the loss is :math:`\frac{1}{CWH} \sum_c \|\Psi(I)_c - T(I)_c\|_F^2` (EfficientAD, Section 3.1
    and Algorithm 3). The learning rate is constant except for a linear decay at the end.

    Args:
        teacher: The network to train, with ``padding=True``.
        features: The frozen backbone.
        normalization: Mean and standard deviation of the backbone's features, fitted unless there are
            ``images``.
        lr: Learning rate of Adam.
        weight_decay: Weight decay of Adam.
        decay: Share of the steps, at the end, over which the learning rate falls to 0.
        images: Batches of images, in several processes of this one's part, on which a missing
            normalisation is fitted before the first step.

    Shapes:
        - **batch:** images ``[B, 3, 2H, 2W]`` with values in [0, 1], twice the size of the teacher's.

    Example:
        >>> features = BackboneFeatures("wide_resnet101_2.tv_in1k")  # doctest: +SKIP
        >>> teacher, normalization = PDN("small", padding=True), ChannelNormalization(384)
        >>> options = {"images": DataLoader(photographs, 8)}  # doctest: +SKIP
        >>> module = DistillationModule(teacher, features, normalization, **options)  # doctest: +SKIP
        >>> make_trainer("runs/teacher", 60_000).fit(module, loader)  # doctest: +SKIP
    """

    def __init__(
        self,
        teacher: PDN,
        features: BackboneFeatures,
        normalization: ChannelNormalization,
        lr: float = 1e-4,
        weight_decay: float = 1e-5,
        decay: float = 0.0,
        images: Iterable[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.teacher = teacher
        self.features = features.to(memory_format=torch.channels_last)
        self.normalization = normalization
        self.normalize = ImageNetNormalization()
        self.lr = lr
        self.weight_decay = weight_decay
        self.decay = decay
        self.images = images
        self.shards = ALONE
        self.smooth_loss: float | None = None  # over about 100 steps

    def setup(self, stage: str) -> None:
        """Fits the normalisation, once the processes can communicate."""
        move_to_gpu(self)
        self.shards = shards_of(self.trainer)
        if self.images is not None and not self.normalization.fitted:
            outputs = (self.features(batch.to(self.device)) for batch in self.images)
            self.normalization.fit(outputs, self.shards)

    def training_step(self, images: Tensor) -> Tensor:
        """Computes the loss of a batch; the teacher sees it at half the size."""
        target = self.normalization(self.features(images))
        small = F.interpolate(images, scale_factor=0.5, mode="area")
        with synchronize_batch_norms(self.teacher, self.shards.size):
            output = self.teacher(self.normalize(small))
        loss = F.mse_loss(output.float(), target.float())
        value = float(loss.detach())
        before = value if self.smooth_loss is None else self.smooth_loss
        self.smooth_loss = 0.99 * before + 0.01 * value
        losses = {"loss": value, "smooth_loss": self.smooth_loss}
        self.log_dict(losses, prog_bar=True, sync_dist=True)
        return loss

    def on_train_end(self) -> None:
        """Averages the smooth loss over all processes."""
        if self.smooth_loss is not None:
            self.smooth_loss = float(self.shards.mean(torch.tensor([self.smooth_loss])))

    def configure_optimizers(self) -> torch.optim.Adam:
        """Returns Adam over the teacher's weights."""
        return torch.optim.Adam(
            self.teacher.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )

    def on_train_batch_start(self, *_: Any) -> None:
        """Sets the step's learning rate, with its decay at the end."""
        steps = int(self.trainer.estimated_stepping_batches)
        falling = max(1, round(self.decay * steps))
        factor = min(1.0, (steps - self.global_step) / falling) if self.decay else 1.0
        _set_learning_rate(self, self.lr * factor)


def move_to_gpu(module: LightningModule) -> None:
    """Moves a module to the trainer's GPU, as Lightning does only after ``setup``."""
    device = module.trainer.strategy.root_device
    if device.type == "cuda":
        module.to(device)


def _set_learning_rate(module: LightningModule, lr: float) -> None:
    """Sets the learning rate of the next step.

    A scheduler of torch would go on by the number of steps with which a checkpoint was made.
    """
    for group in module.trainer.optimizers[0].param_groups:
        group["lr"] = lr
