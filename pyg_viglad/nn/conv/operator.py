"""Any graph operator of PyG in the place of the max-relative one."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch_geometric.nn import EdgeConv, GATv2Conv, GINConv, MessagePassing, SAGEConv
from torch_geometric.typing import PairTensor

from pyg_viglad.nn._norm import NodeNorm
from pyg_viglad.nn.conv.max_relative_conv import MaxRelativeConv

__all__ = ["OPERATORS", "Operator", "OperatorAdapter", "make_operator"]

OPERATORS = ("max_relative", "edge", "sage", "gin", "gatv2")

Operator: TypeAlias = str | nn.Module | Callable[[int, int], nn.Module]


def make_operator(
    operator: Operator, in_channels: int, out_channels: int, heads: int = 4
) -> nn.Module:
    r"""Make the graph operator of a block, with its activation :math:`\sigma_g` (Eq. 6).

    Args:
        operator: ``"max_relative"`` (the paper's), ``"edge"`` (``EdgeConv`` with one linear layer),
            ``"sage"`` (``SAGEConv`` with max aggregation), ``"gin"`` (``GINConv`` with one linear
            layer) or ``"gatv2"`` (``GATv2Conv`` with ``heads`` heads); a factory
            ``(in_channels, out_channels) -> MessagePassing``, such as an operator's class; or an
            operator, used as it is.
        in_channels: Width of the input.
        out_channels: Width of the output.
        heads: Heads of ``"max_relative"`` and ``"gatv2"``.

    Returns:
        A module with ``forward(x, edge_index)``. All but the max-relative one, which has both
        itself, are followed by batch normalization and GELU, see :class:`OperatorAdapter`.

    Raises:
        ValueError: If the name is unknown or the operator's output has another width.

    Example:
        >>> from torch_geometric.nn import GraphConv
        >>> make_operator(GraphConv, 8, 16)
        OperatorAdapter(GraphConv(8, 16))
    """
    if operator == "max_relative":
        return MaxRelativeConv(in_channels, out_channels, heads)
    if isinstance(operator, MaxRelativeConv):
        if (operator.in_channels, operator.out_channels) != (in_channels, out_channels):
            raise ValueError(
                f"Expected an operator {in_channels} -> {out_channels} "
                f"(got {operator.in_channels} -> {operator.out_channels})"
            )
        return operator
    if isinstance(operator, nn.Module):
        conv: nn.Module = operator
    elif isinstance(operator, str):
        conv = _by_name(operator, in_channels, out_channels, heads)
    elif callable(operator):
        conv = operator(in_channels, out_channels)
        if isinstance(conv, MaxRelativeConv):
            return make_operator(conv, in_channels, out_channels, heads)
    else:
        raise ValueError(
            f"Expected 'operator' to be one of {OPERATORS}, a factory or an operator "
            f"(got {operator!r})"
        )
    return OperatorAdapter(conv, in_channels, out_channels)


class OperatorAdapter(nn.Module):
    r"""A graph operator followed by batch normalization and the :math:`\sigma_g` of Eq. 6.

    Args:
        conv: Operator with ``forward(x, edge_index)``; it is tried once on two nodes.
        in_channels: Width of the input.
        out_channels: Width of the output.

    Raises:
        ValueError: If the operator fails or its output has another width.

    Example:
        >>> adapter = OperatorAdapter(SAGEConv(8, 16), 8, 16)
        >>> adapter(torch.rand(3, 8), torch.tensor([[0, 1], [2, 2]])).shape
        torch.Size([3, 16])
    """

    def __init__(self, conv: nn.Module, in_channels: int, out_channels: int) -> None:
        super().__init__()
        _try(conv, in_channels, out_channels)
        self.conv = conv
        self.norm = NodeNorm(out_channels)
        self.act = nn.GELU()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        if hasattr(self.conv, "reset_parameters"):
            self.conv.reset_parameters()  # type: ignore[operator]
        self.norm.reset_parameters()

    def forward(self, x: Tensor | PairTensor, edge_index: Tensor) -> Tensor:
        """Apply operator, normalization and activation."""
        return self.act(self.norm(self.conv(x, edge_index)))  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.conv})"


def _by_name(name: str, in_channels: int, out_channels: int, heads: int) -> MessagePassing:
    if name == "edge":
        return EdgeConv(nn.Linear(2 * in_channels, out_channels), aggr="max")
    if name == "sage":
        return SAGEConv(in_channels, out_channels, aggr="max")
    if name == "gin":
        return GINConv(nn.Linear(in_channels, out_channels), train_eps=True)
    if name == "gatv2":
        if out_channels % heads:
            raise ValueError(f"Expected {out_channels} channels divisible by heads (got {heads})")
        # Whether nodes are their own neighbours is the graph's affair.
        return GATv2Conv(in_channels, out_channels // heads, heads=heads, add_self_loops=False)
    raise ValueError(f"Expected 'operator' to be one of {OPERATORS} or a factory (got {name!r})")


@torch.no_grad()
def _try(conv: nn.Module, in_channels: int, out_channels: int) -> None:
    """Raise ``ValueError`` unless the operator turns ``in_channels`` into ``out_channels``."""
    device = next((p.device for p in conv.parameters()), torch.device("cpu"))
    training = conv.training
    conv.eval()
    try:
        out = conv(
            torch.zeros(2, in_channels, device=device),
            torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1]], device=device),
        )
    except Exception as error:
        raise ValueError(
            f"Expected an operator that takes {in_channels} channels (got {conv}: {error})"
        ) from error
    conv.train(training)
    shape = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
    if shape != [2, out_channels]:
        raise ValueError(
            f"Expected an operator with {out_channels} output channels (got {shape} from {conv})"
        )
