"""The dilated graph of nearest neighbours."""

from typing import Literal

import torch
from torch import Tensor

from pyg_viglad.nn._knn_dense import dense_neighbors
from pyg_viglad.nn._knn_libraries import library_neighbors

__all__ = ["knn_graph", "regular_edge_index"]

Backend = Literal["auto", "torch", "cluster", "pyg"]


def knn_graph(
    x: Tensor,
    k: int,
    batch: Tensor | None = None,
    *,
    dilation: int = 1,
    loop: bool = True,
    cosine: bool = True,
    y: Tensor | None = None,
    batch_y: Tensor | None = None,
    backend: Backend = "auto",
    max_memory: int | None = None,
) -> Tensor:
    r"""Join every node with exactly ``k`` of its nearest neighbours in feature space.

    .. math::
        e_{ij} = 1 \text{ if } v_j \in \mathcal{N}_k(v_i), \text{ else } 0 \quad \text{(Eq. 1)}

    where :math:`\mathcal{N}_k` holds every ``dilation``-th of the ``k * dilation`` nearest. Ties
    are broken by the lower index, so the graph of a constant image is deterministic too. Distances
    are computed without gradient. With ``dilation=1, cosine=False, loop=False`` it means what PyG's
    ``knn_graph`` means, except that there are k neighbours also among duplicates.

    Args:
        x: Features of the centres ``[M, C]``.
        k: Number of neighbours of each centre.
        batch: Graph of each centre ``[M]``, sorted (default: all one graph).
        dilation: Take every ``dilation``-th neighbour; lowered in a graph with fewer than
            ``k * dilation`` candidates.
        loop: Without ``y``: the centre itself is its first neighbour, otherwise it is none.
        cosine: Compare L2-normalised features, otherwise the features as they are.
        y: Features of the candidates ``[N, C]`` (default: the centres themselves).
        batch_y: Graph of each candidate ``[N]``, sorted.
        backend: ``"torch"``, dense and tiled; ``"cluster"``, torch-cluster; ``"pyg"``, PyG with
            pyg-lib; all give the same graph. ``"auto"`` is ``"torch"``, usually the fastest.
        max_memory: Bytes that the distances held at once may take, at least one row of them; the
            graph is the same for any. The default is what is fast: on a CPU 2 MB with one thread
            and 8 MB with several, or 128 rows if that is more, 64 MB on other devices.
            For ``backend="torch"`` only.

    Returns:
        ``edge_index`` ``[2, M * k]``: row 0 the neighbour (counted in ``y`` where given), row 1 the
        centre; grouped by centre, nearest first.

    Raises:
        ValueError: If a graph has fewer than ``k`` candidates, a shape does not fit, ``batch`` is
            not sorted, ``max_memory`` is not positive, or the backend is not installed.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0]])
        >>> knn_graph(x, 2, cosine=False)
        tensor([[0, 1, 1, 0, 2, 1],
                [0, 0, 1, 1, 2, 2]])
    """
    _check(x, k, batch, dilation, y, batch_y)
    if backend not in ("auto", "torch", "cluster", "pyg"):
        raise ValueError(
            f"Expected 'backend' to be 'auto', 'torch', 'cluster' or 'pyg' (got {backend!r})"
        )
    if max_memory is not None and max_memory < 1:
        raise ValueError(f"Expected 'max_memory' to be at least 1 byte (got {max_memory})")

    def find(centres: Tensor, candidates: Tensor | None) -> Tensor:
        available = (centres if candidates is None else candidates).size(1)
        available -= int(candidates is None and not loop)
        if available < k and centres.size(1):
            raise ValueError(
                f"Expected at least k = {k} candidates in each graph (got {available})"
            )
        if backend in ("cluster", "pyg"):
            return library_neighbors(
                centres, k, dilation, y=candidates, loop=loop, cosine=cosine, library=backend
            )
        return dense_neighbors(
            centres, k, dilation, y=candidates, loop=loop, cosine=cosine, max_memory=max_memory
        )

    if x.size(0) == 0:
        return torch.empty(2, 0, dtype=torch.int64, device=x.device)
    if batch is None:
        return regular_edge_index(find(x[None], None if y is None else y[None]))
    counts, counts_y = _sizes(batch, batch_y)
    if len(set(counts)) == 1 and len(set(counts_y or counts)) == 1:
        graphs = None if y is None else y.view(len(counts), -1, y.size(1))
        return regular_edge_index(
            find(x.view(len(counts), -1, x.size(1)), graphs), (counts_y or counts)[0]
        )
    edges = []
    centre = candidate = 0
    parts_y: list[Tensor | None] = [None] * len(counts)
    if y is not None and counts_y is not None:
        parts_y = list(torch.split(y, counts_y))
    for part, part_y in zip(torch.split(x, counts), parts_y, strict=True):
        if part.size(0):
            shift = torch.tensor([[candidate], [centre]], device=x.device)
            edges.append(regular_edge_index(find(part[None], _first_axis(part_y))) + shift)
        centre += part.size(0)
        candidate += (part if part_y is None else part_y).size(0)
    return torch.cat(edges, dim=1)


