"""Anomaly maps, statistics of normal images, and scores of nodes."""

from pyg_viglad.scoring.anomaly_maps import anomaly_map, peak, place_map
from pyg_viglad.scoring.composition import GraphComposition, OddKind
from pyg_viglad.scoring.node_scores import (
    NodeGaussian,
    NodeNeighbors,
    NodeScorer,
    NodeScorerName,
    make_node_scorer,
)
from pyg_viglad.scoring.pseudo import PseudoFusion, PseudoKind, pseudo_anomaly
from pyg_viglad.scoring.shards import ALONE, Shards
from pyg_viglad.scoring.statistics import (
    ChannelNormalization,
    Mahalanobis,
    MapCalibration,
    Standardization,
    Statistics,
    Whitening,
    scale_or_one,
    upper_quantile,
)

__all__ = [
    "ALONE",
    "ChannelNormalization",
    "GraphComposition",
    "Mahalanobis",
    "MapCalibration",
    "NodeGaussian",
    "NodeNeighbors",
    "NodeScorer",
    "NodeScorerName",
    "OddKind",
    "PseudoFusion",
    "PseudoKind",
    "Shards",
    "Standardization",
    "Statistics",
    "Whitening",
    "anomaly_map",
    "make_node_scorer",
    "peak",
    "place_map",
    "pseudo_anomaly",
    "scale_or_one",
    "upper_quantile",
]
