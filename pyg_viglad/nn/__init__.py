"""Nearest-neighbour graphs, graph operators, and the vision graph blocks built from them."""

from pyg_viglad.nn.graph_builders import (
    GRAPHS,
    KNN,
    AdaptiveKNN,
    AxialGraph,
    Graph,
    GridGraph,
    MutualKNN,
    PositionKNN,
    RandomGraph,
    UndirectedKNN,
    WindowKNN,
    make_graph,
    nearest_first,
    register_graph,
)
from pyg_viglad.nn.hypergraph import (
    HyperedgeConv,
    HyperedgeData,
    Hyperedges,
    Hypergraph,
    fuzzy_c_means,
    hyperedges,
    join_hyperedges,
    to_hypergraph,
)
from pyg_viglad.nn.keep_types import KeepTypes
from pyg_viglad.nn.knn_graph import edge_distances, knn_graph, unit_rows
from pyg_viglad.nn.max_relative_conv import MaxRelativeConv, MaxRelativeDeconv
from pyg_viglad.nn.node_linear import NodeLinear
from pyg_viglad.nn.node_norm import NodeNorm, keep_running_statistics, synchronize_batch_norms
from pyg_viglad.nn.operators import (
    OPERATORS,
    Operator,
    OperatorAdapter,
    make_operator,
    register_operator,
)
from pyg_viglad.nn.resample import Downsample, Upsample, Upsampling, to_maps, to_nodes
from pyg_viglad.nn.vig_block import ConvViG, DeconvViG, ViGBlock, position_codes
from pyg_viglad.nn.vig_convs import GroupedLinear, ViGEdgeConv, ViGGINConv, ViGSAGEConv

__all__ = [
    "GRAPHS",
    "KNN",
    "OPERATORS",
    "AdaptiveKNN",
    "AxialGraph",
    "ConvViG",
    "DeconvViG",
    "Downsample",
    "Graph",
    "GridGraph",
    "GroupedLinear",
    "HyperedgeConv",
    "HyperedgeData",
    "Hyperedges",
    "Hypergraph",
    "KeepTypes",
    "MaxRelativeConv",
    "MaxRelativeDeconv",
    "MutualKNN",
    "NodeLinear",
    "NodeNorm",
    "Operator",
    "OperatorAdapter",
    "PositionKNN",
    "RandomGraph",
    "UndirectedKNN",
    "Upsample",
    "Upsampling",
    "ViGBlock",
    "ViGEdgeConv",
    "ViGGINConv",
    "ViGSAGEConv",
    "WindowKNN",
    "edge_distances",
    "fuzzy_c_means",
    "hyperedges",
    "join_hyperedges",
    "keep_running_statistics",
    "knn_graph",
    "make_graph",
    "make_operator",
    "nearest_first",
    "position_codes",
    "register_graph",
    "register_operator",
    "synchronize_batch_norms",
    "to_hypergraph",
    "to_maps",
    "to_nodes",
    "unit_rows",
]
