"""Which A_n a model has."""

from typing import Any, Literal

from pyg_viglad.scoring.node_gaussian import NodeGaussian
from pyg_viglad.scoring.node_neighbors import NodeNeighbors

__all__ = ["NodeScorer", "NodeScorerName", "make_node_scorer"]

NodeScorer = NodeGaussian | NodeNeighbors
NodeScorerName = Literal["gaussian", "neighbors"]

_TYPES = {"gaussian": NodeGaussian, "neighbors": NodeNeighbors}


def make_node_scorer(nodes: bool | str | dict[str, Any]) -> NodeScorer | None:
    """Make the scorer of nodes that ``nodes`` describes.

    Args:
        nodes: False for none, True or ``"gaussian"`` for a :class:`NodeGaussian`, ``"neighbors"`` for
            a :class:`NodeNeighbors`, or a dictionary of arguments, with one of the names as ``type``.

    Raises:
        ValueError: If the name or an argument is unknown.

    Example:
        >>> make_node_scorer({"type": "neighbors", "k": 5})
        NodeNeighbors((2, 4, 6), stride=2, dimensions=64, k=5)
    """
    if nodes is False:
        return None
    options = dict(nodes) if isinstance(nodes, dict) else {"type": nodes}
    name = options.pop("type", "gaussian")
    name = "gaussian" if name is True else name
    if name not in _TYPES:
        raise ValueError(f"Expected 'nodes' to be 'gaussian' or 'neighbors' (got {name!r})")
    try:
        return _TYPES[name](**options)  # type: ignore[no-any-return]
    except TypeError as error:
        raise ValueError(f"Expected 'nodes' with the options of '{name}' ({error})") from error
