"""Graph operators by name, class, factory or instance."""

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch_geometric.nn import MessagePassing, conv
from torch_geometric.nn.inits import reset
from torch_geometric.resolver import normalize_string, resolver
from torch_geometric.typing import Adj, PairTensor

from pyg_viglad.nn.max_relative_conv import MaxRelativeConv
from pyg_viglad.nn.node_norm import NodeNorm

__all__ = ["OPERATORS", "Operator", "OperatorAdapter", "make_operator"]

OPERATORS = ("max_relative", "edge", "sage", "gin", "gatv2")

Operator: TypeAlias = str | nn.Module | Callable[[int, int], nn.Module]


def make_operator(
    operator: Operator,
    in_channels: int,
    out_channels: int,
    heads: int = 4,
    operator_kwargs: dict[str, Any] | None = None,
) -> nn.Module:
    r"""Builds the graph operator of a block, with its activation :math:`\sigma_g` (Eq. 6).

    Args:
        operator: ``"max_relative"`` (the paper's), ``"edge"`` (``EdgeConv`` with one linear layer
            and max aggregation), ``"sage"`` (``SAGEConv`` with max aggregation), ``"gin"``
            (``GINConv`` with one linear layer), ``"gatv2"`` (``GATv2Conv`` with ``heads`` heads,
            without added self-loops); any other operator of :mod:`torch_geometric.nn.conv` made
            from ``(in_channels, out_channels)``, by name as PyG resolves it (``"GraphConv"``,
            ``"transformer"``); a factory ``(in_channels, out_channels) -> MessagePassing``, such
            as an operator's class; or an operator, used as it is.
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        heads: Number of heads of ``"max_relative"`` and ``"gatv2"`` (default: 4).
        operator_kwargs: Further arguments of an operator made by name or factory. Where ``heads``
            are concatenated, each has ``out_channels / heads`` channels.

    Returns:
        A module with ``forward(x, edge_index, size=None, *, k=None, grid_size=None)``. All but the
        max-relative operator, which has both itself, are followed by batch normalization and
        GELU, see :class:`OperatorAdapter`.

    Raises:
        ValueError: If the name is unknown, an argument does not fit, or the number of channels is
            another.

    Example:
        >>> make_operator("GraphConv", 8, 16, operator_kwargs={"aggr": "mean"})
        OperatorAdapter(GraphConv(8, 16))
    """
    kwargs = dict(operator_kwargs or {})
    if not callable(operator) and _short(operator) not in {
        "maxrelative",
        *map(_short, conv.__all__),
    }:
        raise ValueError(
            f"Expected 'operator' to be one of {OPERATORS}, the name of an operator of PyG, a "
            f"factory or an operator (got {operator!r})"
        )
    if isinstance(operator, nn.Module):
        if kwargs:
            raise ValueError(f"Expected no 'operator_kwargs' with an instance (got {kwargs})")
        made = operator
    else:
        try:
            if isinstance(operator, str):
                made = _by_name(operator, in_channels, out_channels, heads, kwargs)
            else:
                made = operator(in_channels, out_channels, **kwargs)
        except TypeError as error:
            raise ValueError(
                f"Expected an operator made of (in_channels, out_channels) and 'operator_kwargs' "
                f"(got {operator!r} with {kwargs}: {error})"
            ) from error
    # What PyG's operators say of themselves; an output of another width raises in forward.
    wide = getattr(made, "heads", 1) if getattr(made, "concat", False) else 1
    for name, factor, expected in (("in", 1, in_channels), ("out", wide, out_channels)):
        width = getattr(made, f"{name}_channels", None)
        if isinstance(width, int) and width > 0 and width * factor != expected:
            raise ValueError(
                f"Expected an operator with {expected} {name}put channels "
                f"(got {width * factor} from {made})"
            )
    if isinstance(made, MaxRelativeConv | OperatorAdapter):
        return made
    return OperatorAdapter(made, out_channels)


def _short(name: object) -> str:
    """Returns the name of an operator as PyG's resolver compares it, without "Conv"."""
    short: str = normalize_string(str(name)).removesuffix("conv")
    return short


def _by_name(
    name: str, in_channels: int, out_channels: int, heads: int, kwargs: dict[str, Any]
) -> nn.Module:
    """Builds one of ``OPERATORS``, or else what PyG's resolver finds."""
    short = _short(name)
    if short == "maxrelative":
        return MaxRelativeConv(in_channels, out_channels, **{"heads": heads, **kwargs})
    if short == "edge":
        layer = nn.Linear(2 * in_channels, out_channels)
        edge: nn.Module = conv.EdgeConv(**{"nn": layer, "aggr": "max", **kwargs})
        return edge
    if short == "gin":
        layer = nn.Linear(in_channels, out_channels)
        gin: nn.Module = conv.GINConv(**{"nn": layer, "train_eps": True, **kwargs})
        return gin
    if short == "sage":
        kwargs = {"aggr": "max", **kwargs}
    if short == "gatv2":
        kwargs = {"heads": heads, "add_self_loops": False, **kwargs}
    joined = int(kwargs.get("heads", 1)) if kwargs.get("concat", True) else 1
    if joined < 1 or out_channels % joined:
        raise ValueError(f"Expected {out_channels} channels divisible by heads (got {joined})")
    classes = [getattr(conv, item) for item in conv.__all__]
    width = out_channels // joined
    made: nn.Module = resolver(
        classes, {}, name, MessagePassing, "Conv", in_channels, width, **kwargs
    )
    return made


class OperatorAdapter(nn.Module):
    r"""A graph operator followed by batch normalization and the :math:`\sigma_g` of Eq. 6.

    Args:
        conv: Operator with ``forward(x, edge_index)``.
        out_channels: Number of output channels.

    Raises:
        ValueError: In ``forward``, if the operator's output has another width.

    Example:
        >>> import torch
        >>> from torch_geometric.nn import SAGEConv
        >>> adapter = OperatorAdapter(SAGEConv(8, 16), 16)
        >>> adapter(torch.rand(3, 8), torch.tensor([[0, 1], [2, 2]])).shape
        torch.Size([3, 16])
    """

    def __init__(self, conv: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.conv = conv
        self.out_channels = out_channels
        self.norm = NodeNorm(out_channels)
        self.act = nn.GELU()

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        reset(self.conv)
        reset(self.norm)

    def forward(
        self,
        x: Tensor | PairTensor,
        edge_index: Adj,
        size: tuple[int, int] | None = None,
        *,
        k: int | None = None,
        grid_size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Applies operator, normalization and activation; ignores all but ``x`` and the edges."""
        out = self.conv(x, edge_index)
        if not isinstance(out, Tensor) or out.dim() != 2 or out.size(1) != self.out_channels:
            shape = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"Expected an operator with {self.out_channels} output channels "
                f"(got {shape} from {self.conv})"
            )
        return self.act(self.norm(out))  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.conv})"
