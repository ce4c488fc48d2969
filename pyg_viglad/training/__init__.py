"""Training with Lightning: the fit of ViGLAD, the distillation of a teacher, and the images they need."""

from typing import TYPE_CHECKING, Any

from pyg_viglad.training.data import PenaltyImages
from pyg_viglad.training.fit import fit, make_trainer

if TYPE_CHECKING:
    from pyg_viglad.training.modules import DistillationModule, ViGLADModule

__all__ = ["DistillationModule", "PenaltyImages", "ViGLADModule", "fit", "make_trainer"]


def __getattr__(name: str) -> Any:
    """Imports the Lightning modules on first use: Lightning takes seconds to load."""
    if name in ("DistillationModule", "ViGLADModule"):
        from pyg_viglad.training import modules

        return getattr(modules, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
