"""Graphs of nearest neighbours, graph operators, and the blocks built of them."""

from pyg_viglad.nn.conv import (
    OPERATORS,
    MaxRelativeConv,
    MaxRelativeDeconv,
    Operator,
    OperatorAdapter,
    make_operator,
)
from pyg_viglad.nn.conv_vig import ConvViG
from pyg_viglad.nn.deconv_vig import DeconvViG
from pyg_viglad.nn.downsample import Downsample
from pyg_viglad.nn.knn_graph import knn_graph
from pyg_viglad.nn.upsample import Upsample

__all__ = [
    "OPERATORS",
    "ConvViG",
    "DeconvViG",
    "Downsample",
    "MaxRelativeConv",
    "MaxRelativeDeconv",
    "Operator",
    "OperatorAdapter",
    "Upsample",
    "knn_graph",
    "make_operator",
]
