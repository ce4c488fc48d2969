"""Pyramid ViG, and the pyramid of blocks that it shares with the encoder of ViGLAD."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from pyg_viglad.models.graph_constructor import GraphConstructor
from pyg_viglad.models.vision_gnn import VisionGNN
from pyg_viglad.nn import KNN, ConvViG, Downsample, Graph, Operator, make_graph, to_maps
from pyg_viglad.transforms import to_batch

__all__ = ["DEPTHS", "VARIANTS", "PyramidTrunk", "PyramidViG", "Variant", "block_graphs"]

Variant = Literal["ti", "s", "m", "b"]

VARIANTS: dict[str, tuple[int, int, int, int]] = {
    "ti": (48, 96, 240, 384),
    "s": (80, 160, 400, 640),
    "m": (96, 192, 384, 768),
    "b": (128, 256, 512, 1024),
}
DEPTHS = (2, 2, 6, 2)


def block_graphs(
    graph: Graph, k: int, graph_kwargs: dict[str, Any] | None = None, first: int = 0
) -> Iterator[dict[str, Any]]:
    """Yields ``k``, ``dilation`` and ``graph`` of one block after the other.

    The dilation is ViG's: one more every four blocks, at most what 7 x 7 nodes allow. Builders
    that differ from block to block count them from ``first`` on.

    Example:
        >>> next(block_graphs("knn", k=9))
        {'k': 9, 'dilation': 1, 'graph': KNN(k=9, dilation=1)}
    """
    for number in count():
        dilation = max(1, min(number // 4 + 1, 49 // k))
        builder = make_graph(graph, k, dilation, graph_kwargs, first + number)
        yield {"k": k, "dilation": dilation, "graph": builder}


class PyramidTrunk(nn.Module):
    """A stem and four stages of :class:`~pyg_viglad.nn.ConvViG` blocks on ever coarser grids.

    The base of :class:`PyramidViG` and of :class:`~pyg_viglad.ViGAutoEncoder`, whose encoder it is.

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
        depths: Number of blocks of each stage (default: 2, 2, 6, 2).
        drop_path: Probability of skipping a branch of the last block in training; it rises linearly
            from 0 at the first.
        reduce_ratios: The stages' ``reduce_ratio``, see :class:`~pyg_viglad.nn.ViGBlock`.
        relative_position: Side of the first stage's grid for which tables of relative positions are
            made, halved from stage to stage (default: no tables).

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
        *,
        depths: Sequence[int] | None = None,
        drop_path: float = 0.0,
        reduce_ratios: Sequence[int] = (1, 1, 1, 1),
        relative_position: int | None = None,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(
                f"Expected 'variant' to be one of {sorted(VARIANTS)} (got {variant!r})"
            )
        if len(reduce_ratios) != len(DEPTHS):
            raise ValueError(
                f"Expected 'reduce_ratios' of {len(DEPTHS)} stages (got {reduce_ratios})"
            )
        self.variant = variant
        self.depths = tuple(depths or DEPTHS)
        self.k = k
        self.operator = operator
        self.graph = graph if isinstance(graph, str) else None
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
        rates = iter(torch.linspace(0, drop_path, sum(self.depths)).tolist())
        for stage, (depth, width) in enumerate(zip(self.depths, widths, strict=True)):
            options["reduce_ratio"] = reduce_ratios[stage]
            options["relative_position"] = relative_position
            blocks = (
                ConvViG(width, drop_path=next(rates), **next(graphs), **options)
                for _ in range(depth)
            )
            self.encoder.append(nn.ModuleList(blocks))
            if stage < num_downsamples:
                self.downsamples.append(Downsample(width, widths[min(stage + 1, 3)]))
            if relative_position is not None:
                relative_position = (relative_position + 1) // 2

    def encode(
        self,
        x: Tensor,
        edge_index: Tensor | None,
        grid_size: tuple[int, int],
        k: int | None = None,
    ) -> tuple[Tensor, list[tuple[int, int]]]:
        """Runs all stages.

        Args:
            x: Node features ``[B * H * W, C]``, image after image, row by row, of the stem.
            edge_index: Edges of the first block; if None, it builds its own.
            grid_size: Rows and columns (H, W).
            k: Asserts, without checking, that these edges are k per node, grouped by node.

        Returns:
            The node features, and the grid sizes of the stages and, last, of these features.
        """
        sizes = [grid_size]
        for number, stage in enumerate(self.encoder):
            x = self.run_stage(stage, x, edge_index, sizes[-1], k)
            if number < len(self.downsamples):
                x, grid_size = self.downsamples[number](x, sizes[-1])
                sizes.append(grid_size)
            edge_index = None
        return x, sizes

    def run_stage(
        self,
        stage: Any,
        x: Tensor,
        edge_index: Tensor | None,
        grid_size: tuple[int, int],
        k: int | None = None,
    ) -> Tensor:
        """Runs the blocks of a stage, the first one on ``edge_index`` where given, k per node if k is."""
        batch_size = x.size(0) // (grid_size[0] * grid_size[1])
        for block in stage:
            built = edge_index is None
            # Compiled code cannot inspect given edges and assumes the builder's; eager code takes any.
            if torch.compiler.is_compiling() and k is None:
                k = self.edges_per_node(block.graph, x, edge_index)
            x, used = block(
                x,
                edge_index,
                batch_size=batch_size,
                grid_size=grid_size,
                k=k,
                return_edge_index=True,
            )
            if built:
                k = self.edges_per_node(block.graph, x, used)
            edge_index = None if self.dynamic else used
        return x

    @staticmethod
    def edges_per_node(graph: Any, x: Tensor, edge_index: Any) -> int | None:
        """Returns how many edges each node has, if the graph builder gives all nodes equally many."""
        if edge_index is None or not getattr(graph, "regular", False):
            return None
        return edge_index.size(1) // x.size(0)  # type: ignore[no-any-return]


