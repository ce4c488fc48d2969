"""Graph operators by name, class, factory or instance, and the edge features that they take."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch_geometric.nn import FAConv, GPSConv, conv
from torch_geometric.nn.inits import reset
from torch_geometric.resolver import normalize_string
from torch_geometric.typing import Adj, PairTensor
from torch_geometric.utils import is_sparse

from pyg_viglad.nn.hypergraph import HyperedgeConv
from pyg_viglad.nn.knn_graph import unit_rows
from pyg_viglad.nn.max_relative_conv import MaxRelativeConv
from pyg_viglad.nn.node_norm import NodeNorm
from pyg_viglad.nn.vig_convs import ViGEdgeConv, ViGGINConv, ViGSAGEConv

__all__ = ["OPERATORS", "Operator", "OperatorAdapter", "make_operator", "register_operator"]

OPERATORS = ("max_relative", "edge", "sage", "gin", "gatv2", "vig_edge", "vig_sage", "vig_gin")

Operator: TypeAlias = str | nn.Module | Callable[[int, int], nn.Module]

_Factory = TypeVar("_Factory", bound=Callable[..., nn.Module])

# Those with normalization and activation of their own.
_OWN: dict[str, type[nn.Module]] = {
    "maxrelative": MaxRelativeConv,
    "vigedge": ViGEdgeConv,
    "vigsage": ViGSAGEConv,
    "viggin": ViGGINConv,
    "hyperedge": HyperedgeConv,
}

# Number of columns of each edge feature.
_EDGE_FEATURES = {"distance": 1, "position": 2}

# Registered operators by short name: the name as given, and the factory.
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
    return {*map(_short, OPERATORS), *_OWN, *_PYG, *_REGISTERED}


def _short(name: object) -> str:
    """Returns the name of an operator as PyG's resolver compares it, without "Conv"."""
    short: str = normalize_string(str(name)).removesuffix("conv")
    return short


# Every operator of PyG by the name as _short returns it.
_PYG: dict[str, type[nn.Module]] = {_short(name): getattr(conv, name) for name in conv.__all__}

# Operators whose forward looks suitable, and what else they need.
_UNSUITABLE = {
    conv.CuGraphSAGEConv: "edges of cuGraph",
    conv.DNAConv: "the outputs of several layers",
    conv.MeshCNNConv: "the four edges around every edge of a mesh",
    conv.PANConv: "torch-sparse",
    conv.SplineConv: "pyg-lib and coordinates in [0, 1]",
    conv.WLConv: "whole numbers as features",
}

# Those that do not work without edge features.
_EDGE_OPERATORS = (conv.GINEConv, conv.GMMConv, conv.NNConv, conv.PDNConv)

# The arguments that say how many outputs an operator concatenates.
_JOINED = ("heads", "concat", "dim", "powers")


