"""The patch description network with a vision graph block."""

from typing import Any, Literal

import torch
from torch import Tensor

from pyg_viglad.models.pdn import PDN, PDNSize
from pyg_viglad.nn import ConvViG, Graph, Operator, to_maps, to_nodes

__all__ = ["GPDN", "Network", "make_network"]

Network = Literal["pdn", "gpdn"]


class GPDN(PDN):
    r"""A patch description network whose patches also see the most similar ones of the whole image.

    The ablation of Figure 4 has "vision graph blocks in the teacher and student networks" (Section V) and
    gives no layers. This is our reading: a :class:`~pyg_viglad.PDN` with one
    :class:`~pyg_viglad.nn.ConvViG` in the place of the 3 x 3 convolution, the third of "small" and the
    fourth of "medium". Its nodes are all positions of the grid at stride 4, one graph per image, built
    from the features that enter the block. Sizes and positions are those of the PDN: where the unpadded
    convolution would lose the outermost positions, they are cropped behind the block.

    Args:
        size: ``"small"`` (2.9 M weights at 384 channels; default) or ``"medium"`` (8.8 M).
        out_channels: Width of the output: 384 for a teacher (default), 768 for a student.
        padding: Whether to pad as in distillation (default: False), see :class:`~pyg_viglad.PDN`.
        k: Number of neighbours of every node, itself included (default: 9).
        operator: Its graph operator: a name or a factory ``(in_channels, out_channels) -> MessagePassing``
            (default: ``"max_relative"``).
        graph: Its graph builder, see :func:`~pyg_viglad.nn.make_graph` (default: ``"knn"``).
        graph_kwargs: Further arguments of the graph builder.

    Shapes:
        - **input:** images ``[B, 3, H, W]``, ImageNet-normalised, ``H`` and ``W`` divisible by 4.
        - **output:** ``[B, out_channels, (H - 32) / 4, (W - 32) / 4]``, or ``[B, out_channels, H / 4,
          W / 4]`` with ``padding=True``.

    Raises:
        ValueError: If an argument is out of range or unknown.

    Example:
        >>> import torch
        >>> student = GPDN("small", 768).eval()
        >>> student(torch.zeros(1, 3, 96, 96)).shape
        torch.Size([1, 768, 16, 16])
    """

    _has_conv3x3 = False

    def __init__(
        self,
        size: PDNSize = "small",
        out_channels: int = 384,
        padding: bool = False,
        k: int = 9,
        operator: Operator = "max_relative",
        *,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(size, out_channels, padding)
        self.k = k
        self.operator = operator if isinstance(operator, str) else None
        self.graph = graph if isinstance(graph, str) else None
        self.graph_kwargs = graph_kwargs
        self.vig = ConvViG(
            self.conv2.out_channels, k, operator=operator, graph=graph, graph_kwargs=graph_kwargs
        )

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of :func:`make_network`; a custom operator or graph builder is None."""
        own = {name: getattr(self, name) for name in ("k", "operator", "graph", "graph_kwargs")}
        return {**super().config, "name": "gpdn", **own}

    def trunk(self, images: Tensor) -> Tensor:
        """Computes the input of the last layer, in evaluation in float32 also under autocast."""
        if self.training:
            return super().trunk(images)
        # Rounded features have other nearest neighbours; scores use the graphs of float32.
        with torch.autocast(images.device.type, enabled=False):
            return super().trunk(images)

    def _context(self, x: Tensor) -> Tensor:
        """The graph block, cropped to the size of an unpadded convolution."""
        grid_size = (x.size(2), x.size(3))
        nodes: Tensor = self.vig(to_nodes(x), batch_size=x.size(0), grid_size=grid_size)
        maps = to_maps(nodes, grid_size)
        return maps if self.padding else maps[:, :, 1:-1, 1:-1]

    def __repr__(self) -> str:
        graph = "" if self.graph == "knn" else f", {self.graph or 'custom graph'}"
        return f"{super().__repr__()[:-1]}, k={self.k}, {self.operator or 'custom'}{graph})"


def make_network(
    name: Network, size: PDNSize, out_channels: int, padding: bool = False, **options: Any
) -> PDN:
    """Builds a patch description network by name.

    Args:
        name: ``"pdn"`` (the paper's) or ``"gpdn"`` (with a vision graph block).
        size: Its layers, ``"small"`` or ``"medium"``.
        out_channels: Width of the output.
        padding: Whether to pad as in distillation (default: False).
        **options: ``k``, ``operator``, ``graph`` and ``graph_kwargs`` of a :class:`GPDN`.

    Raises:
        ValueError: If a name is unknown.

    Example:
        >>> make_network("gpdn", "small", 384)
        GPDN(small, 384, k=9, max_relative)
    """
    if name not in ("pdn", "gpdn"):
        raise ValueError(f"Expected a network 'pdn' or 'gpdn' (got {name!r})")
    return (PDN if name == "pdn" else GPDN)(size, out_channels, padding, **options)
