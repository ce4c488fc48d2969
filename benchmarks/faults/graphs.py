"""Features of any offset, and the edges that they should give."""

from collections.abc import Iterator

import torch

from benchmarks.faults import Outcome
from pyg_viglad.nn import knn_graph

__all__ = ["check"]


def check(repeats: int = 20) -> Iterator[Outcome]:
    generator = torch.Generator().manual_seed(0)
    wrong = 0
    for _ in range(repeats):
        x = torch.randn(300, 16, generator=generator, dtype=torch.float64)
        wrong += int((knn_graph(x, 9) != knn_graph(x + 2**20, 9)).sum())
    yield Outcome("features at an offset of 2^20", repeats, "the same edges", wrong)
