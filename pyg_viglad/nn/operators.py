"""Graph operators by name, class, factory or instance."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from torch import Tensor, nn
from torch_geometric.nn import MessagePassing, conv
from torch_geometric.nn.inits import reset
from torch_geometric.resolver import normalize_string, resolver
from torch_geometric.typing import Adj, PairTensor

from pyg_viglad.nn.max_relative_conv import MaxRelativeConv
from pyg_viglad.nn.node_norm import NodeNorm
from pyg_viglad.nn.vig_convs import ViGEdgeConv, ViGGINConv, ViGSAGEConv

__all__ = ["OPERATORS", "Operator", "OperatorAdapter", "make_operator", "register_operator"]

OPERATORS = ("max_relative", "edge", "sage", "gin", "gatv2", "vig_edge", "vig_sage", "vig_gin")

Operator: TypeAlias = str | nn.Module | Callable[[int, int], nn.Module]

# Those with normalization and activation of their own.
_OWN: dict[str, type[nn.Module]] = {
    "maxrelative": MaxRelativeConv,
    "vigedge": ViGEdgeConv,
    "vigsage": ViGSAGEConv,
    "viggin": ViGGINConv,
}

_Factory = TypeVar("_Factory", bound=Callable[..., nn.Module])

# What register_operator was told, by the name as _short returns it.
_REGISTERED: dict[str, tuple[str, Callable[..., nn.Module]]] = {}


def register_operator(name: str) -> Callable[[_Factory], _Factory]:
    """Registers a graph operator under a name, as a decorator of its class or factory.

    Every ``operator`` argument takes the name from then on, and so do YAML and the command line
    where the module with the decorator was imported. A model saved with this name loads where it is
    registered. As with PyG's names, case, underscores and a final "conv" do not matter.

    Batch normalization and GELU follow the operator, see :class:`OperatorAdapter`, unless it has
    an attribute ``activated = True``. It is then used as it is, and its ``forward`` takes
    ``(x, edge_index, size=None, *, k=None, grid_size=None)``.

    Args:
        name: The name. Defining a class or function again, as a notebook does when a cell runs
            twice, replaces what was registered.

    Returns:
        A decorator of a callable ``(in_channels, out_channels, **operator_kwargs)`` that returns an
        operator.

    Raises:
        ValueError: If PyG, this package or another class or function already has the name.

    Example:
        >>> from torch_geometric.nn import SAGEConv
        >>> @register_operator("mean_sage")
        ... def mean_sage(in_channels, out_channels, **kwargs):
        ...     return SAGEConv(in_channels, out_channels, aggr="mean", **kwargs)
        >>> make_operator("mean_sage", 8, 16)
        OperatorAdapter(SAGEConv(8, 16, aggr=mean))
    """
    short = _short(name)

    def register(factory: _Factory) -> _Factory:
        if not short or not callable(factory):
            raise ValueError(
                f"Expected the name and the class or factory of an operator "
                f"(got {name!r} and {factory!r})"
            )
        known = _REGISTERED.get(short)
        if short in _known_names() and (known is None or _origin(known[1]) != _origin(factory)):
            raise ValueError(f"Expected a new name for {factory!r} (got {name!r}, which is taken)")
        _REGISTERED[short] = (name, factory)
        return factory

    return register


def _origin(factory: object) -> tuple[Any, Any]:
    """Returns where a class or function was defined."""
    return getattr(factory, "__module__", None), getattr(factory, "__qualname__", None)


def _known_names() -> set[str]:
    """Returns all names of operators as :func:`_short` returns them."""
    return {*map(_short, (*OPERATORS, *conv.__all__)), *_REGISTERED}


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
            without added self-loops), ``"vig_edge"``, ``"vig_sage"``, ``"vig_gin"`` (those of the
            ViG reference, see :class:`~pyg_viglad.nn.ViGEdgeConv`); any other operator of
            :mod:`torch_geometric.nn.conv` made from ``(in_channels, out_channels)``, by name as PyG
            resolves it (``"GraphConv"``, ``"transformer"``); a name given to
            :func:`register_operator`; a factory ``(in_channels, out_channels) -> MessagePassing``,
            such as an operator's class; or an operator, used as it is.
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        heads: Number of heads (groups) of ``"max_relative"``, ``"gatv2"`` and the reference's
            operators (default: 4).
        operator_kwargs: Further arguments of an operator made by name or factory. Where ``heads``
            are concatenated, each has ``out_channels / heads`` channels.

    Returns:
        A module with ``forward(x, edge_index, size=None, *, k=None, grid_size=None)``. All but
        operators that have both themselves (``activated = True``), such as the max-relative one,
        are followed by batch normalization and GELU, see :class:`OperatorAdapter`.

    Raises:
        ValueError: If the name is unknown, an argument does not fit, or the number of channels is
            another.

    Example:
        >>> make_operator("GraphConv", 8, 16, operator_kwargs={"aggr": "mean"})
        OperatorAdapter(GraphConv(8, 16))
    """
    kwargs = dict(operator_kwargs or {})
    if not callable(operator) and _short(operator) not in _known_names():
        names = (*OPERATORS, *(name for name, _ in _REGISTERED.values()))
        raise ValueError(
            f"Expected 'operator' to be one of {names}, the name of an operator of PyG, a "
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
    if getattr(made, "activated", False):
        return made
    return OperatorAdapter(made, out_channels)


def _short(name: object) -> str:
    """Returns the name of an operator as PyG's resolver compares it, without "Conv"."""
    short: str = normalize_string(str(name)).removesuffix("conv")
    return short


def _by_name(
    name: str, in_channels: int, out_channels: int, heads: int, kwargs: dict[str, Any]
) -> nn.Module:
    """Builds what is registered, one of ``OPERATORS``, or else what PyG's resolver finds."""
    short = _short(name)
    if short in _REGISTERED:
        return _REGISTERED[short][1](in_channels, out_channels, **kwargs)
    if short in _OWN:
        return _OWN[short](in_channels, out_channels, **{"heads": heads, **kwargs})
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

    activated = True

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
