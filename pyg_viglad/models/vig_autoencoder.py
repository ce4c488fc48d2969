"""The vision graph autoencoder A_g of ViGLAD."""

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from pyg_viglad.models.graph_constructor import GraphConstructor, grid_graphs, images_of
from pyg_viglad.nn import ConvViG, DeconvViG, Downsample, Operator, Upsample

__all__ = ["DEPTHS", "VARIANTS", "ViGAutoEncoder"]

Variant = Literal["ti", "s", "m", "b"]

VARIANTS: dict[str, tuple[int, int, int, int]] = {
    "ti": (48, 96, 240, 384),
    "s": (80, 160, 400, 640),
    "m": (96, 192, 384, 768),
    "b": (128, 256, 512, 1024),
}
DEPTHS = (2, 2, 6, 2)


class _Nodes(NamedTuple):
    """Nodes of equal-sized grids: features ``[B * H * W, C]``, rows and columns, number of images."""

    x: Tensor
    grid_size: tuple[int, int]
    batch_size: int


class _Graph(NamedTuple):
    """A graph on the way through the network: its edges, and the features that chose them."""

    nodes: _Nodes
    edge_index: Tensor


class ViGAutoEncoder(nn.Module):
    r"""The vision graph autoencoder: :math:`A_g(\mathcal{G}) = D[E(\mathcal{G})]` (Eq. 10-14).

    The encoder's 12 :class:`~pyg_viglad.nn.ConvViG` blocks and the decoder's 12
    :class:`~pyg_viglad.nn.DeconvViG` blocks are resampled after the second, fourth, tenth and twelfth
    (Section IV-C): for 224 x 224 pixels the grid goes from 56 to 28, 14, 7, 4 and back by the very same
    sizes. There are no skip connections. The first block works on the graph of the
    :class:`~pyg_viglad.GraphConstructor`; with ``dynamic=True`` each further block builds its own.

    Args:
        out_channels: Width of the output, that of the teacher.
        variant: Widths of the four stages, those of Pyramid ViG: ``"ti"`` (48, 96, 240, 384), ``"s"``,
            ``"m"``, ``"b"``.
        image_size: Side or ``(height, width)`` of the images for which the position embedding is made.
        k: Number of neighbours, lowered where a stage has fewer nodes.
        operator: Graph operator of all blocks: a name of ``pyg_viglad.nn.OPERATORS`` or a factory
            ``(in_channels, out_channels) -> MessagePassing``.
        dynamic: Rebuild the graph in every block; otherwise in the first of each stage.
        heads: Groups of the operator's linear layer.
        kernel_size: Kernel of the decoder's transposed graph convolution, 1 or 3.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` or a ``Batch`` with ``img``; H and W divisible by 4.
        - **output:** ``[B, out_channels, H / 4, W / 4]``.

    Raises:
        ValueError: If the variant or the operator is unknown, or the images have another shape.

    Example:
        >>> import torch
        >>> autoencoder = ViGAutoEncoder(image_size=64).eval()
        >>> autoencoder(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 384, 16, 16])
        >>> sorted(autoencoder.graphs(torch.rand(1, 3, 64, 64)))
        ['decoder', 'encoder', 'input']
    """

    def __init__(
        self,
        out_channels: int = 384,
        variant: Variant = "ti",
        image_size: int | tuple[int, int] = 224,
        k: int = 12,
        operator: Operator = "max_relative",
        dynamic: bool = True,
        heads: int = 4,
        kernel_size: int = 1,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(
                f"Expected 'variant' to be one of {sorted(VARIANTS)} (got {variant!r})"
            )
        if k < 1:
            raise ValueError(f"Expected 'k' to be at least 1 (got {k})")
        self.out_channels = out_channels
        self.variant = variant
        self.k = k
        self.operator = operator
        self.dynamic = dynamic
        widths = VARIANTS[variant]
        self.constructor = GraphConstructor(widths[0], image_size, k)
        self.encoder = nn.ModuleList()
        self.downsamples = nn.ModuleList()
        self.decoder = nn.ModuleList()
        self.upsamples = nn.ModuleList()
        number = 0
        for stage, (width, depth) in enumerate(zip(widths, DEPTHS, strict=True)):
            blocks = nn.ModuleList()
            for _ in range(depth):
                blocks.append(ConvViG(width, k, _dilation(number, k), heads, operator))
                number += 1
            self.encoder.append(blocks)
            self.downsamples.append(Downsample(width, widths[min(stage + 1, 3)]))
        # Back through the sizes: the decoder's stages have the encoder's widths by resolution.
        wide = (widths[3], widths[3], widths[2], widths[1])
        narrow = (*wide[1:], widths[0])
        number = 0
        for width, next_width, depth in zip(wide, narrow, DEPTHS, strict=True):
            blocks = nn.ModuleList()
            for _ in range(depth):
                dilation = _dilation(number, k)
                blocks.append(
                    DeconvViG(width, k, dilation, heads, operator, kernel_size=kernel_size)
                )
                number += 1
            self.decoder.append(blocks)
            self.upsamples.append(Upsample(width, next_width))
        self.projection = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, images: Tensor | Batch) -> Tensor:
        """Reconstruct the teacher's features of the images."""
        images = images_of(images)
        if self.training:
            nodes, _ = self._run(images)
        else:
            # Rounded features have other nearest neighbours: scores want the graphs of float32.
            with torch.autocast(images.device.type, enabled=False):
                nodes, _ = self._run(images)
        return self.projection(_to_map(nodes))  # type: ignore[no-any-return]

    def graphs(self, images: Tensor | Batch, blocks: bool = False) -> dict[str, Batch]:
        """Give the graphs of the images on their way through the network (Fig. 5 of the paper).

        The network runs in evaluation mode and without gradients. See
        :func:`~pyg_viglad.graphs.record_graphs` for graphs in pixels of the original images,
        with scores.

        Args:
            images: Images ``[B, 3, H, W]`` or a ``Batch`` with ``img``.
            blocks: Also give the graph that every block used, as ``"encoder.0"`` to ``"encoder.11"``
                and ``"decoder.0"`` to ``"decoder.11"``, in the order of the network.

        Returns:
            A ``Batch`` each under ``"input"`` (before the first block), ``"encoder"`` (the nearest
            neighbours among the features that leave the encoder) and ``"decoder"`` (those that leave
            the decoder), with ``x`` (the features among which the neighbours were chosen),
            ``edge_index``, ``distance`` (``[E]``, between L2-normalised features, in [0, 2]), ``pos``,
            ``grid_size`` and ``img_size``.
        """
        images = images_of(images)
        image_size = (images.size(2), images.size(3))
        training = self.training
        self.eval()
        with torch.no_grad():
            _, trace = self._run(images, trace=True)
        self.train(training)
        return {
            name: grid_graphs(
                nodes.x,
                edge_index,
                nodes.grid_size,
                image_size,
                distance=_distance(nodes, edge_index),
            )
            for name, (nodes, edge_index) in trace.items()
            if blocks or "." not in name
        }

    def _run(self, images: Tensor, trace: bool = False) -> tuple[_Nodes, dict[str, _Graph]]:
        """Run encoder and decoder; with ``trace``, keep every graph and what chose it."""
        x, grid_size = self.constructor.embed(images)
        nodes = _Nodes(x, grid_size, images.size(0))
        graph: _Graph | None = _Graph(nodes, self.constructor.connect(x, images.size(0)))
        kept: dict[str, _Graph] = {}
        if trace and graph is not None:
            kept["input"] = graph

        def run_stage(stage: Any, name: str, first: int, nodes: _Nodes) -> _Nodes:
            nonlocal graph
            for number, block in enumerate(stage, start=first):
                x, edge_index = block(
                    nodes.x,
                    None if graph is None else graph.edge_index,
                    batch_size=nodes.batch_size,
                    grid_size=nodes.grid_size,
                    k=None if graph is None else graph.edge_index.size(1) // nodes.x.size(0),
                    return_edge_index=True,
                )
                if graph is None:
                    # A block chooses neighbours among the features that enter its operator.
                    chosen = nodes._replace(x=block.fc_in(nodes.x)) if trace else nodes
                    graph = _Graph(chosen, edge_index)
                if trace:
                    kept[f"{name}.{number}"] = graph
                nodes = nodes._replace(x=x)
                graph = None if self.dynamic else graph
            graph = None
            return nodes

        sizes = []
        first = 0
        for stage, downsample in zip(self.encoder, self.downsamples, strict=True):
            nodes = run_stage(stage, "encoder", first, nodes)
            sizes.append(nodes.grid_size)
            x, grid_size = downsample(nodes.x, nodes.grid_size)
            nodes = _Nodes(x, grid_size, nodes.batch_size)
            first += len(stage)  # type: ignore[arg-type]
        if trace:
            kept["encoder"] = self._connect(nodes)
        first = 0
        for stage, upsample in zip(self.decoder, self.upsamples, strict=True):
            nodes = run_stage(stage, "decoder", first, nodes)
            x, grid_size = upsample(nodes.x, nodes.grid_size, sizes.pop())
            nodes = _Nodes(x, grid_size, nodes.batch_size)
            first += len(stage)  # type: ignore[arg-type]
        if trace:
            kept["decoder"] = self._connect(nodes)
        return nodes, kept

    def _connect(self, nodes: _Nodes) -> _Graph:
        return _Graph(nodes, self.constructor.connect(nodes.x, nodes.batch_size))

    def __repr__(self) -> str:
        operator = self.operator if isinstance(self.operator, str) else "custom"
        return f"{self.__class__.__name__}({self.out_channels}, {self.variant}, k={self.k}, {operator})"


def _dilation(block: int, k: int) -> int:
    """Dilation of a block, ViG's schedule: one more each four blocks, at most what 7 x 7 nodes allow."""
    return max(1, min(block // 4 + 1, 49 // k))


def _to_map(nodes: _Nodes) -> Tensor:
    rows, columns = nodes.grid_size
    return nodes.x.view(nodes.batch_size, rows, columns, -1).permute(0, 3, 1, 2)


def _distance(nodes: _Nodes, edge_index: Tensor) -> Tensor:
    """Length of the difference of L2-normalised features along each edge, ``[E]``."""
    unit = F.normalize(nodes.x.float())
    difference = unit[edge_index[0]] - unit[edge_index[1]]
    distance: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return distance
