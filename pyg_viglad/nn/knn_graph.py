"""Dilated k-nearest-neighbour graphs."""

from collections.abc import Iterator
from typing import Any, Literal, Optional

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_viglad.nn.node_linear import multiply

__all__ = ["check_counts", "edge_distances", "knn_graph", "unit_rows"]


def knn_graph(
    x: Tensor,
    k: int,
    batch: Tensor | None = None,
    loop: bool = False,
    flow: Literal["source_to_target", "target_to_source"] = "source_to_target",
    cosine: bool = False,
    batch_size: int | None = None,
    *,
    dilation: int = 1,
    y: Tensor | None = None,
    batch_y: Tensor | None = None,
    backend: Literal["auto", "torch", "cluster"] = "auto",
    max_memory: int | None = None,
    codes: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    r"""Computes the edges from the ``k`` nearest neighbours of every node in feature space.

    .. math::
        e_{ij} = 1 \text{ if } v_j \in \mathcal{N}_k(v_i), \text{ else } 0 \quad \text{(Eq. 1)}

    where :math:`\mathcal{N}_k` holds every ``dilation``-th of the ``k * dilation`` nearest nodes.
    With ``dilation=1`` this is :func:`torch_geometric.nn.knn_graph`, with exactly k neighbours per
    node also among duplicates: ties are broken by the lower index. Euclidean distances are computed
    in float64, cosine distances in the precision of the features, at any scale and offset. NaN
    counts as zero and infinity as the largest finite number; with ``cosine``, a row that contains
    either counts as zeros. No gradient flows through the search.

    Args:
        x: Features of the centres ``[M, C]``.
        k: Number of neighbours of each centre, at least 1.
        batch: Graph of each centre ``[M]``, sorted (default: one graph, or ``batch_size`` graphs).
        loop: Whether each centre is its own first neighbour. Has no effect with ``y``.
        flow: Row 0 holds the neighbours and row 1 the centres (``"source_to_target"``), or vice
            versa (``"target_to_source"``).
        cosine: Whether to compare L2-normalised features (cosine distance).
        batch_size: Number of graphs. Without ``batch`` all of them have equally many nodes, and no
            value is read back from the device; such a call can be compiled and exported.
        dilation: Take every ``dilation``-th neighbour, at least 1; lowered in graphs of fewer than
            ``k * dilation`` candidates.
        y: Features of the candidates ``[N, C]`` (default: the centres themselves).
        batch_y: Graph of each candidate ``[N]``, sorted.
        backend: ``"torch"``, dense and tiled, also taken by ``"auto"``; or ``"cluster"``,
            torch-cluster. Both return the same graph.
        max_memory: Bytes of distances held at once by ``"torch"``, at least one row of them. By
            default 8 MB on a CPU (128 rows, if that is more), and 64 MB on other devices.
        codes: With ``cosine`` and ``y``, further coordinates f of the centres ``[M, D]`` and g of the
            candidates ``[N, D]`` of each graph, as of :func:`~pyg_viglad.nn.position_codes`. The
            squared distance then is :math:`|x - y|^2 - 2 \langle f, g \rangle`. Only for graphs of
            equal size and ``"torch"``.

    Returns:
        ``edge_index`` ``[2, M * k]``, grouped by centre, nearest first. With ``y``, neighbours are
        rows of ``y``.

    Raises:
        ValueError: If a graph has fewer than ``k`` candidates, an argument has another shape or
            range, ``batch`` is not sorted, or torch-cluster is not installed.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0]])
        >>> knn_graph(x, 2, loop=True)
        tensor([[0, 1, 1, 0, 2, 1],
                [0, 0, 1, 1, 2, 2]])
    """
    _check(x, k, batch, flow, batch_size, dilation, y, batch_y, backend, max_memory)
    first, second = (None, None) if codes is None else codes
    if codes is not None and (y is None or batch is not None or backend == "cluster" or not cosine):
        raise ValueError(
            "Expected 'codes' with 'y' and cosine=True, and neither 'batch' nor backend='cluster' "
            f"(got y={y if y is None else list(y.shape)}, cosine={cosine}, "
            f"batch={batch if batch is None else list(batch.shape)}, backend={backend!r})"
        )

    def search(x: Tensor, y: Tensor | None) -> Tensor:
        """Returns the edges ``[2, B * M * k]`` of graphs of equal size, features ``[B, M, C]``."""
        candidates = (x if y is None else y).size(1)
        available = candidates - int(y is None and not loop)
        if available < k:
            raise ValueError(
                f"Expected at least k = {k} candidates in each graph (got {available})"
            )
        if backend == "cluster":
            neighbors = _neighbors(x, y, None, None, k, dilation, loop, cosine, None, cluster=True)
        elif torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            neighbors = _opaque_neighbors(
                x, y, first, second, k, dilation, loop, cosine, max_memory
            )
        else:
            neighbors = _neighbors(x, y, first, second, k, dilation, loop, cosine, max_memory)
        graphs, centres, _ = neighbors.shape
        start = torch.arange(graphs, device=x.device) * candidates
        rows = torch.arange(graphs * centres, device=x.device).view(graphs, centres, 1)
        return torch.stack(
            [(neighbors + start.view(-1, 1, 1)).flatten(), rows.expand_as(neighbors).flatten()]
        )

    if x.size(0) == 0:
        return torch.empty(2, 0, dtype=torch.int64, device=x.device)
    graphs, equal = batch_size or 1, True
    if batch is not None:
        vectors = [batch] if batch_y is None else [batch, batch_y]
        graphs = batch_size or 1 + max(int(v[-1]) for v in vectors if v.numel())
        sizes = [torch.bincount(v, minlength=graphs).tolist() for v in vectors]
        equal = all(len(set(counts)) == 1 for counts in sizes)
    if equal:
        edge_index = search(_split(x, graphs), None if y is None else _split(y, graphs))
    else:
        edges, centre, candidate = [], 0, 0
        for size, size_y in zip(sizes[0], sizes[-1], strict=True):
            if size:
                part_y = None if y is None else y[None, candidate : candidate + size_y]
                offset = torch.tensor([[candidate], [centre]], device=x.device)
                edges.append(search(x[None, centre : centre + size], part_y) + offset)
            centre, candidate = centre + size, candidate + size_y
        edge_index = torch.cat(edges, dim=1)
    return edge_index if flow == "source_to_target" else edge_index.flip(0)


def _split(x: Tensor, graphs: int) -> Tensor:
    """Returns features ``[B * M, C]`` of graphs of equal size as ``[B, M, C]``."""
    return x.view(graphs, x.size(0) // graphs, x.size(1))


@torch.no_grad()
def _neighbors(
    x: Tensor,
    y: Tensor | None,
    first: Tensor | None,
    second: Tensor | None,
    k: int,
    dilation: int,
    loop: bool,
    cosine: bool,
    max_memory: int | None,
    cluster: bool = False,
) -> Tensor:
    """Returns the neighbours of graphs of equal size as numbers of their candidates ``[B, M, k]``."""
    own = y is None
    y = x if y is None else y
    if dilation > 1:
        dilation = max(1, min(dilation, (y.size(1) - int(own and not loop)) // k))
    count = (k - 1) * dilation + 1
    # The centre itself does not compete: rounding could rank a duplicate of it first.
    parts = []
    if own and loop:
        count -= 1
        itself = torch.arange(x.size(1), device=x.device).view(1, -1, 1)
        parts.append(itself.expand(x.size(0), -1, -1))
    if count > 0:
        with torch.autocast(x.device.type, enabled=False):
            x, y = _features(x, y, cosine)
            if cluster:
                graphs = zip(x, y, strict=True)
                parts.append(torch.stack([_nearest_by_cluster(*g, count, own) for g in graphs]))
            else:
                parts.append(_nearest(x, y, first, second, count, own, cosine, max_memory))
    return torch.cat(parts, dim=2)[:, :, ::dilation]


@torch.library.custom_op("pyg_viglad::nearest_neighbors", mutates_args=())
def _opaque_neighbors(
    x: Tensor,
    y: Optional[Tensor],  # noqa: UP045 (older versions of torch read no unions here)
    first: Optional[Tensor],  # noqa: UP045
    second: Optional[Tensor],  # noqa: UP045
    k: int,
    dilation: int,
    loop: bool,
    cosine: bool,
    max_memory: Optional[int],  # noqa: UP045
) -> Tensor:
    """Keeps the search opaque to the compiler: tiling does not fuse."""
    return _neighbors(x, y, first, second, k, dilation, loop, cosine, max_memory).contiguous()


@_opaque_neighbors.register_fake
def _(x: Tensor, y: Any, first: Any, second: Any, k: int, *rest: Any) -> Tensor:
    return x.new_empty(x.size(0), x.size(1), k, dtype=torch.int64)


def _features(x: Tensor, y: Tensor, cosine: bool) -> tuple[Tensor, Tensor]:
    """Returns what is compared: L2-normalised features, or else features in float64; all finite."""
    if cosine:
        own = y is x
        x = unit_rows(x)
        y = x if own else unit_rows(y)
        dtype = torch.promote_types(x.dtype, y.dtype)
        return x.to(dtype), y.to(dtype)
    if not (x.is_floating_point() or y.is_floating_point()):
        # float64 does not hold all integers, but it holds their differences.
        origin = y[:, :1].long()
        x, y = x.long() - origin, y.long() - origin
    return torch.nan_to_num(x.double()), torch.nan_to_num(y.double())


def unit_rows(x: Tensor) -> Tensor:
    """Returns L2-normalised features, of any scale, without a gradient.

    Unlike with :func:`torch.nn.functional.normalize`, no squares overflow or vanish, and no norm is
    too small.

    Args:
        x: Features ``[..., C]``.

    Returns:
        ``[..., C]`` in at least float32, of integers in float64. Rows of zeros stay zero; rows with
        NaN or infinity become zero.

    Example:
        >>> unit_rows(torch.tensor([[3e-30, 4e-30], [3e30, 4e30], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    x = x.detach()
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float() if x.is_floating_point() else x.double()
    if x.numel() == 0:
        return x
    scale = x.abs().amax(dim=-1, keepdim=True)
    # A power of two changes no digit.
    if torch.compiler.is_exporting():  # the runtimes do not know frexp
        scale = torch.exp2(torch.log2(scale).floor())
    else:
        scale = scale / (2 * torch.frexp(scale).mantissa)
    x = x / scale
    return x.div_(torch.linalg.vector_norm(x, dim=-1, keepdim=True)).nan_to_num_()


def edge_distances(x: Tensor, edge_index: Tensor) -> Tensor:
    """Returns the distance between the L2-normalised features of both ends of each edge.

    Args:
        x: Features ``[N, C]``.
        edge_index: Edges ``[2, E]``, processed in parts: no array ``[E, C]`` is made.

    Returns:
        ``[E]``, in [0, 2], without a gradient.

    Example:
        >>> edge_distances(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0], [1]]))
        tensor([1.4142])
    """
    unit = unit_rows(x)
    parts = (ends.split(2**14) for ends in edge_index)
    return torch.cat([(unit[a] - unit[b]).norm(dim=1) for a, b in zip(*parts, strict=True)])


def check_counts(**counts: Any) -> None:
    """Raises ``ValueError`` unless each argument is an integer of at least 1.

    Example:
        >>> check_counts(k=2.5)
        Traceback (most recent call last):
        ValueError: Expected 'k' to be an integer (got 2.5)
    """
    for name, value in counts.items():
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise ValueError(f"Expected '{name}' to be an integer (got {value!r})")
        if value < 1:
            raise ValueError(f"Expected '{name}' to be at least 1 (got {value})")


def _nearest(
    x: Tensor,
    y: Tensor,
    first: Tensor | None,
    second: Tensor | None,
    count: int,
    own: bool,
    cosine: bool,
    max_memory: int | None,
) -> Tensor:
    """Returns the ``count`` nearest candidates, nearest first, ties by index: ``[B, M, count]``."""
    if cosine:
        # Half the squared distance is |x|^2 / 2 - (<x, y> - |y|^2 / 2), in brackets one product.
        offset = x.any(dim=2, keepdim=True).to(x.dtype) / 2
        half_y = offset if own else y.any(dim=2, keepdim=True).to(x.dtype) / 2
        columns_x, columns_y = [x, torch.ones_like(offset)], [y, -half_y]
        if first is not None and second is not None:  # further columns of that product
            first, second = first.to(x.dtype), second.to(x.dtype)
            columns_x.append(first.expand(x.size(0), -1, -1))
            columns_y.append(second.expand(x.size(0), -1, -1))
            # No distance may be negative.
            offset = offset + first.norm(dim=1).max() * second.norm(dim=1).max()
        x, y = torch.cat(columns_x, dim=2), torch.cat(columns_y, dim=2)
    else:
        offset = x.new_zeros(x.size(0), x.size(1), 1)

    def search(graphs: slice, rows: slice) -> Tensor:
        centres, candidates = x[graphs, rows], y[graphs]
        if cosine:
            # The number of graphs is symbolic in an exported program and must not be compared.
            if torch.compiler.is_exporting() or len(centres) > 1:
                score = torch.bmm(centres, candidates.mT)
            else:
                score = multiply(centres[0], candidates[0])[None]
        else:
            # By differences: products would lose the digits of features far from the origin.
            score = torch.cdist(centres, candidates, compute_mode="donot_use_mm_for_euclid_dist")
            score = score.clamp_max_(torch.finfo(score.dtype).max).neg_()
        if own:
            itself = torch.arange(x.size(1), device=x.device)[rows].view(1, -1, 1)
            score.scatter_(2, itself.expand(score.size(0), -1, -1), -torch.inf)
        if torch.compiler.is_exporting():
            return _smallest_exported(score, offset[graphs, rows], count)
        return _smallest(score, offset[graphs, rows], count)

    if torch.compiler.is_exporting():
        return search(slice(None), slice(None))
    # Written in place: small parts kept between tiles would fragment the memory of the next ones.
    nearest = torch.empty(x.size(0), x.size(1), count, dtype=torch.int64, device=x.device)
    limit = None if max_memory is None else max_memory // x.element_size()
    for tile in _tiles(x.size(0), x.size(1), y.size(1), limit, x.device):
        nearest[tile] = search(*tile)
    return nearest


def _tiles(
    graphs: int, centres: int, candidates: int, limit: int | None, device: torch.device
) -> Iterator[tuple[slice, slice]]:
    """Yields as many graphs, or else as many rows of one graph, as ``limit`` distances allow."""
    if limit is None and device.type != "cpu":
        limit = 2**24
    elif limit is None:
        # What fits into the cache, but no fewer than 128 rows: each tile reads all candidates.
        limit = max(2**21, 128 * candidates)
    rows = max(1, limit // candidates)
    step = max(1, rows // centres)
    for graph in range(0, graphs, step):
        for row in range(0, centres, rows):
            yield slice(graph, graph + step), slice(row, row + rows)


def _smallest(score: Tensor, offset: Tensor, count: int, index: Tensor | None = None) -> Tensor:
    """Returns the indices of the ``count`` smallest distances ``offset - score``, ties by index.

    They lie in the ``count`` groups of consecutive candidates with the smallest minimum distance. These
    groups are selected first, and only their members are sorted.
    """
    candidates = score.size(2)
    if index is None and candidates >= max(128, 16 * count):
        size = 4 if candidates < 256 else 8
        groups = _smallest(F.max_pool1d(score, size, ceil_mode=True), offset, count)
        if score.dtype == torch.float64:
            groups = groups.sort(dim=2).values  # for the stable sort below
        index = groups[..., None] * size + torch.arange(size, device=score.device)
        index = index.flatten(2)
        members = score.gather(2, index.clamp(max=candidates - 1))
        if candidates % size:  # the last group has fewer members
            members.masked_fill_(index >= candidates, -torch.inf)
        return _smallest(members, offset, count, index)
    if index is None:
        index = torch.arange(candidates, device=score.device)
    distance = (offset - score).clamp_min_(0)
    if distance.dtype == torch.float64:
        order = distance.sort(dim=2, stable=True).indices[:, :, :count]
        return index.expand_as(distance).gather(2, order)
    # The bits of floats >= 0 sort as integers do. With the index behind them all keys differ, which
    # makes top-k, that promises nothing about ties, exact.
    keys = distance.view(torch.int32).to(torch.int64).bitwise_left_shift_(32).bitwise_or_(index)
    if keys.is_cpu:  # NumPy sorts all in a fifth of the time that torch takes for the first few
        nearest = torch.from_numpy(np.sort(keys.numpy(), axis=2)[:, :, :count])
    else:
        nearest = keys.topk(count, dim=2, largest=False).values
    return nearest.bitwise_and_(2**32 - 1)


def _smallest_exported(score: Tensor, offset: Tensor, count: int) -> Tensor:
    """Returns what :func:`_smallest` does, by operators that every runtime has."""
    distance = (offset - score).clamp_min(0)
    if distance.dtype == torch.float64:
        return distance.sort(dim=2, stable=True).indices[:, :, :count]
    # These distances, between unit vectors, are multiples of 2^-25 below 2^3: float64 holds the index
    # behind their digits.
    index = torch.arange(score.size(2), device=score.device)
    return (distance.double() + index * 2.0**-50).topk(count, dim=2, largest=False).indices


def _nearest_by_cluster(x: Tensor, y: Tensor, count: int, own: bool) -> Tensor:
    """Returns the ``count`` nearest candidates by torch-cluster: ``[M, count]``.

    torch-cluster breaks ties arbitrarily. More candidates are therefore fetched and sorted here, and
    centres whose last neighbour ties with the farthest candidate fetched are searched in full.
    """
    try:
        from torch_cluster import knn
    except ImportError as error:
        raise ValueError(
            "Expected torch-cluster for backend='cluster' (got no such package): "
            "pip install --no-build-isolation 'pyg-viglad[cluster]'"
        ) from error
    centres = torch.arange(x.size(0), device=x.device)[:, None]
    fetched = min(y.size(0), count + 1 + int(own))
    index = knn(y, x, fetched)[1].view(-1, fetched).sort(dim=1).values
    distance = (
        (x[:, None] - y[index]).square().sum(dim=2).masked_fill((index == centres) & own, torch.inf)
    )
    distance, order = distance.sort(dim=1, stable=True)
    nearest: Tensor = index.gather(1, order)[:, :count]
    if fetched < y.size(0):
        farthest = distance.masked_fill(distance.isinf(), 0).amax(dim=1)
        for row in (distance[:, count - 1] >= farthest * (1 - 1e-6)).nonzero().view(-1).tolist():
            whole = (x[row] - y).square().sum(dim=1)
            whole[row if own else []] = torch.inf
            nearest[row] = whole.sort(stable=True).indices[:count]
    return nearest


def _check(
    x: Tensor,
    k: int,
    batch: Tensor | None,
    flow: str,
    batch_size: int | None,
    dilation: int,
    y: Tensor | None,
    batch_y: Tensor | None,
    backend: str,
    max_memory: int | None,
) -> None:
    counts = {"k": k, "dilation": dilation, "batch_size": batch_size, "max_memory": max_memory}
    optional = ("batch_size", "max_memory")
    check_counts(**{n: v for n, v in counts.items() if v is not None or n not in optional})
    if flow not in ("source_to_target", "target_to_source"):
        raise ValueError(
            f"Expected 'flow' to be 'source_to_target' or 'target_to_source' (got {flow!r})"
        )
    if backend not in ("auto", "torch", "cluster"):
        raise ValueError(f"Expected 'backend' to be 'auto', 'torch' or 'cluster' (got {backend!r})")
    if y is None and batch_y is not None:
        raise ValueError("Expected no 'batch_y' without 'y' (got both)")
    if y is not None and (batch is None) != (batch_y is None):
        raise ValueError("Expected both or none of 'batch' and 'batch_y' (got one)")
    for name, features, vector in (("x", x, batch), ("y", y, batch_y)):
        if features is None:
            continue
        if not isinstance(features, Tensor):
            raise ValueError(f"Expected '{name}' to be a tensor (got {type(features).__name__})")
        if features.dim() != 2 or features.is_complex() or features.size(1) != x.size(1):
            columns = "C" if features.dim() != 2 else x.size(-1)
            raise ValueError(f"Expected '{name}' to be [N, {columns}] (got {list(features.shape)})")
        if vector is None:
            if features.size(0) % (batch_size or 1):
                raise ValueError(
                    f"Expected '{name}' to hold {batch_size} graphs of equal size "
                    f"(got {features.size(0)} nodes)"
                )
            continue
        label = "batch" if name == "x" else "batch_y"
        if vector.dim() != 1 or vector.numel() != features.size(0) or vector.is_floating_point():
            raise ValueError(
                f"Expected '{label}' to be {features.size(0)} integers "
                f"(got {vector.dtype} {list(vector.shape)})"
            )
        if bool((vector[1:] < vector[:-1]).any()):
            raise ValueError(f"Expected '{label}' to be sorted (got a lower number after a higher)")
        if vector.numel() and int(vector[0]) < 0:
            raise ValueError(f"Expected '{label}' to be at least 0 (got {int(vector[0])})")
        if batch_size is not None and vector.numel() and int(vector[-1]) >= batch_size:
            raise ValueError(
                f"Expected '{label}' to be below batch_size = {batch_size} (got {int(vector[-1])})"
            )
