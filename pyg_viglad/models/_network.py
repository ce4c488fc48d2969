"""The networks that teacher and student may be, by name."""

from typing import Any, Literal

from pyg_viglad.models.gpdn import GPDN
from pyg_viglad.models.pdn import PDN, PDNSize

__all__ = ["Network", "describe_network", "make_network"]

Network = Literal["pdn", "gpdn"]


def make_network(
    name: Network, size: PDNSize, out_channels: int, padding: bool = False, **options: Any
) -> PDN:
    """Make a network that describes patches.

    Args:
        name: ``"pdn"`` (the paper's) or ``"gpdn"`` (with a vision graph block).
        size: Its layers, ``"small"`` or ``"medium"``.
        out_channels: Width of the output.
        padding: Pad as in distillation.
        **options: Of a GPDN: ``k`` and ``operator``.

    Raises:
        ValueError: If a name is unknown.

    Example:
        >>> make_network("gpdn", "small", 384)
        GPDN(small, 384, k=9, max_relative)
    """
    if name not in ("pdn", "gpdn"):
        raise ValueError(f"Expected 'student' to be 'pdn' or 'gpdn' (got {name!r})")
    return (PDN if name == "pdn" else GPDN)(size, out_channels, padding, **options)


def describe_network(network: PDN) -> tuple[Network, dict[str, Any]]:
    """Give the name and the options of :func:`make_network`; an own operator is None.

    Example:
        >>> describe_network(GPDN("small", k=5))
        ('gpdn', {'k': 5, 'operator': 'max_relative'})
    """
    if isinstance(network, GPDN):
        return "gpdn", {"k": network.k, "operator": network.operator}
    return "pdn", {}
