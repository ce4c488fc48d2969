"""The training losses of ViGLAD (Eq. 15-17)."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "autoencoder_teacher_loss",
    "hard_mean",
    "penalty_loss",
    "student_autoencoder_loss",
    "student_teacher_loss",
]


def hard_mean(values: Tensor, quantile: float) -> Tensor:
    """Average the values at or above a quantile: EfficientAD's hard-feature mining.

    Args:
        values: Any shape, with gradient.
        quantile: In [0, 1); 0 is the plain mean.

    Example:
        >>> import torch
        >>> hard_mean(torch.tensor([0., 1., 2., 3.]), 0.5)
        tensor(2.5000)
    """
    if not 0 <= quantile < 1:
        raise ValueError(f"Expected 'quantile' in [0, 1) (got {quantile})")
    if quantile == 0:
        return values.mean()
    flat = values.flatten()
    kept = max(1, flat.numel() - int(quantile * flat.numel()))
    return torch.topk(flat, kept, sorted=False).values.mean()


def student_teacher_loss(teacher: Tensor, student: Tensor, quantile: float = 0.0) -> Tensor:
    r"""First term of Eq. 15, :math:`\frac{1}{CWH} \sum_c \|T(I)_c - S(I)_c\|_F^2`.

    Args:
        teacher: Normalised teacher features ``[B, C, H, W]``.
        student: First half of the student's output, the same shape.
        quantile: With 0.999 the mean is over the hardest thousandth of the elements (by practice);
            with 0 it is the plain one (as printed).
    """
    return hard_mean((teacher - student).square(), quantile)


def penalty_loss(student: Tensor) -> Tensor:
    r"""Second term of Eq. 15, :math:`\frac{1}{CWH} \sum_c \|S(I_r)_c\|_F^2`.

    Args:
        student: First half of the student's output for images unlike the normal ones, ``[B, C, H, W]``.
    """
    return student.square().mean()


def autoencoder_teacher_loss(teacher: Tensor, autoencoder: Tensor) -> Tensor:
    r"""Eq. 16, :math:`\frac{1}{CWH} \sum_c \|T(I)_c - A_g(\mathcal{G})_c\|_F^2`."""
    return F.mse_loss(autoencoder, teacher)


def student_autoencoder_loss(autoencoder: Tensor, student: Tensor) -> Tensor:
    r"""Eq. 17, :math:`\frac{1}{CWH} \sum_c \|A_g(\mathcal{G})_c - S'(I)_c\|_F^2`; no side is detached.

    Args:
        autoencoder: Output of the graph autoencoder ``[B, C, H, W]``.
        student: Second half of the student's output, the same shape.
    """
    return F.mse_loss(student, autoencoder)