def regular_edge_index(neighbors: Tensor, candidates: int = 0) -> Tensor:
    """Turn neighbours ``[B, M, k]`` within each graph of ``candidates`` nodes into an edge index.

    Example:
        >>> regular_edge_index(torch.tensor([[[0, 1]], [[1, 0]]]), candidates=2)
        tensor([[0, 1, 3, 2],
                [0, 0, 1, 1]])
    """
    graphs, centres, k = neighbors.shape
    first = torch.arange(graphs, device=neighbors.device).view(-1, 1, 1) * candidates
    rows = torch.arange(graphs * centres, device=neighbors.device).view(-1, 1).expand(-1, k)
    return torch.stack([(neighbors + first).reshape(-1), rows.reshape(-1)])


def _sizes(batch: Tensor, batch_y: Tensor | None) -> tuple[list[int], list[int] | None]:
    """Count the nodes of every graph."""
    vectors = [batch] if batch_y is None else [batch, batch_y]
    length = max([0] + [int(vector[-1]) + 1 for vector in vectors if vector.numel()])
    counts = [torch.bincount(vector, minlength=length).tolist() for vector in vectors]
    return counts[0], counts[1] if batch_y is not None else None


def _first_axis(part: Tensor | None) -> Tensor | None:
    return None if part is None else part[None]


def _check(
    x: Tensor,
    k: int,
    batch: Tensor | None,
    dilation: int,
    y: Tensor | None,
    batch_y: Tensor | None,
) -> None:
    if k < 1:
        raise ValueError(f"Expected 'k' to be at least 1 (got {k})")
    if dilation < 1:
        raise ValueError(f"Expected 'dilation' to be at least 1 (got {dilation})")
    for name, features in (("x", x), ("y", y)):
        if features is not None and (features.dim() != 2 or features.is_complex()):
            raise ValueError(f"Expected '{name}' to be [N, C] (got {list(features.shape)})")
    if y is not None and y.size(1) != x.size(1):
        raise ValueError(f"Expected 'y' to have {x.size(1)} columns like 'x' (got {y.size(1)})")
    if y is None and batch_y is not None:
        raise ValueError("Expected no 'batch_y' without 'y' (got both)")
    if y is not None and (batch is None) != (batch_y is None):
        raise ValueError("Expected both or none of 'batch' and 'batch_y' (got one)")
    for name, vector, features in (("batch", batch, x), ("batch_y", batch_y, y)):
        if vector is None or features is None:
            continue
        if vector.dim() != 1 or vector.numel() != features.size(0) or vector.is_floating_point():
            raise ValueError(
                f"Expected '{name}' to be {features.size(0)} integers "
                f"(got {vector.dtype} {list(vector.shape)})"
            )
        if bool((vector[1:] < vector[:-1]).any()):
            raise ValueError(f"Expected '{name}' to be sorted (got a lower number after a higher)")
