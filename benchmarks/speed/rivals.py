"""Competing implementations of neighbour search and max aggregation."""

import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import MessagePassing

from pyg_viglad.nn import MaxRelativeConv, knn_graph

__all__ = [
    "DefaultMax",
    "Search",
    "aggregations",
    "dense_formula",
    "searches",
    "torch_cluster_search",
]

# From features [B, N, C], k and dilation to neighbours [B, N, k].
Search = Callable[[Tensor, int, int], Tensor]


def dense_formula(x: Tensor, k: int, dilation: int) -> Tensor:
    """Computes the neighbours ``[B, N, k]`` among ``[B, N, C]`` as the ViG reference does."""
    unit = F.normalize(x, dim=2)
    square = unit.square().sum(dim=2, keepdim=True)
    distance = square - 2 * torch.matmul(unit, unit.transpose(1, 2)) + square.transpose(1, 2)
    return (-distance).topk(k * dilation).indices[:, :, ::dilation]


def torch_cluster_search(x: Tensor, k: int, dilation: int) -> Tensor:
    """Computes the neighbours ``[B, N, k]`` among ``[B, N, C]`` by torch-cluster."""
    import torch_cluster

    graphs, nodes, _ = x.shape
    batch = torch.arange(graphs, device=x.device).repeat_interleave(nodes)
    unit = F.normalize(x.flatten(0, 1))
    edges = torch_cluster.knn_graph(unit, k * dilation, batch, loop=True)
    neighbors = edges[0].view(graphs, nodes, -1)[:, :, ::dilation]
    return neighbors - torch.arange(graphs, device=x.device).view(-1, 1, 1) * nodes


def searches(
    k: int, dilation: int, max_memory: int | None = None
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Returns all installed ways from features ``[N, C]`` to neighbours ``[N, k]``."""
    count = k * dilation

    def scikit_learn(x: Tensor) -> Tensor:
        from sklearn.neighbors import NearestNeighbors

        unit = F.normalize(x).numpy()
        found = NearestNeighbors(algorithm="brute").fit(unit).kneighbors(unit, count, False)
        return torch.from_numpy(found)[:, ::dilation]

    def faiss(x: Tensor) -> Tensor:
        import faiss

        unit = F.normalize(x).numpy()
        index = faiss.IndexFlatIP(unit.shape[1])
        index.add(unit)
        return torch.from_numpy(index.search(unit, count)[1])[:, ::dilation]

    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "pyg_viglad": lambda x: knn_graph(
            x, k, loop=True, cosine=True, dilation=dilation, max_memory=max_memory
        )[0].view(-1, k),
        "dense formula (ViG)": lambda x: dense_formula(x[None], k, dilation)[0],
        "scikit-learn, brute": scikit_learn,
    }
    if importlib.util.find_spec("torch_cluster"):
        ways["torch-cluster"] = lambda x: torch_cluster_search(x[None], k, dilation)[0]
    if importlib.util.find_spec("faiss"):
        ways["faiss, flat"] = faiss
    return ways


class DefaultMax(MessagePassing):  # type: ignore[misc]
    """PyG's own max aggregation of the differences."""

    def __init__(self) -> None:
        super().__init__(aggr="max")

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Returns the largest differences."""
        return self.propagate(edge_index, x=x)  # type: ignore[no-any-return]

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """Returns the differences."""
        return x_j - x_i


def dense_gather(x: Tensor, edge_index: Tensor, k: int) -> Tensor:
    """Computes the maximum over nodes and neighbours gathered as ``[1, C, N, k]``, as ViG does."""
    channels_first = x.t()[None]
    nodes = x.size(0)

    def gather(index: Tensor) -> Tensor:
        flat = channels_first.transpose(1, 2).contiguous().view(nodes, -1)[index]
        return flat.view(1, nodes, k, -1).permute(0, 3, 1, 2).contiguous()

    difference = gather(edge_index[0]) - gather(edge_index[1])
    return difference.max(dim=-1, keepdim=True).values[0, :, :, 0].t()


def aggregations(
    edge_index: Tensor, k: int, channels: int
) -> dict[str, Callable[[Tensor], Tensor]]:
    """Returns every installed implementation of max_j(x_j - x_i) over k edges per node."""
    conv = MaxRelativeConv(channels, channels, heads=1)
    device, number = edge_index.device, edge_index.size(1)
    shuffled = edge_index[:, torch.randperm(number, device=device)]
    neighbors = edge_index[0].view(-1, k)
    first = torch.arange(0, number + 1, k, device=device)
    default = DefaultMax()

    def scatter(x: Tensor) -> Tensor:
        from torch_scatter import segment_csr

        result: Tensor = segment_csr(x[edge_index[0]] - x[edge_index[1]], first, reduce="max")
        return result

    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "pyg_viglad": lambda x: conv.relative(x, edge_index)[1],
        "pyg_viglad, any edges": lambda x: conv.relative(x, shuffled)[1],
        "PyG default": lambda x: default(x, edge_index),
        "dense gather (ViG)": lambda x: dense_gather(x, edge_index, k),
        "x[idx].amax - x": lambda x: x[neighbors].amax(dim=1) - x,
    }
    if importlib.util.find_spec("torch_scatter"):
        ways["torch-scatter, segments"] = scatter
    return ways
