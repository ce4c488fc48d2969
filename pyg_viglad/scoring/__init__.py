"""From features to scores: losses, anomaly maps, calibration, Gaussians."""

from pyg_viglad.scoring.anomaly_map import anomaly_map, place_map
from pyg_viglad.scoring.channel_normalization import ChannelNormalization
from pyg_viglad.scoring.losses import (
    autoencoder_teacher_loss,
    hard_mean,
    penalty_loss,
    student_autoencoder_loss,
    student_teacher_loss,
)
from pyg_viglad.scoring.mahalanobis import Mahalanobis
from pyg_viglad.scoring.map_calibration import MapCalibration
from pyg_viglad.scoring.node_gaussian import NodeGaussian
from pyg_viglad.scoring.node_neighbors import NodeNeighbors
from pyg_viglad.scoring.node_scorer import NodeScorer, NodeScorerName, make_node_scorer
from pyg_viglad.scoring.scorer import Features, RawScores, Scorer
from pyg_viglad.scoring.standardization import Standardization

__all__ = [
    "ChannelNormalization",
    "Features",
    "Mahalanobis",
    "MapCalibration",
    "NodeGaussian",
    "NodeNeighbors",
    "NodeScorer",
    "NodeScorerName",
    "RawScores",
    "Scorer",
    "Standardization",
    "anomaly_map",
    "autoencoder_teacher_loss",
    "hard_mean",
    "make_node_scorer",
    "penalty_loss",
    "place_map",
    "student_autoencoder_loss",
    "student_teacher_loss",
]
