"""The training loss of ViGLAD, with no more computed than enters it."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch_geometric.data import Batch

from pyg_viglad.nn._norm import keep_statistics
from pyg_viglad.scoring import (
    autoencoder_teacher_loss,
    penalty_loss,
    student_autoencoder_loss,
    student_teacher_loss,
)
from pyg_viglad.transforms import to_batch

if TYPE_CHECKING:
    from pyg_viglad.models.viglad import ViGLAD

__all__ = ["jitter_color", "training_loss"]


def training_loss(
    model: "ViGLAD", images: Tensor | Batch, penalty_images: Tensor | None, teacher: Tensor | None
) -> dict[str, Tensor]:
    """Give the named parts of the loss, see :meth:`pyg_viglad.ViGLAD.loss`."""
    images = to_batch(images, model.image_size)
    normal = model.normalize(images)
    features = model.teach(normal) if teacher is None else model.teacher_normalization(teacher)
    practice = model.losses == "practice"
    # Of the last layer, by far the widest, only the channels that enter a loss are computed.
    if practice:
        student = model.imitate(normal, "student_first")
    else:
        student, second = model.student(normal).chunk(2, dim=1)
    parts = {"student_teacher": student_teacher_loss(features, student, model.hard_quantile)}
    if penalty_images is not None:
        other = model.normalize(to_batch(penalty_images, model.image_size))
        with keep_statistics(model.student):  # scores are of images like the normal ones
            parts["penalty"] = penalty_loss(model.imitate(other, "student_first"))
    if practice:
        normal = model.normalize(jitter_color(images))
        features = model.teach(normal)
        second = model.imitate(normal, "student_second")
    reconstruction = model.reconstruct(normal)
    parts["autoencoder_teacher"] = autoencoder_teacher_loss(features, reconstruction)
    parts["student_autoencoder"] = student_autoencoder_loss(reconstruction, second)
    return parts


def jitter_color(images: Tensor) -> Tensor:
    """Change brightness, contrast or saturation, one of them, by a factor from U(0.8, 1.2).

    The augmentation of EfficientAD's autoencoder branch, drawn for each image apart with torch's
    global generator.

    Args:
        images: ``[B, 3, H, W]`` in [0, 1].

    Returns:
        The same shape, in [0, 1].
    """
    changed = []
    for image in images:
        factor = float(torch.empty(()).uniform_(0.8, 1.2))
        kind = int(torch.randint(3, ()))
        gray = (image * image.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0, keepdim=True)
        other = (torch.zeros_like(gray), gray.mean(), gray)[kind]
        changed.append((factor * image + (1 - factor) * other).clamp(0, 1))
    return torch.stack(changed)