def make_operator(
    operator: Operator,
    in_channels: int,
    out_channels: int,
    heads: int = 4,
    operator_kwargs: dict[str, Any] | None = None,
) -> nn.Module:
    r"""Builds the graph operator of a block, with its activation :math:`\sigma_g` (Eq. 6).

    Args:
        operator: One of

            - ``"max_relative"`` (the paper's), or ``"vig_edge"``, ``"vig_sage"``, ``"vig_gin"``
              (those of the ViG reference, see :class:`~pyg_viglad.nn.ViGEdgeConv`);
            - ``"edge"`` (``EdgeConv`` with one linear layer and max aggregation), ``"sage"``
              (``SAGEConv`` with max aggregation), ``"gin"`` (``GINConv`` with one linear layer and
              a learnable :math:`\epsilon`), ``"gatv2"`` (``GATv2Conv`` with ``heads`` heads);
            - ``"hyperedge"``, with ``graph="hypergraph"`` alone, see
              :class:`~pyg_viglad.nn.HyperedgeConv`;
            - the name of another operator of :mod:`torch_geometric.nn.conv`, with or without
              "Conv" (``"GraphConv"``, ``"transformer"``). By name, ``add_self_loops`` is False
              where an operator has it: the graphs of the blocks contain the self-loops;
            - a name given to :func:`register_operator`;
            - a factory ``(in_channels, out_channels, **operator_kwargs) -> MessagePassing``, such
              as an operator's class; or an operator, used as it is.
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        heads: Number of heads (groups) of ``"max_relative"``, ``"gatv2"``, ``"hyperedge"`` and the
            reference's operators (default: 4).
        operator_kwargs: Further arguments of an operator made by name or factory. The key
            ``"edge_features"``, of instances too, names what the operator reads of the edges:
            ``"distance"``, ``"position"`` or both, see :class:`OperatorAdapter`; the width of the
            edge features is then set where the operator has such an argument.

    Operators of PyG differ in their arguments. Where the outputs of heads are concatenated, each
    has ``out_channels / heads`` channels. Operators that keep the number of channels, such as
    ``LGConv`` or ``CGConv``, follow a linear layer to ``out_channels``. ``nn``, where required, is
    one linear layer unless given; ``conv`` and ``phi`` of operators around another one may be given
    by name, ``deg`` of ``PNAConv`` as a list. ``docs/operators.md`` lists all operators.

    Returns:
        A module with ``forward(x, edge_index, size=None, *, k=None, grid_size=None)``. Batch
        normalization and GELU follow the operator, see :class:`OperatorAdapter`, unless it applies
        both itself (``activated = True``), as the max-relative one does.

    Raises:
        ValueError: If the name is unknown, an argument does not fit, the number of channels is
            another, or the operator needs more than node features, edges and edge features.

    Example:
        >>> make_operator("GraphConv", 8, 16, operator_kwargs={"aggr": "mean"})
        OperatorAdapter(GraphConv(8, 16))
        >>> make_operator("GMMConv", 8, 16, operator_kwargs={
        ...     "kernel_size": 5, "edge_features": ["position"]})
        OperatorAdapter(GMMConv(8, 16, dim=2), edge_features=['position'])
    """
    kwargs = dict(operator_kwargs or {})
    features = _check_features(kwargs.pop("edge_features", None) or ())
    made: nn.Module
    linear = None
    if isinstance(operator, nn.Module):
        if kwargs:
            raise ValueError(f"Expected no 'operator_kwargs' with an instance (got {kwargs})")
        made = operator
    else:
        try:
            made, linear = _build(operator, in_channels, out_channels, heads, kwargs, features)
        except (TypeError, AssertionError, ImportError) as error:
            raise ValueError(
                f"Expected an operator made of (in_channels, out_channels) and 'operator_kwargs' "
                f"(got {operator!r} with {kwargs}: {error})"
            ) from error
    _check_class(type(made), features)
    # What PyG's operators say of themselves; an output of another width raises in forward.
    options = {name: getattr(made, name) for name in _JOINED if hasattr(made, name)}
    joined = _num_joined(type(made), options)
    wanted = in_channels if linear is None else out_channels
    for name, factor, expected in (("in", 1, wanted), ("out", joined, out_channels)):
        width = getattr(made, f"{name}_channels", None)
        if isinstance(width, int) and width > 0 and width * factor != expected:
            raise ValueError(
                f"Expected an operator with {expected} {name}put channels "
                f"(got {width * factor} from {made})"
            )
    if getattr(made, "activated", False):
        if features:
            raise ValueError(f"Expected no 'edge_features' with {made} (got {list(features)})")
        return made
    return OperatorAdapter(made, out_channels, linear, features)


def _check_features(names: str | Iterable[str]) -> tuple[str, ...]:
    """Returns the names of edge features, checked."""
    features = (names,) if isinstance(names, str) else tuple(names)
    if len(set(features)) < len(features) or not set(features) <= set(_EDGE_FEATURES):
        raise ValueError(
            f"Expected 'edge_features' to be of {list(_EDGE_FEATURES)} (got {list(features)})"
        )
    return features


def _build(
    operator: str | Callable[..., nn.Module],
    in_channels: int,
    out_channels: int,
    heads: int,
    kwargs: dict[str, Any],
    features: tuple[str, ...],
) -> tuple[nn.Module, nn.Linear | None]:
    """Builds an operator, and the linear layer before it where it keeps the number of channels."""
    if not callable(operator):
        short = _short(operator)
        if short not in _known_names():
            names = (*OPERATORS, "hyperedge", *(name for name, _ in _REGISTERED.values()))
            raise ValueError(
                f"Expected 'operator' to be one of {names}, the name of an operator of PyG, a "
                f"factory or an operator (got {operator!r})"
            )
        if short in _OWN:
            return _OWN[short](in_channels, out_channels, **{"heads": heads, **kwargs}), None
        if short in _REGISTERED:
            operator = _REGISTERED[short][1]
        else:
            operator = _PYG[short]
            defaults: dict[str, dict[str, Any]] = {
                "sage": {"aggr": "max"},
                "gin": {"train_eps": True},
                "gatv2": {"heads": heads},
            }
            kwargs = {**defaults.get(short, {}), **kwargs}
            if "add_self_loops" in inspect.signature(operator).parameters:
                kwargs.setdefault("add_self_loops", False)
    if operator in _PYG.values():
        return _build_pyg(operator, in_channels, out_channels, dict(kwargs), features)
    if features and "edge_dim" in inspect.signature(operator).parameters:
        kwargs = {"edge_dim": _num_columns(features), **kwargs}
    return operator(in_channels, out_channels, **kwargs), None