class PyramidViG(PyramidTrunk, VisionGNN):
    r"""Pyramid ViG (Han et al., *Vision GNN*, NeurIPS 2022), an image classifier.

    A convolutional stem embeds every 4 x 4 pixels as a node. Four stages of
    :class:`~pyg_viglad.nn.ConvViG` blocks follow, each on half the grid of the one before: for 224 x
    224 pixels 56, 28, 14 and 7 nodes a side. In every block a node is joined with the k nearest by
    features and relative position, in the first two stages among averages of 4 x 4 and 2 x 2 nodes.

    :meth:`load_reference` loads the published checkpoints.

    Args:
        variant: ``"ti"`` (10.7 M parameters), ``"s"`` (27.3 M), ``"m"`` (49.5 M) or ``"b"`` (93.0 M).
        num_classes: Number of classes; with 0, ``forward`` returns the pooled features.
        image_size: Side of the images for which the position embedding and the tables of relative
            positions are made, divisible by 4; at other sizes both are interpolated.
        k: Number of neighbours of each node, lowered where a stage has fewer candidates.
        drop_path: Probability of skipping a branch of the last block in training (stochastic depth);
            it rises linearly from 0 at the first.
        operator: Graph operator of all blocks, see :func:`~pyg_viglad.nn.make_operator`.
        operator_kwargs: Further arguments of the operator.
        graph: Graph builder of all blocks, see :func:`~pyg_viglad.nn.make_graph`. Builders other than
            ``"knn"`` know neither averaged candidates nor relative positions.
        graph_kwargs: Further arguments of the graph builder.
        reduce_ratios: For each stage the side of the squares of nodes that are averaged to candidates
            (default: 4, 2, 1, 1; 1 for other graphs than ``"knn"``). Operators that take no pair of
            source and target features, such as ``"gcn"``, need ``(1, 1, 1, 1)``.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` or a ``Batch`` with ``img``, of any size; values in
          [-1, 1], that is ``(x - 0.5) / 0.5`` of images x in [0, 1]. The paper tests on crops of 224 x
          224 pixels out of images whose shorter side was resized to 249 (``"b"``: 236), bicubically.
        - **output:** logits ``[B, num_classes]``.

    Raises:
        ValueError: If an argument is out of range, or the images have another shape.

    Example:
        >>> import torch
        >>> model = PyramidViG("ti", num_classes=10).eval()
        >>> model(torch.rand(1, 3, 96, 64)).shape
        torch.Size([1, 10])
        >>> model.forward_features(torch.rand(1, 3, 96, 64)).shape
        torch.Size([1, 384, 3, 2])
    """

    def __init__(
        self,
        variant: Variant = "ti",
        num_classes: int = 1000,
        image_size: int = 224,
        k: int = 9,
        drop_path: float = 0.0,
        operator: Operator = "max_relative",
        *,
        operator_kwargs: dict[str, Any] | None = None,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
        reduce_ratios: Sequence[int] | None = None,
    ) -> None:
        nearest = isinstance(make_graph(graph, k, 1, graph_kwargs), KNN)
        super().__init__(
            variant,
            image_size,
            k,
            operator,
            operator_kwargs=operator_kwargs,
            graph=graph,
            graph_kwargs=graph_kwargs,
            num_downsamples=3,
            depths={"m": (2, 2, 16, 2), "b": (2, 2, 18, 2)}.get(variant),
            drop_path=drop_path,
            reduce_ratios=reduce_ratios or ((4, 2, 1, 1) if nearest else (1, 1, 1, 1)),
            relative_position=image_size // 4 if nearest else None,
        )
        self.add_head(VARIANTS[variant][-1], num_classes)
        self.config = {
            "variant": variant,
            "num_classes": num_classes,
            "image_size": image_size,
            "k": k,
            "drop_path": drop_path,
            "operator": operator,
            "operator_kwargs": operator_kwargs,
            "graph": graph,
            "graph_kwargs": graph_kwargs,
            "reduce_ratios": reduce_ratios and list(reduce_ratios),
        }
        self.reset_parameters()

    def forward_features(self, images: Tensor | Batch) -> Tensor:
        """Returns the maps that leave the last stage ``[B, C, H / 32, W / 32]``, sides rounded up."""
        x, grid_size = self.constructor.embed(to_batch(images, normalized=True), whole_cells=False)
        x, sizes = self.encode(x, None, grid_size)
        return to_maps(x, sizes[-1])

    def reference_names(self) -> Iterator[tuple[str, str]]:
        """Yields the prefixes of the parameters here and in the published layout."""
        yield "constructor.position", "pos_embed"
        yield "constructor.stem.", "stem.convs."
        place = 0
        for stage, depth in enumerate(self.depths):
            if stage:
                for number, part in enumerate(("conv", "norm")):
                    yield f"downsamples.{stage - 1}.{part}.", f"backbone.{place}.conv.{number}."
                place += 1
            for number in range(depth):
                yield f"encoder.{stage}.{number}.", f"backbone.{place}."
                place += 1
