"""The patch graphs of a network, in pixels of the original images and with scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_viglad.graphs.patches import SCORES
from pyg_viglad.models import ViGAutoEncoder, ViGLAD
from pyg_viglad.transforms import to_batch, to_image

__all__ = ["record_graphs", "select_graphs"]


@torch.no_grad()
def record_graphs(
    model: ViGLAD | ViGAutoEncoder, images: Any, *, features: bool = False, outputs: bool = False
) -> dict[str, Batch]:
    r"""Returns the graph of every block of encoder and decoder, as the network used it.

    Args:
        model: A detector, or a graph autoencoder alone (which then has no scores). It runs in
            evaluation mode.
        images: A path, a PIL image, an array, a tensor ``[3, H, W]`` or ``[B, 3, H, W]``, or a list
            of such images of any sizes. A detector resizes them; an autoencoder alone takes images of
            one size, prepared as it was trained.
        features: Also keep ``x``, the features among which the neighbours were chosen.
        outputs: Also return a detector's graphs ``"teacher"``, ``"output"`` and ``"student"``, of the
            features that the loss compares (:meth:`~pyg_viglad.ViGLAD.feature_graphs`).

    Returns:
        One ``Batch`` for each graph, with one graph per image, in the order of the network: ``"input"``
        (before the first block), ``"encoder.0"`` to ``"encoder.11"`` (what each block used),
        ``"encoder"`` (the neighbours among the encoder's outputs), ``"decoder.0"`` to ``"decoder.11"``,
        ``"decoder"``. Fields, N nodes and E edges in all:

        - ``edge_index`` ``[2, E]``: row 0 the neighbour, row 1 the centre, nearest first;
        - ``distance`` ``[E]``: between the two nodes' L2-normalised features, in [0, 2];
        - ``pos`` ``[N, 2]``: patch centres (x right, y down) in pixels of the **original** image;
        - ``grid_size`` ``[B, 2]`` (rows, columns) and ``img_size`` ``[B, 2]`` (height, width of the
          original image);
        - for a fitted detector, ``[N]`` each: ``local_score``, ``global_score`` and
          ``combined_score``, the largest value of the calibrated map within the patch, and
          ``node_score``, the same of A_n where the model has it.

    Raises:
        ValueError: If the model has no graphs, there are no images, an input is not an image, or
            ``outputs`` of an autoencoder alone are asked for.
        FileNotFoundError: If an image file does not exist.

    Example:
        >>> graphs = record_graphs(ViGAutoEncoder(image_size=64), torch.rand(3, 64, 96))
        >>> len(graphs), graphs["encoder.2"].grid_size.tolist()
        (27, [[8, 12]])
    """
    if not isinstance(model, ViGLAD | ViGAutoEncoder):
        raise ValueError(f"Expected a ViGLAD or a ViGAutoEncoder (got {type(model).__name__})")
    if outputs and not isinstance(model, ViGLAD):
        raise ValueError("Expected a ViGLAD for 'outputs' (got a ViGAutoEncoder)")
    several = isinstance(images, list | tuple) or (isinstance(images, Tensor) and images.dim() == 4)
    images = images if several else [images]
    if len(images) == 0:
        raise ValueError("Expected at least one image (got none)")
    maps: dict[str, Tensor] = {}
    if isinstance(model, ViGLAD):
        pictures = [to_image(image) for image in images]
        seen = torch.cat([to_batch(picture[None], model.image_size) for picture in pictures])
        if model.fitted:
            prediction = model.predict(seen)
            found = {name: getattr(prediction, source) for name, source in SCORES.items()}
            maps = {name: values for name, values in found.items() if values is not None}
    else:
        # Not checked to lie in [0, 1]: the caller has prepared them.
        pictures = [image if isinstance(image, Tensor) else to_image(image) for image in images]
        shapes = [tuple(picture.shape[-2:]) for picture in pictures]
        if len(set(shapes)) > 1:
            raise ValueError(f"Expected images of one size for an autoencoder alone (got {shapes})")
        seen = torch.stack(pictures)
    sizes = [(picture.size(-2), picture.size(-1)) for picture in pictures]
    seen = seen.to(next(model.parameters()).device)
    recorded = model.graphs(seen, blocks=True)
    if outputs and isinstance(model, ViGLAD):
        recorded |= model.feature_graphs(seen)
    graphs = {}
    for name, batch in recorded.items():
        parts = batch.to_data_list()
        for number, (graph, size) in enumerate(zip(parts, sizes, strict=True)):
            _move_to_original(graph, size)
            for key, values in maps.items():
                grid = tuple(graph.grid_size[0].tolist())
                graph[key] = F.adaptive_max_pool2d(values[number][None], grid).flatten()
            if not features:
                del graph.x
        graphs[name] = Batch.from_data_list(parts)
    return graphs


def select_graphs(graphs: Mapping[str, Batch]) -> dict[str, Batch]:
    """Returns the three graphs of Figure 5: input, deepest meaningful encoder graph, decoder.

    For small images the encoder's output has no more nodes than neighbours are wanted, so the graph is
    complete and shows nothing. Then the deepest encoder block whose graph is not complete takes its
    place, under its own name, such as ``"encoder.9"``.

    Args:
        graphs: Graphs by name, as :func:`record_graphs` or ``ViGLAD.graphs(images, blocks=True)`` return
            them.

    Returns:
        Three graphs by name, for :func:`~pyg_viglad.visualization.plot_node_graphs`.

    Raises:
        ValueError: If ``"input"``, ``"encoder"`` or ``"decoder"`` is missing.

    Example:
        >>> graphs = ViGAutoEncoder(image_size=64).graphs(torch.rand(1, 3, 64, 64), blocks=True)
        >>> list(select_graphs(graphs))
        ['input', 'encoder.9', 'decoder']
    """
    missing = [name for name in ("input", "encoder", "decoder") if name not in graphs]
    if missing:
        raise ValueError(
            f"Expected the graphs 'input', 'encoder' and 'decoder' (got no {missing[0]!r})"
        )
    blocks = [key for key in graphs if key.startswith("encoder.")]
    candidates = ["encoder", *reversed(blocks)]
    name = next((key for key in candidates if not _is_complete(graphs[key])), candidates[-1])
    return {key: graphs[key] for key in ("input", name, "decoder")}


def _move_to_original(graph: Data, size: tuple[int, int]) -> None:
    """Scales the positions of one image's graph to the original image of ``size`` (height, width)."""
    height, width = graph.img_size[0].tolist()
    scale = graph.pos.new_tensor([size[1] / width, size[0] / height])
    graph.pos = graph.pos * scale
    graph.img_size = graph.img_size.new_tensor([size])


def _is_complete(graph: Batch) -> bool:
    """Returns whether nodes have as many neighbours (themselves included) as there are nodes."""
    nodes = int(graph.grid_size.reshape(-1, 2)[0].prod())
    return int(graph.num_edges) // int(graph.num_nodes) >= nodes
