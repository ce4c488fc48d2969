"""The training loss of ViGLAD, with no more computed than enters it."""

from typing import TYPE_CHECKING

from torch import Tensor
from torch_geometric.data import Batch

from pyg_viglad.models._images import as_images, jitter_color
from pyg_viglad.nn._norm import keep_statistics
from pyg_viglad.scoring import (
    autoencoder_teacher_loss,
    penalty_loss,
    student_autoencoder_loss,
    student_teacher_loss,
)

if TYPE_CHECKING:
    from pyg_viglad.models.viglad import ViGLAD

__all__ = ["training_loss"]


def training_loss(
    model: "ViGLAD", images: Tensor | Batch, penalty_images: Tensor | None, teacher: Tensor | None
) -> dict[str, Tensor]:
    """Give the named parts of the loss, see :meth:`pyg_viglad.ViGLAD.loss`."""
    images = as_images(images, model.image_size)
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
        other = model.normalize(as_images(penalty_images, model.image_size))
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
