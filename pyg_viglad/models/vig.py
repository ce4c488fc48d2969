"""Isotropic ViG."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from pyg_viglad.models.graph_constructor import add_position
from pyg_viglad.models.vision_gnn import VisionGNN
from pyg_viglad.nn import ConvViG, Graph, Operator, make_graph, to_maps, to_nodes
from pyg_viglad.transforms import to_batch

__all__ = ["SIZES", "ViG"]

# Width and number of blocks.
SIZES = {"ti": (192, 12), "s": (320, 16), "b": (640, 16)}


class ViG(VisionGNN):
    r"""The isotropic ViG (Han et al., *Vision GNN*, NeurIPS 2022), an image classifier.

    A convolutional stem embeds every 16 x 16 pixels as a node, and all
    :class:`~pyg_viglad.nn.ConvViG` blocks work on this one grid. The number of neighbours rises
    linearly from k in the first block to 2 k in the last.

    :meth:`load_reference` loads the published checkpoints.

    Args:
        variant: ``"ti"`` (7.2 M parameters), ``"s"`` (22.7 M) or ``"b"`` (86.8 M).
        num_classes: Number of classes; with 0, ``forward`` returns the pooled features.
        image_size: Side of the images for which the position embedding is made, divisible by 16; at
            other sizes it is interpolated.
        k: Number of neighbours of each node in the first block, lowered where an image has fewer nodes.
        drop_path: Probability of skipping a branch of the last block in training (stochastic depth);
            it rises linearly from 0 at the first.
        operator: Graph operator of all blocks, see :func:`~pyg_viglad.nn.make_operator`.
        operator_kwargs: Further arguments of the operator.
        graph: Graph builder of all blocks, see :func:`~pyg_viglad.nn.make_graph`.
        graph_kwargs: Further arguments of the graph builder.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` or a ``Batch`` with ``img``, of any size; values in
          [-1, 1], that is ``(x - 0.5) / 0.5`` of images x in [0, 1].
        - **output:** logits ``[B, num_classes]``.

    Raises:
        ValueError: If an argument is out of range, or the images have another shape.

    Example:
        >>> import torch
        >>> model = ViG("ti", num_classes=10).eval()
        >>> model(torch.rand(1, 3, 96, 64)).shape
        torch.Size([1, 10])
    """

    def __init__(
        self,
        variant: Literal["ti", "s", "b"] = "ti",
        num_classes: int = 1000,
        image_size: int = 224,
        k: int = 9,
        drop_path: float = 0.0,
        operator: Operator = "max_relative",
        *,
        operator_kwargs: dict[str, Any] | None = None,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if variant not in SIZES:
            raise ValueError(f"Expected 'variant' to be one of {sorted(SIZES)} (got {variant!r})")
        if image_size < 16 or image_size % 16:
            raise ValueError(f"Expected 'image_size' to be divisible by 16 (got {image_size})")
        if k < 1:
            raise ValueError(f"Expected 'k' to be at least 1 (got {k})")
        channels, depth = SIZES[variant]
        widths = (3, channels // 8, channels // 4, channels // 2, channels, channels)
        layers: list[nn.Module] = []
        for number in range(5):
            stride = 2 if number < 4 else 1
            conv = nn.Conv2d(widths[number], widths[number + 1], 3, stride, padding=1)
            layers += [conv, nn.BatchNorm2d(widths[number + 1]), nn.GELU()]
        self.stem = nn.Sequential(*layers[:-1])
        side = image_size // 16
        self.position = nn.Parameter(torch.zeros(1, channels, side, side))
        self.blocks = nn.ModuleList()
        rates = torch.linspace(0, drop_path, depth).tolist()
        for number, neighbors in enumerate(torch.linspace(k, 2 * k, depth).tolist()):
            dilation = max(1, min(number // 4 + 1, 196 // (2 * k)))
            builder = make_graph(graph, int(neighbors), dilation, graph_kwargs, number)
            block = ConvViG(
                channels,
                int(neighbors),
                dilation,
                operator=operator,
                operator_kwargs=operator_kwargs,
                drop_path=rates[number],
                graph=builder,
            )
            self.blocks.append(block)
        self.add_head(channels, num_classes)
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
        }
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Resets all learnable parameters: Kaiming-normal weights, zero biases and positions."""
        super().reset_parameters()
        nn.init.zeros_(self.position)

    def forward_features(self, images: Tensor | Batch) -> Tensor:
        """Returns the maps that leave the last block ``[B, C, H / 16, W / 16]``, sides rounded up."""
        images = to_batch(images, normalized=True)
        # With the channels last the nodes are a view of the stem's output.
        maps = self.stem(images.contiguous(memory_format=torch.channels_last))
        grid_size = (maps.size(2), maps.size(3))
        x = to_nodes(add_position(maps, self.position))
        for block in self.blocks:
            x = block(x, batch_size=images.size(0), grid_size=grid_size)
        return to_maps(x, grid_size)

    def reference_names(self) -> Iterator[tuple[str, str]]:
        """Yields the prefixes of stem and blocks here and in the published layout."""
        yield "position", "pos_embed"
        yield "stem.", "stem.convs."
        for number in range(len(self.blocks)):
            yield f"blocks.{number}.", f"backbone.{number}."
