"""Nearest neighbours with the compiled libraries torch-cluster and pyg-lib."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pyg_viglad.nn._knn_dense import effective_dilation, number_wanted, unit_features

__all__ = ["library_neighbors"]

Search = Callable[[Tensor, Tensor, int], Tensor]


@torch.no_grad()
def library_neighbors(
    x: Tensor,
    k: int,
    dilation: int,
    *,
    y: Tensor | None,
    loop: bool,
    cosine: bool,
    library: Literal["cluster", "pyg"],
) -> Tensor:
    """Find what :func:`~pyg_viglad.nn._knn_dense.dense_neighbors` finds, with a compiled library.

    The libraries keep any of several equally near candidates and do not put the centre first. Hence
    more is fetched than wanted and ordered here; the few rows that a tie cuts are computed in full.
    """
    search = _search(library)
    own = y is None
    y = x if y is None else y
    if x.dtype not in (torch.float32, torch.float64):
        x, y = x.float(), y.float()
    if cosine:
        x, y = unit_features(x)[0], unit_features(y)[0]
    self_first = own and loop
    dilation = effective_dilation(y.size(1) - int(own and not loop), k, dilation)
    count = number_wanted(k, dilation, self_first)
    itself = torch.arange(x.size(1), device=x.device)[:, None]
    graphs = []
    for centres, candidates in zip(x, y, strict=True):
        parts = [itself] if self_first else []
        if count > 0:
            parts.append(_ordered(search, centres, candidates, count, own))
        graphs.append(torch.cat(parts, dim=1)[:, ::dilation])
    return torch.stack(graphs)


def _search(library: Literal["cluster", "pyg"]) -> Search:
    if library == "cluster":
        try:
            from torch_cluster import knn
        except ImportError as error:
            raise ValueError(
                "Expected torch-cluster for backend='cluster' (got no such package): "
                "pip install --no-build-isolation 'pyg-viglad[cluster]'"
            ) from error
        return knn  # type: ignore[no-any-return]
    from torch_geometric import typing

    if not getattr(typing, "WITH_KNN", False):
        raise ValueError(
            "Expected pyg-lib >= 0.6 for backend='pyg' (got none): install the wheel that PyG "
            "offers for this version of torch, or use backend='torch'"
        )
    from torch_geometric.nn import knn

    return knn  # type: ignore[no-any-return]


def _ordered(search: Search, x: Tensor, y: Tensor, count: int, exclude_self: bool) -> Tensor:
    """Give the ``count`` nearest candidates, by distance, then index: ``[M, count]``."""
    fetched = min(y.size(0), count + 1 + int(exclude_self))
    rows, columns = search(y, x, fetched)
    if columns.numel() != x.size(0) * fetched:
        return _in_full(x, y, torch.arange(x.size(0), device=x.device), count, exclude_self)
    index = columns[rows.argsort(stable=True)].view(-1, fetched).sort(dim=1).values
    distance = (x[:, None] - y[index]).square().sum(dim=2)
    if exclude_self:
        itself = torch.arange(x.size(0), device=x.device)[:, None]
        distance.masked_fill_(index == itself, torch.inf)
    distance, order = distance.sort(dim=1, stable=True)
    nearest: Tensor = index.gather(1, order)[:, :count].clone()
    if fetched < y.size(0):
        # What was left out is at least as far as the farthest fetched.
        farthest = distance.masked_fill(distance.isinf(), 0).amax(dim=1)
        cut = (distance[:, count - 1] >= farthest * (1 - 1e-6)).nonzero().view(-1)
        if cut.numel():
            nearest[cut] = _in_full(x, y, cut, count, exclude_self)
    return nearest


def _in_full(x: Tensor, y: Tensor, rows: Tensor, count: int, exclude_self: bool) -> Tensor:
    """Sort all candidates of the given centres."""
    nearest = []
    for part in torch.split(rows, max(1, 2**22 // max(1, y.size(0)))):
        distance = torch.cdist(x[part], y, compute_mode="donot_use_mm_for_euclid_dist")
        if exclude_self:
            distance.scatter_(1, part[:, None], torch.inf)
        nearest.append(distance.sort(dim=1, stable=True).indices[:, :count])
    return torch.cat(nearest)
