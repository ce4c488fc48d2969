"""The networks of ViGLAD."""

from pyg_viglad.models.conv_autoencoder import ConvAutoEncoder
from pyg_viglad.models.gpdn import GPDN, make_network
from pyg_viglad.models.graph_constructor import GraphConstructor, grid_graphs
from pyg_viglad.models.pdn import PDN
from pyg_viglad.models.pyramid_vig import PyramidViG
from pyg_viglad.models.teachers import (
    SHIPPED_TEACHER,
    BackboneFeatures,
    BackboneTeacher,
    load_teacher,
    make_teacher,
    save_teacher,
)
from pyg_viglad.models.vig import ViG
from pyg_viglad.models.vig_autoencoder import ViGAutoEncoder
from pyg_viglad.models.vig_stage import ViGStage
from pyg_viglad.models.viglad import Features, Prediction, ViGLAD, hard_mean
from pyg_viglad.models.vihgnn import PyramidViHGNN, ViHGNN
from pyg_viglad.models.vision_gnn import VisionGNN

__all__ = [
    "GPDN",
    "PDN",
    "SHIPPED_TEACHER",
    "BackboneFeatures",
    "BackboneTeacher",
    "ConvAutoEncoder",
    "Features",
    "GraphConstructor",
    "Prediction",
    "PyramidViG",
    "PyramidViHGNN",
    "ViG",
    "ViGAutoEncoder",
    "ViGLAD",
    "ViGStage",
    "ViHGNN",
    "VisionGNN",
    "grid_graphs",
    "hard_mean",
    "load_teacher",
    "make_network",
    "make_teacher",
    "save_teacher",
]
