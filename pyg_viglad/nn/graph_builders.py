"""Graph builders: which nodes of an image are neighbours."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from torch import Tensor

from pyg_viglad.nn.hypergraph import Hypergraph
from pyg_viglad.nn.knn_graph import knn_graph

__all__ = ["GRAPHS", "KNN", "Graph", "make_graph"]

GraphBuilder: TypeAlias = Callable[[Tensor, int, tuple[int, int] | None], Tensor]
Graph: TypeAlias = str | Callable[..., Any]


@dataclass(frozen=True)
class KNN:
    r"""Connects every node with its ``k`` nearest neighbours among L2-normalised features (Eq. 1).

    The node itself is the first. Exactly regular; neither symmetric nor necessarily connected. See
    :func:`~pyg_viglad.nn.knn_graph`.

    Args:
        k: Number of neighbours of each node, itself included; lowered where a graph has fewer nodes.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest; lowered likewise.

    Example:
        >>> import torch
        >>> KNN(2)(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), 1)
        tensor([[0, 1, 1, 0, 2, 1],
                [0, 0, 1, 1, 2, 2]])
    """

    k: int
    dilation: int = 1
    regular: ClassVar[bool] = True

    def __call__(
        self,
        x: Tensor,
        batch_size: int = 1,
        grid_size: tuple[int, int] | None = None,
        *,
        y: Tensor | None = None,
        codes: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Returns the edges; with ``y``, the neighbours are chosen among its rows.

        See :func:`~pyg_viglad.nn.knn_graph` for ``codes``.
        """
        k = min(self.k, (x if y is None else y).size(0) // batch_size)
        return knn_graph(
            x,
            k,
            loop=True,
            cosine=True,
            batch_size=batch_size,
            dilation=self.dilation,
            y=y,
            codes=codes,
        )


GRAPHS: dict[str, Callable[..., Any]] = {"knn": KNN, "hypergraph": Hypergraph}


def make_graph(
    graph: Graph,
    k: int,
    dilation: int = 1,
    graph_kwargs: dict[str, Any] | None = None,
    number: int = 0,
) -> Callable[..., Any]:
    """Builds the graph builder of a block.

    Args:
        graph: Name of one of ``GRAPHS``, a class made from ``(k, dilation, **graph_kwargs)``, or a
            graph builder, used as it is: a function or object ``(x, batch_size, grid_size) ->
            edge_index``. The rows of ``x`` ``[B * N, C]`` are the nodes of ``batch_size`` graphs of
            equal size, ``grid_size`` their rows and columns (None if unknown); row 0 of
            ``edge_index`` holds the neighbours, row 1 the centres.
        k: Number of neighbours of each node, itself included.
        dilation: Take every ``dilation``-th of the ``k * dilation`` nearest.
        graph_kwargs: Further arguments of a builder made by name or class.
        number: Number of the block in its network; builders that differ from block to block take it.

    Returns:
        The builder. Where its attribute ``regular`` is true, all nodes of graphs of equal size have
        equally many edges, grouped by centre. Where its attribute ``hypergraph`` is true, it returns
        :class:`~pyg_viglad.nn.Hyperedges` in the place of edges, for operators with that attribute.

    Raises:
        ValueError: If the name is unknown or an argument does not fit.

    Example:
        >>> make_graph("knn", k=9, dilation=2)
        KNN(k=9, dilation=2)
    """
    kwargs = dict(graph_kwargs or {})
    factory = GRAPHS.get(graph) if isinstance(graph, str) else graph
    if not callable(factory):
        raise ValueError(
            f"Expected 'graph' to be one of {tuple(GRAPHS)}, a class or a graph builder "
            f"(got {graph!r})"
        )
    if not isinstance(graph, str) and not inspect.isclass(factory):
        if kwargs:
            raise ValueError(f"Expected no 'graph_kwargs' with an instance (got {kwargs})")
        return factory
    for name, value in (("k", k), ("dilation", dilation)):
        if value < 1:
            raise ValueError(f"Expected '{name}' to be at least 1 (got {value})")
    if "number" in inspect.signature(factory).parameters:
        kwargs.setdefault("number", number)
    try:
        made: Callable[..., Any] = factory(k, dilation, **kwargs)
    except TypeError as error:
        raise ValueError(
            f"Expected a graph builder made of (k, dilation) and 'graph_kwargs' "
            f"(got {graph!r} with {kwargs}: {error})"
        ) from error
    return made
