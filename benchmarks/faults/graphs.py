"""Features of any scale, offset and type, images of several sizes and none, and the graphs of them."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch_geometric.data import Batch

from benchmarks.faults import Outcome
from pyg_viglad.nn import GRAPHS, ConvViG, knn_graph
from pyg_viglad.transforms import ImageToGraph, to_batch

__all__ = ["check"]

TYPES = (torch.uint8, torch.int16, torch.int32, torch.int64, torch.float64)


def check(repeats: int = 200) -> Iterator[Outcome]:
    """Compares with the nearest neighbours in integers, by a full sort, where distances are exact."""
    draw = torch.Generator().manual_seed(0)

    def integers(size: tuple[int, int], high: int) -> Tensor:
        return torch.randint(high, size, generator=draw)

    wrong = 0
    for number in range(repeats):
        x = integers((100, 3), 100)
        expected = nearest(x, 5)
        offset = 0 if number % 5 == 0 else 2 ** (15 * (number % 5)) * (1 - 2 * (number % 2))
        moved = (x + offset).to(TYPES[number // 5 % 5] if offset == 0 else torch.int64)
        wrong += int((knn_graph(moved, 5)[0].view(-1, 5) != expected).any())
    yield Outcome("integers, up to 2^60 from zero, with ties", repeats, "exact neighbours", wrong)

    wrong = 0
    for _ in range(repeats):
        x = torch.randn(100, 6, generator=draw)
        scales = 2.0 ** torch.randint(-120, 120, (100, 1), generator=draw)
        edges = knn_graph(x, 5, loop=True, cosine=True)
        wrong += not torch.equal(knn_graph(scales * x, 5, loop=True, cosine=True), edges)
    yield Outcome("cosine graphs, each row at another scale", repeats, "the same edges", wrong)

    wrong = 0
    for _ in range(repeats):
        x = torch.randn(3, 5, generator=draw)[integers((60, 1), 3)[:, 0]]
        edges = knn_graph(x, 4, loop=True, cosine=True)[0].view(-1, 4)
        same = (x[:, None] == x).all(dim=2)
        same[torch.arange(60), torch.arange(60)] = False
        others = [row.nonzero()[:3, 0].tolist() for row in same]
        wrong += edges.tolist() != [[i, *row] for i, row in enumerate(others)]
    yield Outcome("images of three colours", repeats, "self first, ties by index", wrong)

    wrong = 0
    for _ in range(repeats):
        sizes = (4 * integers((2, 2), 9) + 8).tolist()
        graphs = [ImageToGraph(4, 3)(torch.rand(3, *size)) for size in sizes]
        batch = Batch.from_data_list(graphs)
        wrong += not all(torch.equal(batch[i].img, graph.img) for i, graph in enumerate(graphs))
        wrong += to_batch(batch, (8, 8)).shape != (2, 3, 8, 8)
    yield Outcome("images of two sizes in a batch", repeats, "correct images and graphs", wrong)

    wrong = 0
    own = [name for name, build in GRAPHS.items() if isinstance(build, type)]  # none registered
    for name in own:
        operator = "hyperedge" if name == "hypergraph" else "max_relative"
        block = ConvViG(8, k=3, graph=name, operator=operator, drop_path=0.1)
        out = block(torch.rand(0, 8), batch_size=1, grid_size=(0, 3))
        wrong += tuple(out.shape) != (0, 8)
    yield Outcome(
        "blocks on empty graphs, with every graph builder", len(own), "empty output", wrong
    )


def nearest(x: Tensor, k: int) -> Tensor:
    """Returns the k nearest of integers, without the nodes themselves, ties by index."""
    distance = (x[:, None] - x).square().sum(dim=2).fill_diagonal_(2**62)
    return distance.sort(dim=1, stable=True).indices[:, :k]
