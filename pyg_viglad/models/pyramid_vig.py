"""The pyramid of vision graph blocks that Pyramid ViG and the encoder of ViGLAD share."""

from collections.abc import Iterator
from itertools import count
from typing import Any, Literal

from torch import Tensor, nn

from pyg_viglad.models.graph_constructor import GraphConstructor
from pyg_viglad.nn import ConvViG, Downsample, Graph, Operator, make_graph

__all__ = ["DEPTHS", "VARIANTS", "PyramidTrunk", "Variant", "block_graphs"]

Variant = Literal["ti", "s", "m", "b"]

VARIANTS: dict[str, tuple[int, int, int, int]] = {
    "ti": (48, 96, 240, 384),
    "s": (80, 160, 400, 640),
    "m": (96, 192, 384, 768),
    "b": (128, 256, 512, 1024),
}
DEPTHS = (2, 2, 6, 2)


def block_graphs(
    graph: Graph, k: int, graph_kwargs: dict[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Yields ``k``, ``dilation`` and ``graph`` of one block after the other.

    The dilation is ViG's: one more every four blocks, at most what 7 x 7 nodes allow.

    Example:
        >>> next(block_graphs("knn", k=9))
        {'k': 9, 'dilation': 1, 'graph': KNN(k=9, dilation=1)}
    """
    for number in count():
        dilation = max(1, min(number // 4 + 1, 49 // k))
        builder = make_graph(graph, k, dilation, graph_kwargs, number)
        yield {"k": k, "dilation": dilation, "graph": builder}


class PyramidTrunk(nn.Module):
    """A stem and four stages of :class:`~pyg_viglad.nn.ConvViG` blocks on ever coarser grids.

    The base of :class:`~pyg_viglad.ViGAutoEncoder`, whose encoder it is.

    Args:
        variant: Widths of the four stages, those of Pyramid ViG: ``"ti"`` (48, 96, 240, 384),
            ``"s"``, ``"m"``, ``"b"``.
        image_size: Side or ``(height, width)`` of the images for which the position embedding is
            made.
        k: Number of neighbours, lowered where a stage has fewer nodes.
        operator: Graph operator of all blocks, by name or factory, see
            :func:`~pyg_viglad.nn.make_operator`.
        dynamic: Rebuild the graph in every block; otherwise in the first of each stage.
        heads: Groups of the operator's linear layer.
        operator_kwargs: Further arguments of the operator.
        graph: Graph builder of all blocks, see :func:`~pyg_viglad.nn.make_graph`.
        graph_kwargs: Further arguments of the graph builder.
        num_downsamples: Number of stages that are followed by a downsampling: 4 (the paper's encoder) or
            3 (Pyramid ViG).

    Raises:
        ValueError: If the variant, the operator or the graph is unknown.
    """

    def __init__(
        self,
        variant: Variant = "ti",
        image_size: int | tuple[int, int] = 224,
        k: int = 12,
        operator: Operator = "max_relative",
        dynamic: bool = True,
        heads: int = 4,
        operator_kwargs: dict[str, Any] | None = None,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
        num_downsamples: int = 4,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(
                f"Expected 'variant' to be one of {sorted(VARIANTS)} (got {variant!r})"
            )
        self.variant = variant
        self.depths = DEPTHS
        self.k = k
        self.operator = operator
        self.dynamic = dynamic
        widths = VARIANTS[variant]
        self.constructor = GraphConstructor(
            widths[0], image_size, k, graph=graph, graph_kwargs=graph_kwargs
        )
        self.encoder = nn.ModuleList()
        self.downsamples = nn.ModuleList()
        graphs = block_graphs(graph, k, graph_kwargs)
        options: dict[str, Any] = {
            "heads": heads,
            "operator": operator,
            "operator_kwargs": operator_kwargs,
        }
        for stage, (depth, width) in enumerate(zip(self.depths, widths, strict=True)):
            blocks = (ConvViG(width, **next(graphs), **options) for _ in range(depth))
            self.encoder.append(nn.ModuleList(blocks))
            if stage < num_downsamples:
                self.downsamples.append(Downsample(width, widths[min(stage + 1, 3)]))

    def encode(
        self, x: Tensor, edge_index: Tensor | None, grid_size: tuple[int, int]
    ) -> tuple[Tensor, list[tuple[int, int]]]:
        """Runs all stages.

        Args:
            x: Node features ``[B * H * W, C]``, image after image, row by row, of the stem.
            edge_index: Edges of the first block; if None, it builds its own.
            grid_size: Rows and columns (H, W).

        Returns:
            The node features, and the grid sizes of the stages and, last, of these features.
        """
        sizes = [grid_size]
        for number, stage in enumerate(self.encoder):
            x = self.run_stage(stage, x, edge_index, sizes[-1])
            if number < len(self.downsamples):
                x, grid_size = self.downsamples[number](x, sizes[-1])
                sizes.append(grid_size)
            edge_index = None
        return x, sizes

    def run_stage(
        self, stage: Any, x: Tensor, edge_index: Tensor | None, grid_size: tuple[int, int]
    ) -> Tensor:
        """Runs the blocks of a stage, the first one on ``edge_index`` where given."""
        batch_size = x.size(0) // (grid_size[0] * grid_size[1])
        for block in stage:
            k = None
            if edge_index is not None and getattr(block.graph, "regular", False):
                k = edge_index.size(1) // x.size(0)
            x, used = block(
                x,
                edge_index,
                batch_size=batch_size,
                grid_size=grid_size,
                k=k,
                return_edge_index=True,
            )
            edge_index = None if self.dynamic else used
        return x
