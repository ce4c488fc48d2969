"""The nearest neighbours by plain loops, in double precision."""

import math

import torch
from torch import Tensor


def knn_graph_oracle(
    x: Tensor,
    k: int,
    batch: Tensor | None = None,
    *,
    dilation: int = 1,
    loop: bool = False,
    cosine: bool = False,
    y: Tensor | None = None,
    batch_y: Tensor | None = None,
) -> Tensor:
    own = y is None
    centres = x.double().tolist()
    candidates = centres if y is None else y.double().tolist()
    graph = [0] * len(centres) if batch is None else batch.tolist()
    if own:
        batch_y = batch
    graph_y = [0] * len(candidates) if batch_y is None else batch_y.tolist()
    if cosine:
        centres = [_unit(row) for row in centres]
        candidates = [_unit(row) for row in candidates]
    edges = []
    for i, centre in enumerate(centres):
        ranked = []
        for j, candidate in enumerate(candidates):
            if graph[i] != graph_y[j] or (own and not loop and i == j):
                continue
            squares = [(a - b) ** 2 for a, b in zip(centre, candidate, strict=True)]
            ranked.append((0 if own and i == j else 1, math.fsum(squares), j))
        if len(ranked) < k:
            raise ValueError("too few candidates")
        ranked.sort()
        step = max(1, min(dilation, len(ranked) // k))
        edges += [(j, i) for _, _, j in ranked[: k * step : step]]
    return torch.tensor(edges).t()


def _unit(row: list[float]) -> list[float]:
    norm = math.sqrt(math.fsum(value * value for value in row))
    return [value / norm for value in row] if norm > 0 else row
