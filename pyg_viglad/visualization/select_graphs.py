"""The three graphs of Figure 5, out of all that a network built."""

from collections.abc import Mapping

from torch_geometric.data import Batch

__all__ = ["select_graphs"]


def select_graphs(graphs: Mapping[str, Batch]) -> dict[str, Batch]:
    """Pick the input graph, the deepest encoder graph that says something, and the decoder graph.

    Where an image is small, the encoder's output has no more nodes than neighbours are wanted: everyone
    is everyone's neighbour, and a picture of that shows nothing. Then the deepest encoder block whose
    graph still chooses stands in its place, under its own name, such as ``"encoder block 10"``.

    Args:
        graphs: What ``ViGLAD.graphs(images, blocks=True)`` gives.

    Returns:
        Three graphs by name, for :func:`~pyg_viglad.visualization.plot_node_graphs`.

    Raises:
        ValueError: If ``"input"``, ``"encoder"`` or ``"decoder"`` is missing.

    Example:
        >>> import torch
        >>> from pyg_viglad import ViGAutoEncoder
        >>> graphs = ViGAutoEncoder(image_size=64).eval().graphs(torch.rand(1, 3, 64, 64), blocks=True)
        >>> list(select_graphs(graphs))
        ['input', 'encoder block 10', 'decoder']
    """
    missing = [name for name in ("input", "encoder", "decoder") if name not in graphs]
    if missing:
        raise ValueError(
            f"Expected the graphs 'input', 'encoder' and 'decoder' (got no {missing[0]!r})"
        )
    name, chosen = "encoder", graphs["encoder"]
    number = sum(key.startswith("encoder.") for key in graphs)
    while not _chooses(chosen) and number > 0:
        name, chosen = f"encoder block {number}", graphs[f"encoder.{number - 1}"]
        number -= 1
    return {"input": graphs["input"], name: chosen, "decoder": graphs["decoder"]}


def _chooses(graph: Batch) -> bool:
    """Whether nodes have fewer neighbours than there are nodes."""
    nodes = int(graph.grid_size.reshape(-1, 2)[0].prod())
    return bool(graph.num_edges // graph.num_nodes < nodes)
