"""Training with Lightning: distillation of a teacher, training of student and autoencoder."""

from pyg_viglad.training.photographs import Photographs

__all__ = ["Photographs"]
