"""Graph operators."""

from pyg_viglad.nn.conv.max_relative_conv import MaxRelativeConv
from pyg_viglad.nn.conv.max_relative_deconv import MaxRelativeDeconv
from pyg_viglad.nn.conv.operator import OPERATORS, Operator, OperatorAdapter, make_operator

__all__ = [
    "OPERATORS",
    "MaxRelativeConv",
    "MaxRelativeDeconv",
    "Operator",
    "OperatorAdapter",
    "make_operator",
]
