"""A stage of vision graph blocks for other architectures."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch_geometric.nn.inits import reset

from pyg_viglad.models.pyramid_vig import block_graphs
from pyg_viglad.nn import ConvViG, Graph, Operator, to_maps, to_nodes

__all__ = ["ViGStage"]


class ViGStage(nn.Module):
    r"""A stage of :class:`~pyg_viglad.nn.ConvViG` blocks on the feature map of any network.

    Each position of the map is a node, and every block computes the graph of each image from its own
    features: after a convolutional backbone, a position also receives messages from the most similar
    positions of the whole image. The stage serves as the head of a classifier or as a part of the
    autoencoder of a :class:`~pyg_viglad.ViGLAD`; the paper leaves open whether its blocks help there.

    A linear layer (a 1 x 1 convolution) precedes the blocks where input and output differ in width.

    Args:
        in_channels: Number of channels of the feature map.
        out_channels: Number of output channels, divisible by ``heads`` (default: ``in_channels``,
            rounded up to a multiple of ``heads``).
        depth: Number of blocks.
        k: Number of neighbours of every node, itself included; lowered where a map has fewer places.
        operator: Graph operator of all blocks, see :func:`~pyg_viglad.nn.make_operator`.
        heads: Groups of the operator's linear layer.
        graph: Graph builder of all blocks, see :func:`~pyg_viglad.nn.make_graph`.
        graph_kwargs: Further arguments of the graph builder.
        **kwargs: Further arguments of :class:`~pyg_viglad.nn.ConvViG`, such as ``drop_path``.

    Shapes:
        - **input:** maps ``[B, in_channels, H, W]``, or a list of maps, of which the last one is taken:
          timm's ``features_only`` networks return lists.
        - **output:** ``[B, out_channels, H, W]``.

    Raises:
        ValueError: If an argument is out of range or unknown, or the maps have another shape.

    Example:
        >>> import timm, torch
        >>> classifier = nn.Sequential(
        ...     timm.create_model("mobilenetv1_100", features_only=True, out_indices=[3]),
        ...     ViGStage(512, depth=2, k=9),
        ...     nn.AdaptiveAvgPool2d(1),
        ...     nn.Flatten(),
        ...     nn.Linear(512, 10),
        ... )
        >>> classifier(torch.rand(2, 3, 96, 128)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        depth: int = 2,
        k: int = 9,
        operator: Operator = "max_relative",
        heads: int = 4,
        *,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        for name, value in (
            ("in_channels", in_channels),
            ("depth", depth),
            ("k", k),
            ("heads", heads),
        ):
            if value < 1:
                raise ValueError(f"Expected '{name}' to be at least 1 (got {value})")
        if out_channels is None:
            out_channels = -(-in_channels // heads) * heads
        if out_channels < 1:
            raise ValueError(f"Expected 'out_channels' to be at least 1 (got {out_channels})")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.k = k
        self.projection: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.projection = nn.Linear(in_channels, out_channels)
        graphs = block_graphs(graph, k, graph_kwargs)
        self.blocks = nn.ModuleList(
            ConvViG(out_channels, heads=heads, operator=operator, **next(graphs), **kwargs)
            for _ in range(depth)
        )

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        reset(self.projection)
        reset(self.blocks)

    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """Runs the forward pass."""
        if not isinstance(maps, Tensor):
            maps = maps[-1]
        if maps.dim() != 4 or maps.size(1) != self.in_channels:
            raise ValueError(
                f"Expected 'maps' to be [B, {self.in_channels}, H, W] (got {list(maps.shape)})"
            )
        grid_size = (maps.size(2), maps.size(3))
        x: Tensor = self.projection(to_nodes(maps))
        for block in self.blocks:
            x = block(x, batch_size=maps.size(0), grid_size=grid_size)
        return to_maps(x, grid_size)

    def extra_repr(self) -> str:
        """Returns the sizes."""
        return f"{self.in_channels}, {self.out_channels}, k={self.k}"
