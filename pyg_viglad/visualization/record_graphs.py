"""Every graph that a network made of images, with places and scores on their own pixels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_viglad.models import ViGAutoEncoder, ViGLAD
from pyg_viglad.transforms import to_batch, to_image

__all__ = ["record_graphs"]

# Fields of the nodes, and the maps of a Prediction that they are read from.
SCORES = {
    "local_score": "local_map",
    "global_score": "global_map",
    "combined_score": "anomaly_map",
    "node_score": "node_map",
}


@torch.no_grad()
def record_graphs(
    model: ViGLAD | ViGAutoEncoder, images: Any, *, features: bool = False
) -> dict[str, Batch]:
    r"""Record the graph of every block of encoder and decoder, as the network used it.

    Args:
        model: A detector, or a graph autoencoder alone (which then has no scores). It runs in
            evaluation mode.
        images: A path, a PIL image, an array, a tensor ``[3, H, W]`` or ``[B, 3, H, W]``, or a list
            of such images of any sizes. A detector resizes them; an autoencoder alone takes images of
            one size, prepared as it was trained.
        features: Also keep ``x``, the features among which the neighbours were chosen.

    Returns:
        One ``Batch`` a graph, a graph an image, in the order of the network: ``"input"`` (before the
        first block), ``"encoder.0"`` to ``"encoder.11"`` (what each block used), ``"encoder"`` (the
        neighbours among the encoder's outputs), ``"decoder.0"`` to ``"decoder.11"``, ``"decoder"``.
        Fields, N nodes and E edges in all:

        - ``edge_index`` ``[2, E]``: row 0 the neighbour, row 1 the centre, nearest first;
        - ``distance`` ``[E]``: between the two nodes' L2-normalised features, in [0, 2];
        - ``pos`` ``[N, 2]``: patch centres (x right, y down) in pixels of the **original** image;
        - ``grid_size`` ``[B, 2]`` (rows, columns) and ``img_size`` ``[B, 2]`` (height, width of the
          original image);
        - of a fitted detector, ``[N]`` each: ``local_score``, ``global_score`` and
          ``combined_score``, the largest value of the calibrated map within the patch, and
          ``node_score``, the same of A_n where the model has it.

    Raises:
        ValueError: If the model has no graphs, or an image is none.
        FileNotFoundError: If an image file does not exist.

    Example:
        >>> graphs = record_graphs(ViGAutoEncoder(image_size=64), torch.rand(3, 64, 96))
        >>> len(graphs), graphs["encoder.2"].grid_size.tolist()
        (27, [[8, 12]])
    """
    if not isinstance(model, ViGLAD | ViGAutoEncoder):
        raise ValueError(f"Expected a ViGLAD or a ViGAutoEncoder (got {type(model).__name__})")
    several = isinstance(images, list | tuple) or (isinstance(images, Tensor) and images.dim() == 4)
    maps: dict[str, Tensor] = {}
    device = next(model.parameters()).device
    if isinstance(model, ViGLAD):
        pictures = [to_image(image) for image in (images if several else [images])]
        sizes = [(picture.size(1), picture.size(2)) for picture in pictures]
        seen = torch.cat([to_batch(picture[None], model.image_size) for picture in pictures])
        if model.scorer.fitted:
            prediction = model.predict(seen)
            found = {name: getattr(prediction, source) for name, source in SCORES.items()}
            maps = {name: values for name, values in found.items() if values is not None}
    else:
        # Not checked to lie in [0, 1]: the caller has prepared them.
        pictures = [
            image if isinstance(image, Tensor) else to_image(image)
            for image in (images if several else [images])
        ]
        sizes = [(picture.size(-2), picture.size(-1)) for picture in pictures]
        if len(set(sizes)) > 1:
            raise ValueError(f"Expected images of one size for an autoencoder alone (got {sizes})")
        seen = torch.stack(pictures)
    recorded = model.graphs(seen.to(device), blocks=True)
    return {
        name: Batch.from_data_list(
            [
                _on_original(graph, size, {k: v[number] for k, v in maps.items()}, features)
                for number, (graph, size) in enumerate(
                    zip(batch.to_data_list(), sizes, strict=True)
                )
            ]
        )
        for name, batch in recorded.items()
    }


def _on_original(
    graph: Data, size: tuple[int, int], maps: dict[str, Tensor], features: bool
) -> Data:
    """Move one image's graph onto the pixels of the original image, with the scores of its patches."""
    seen = graph.img_size[0]
    scale = torch.tensor([size[1] / int(seen[1]), size[0] / int(seen[0])], device=graph.pos.device)
    graph.pos = graph.pos * scale
    graph.img_size = torch.tensor([size], device=graph.img_size.device)
    grid = (int(graph.grid_size[0, 0]), int(graph.grid_size[0, 1]))
    for name, values in maps.items():
        graph[name] = F.adaptive_max_pool2d(values[None], grid).flatten()
    if not features:
        del graph.x
    return graph
