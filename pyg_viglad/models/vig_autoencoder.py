"""The vision graph autoencoder A_g of ViGLAD."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import chain
from threading import Lock, get_ident
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.nn.inits import reset

from pyg_viglad.files import read_tensors
from pyg_viglad.models.graph_constructor import grid_graphs
from pyg_viglad.models.pyramid_vig import VARIANTS, PyramidTrunk, PyramidViG, Variant, block_graphs
from pyg_viglad.nn import (
    KNN,
    DeconvViG,
    Graph,
    Operator,
    Upsample,
    Upsampling,
    edge_distances,
    nearest_first,
    to_maps,
)
from pyg_viglad.transforms import IMAGENET_MEAN, IMAGENET_STD, to_batch

__all__ = ["EncoderWeights", "ViGAutoEncoder", "evaluation_mode"]

EncoderWeights: TypeAlias = str | os.PathLike[str] | Mapping[str, Tensor] | PyramidViG


class ViGAutoEncoder(PyramidTrunk):
    r"""The vision graph autoencoder: :math:`A_g(\mathcal{G}) = D[E(\mathcal{G})]` (Eq. 10-14).

    The encoder's 12 :class:`~pyg_viglad.nn.ConvViG` blocks and the decoder's 12
    :class:`~pyg_viglad.nn.DeconvViG` blocks are resampled after the second, fourth, tenth and twelfth
    (Section IV-C): for 224 x 224 pixels the grid goes from 56 to 28, 14, 7, 4 and back by the very same
    sizes. There are no skip connections. The first block works on the graph of the
    :class:`~pyg_viglad.GraphConstructor`; with ``dynamic=True`` each further block builds its own.

    Args:
        out_channels: Number of output channels, that of the teacher.
        variant: Widths of the four stages, those of Pyramid ViG: ``"ti"`` (48, 96, 240, 384), ``"s"``,
            ``"m"``, ``"b"``.
        image_size: Side or ``(height, width)`` of the images for which the position embedding is made.
        k: Number of neighbours, lowered where a stage has fewer nodes.
        operator: Graph operator of all blocks, by name or factory, see
            :func:`~pyg_viglad.nn.make_operator`.
        dynamic: Rebuild the graph in every block; otherwise in the first of each stage.
        heads: Groups of the operator's linear layer.
        kernel_size: Kernel of the decoder's transposed graph convolution, 1 or 3.
        operator_kwargs: Further arguments of the operator.
        graph: Graph builder of all blocks, see :func:`~pyg_viglad.nn.make_graph`.
        graph_kwargs: Further arguments of the graph builder.
        encoder_weights: Weights of a Pyramid ViG from which stem and encoder start, see
            :meth:`load_encoder` (default: random weights).
        upsampling: How the decoder doubles its grids, see :class:`~pyg_viglad.nn.Upsample`.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` or a ``Batch`` with ``img``; H and W divisible by 4.
        - **output:** ``[B, out_channels, H / 4, W / 4]``.

    Raises:
        ValueError: If the variant, the operator, the graph or the upsampling is unknown, or the images
            have another shape.

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
        *,
        operator_kwargs: dict[str, Any] | None = None,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
        encoder_weights: EncoderWeights | None = None,
        upsampling: Upsampling = "nearest",
    ) -> None:
        super().__init__(
            variant, image_size, k, operator, dynamic, heads, operator_kwargs, graph, graph_kwargs
        )
        self.out_channels = out_channels
        self.decoder = nn.ModuleList()
        self.upsamples = nn.ModuleList()
        widths = VARIANTS[variant]
        # Back through the sizes: the decoder's stages have the encoder's widths by resolution.
        wide = (widths[3], widths[3], widths[2], widths[1], widths[0])
        graphs = block_graphs(graph, k, graph_kwargs, first=sum(self.depths))
        options: dict[str, Any] = {
            "heads": heads,
            "operator": operator,
            "operator_kwargs": operator_kwargs,
        }
        for depth, width, next_width in zip(self.depths, wide[:-1], wide[1:], strict=True):
            blocks = (
                DeconvViG(width, kernel_size=kernel_size, **next(graphs), **options)
                for _ in range(depth)
            )
            self.decoder.append(nn.ModuleList(blocks))
            self.upsamples.append(Upsample(width, next_width, upsampling))
        self.projection = nn.Conv2d(widths[0], out_channels, 3, padding=1)
        if encoder_weights is not None:
            self.load_encoder(encoder_weights)

    def reset_parameters(self) -> None:
        """Resets all learnable parameters of the module."""
        blocks = (self.encoder, self.decoder)
        for part in (self.constructor, *blocks, self.downsamples, self.upsamples, self.projection):
            reset(part)

    @torch.no_grad()
    def load_encoder(self, weights: EncoderWeights) -> None:
        """Loads stem, blocks and downsamplings of a :class:`~pyg_viglad.models.PyramidViG`.

        The last downsampling, which Pyramid ViG lacks, keeps its weights. Its images are (x - 0.5) / 0.5,
        those of this network ImageNet-normalised: the first convolution is rescaled accordingly, which
        is exact up to the zeros around the image. The position embedding is interpolated to the grid
        of this network. Graphs stay this network's own: its ``k``, all nodes as candidates, and no
        relative positions.

        Args:
            weights: A network, its state dict, the published one, or the path of a file with either.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the weights are of another variant or operator. The variants ``"m"`` and
                ``"b"`` of Pyramid ViG have more blocks than the encoder, and do not fit.
        """
        name = "the given weights"
        if isinstance(weights, nn.Module):
            weights = weights.state_dict()
        elif not isinstance(weights, Mapping):
            name = f"'{weights}'"
            weights = read_tensors(weights, "encoder weights")[0]
        if "pos_embed" in weights:
            published = PyramidViG(self.variant, num_classes=0)
            published.load_reference(weights)
            weights = published.state_dict()
        trunk = ("constructor.", "encoder.", "downsamples.")
        given = {key: value for key, value in weights.items() if key.startswith(trunk)}
        last = f"downsamples.{len(self.downsamples) - 1}."
        own = {
            key: value
            for key, value in self.state_dict().items()
            if key.startswith(trunk) and not key.startswith(last)
        }
        wrong = list(own.keys() ^ given.keys())
        for key in own.keys() & given.keys() - {"constructor.position"}:
            if given[key].shape != own[key].shape:
                wrong.append(key)
        if wrong:
            raise ValueError(
                f"Expected the stem and the {self.depths} blocks of a Pyramid ViG {self.variant!r} in "
                f"{name} ({len(wrong)} keys do not fit: {', '.join(sorted(wrong)[:3])})"
            )
        position = given["constructor.position"]
        size = own["constructor.position"].shape[-2:]
        if position.shape[-2:] != size:
            position = F.interpolate(position, size, mode="bicubic", align_corners=False)
        kernel, bias = given["constructor.stem.0.weight"], given["constructor.stem.0.bias"]
        mean, std = kernel.new_tensor(IMAGENET_MEAN), kernel.new_tensor(IMAGENET_STD)
        given |= {
            "constructor.position": position,
            "constructor.stem.0.weight": kernel * (2 * std).view(1, 3, 1, 1),
            "constructor.stem.0.bias": bias + kernel.sum((2, 3)) @ (2 * mean - 1),
        }
        self.load_state_dict(given, strict=False)

    def forward(self, images: Tensor | Batch) -> Tensor:
        """Reconstructs the teacher's features of the images."""
        images = to_batch(images, normalized=True)
        x, grid_size = self.constructor.embed(images)
        edge_index = self.constructor.connect(x, images.size(0), grid_size)
        k = self.edges_per_node(self.constructor.graph, x, edge_index)
        x = self.reconstruct(x, edge_index, grid_size, k)
        return self.projection(to_maps(x, grid_size))  # type: ignore[no-any-return]

    def reconstruct(
        self, x: Tensor, edge_index: Tensor, grid_size: tuple[int, int], k: int | None = None
    ) -> Tensor:
        r"""Computes :math:`D[E(\mathcal{G})]` (Eq. 10-14), all layers between stem and projection.

        As ``x`` and ``edge_index`` are its arguments, explainers of PyG apply to it: a given graph is
        that of the first block, with ``dynamic=False`` that of the whole first stage. An
        explainer's edge mask does not apply to the other blocks: set ``block.conv.explain = False``.

        Args:
            x: Node features ``[B * H * W, C]``, image after image, row by row, of the stem.
            edge_index: Edges ``[2, E]``; in compiled code as regular, and grouped by centre, as those of
                the :class:`~pyg_viglad.GraphConstructor`.
            grid_size: Rows and columns (H, W).
            k: Asserts, without checking, that the edges are k per node, grouped by node: then no value is
                read back from the device.

        Returns:
            Node features ``[B * H * W, C]``.
        """
        x, (*sizes, grid_size) = self.encode(x, edge_index, grid_size, k)
        for stage, upsample in zip(self.decoder, self.upsamples, strict=True):
            x = self.run_stage(stage, x, None, grid_size)
            x, grid_size = upsample(x, grid_size, sizes.pop())
        return x

    @torch.no_grad()
    def graphs(self, images: Tensor | Batch, blocks: bool = False) -> dict[str, Batch]:
        """Returns the graphs of the images on their way through the network (Fig. 5 of the paper).

        The network runs in evaluation mode. See :func:`~pyg_viglad.graphs.record_graphs` for graphs in
        pixels of the original images, with scores.

        Args:
            images: Images ``[B, 3, H, W]`` or a ``Batch`` with ``img``.
            blocks: Whether to also return the graph that every block used, as ``"encoder.0"`` to
                ``"encoder.11"`` and ``"decoder.0"`` to ``"decoder.11"``, in the order of the network.

        Returns:
            A ``Batch`` each under ``"input"`` (before the first block), ``"encoder"`` (the graph of the
            features that leave the encoder) and ``"decoder"`` (of those that leave the decoder), with
            ``x`` (the features among which the neighbours were chosen), ``edge_index``, ``distance``
            (``[E]``, between L2-normalised features, in [0, 2]), ``pos``, ``grid_size`` and ``img_size``.

        Raises:
            ValueError: If the blocks work on hyperedges, or the images have another shape.
        """
        graphs = {}
        images = to_batch(images, normalized=True)
        chosen = chosen_edges = None
        for name, x, edges, grid_size in self._record(images):
            if edges is not chosen_edges:  # otherwise a block took over the graph of an earlier one
                chosen, chosen_edges = x, edges
            if chosen is not None and (blocks or "." not in name):
                if not isinstance(self.constructor.graph, KNN):
                    edges = nearest_first(chosen, edges)
                graphs[name] = grid_graphs(
                    chosen.to(torch.promote_types(chosen.dtype, torch.float32)),
                    edges,
                    grid_size,
                    (images.size(2), images.size(3)),
                    distance=edge_distances(chosen, edges),
                )
        return graphs

    @torch.no_grad()
    def edges(self, images: Tensor) -> dict[str, Tensor]:
        """Returns the edges of all graphs of :meth:`graphs`, as they were used; unlike those, exportable.

        Args:
            images: Images ``[B, 3, H, W]``.

        Returns:
            ``edge_index`` ``[2, E]`` by name, ``"input"``, ``"encoder.0"``, ..., ``"decoder"``.
        """
        return {name: edges for name, _, edges, _ in self._record(images)}

    def _record(self, images: Tensor) -> list[tuple[str, Tensor, Tensor, tuple[int, int]]]:
        """Name, features, edges and grid of every graph, in the order of the network."""
        if getattr(self.constructor.graph, "hypergraph", False):
            raise ValueError(f"Expected a model on edges (got {self.constructor.graph})")
        batch_size = images.size(0)
        seen: list[tuple[str, Tensor, Tensor | None, tuple[int, int]]] = []
        thread = get_ident()  # hooks also see the images of other threads

        def see_operator(name: str, _: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            if get_ident() == thread:
                seen.append((name, args[0], args[1], kwargs["grid_size"]))

        def see_output(name: str, _: nn.Module, args: Any, out: tuple[Tensor, Any]) -> None:
            if get_ident() == thread:
                seen.append((name, out[0], None, out[1]))

        hooks = []
        parts: Any = (
            ("encoder", self.encoder, self.downsamples),
            ("decoder", self.decoder, self.upsamples),
        )
        for name, stages, resamples in parts:
            for number, block in enumerate(chain.from_iterable(stages)):
                hook = partial(see_operator, f"{name}.{number}")
                hooks.append(block.conv.register_forward_pre_hook(hook, with_kwargs=True))
            hooks.append(resamples[-1].register_forward_hook(partial(see_output, name)))
        try:
            with evaluation_mode(self):
                x, grid_size = self.constructor.embed(images)
                edge_index = self.constructor.connect(x, batch_size, grid_size)
                seen.append(("input", x, edge_index, grid_size))
                self.reconstruct(x, edge_index, grid_size)
                found = []
                for name, x, edges, grid_size in seen:
                    if edges is None:
                        edges = self.constructor.connect(x, batch_size, grid_size)
                    found.append((name, x, edges, grid_size))
                return found
        finally:
            for handle in hooks:
                handle.remove()

    def __repr__(self) -> str:
        operator = self.operator if isinstance(self.operator, str) else "custom"
        parts = [str(self.out_channels), self.variant, f"k={self.k}", operator]
        if self.graph != "knn":
            parts.append(self.graph or "custom graph")
        return f"{self.__class__.__name__}({', '.join(parts)})"


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Sets a module to evaluation mode in this context, and all its parts back to their own modes after it.

    Threads may do so at once: a part goes back when the last of them leaves.
    """
    parts = list(module.modules())
    with _lock:
        for part in parts:
            users, training = _evaluating.get(part, (0, part.training))
            _evaluating[part] = users + 1, training
            part.training = False
    try:
        yield
    finally:
        with _lock:
            for part in parts:
                users, training = _evaluating.pop(part)
                if users > 1:
                    _evaluating[part] = users - 1, training
                elif training:
                    part.training = True


_lock = Lock()
_evaluating: dict[nn.Module, tuple[int, bool]] = {}  # number of contexts, mode before the first
