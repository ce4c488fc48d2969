"""Backends that this machine may lack: a stand-in for pyg-lib, clear errors, and the GPU."""

import pytest
import torch
from torch_geometric.typing import WITH_KNN

from pyg_viglad.nn import knn_graph
from tests.oracles.knn_graph import knn_graph_oracle


def signs(nodes: int, channels: int = 4) -> torch.Tensor:
    """Features +-1, full of exact ties."""
    return torch.randint(0, 2, (nodes, channels)).float() * 2 - 1


@pytest.mark.parametrize("y", [None, signs(40)])
def test_pyg_backend_with_a_search_that_keeps_any_of_equally_near(monkeypatch, y):
    # What pyg-lib may do: ties in any order, the centre itself anywhere among its duplicates.
    def search(x, y, k):
        distance = torch.cdist(y.double(), x.double()) + 1e-9 * torch.rand(len(y), len(x))
        columns = distance.topk(k, largest=False).indices
        return torch.stack([torch.arange(len(y)).repeat_interleave(k), columns.flatten()])

    monkeypatch.setattr("torch_geometric.typing.WITH_KNN", True)
    monkeypatch.setattr("torch_geometric.nn.knn", search)
    x = signs(40)
    expected = knn_graph_oracle(x, 5, dilation=2, y=y)
    assert torch.equal(knn_graph(x, 5, dilation=2, y=y, backend="pyg"), expected)


@pytest.mark.skipif(WITH_KNN, reason="pyg-lib is there")
def test_missing_pyg_lib_is_named():
    with pytest.raises(ValueError, match="pyg-lib"):
        knn_graph(torch.randn(8, 3), 3, backend="pyg")


def test_missing_torch_cluster_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch_cluster", None)
    with pytest.raises(ValueError, match=r"pyg-viglad\[cluster\]"):
        knn_graph(torch.randn(8, 3), 3, backend="cluster")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_equals_cpu():
    x = signs(1000, 16)
    for cosine in (True, False):
        expected = knn_graph(x, 6, dilation=2, cosine=cosine)
        assert torch.equal(knn_graph(x.cuda(), 6, dilation=2, cosine=cosine).cpu(), expected)