def _build_pyg(
    operator: Callable[..., nn.Module],
    in_channels: int,
    out_channels: int,
    kwargs: dict[str, Any],
    features: tuple[str, ...],
) -> tuple[nn.Module, nn.Linear | None]:
    """Builds an operator of PyG by what its class takes."""
    _check_class(operator, features)
    takes = inspect.signature(operator).parameters
    edge_dim = _num_columns(features)
    width = next((name for name in ("edge_dim", "in_edge_channels", "dim") if name in takes), None)
    if features and width is not None and kwargs.setdefault(width, edge_dim) != edge_dim:
        raise ValueError(
            f"Expected '{width}' to be {edge_dim}, the columns of {list(features)} "
            f"(got {kwargs[width]})"
        )
    defaults = {name: takes[name].default for name in _JOINED if name in takes}
    joined = _num_joined(operator, {**defaults, **kwargs})
    if joined < 1 or out_channels % joined:
        raise ValueError(f"Expected {out_channels} channels divisible by heads (got {joined})")
    inner = "nn" in takes and takes["nn"].default is inspect.Parameter.empty
    if inner and "nn" not in kwargs:
        sizes = {
            conv.EdgeConv: (2 * in_channels, out_channels),
            conv.NNConv: (edge_dim, in_channels * out_channels),
        }.get(operator, (in_channels, out_channels))
        kwargs["nn"] = nn.Linear(*sizes)
    if isinstance(kwargs.get("deg"), list | tuple):
        kwargs["deg"] = torch.tensor(kwargs["deg"])
    if "in_channels" in takes and "out_channels" in takes:
        return operator(in_channels, out_channels // joined, **kwargs), None
    if inner:
        return operator(**kwargs), None
    for name in ("channels", "in_channels", "out_channels"):
        if name in takes:
            kwargs[name] = out_channels
    for name in ("conv", "phi"):
        if isinstance(kwargs.get(name), str):
            kwargs[name] = _build(kwargs[name], out_channels, out_channels, 1, {}, ())[0]
    return operator(**kwargs), nn.Linear(in_channels, out_channels)


def _check_class(operator: Callable[..., nn.Module], features: tuple[str, ...]) -> None:
    """Raises an error where an operator of PyG cannot work on node features, edges and features."""
    if operator not in _PYG.values():
        return
    name = getattr(operator, "__name__", "")
    takes = list(inspect.signature(operator.forward).parameters.values())[1:]  # type: ignore[attr-defined]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = {p.name for p in takes if p.default is p.empty and p.kind not in kinds}
    reason = ""
    if operator in _UNSUITABLE:
        reason = f"needs {_UNSUITABLE[operator]}"
    elif not {"x", "edge_index"} <= required <= {"x", "x_0", "edge_index"}:
        reason = f"takes ({', '.join(p.name for p in takes)})"
    if reason:
        raise ValueError(
            f"Expected an operator on node features and edges (got {name}: it {reason})"
        )
    if operator in _EDGE_OPERATORS and not features:
        raise ValueError(f"Expected 'edge_features' in 'operator_kwargs' with {name} (got none)")


def _num_joined(operator: Callable[..., nn.Module], options: Mapping[str, Any]) -> int:
    """Returns how many outputs of ``out_channels`` an operator concatenates."""
    if operator is conv.MixHopConv:
        return len(options["powers"] or (0, 1, 2))
    joined = int(options.get("heads", 1)) if options.get("concat") else 1
    return joined * int(options["dim"] if operator is conv.RGATConv else 1)


def _num_columns(features: Iterable[str]) -> int:
    """Returns the number of columns of edge features."""
    return sum(_EDGE_FEATURES[name] for name in features)


class OperatorAdapter(nn.Module):
    r"""A graph operator followed by batch normalization and the :math:`\sigma_g` of Eq. 6.

    The adapter also computes what operators read of the edges:

    - **Edge features**, one or more of ``"distance"``, the distance in [0, 2] between the
      L2-normalised features of neighbour and centre, and ``"position"``, the offset from
      centre to neighbour, to the right as a fraction of the grid's width and downwards as a fraction
      of its height, in (-1, 1). They are the columns of ``edge_attr``, in the order of ``edge_features``.
      An operator with ``edge_weight`` instead gets the similarity :math:`\exp(-d^2)` in (0, 1] from
      the distance d. No gradient flows through the distance: it describes the graph, which is
      chosen without a gradient too, and at distance zero, as at every self-loop, it has none.
    - **Relations** (``edge_type``), the directions of the neighbours: with ``num_relations``
      sectors of equal angle, the first centred on the direction to the right, the others following
      clockwise. A self-loop is in the first.
    - **x_0** is the input of the operator, **batch** (of ``GPSConv``) the number of the image.

    Pooled nodes lie in the middle of their cells, whose size follows from the number of nodes.

    Args:
        conv: Operator with ``forward(x, edge_index)`` and, for edge features, ``edge_attr`` or
            ``edge_weight``.
        out_channels: Number of output channels.
        linear: A linear layer before the operator (default: ``None``).
        edge_features: Names of edge features (default: none).

    Raises:
        ValueError: If the operator takes no such edge features, or needs some and none are named. In
            ``forward``, if the operator's output has another width, ``grid_size`` is missing, the
            sources are pooled and the operator takes no pair or adds self-loops, or their cells
            are not known.

    Example:
        >>> from torch_geometric.nn import GATv2Conv, SAGEConv
        >>> adapter = OperatorAdapter(SAGEConv(8, 16), 16)
        >>> adapter(torch.rand(3, 8), torch.tensor([[0, 1], [2, 2]])).shape
        torch.Size([3, 16])
        >>> gat = GATv2Conv(8, 16, edge_dim=3, add_self_loops=False)
        >>> adapter = OperatorAdapter(gat, 16, edge_features=("distance", "position"))
        >>> adapter(torch.rand(6, 8), torch.tensor([[0, 1], [2, 2]]), grid_size=(2, 3)).shape
        torch.Size([6, 16])
    """

    activated = True

    def __init__(
        self,
        conv: nn.Module,
        out_channels: int,
        linear: nn.Linear | None = None,
        edge_features: Iterable[str] = (),
    ) -> None:
        super().__init__()
        takes = inspect.signature(conv.forward).parameters
        features = _check_features(edge_features)
        if features and "edge_attr" not in takes:
            allowed = ["distance"] if "edge_weight" in takes else []
            if list(features) != allowed:
                expected = f"'edge_features' to be {allowed}" if allowed else "no 'edge_features'"
                raise ValueError(f"Expected {expected} with {conv} (got {list(features)})")
        if features and getattr(conv, "edge_dim", _num_columns(features)) != _num_columns(features):
            raise ValueError(
                f"Expected an operator with edge_dim={_num_columns(features)} for {list(features)} "
                f"(got {conv} with edge_dim={conv.edge_dim})"
            )
        if features and isinstance(conv, FAConv) and conv.normalize:
            raise ValueError(f"Expected {conv} with normalize=False and 'edge_features' (got True)")
        if not features and any(
            name in takes and takes[name].default is inspect.Parameter.empty
            for name in ("edge_attr", "edge_weight")
        ):
            raise ValueError(f"Expected 'edge_features' with {conv} (got none)")
        self.edge_features = features
        self._takes = frozenset(takes)
        # PyG's operators that take no pairs say so.
        self._takes_pairs = "x" not in takes or takes["x"].annotation is not Tensor
        self.conv = conv
        self.out_channels = out_channels
        self.linear = linear
        self.norm = NodeNorm(out_channels)
        self.act = nn.GELU()

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        for part in self.children():
            reset(part)

    def forward(
        self,
        x: Tensor | PairTensor,
        edge_index: Adj,
        size: tuple[int, int] | None = None,
        *,
        k: int | None = None,
        grid_size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Applies operator, normalization and activation.

        Args:
            x: Node features, or a pair of source and target features.
            edge_index: Edges ``[2, E]``, or whatever else the operator takes.
            size: Part of the signature that all operators share; not used.
            k: Part of the signature that all operators share; not used.
            grid_size: Rows and columns of each image's nodes, needed for positions, for more than
                one relation and by ``GPSConv``.

        Returns:
            ``[N, out_channels]``.
        """
        pair = (x, x) if isinstance(x, Tensor) else x
        if pair is x and (not self._takes_pairs or getattr(self.conv, "add_self_loops", False)):
            raise ValueError(
                "Expected an operator that takes pairs of source and target features, and adds no "
                f"self-loops, for pooled sources (reduce_ratio above 1; got {self.conv})"
            )
        options = self._options(pair, edge_index, grid_size)
        if self.linear is not None:
            x = self.linear(x) if isinstance(x, Tensor) else (self.linear(x[0]), self.linear(x[1]))
        inputs = (x, x) if "x_0" in self._takes else (x,)
        out = self.conv(*inputs, edge_index, **options)
        if not isinstance(out, Tensor) or out.dim() != 2 or out.size(1) != self.out_channels:
            shape = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"Expected an operator with {self.out_channels} output channels "
                f"(got {shape} from {self.conv})"
            )
        return self.act(self.norm(out))  # type: ignore[no-any-return]

    def _options(
        self, pair: PairTensor, edge_index: Adj, grid_size: tuple[int, int] | None
    ) -> dict[str, Tensor]:
        """Returns what the operator takes beside node features and edges."""
        options: dict[str, Tensor] = {}
        relations = getattr(self.conv, "num_relations", 0) if "edge_type" in self._takes else 0
        if (relations or self.edge_features) and is_sparse(edge_index):
            raise ValueError(
                f"Expected 'edge_index' to be [2, E] with {self} (got a sparse matrix)"
            )
        if relations == 1:
            options["edge_type"] = torch.zeros_like(edge_index[0])
        elif relations:
            right, down = _offsets(pair, edge_index, grid_size)
            sector = torch.atan2(down, right) * relations / (2 * math.pi)
            options["edge_type"] = (sector + 0.5).floor().long() % relations
        if isinstance(self.conv, GPSConv):
            rows, columns = _given(grid_size)
            nodes = torch.arange(pair[1].size(0), device=pair[1].device)
            options["batch"] = nodes // (rows * columns)
        if not self.edge_features:
            return options
        if "edge_attr" in self._takes:
            options["edge_attr"] = _edge_attr(self.edge_features, pair, edge_index, grid_size)
        else:
            options["edge_weight"] = (-_distances(pair, edge_index).square()).exp()
        return options

    def __repr__(self) -> str:
        linear = "" if self.linear is None else f"{self.linear}, "
        features = f", edge_features={list(self.edge_features)}" if self.edge_features else ""
        return f"{self.__class__.__name__}({linear}{self.conv}{features})"


def _edge_attr(
    names: tuple[str, ...],
    pair: PairTensor,
    edge_index: Tensor,
    grid_size: tuple[int, int] | None,
) -> Tensor:
    """Returns edge features ``[E, D]`` in the order of their names."""
    columns = []
    for name in names:
        if name == "distance":
            columns.append(_distances(pair, edge_index))
        else:
            height, width = _given(grid_size)
            right, down = _offsets(pair, edge_index, grid_size)
            columns += [right / width, down / height]
    return torch.stack(columns, dim=1).to(pair[1].dtype)


def _distances(pair: PairTensor, edge_index: Tensor) -> Tensor:
    """Returns the distance between the L2-normalised features of neighbour and centre ``[E]``."""
    source, target = (unit_rows(part) for part in pair)
    distances: Tensor = (source[edge_index[0]] - target[edge_index[1]]).norm(dim=1)
    return distances.to(pair[1].dtype)


def _offsets(
    pair: PairTensor, edge_index: Tensor, grid_size: tuple[int, int] | None
) -> tuple[Tensor, Tensor]:
    """Returns how many columns and rows each neighbour lies right of and below its centre, ``[E]``.

    A pooled node lies in the middle of its cell, as large as the number of pooled nodes tells.
    """
    rows, columns = _given(grid_size)
    images = pair[1].size(0) // (rows * columns)
    sides = range(1, max(rows, columns) + 1)
    cells = {(min(side, rows), min(side, columns)) for side in sides}
    cells = {
        (height, width)
        for height, width in cells
        if images * (rows // height) * (columns // width) == pair[0].size(0)
    }
    if pair[1].size(0) % (rows * columns) or len(cells) != 1:
        raise ValueError(
            f"Expected the nodes of {rows} x {columns} grids, and sources pooled over square cells "
            f"whose size follows from their number (got {pair[0].size(0)} sources and "
            f"{pair[1].size(0)} targets)"
        )
    ((height, width),) = cells
    source, centre = edge_index[0], edge_index[1] % (rows * columns)
    wide = columns // width
    source = source % (rows // height * wide)
    right = source % wide * width + (width - 1) / 2 - centre % columns
    down = source // wide * height + (height - 1) / 2 - centre // columns
    dtype = torch.promote_types(pair[1].dtype, torch.float32)
    return right.to(dtype), down.to(dtype)


def _given(grid_size: tuple[int, int] | None) -> tuple[int, int]:
    """Returns ``grid_size``, or raises an error without one."""
    if grid_size is None:
        raise ValueError("Expected 'grid_size' to place the nodes in their images (got None)")
    return grid_size
