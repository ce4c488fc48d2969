import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode
from torch_geometric.typing import WITH_KNN

from pyg_viglad.nn import _knn_dense, knn_graph
from tests.oracles.knn_graph import knn_graph_oracle

try:
    import torch_cluster  # noqa: F401

    WITH_CLUSTER = True
except ImportError:
    WITH_CLUSTER = False

BACKENDS = [
    "torch",
    pytest.param("cluster", marks=pytest.mark.skipif(not WITH_CLUSTER, reason="no torch-cluster")),
    pytest.param("pyg", marks=pytest.mark.skipif(not WITH_KNN, reason="no pyg-lib")),
]


def signs(nodes: int, channels: int = 4) -> torch.Tensor:
    """Features +-1: exactly normalised for 4 or 16 channels, and full of exact ties."""
    return torch.randint(0, 2, (nodes, channels)).float() * 2 - 1


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize(("k", "dilation"), [(1, 1), (4, 1), (3, 3), (1, 5), (19, 1), (9, 4)])
def test_knn_graph_equals_the_oracle(backend, loop, cosine, k, dilation):
    x = torch.randn(20, 6)
    kwargs = {"dilation": dilation, "loop": loop, "cosine": cosine}
    edge_index = knn_graph(x, k, **kwargs, backend=backend)
    assert edge_index.shape == (2, 20 * k)
    assert edge_index.dtype == torch.int64
    assert torch.equal(edge_index, knn_graph_oracle(x, k, **kwargs))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("loop", [True, False])
def test_knn_graph_breaks_ties_by_index(backend, cosine, loop):
    x = signs(60)
    x[7] = x[31] = 0
    kwargs = {"dilation": 2, "loop": loop, "cosine": cosine}
    expected = knn_graph_oracle(x, 5, **kwargs)
    assert torch.equal(knn_graph(x, 5, **kwargs, backend=backend), expected)


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("nodes", [511, 512, 519, 1001, 2003])
def test_knn_graph_breaks_ties_by_index_with_many_nodes(nodes, cosine):
    # So many candidates are pre-selected in groups, in several tiles.
    x = signs(nodes, 16)
    centres = torch.arange(0, nodes, 97)
    edge_index = knn_graph(x, 4, dilation=3, cosine=cosine)
    distance = torch.cdist(x.double(), x.double()).square().round()
    distance.fill_diagonal_(-1)
    expected = distance.sort(dim=1, stable=True).indices[:, :12:3]
    assert torch.equal(edge_index[0].view(nodes, 4)[centres], expected[centres])
    assert torch.equal(edge_index[0].view(nodes, 4), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [0.0, 0.1, -3.7])
@pytest.mark.parametrize("nodes", [5, 49, 700])
def test_knn_graph_of_a_constant_image(backend, value, nodes):
    x = torch.full((nodes, 7), value)
    neighbors = knn_graph(x, 4, backend=backend)[0].view(nodes, 4)
    for centre in (0, 1, 3, nodes - 1):
        others = [j for j in range(nodes) if j != centre]
        assert neighbors[centre].tolist() == [centre, *others[:3]]


@pytest.mark.parametrize("nodes", [130, 513, 1000, 1801, 3136])
def test_duplicates_are_ordered_by_index_whatever_the_rounding(nodes):
    # Ten different vectors only: each has hundreds of duplicates at a distance that rounding moves.
    x = torch.randn(10, 48)[torch.randint(10, (nodes,))]
    kind = (x[:, None, 0] == x[None, :, 0]) if nodes < 2000 else None
    neighbors = knn_graph(x, 4)[0].view(nodes, 4)
    assert torch.equal(neighbors[:, 0], torch.arange(nodes))
    for centre in range(0, nodes, 37):
        same = kind[centre] if kind is not None else x[:, 0] == x[centre, 0]
        others = [j for j in same.nonzero().view(-1).tolist() if j != centre]
        assert neighbors[centre, 1:].tolist() == others[:3]


def test_self_comes_first_among_near_duplicates():
    x = torch.ones(600, 16) + 1e-5 * torch.randn(600, 16)
    edge_index = knn_graph(x, 9)
    assert torch.equal(edge_index[0].view(600, 9)[:, 0], torch.arange(600))
    assert all(len(set(row)) == 9 for row in edge_index[0].view(600, 9).tolist())


def test_large_graph_equals_full_sort():
    x = torch.randn(1500, 24)
    unit = F.normalize(x.double())
    distance = torch.cdist(unit, unit).fill_diagonal_(-1)
    expected = distance.sort(dim=1).indices[:, :18:2]
    found = knn_graph(x, 9, dilation=2)[0].view(1500, 9)
    difference = distance.gather(1, found) - distance.gather(1, expected)
    assert difference.abs().max() < 1e-6
    assert (found == expected).float().mean() > 0.999


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sizes", [[6, 6, 6], [5, 9, 6], [0, 5, 0, 8], [7]])
@pytest.mark.parametrize("loop", [True, False])
def test_knn_graph_of_batches(backend, sizes, loop):
    batch = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    x = torch.randn(sum(sizes), 3)
    kwargs = {"dilation": 2, "loop": loop}
    edge_index = knn_graph(x, 3, batch, **kwargs, backend=backend)
    assert torch.equal(edge_index, knn_graph_oracle(x, 3, batch, **kwargs))
    assert torch.equal(batch[edge_index[0]], batch[edge_index[1]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("sizes", [([4, 4], [6, 6]), ([4, 7], [6, 5]), ([3, 0, 2], [5, 0, 9])])
def test_knn_graph_with_other_candidates(backend, cosine, sizes):
    batch, batch_y = (
        torch.repeat_interleave(torch.arange(len(part)), torch.tensor(part)) for part in sizes
    )
    x, y = torch.randn(batch.numel(), 3), torch.randn(batch_y.numel(), 3)
    y[0] = x[0]
    edge_index = knn_graph(
        x, 2, batch, y=y, batch_y=batch_y, dilation=2, cosine=cosine, backend=backend
    )
    expected = knn_graph_oracle(x, 2, batch, y=y, batch_y=batch_y, dilation=2, cosine=cosine)
    assert torch.equal(edge_index, expected)


def test_many_small_graphs_equal_each_alone():
    x = torch.randn(300, 49, 8)
    batch = torch.arange(300).repeat_interleave(49)
    edge_index = knn_graph(x.flatten(0, 1), 9, batch, dilation=3)
    for graph in (0, 17, 299):
        part = edge_index[:, graph * 441 : (graph + 1) * 441] - graph * 49
        assert torch.equal(part, knn_graph(x[graph], 9, dilation=3))


@pytest.mark.parametrize("cosine", [True, False])
def test_memory_bounds_do_not_change_the_graph(cosine):
    x = torch.randn(3 * 700, 12)
    batch = torch.arange(3).repeat_interleave(700)
    expected = knn_graph(x, 5, batch, cosine=cosine)
    for bound in (1, 80_000, 2_000_000, 2**30):
        assert torch.equal(knn_graph(x, 5, batch, cosine=cosine, max_memory=bound), expected)
    odd = knn_graph(x, 5, torch.sort(torch.randint(4, (2100,))).values, max_memory=30_000)
    assert odd.shape == expected.shape


@pytest.mark.parametrize(
    ("nodes", "bound", "largest"),
    [(3000, None, 2**21), (3000, 400_000, 100_000), (2000, 1, 2016), (100, 2**20, 2**18)],
)
@pytest.mark.parametrize("graphs", [1, 40])
def test_no_more_distances_than_allowed_are_held_at_once(
    monkeypatch, nodes, bound, largest, graphs
):
    seen = []
    select = _knn_dense.select_nearest

    def record(score, *args):
        seen.append(score.numel())
        return select(score, *args)

    monkeypatch.setattr(_knn_dense, "select_nearest", record)
    x = torch.randn(graphs, nodes // graphs, 4)
    _knn_dense.dense_neighbors(x, 2, max_memory=bound)
    assert max(seen) <= largest
    if bound is None and graphs == 1:
        assert len(seen) > 1


def test_equal_graphs_share_a_product(monkeypatch):
    seen = []
    select = _knn_dense.select_nearest
    monkeypatch.setattr(
        _knn_dense,
        "select_nearest",
        lambda score, *args: seen.append(score) or select(score, *args),
    )
    batch = torch.arange(40).repeat_interleave(50)
    knn_graph(torch.randn(2000, 4), 3, batch)
    assert [score.shape for score in seen] == [(40, 50, 50)]


def test_no_value_is_read_from_the_device():
    # Fake tensors hold no values: whatever reads one raises.
    with FakeTensorMode():
        x, y = torch.randn(3136, 48), torch.randn(784, 48)
        assert knn_graph(x, 9, dilation=2).shape == (2, 9 * 3136)
        assert knn_graph(x, 9, y=y, cosine=False, max_memory=2**20).shape == (2, 9 * 3136)
        assert _knn_dense.dense_neighbors(torch.randn(8, 196, 48), 12, 3).shape == (8, 196, 12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_other_types(dtype):
    x = torch.randint(-9, 9, (30, 2)).to(dtype)
    expected = knn_graph_oracle(x, 4, cosine=False)
    assert torch.equal(knn_graph(x, 4, cosine=False), expected)


def test_float64_is_not_rounded():
    x = 1 + 1e-12 * torch.randn(40, 1, dtype=torch.float64)
    assert torch.equal(knn_graph(x, 6, cosine=False), knn_graph_oracle(x, 6, cosine=False))


def test_far_coordinates_keep_their_digits():
    x = torch.randint(0, 30, (50, 2)).float() + 1e5
    assert torch.equal(knn_graph(x, 5, cosine=False), knn_graph_oracle(x, 5, cosine=False))


def test_pygs_meaning():
    # Neighbours on a line: PyG's knn_graph(loop=False) gives the k nearest others.
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    edge_index = knn_graph(x, 2, cosine=False, loop=False)
    assert edge_index[0].tolist() == [1, 2, 0, 2, 1, 0, 2, 1]
    assert edge_index[1].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_no_gradient_and_input_untouched():
    x = torch.randn(600, 4, requires_grad=True)
    before = x.detach().clone()
    assert not knn_graph(x, 3).requires_grad
    assert torch.equal(x, before)


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("nodes", [20, 600])
def test_values_that_are_not_finite_give_valid_indices(nodes, cosine):
    x = torch.randn(nodes, 4)
    x[3] = torch.nan
    x[5, 2] = torch.inf
    x[8] = 1e30
    edge_index = knn_graph(x, 7, cosine=cosine)
    assert edge_index.min() >= 0
    assert edge_index.max() < nodes
    assert all(len(set(row)) == 7 for row in edge_index[0].view(nodes, 7).tolist())


def test_autocast_does_not_coarsen_the_distances():
    x = torch.randn(600, 32)
    expected = knn_graph(x, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(knn_graph(x, 9), expected)


def test_compiled_equals_eager():
    x = torch.randn(2, 600, 8)
    compiled = torch.compile(_knn_dense.dense_neighbors, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x, 5, 2), _knn_dense.dense_neighbors(x, 5, 2))


def test_exported_equals_eager():
    class Neighbors(torch.nn.Module):
        def forward(self, x):
            return _knn_dense.dense_neighbors(x, 5, 2)

    x = torch.randn(2, 60, 8)
    size = {0: torch.export.Dim("batch")}
    program = torch.export.export(Neighbors(), (x,), dynamic_shapes=(size,))
    x = torch.randn(3, 60, 8)
    assert torch.equal(program.module()(x), _knn_dense.dense_neighbors(x, 5, 2))


def test_no_nodes():
    for batch in (None, torch.zeros(0, dtype=torch.long)):
        assert knn_graph(torch.zeros(0, 3), 4, batch).shape == (2, 0)


def test_fewer_candidates_lower_the_dilation():
    x = torch.randn(10, 3)
    assert torch.equal(knn_graph(x, 4, dilation=9), knn_graph(x, 4, dilation=2))
    assert torch.equal(knn_graph(x, 10, dilation=2), knn_graph(x, 10))
    assert torch.equal(
        knn_graph(x, 3, dilation=4, loop=False), knn_graph(x, 3, dilation=3, loop=False)
    )


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"k": 9}, "k = 9 candidates"),
        ({"k": 8, "loop": False}, r"got 7\)"),
        ({"k": 0}, "'k' to be at least 1"),
        ({"dilation": 0}, "'dilation' to be at least 1"),
        ({"x": torch.zeros(8)}, r"'x' to be \[N, C\] \(got \[8\]\)"),
        ({"y": torch.zeros(8, 2)}, "3 columns"),
        ({"batch_y": torch.zeros(8).long()}, "without 'y'"),
        ({"y": torch.zeros(8, 3), "batch": torch.zeros(8).long()}, "both or none"),
        ({"batch": torch.zeros(7).long()}, "8 integers"),
        ({"batch": torch.zeros(8)}, "8 integers"),
        ({"batch": torch.tensor([0, 0, 0, 0, 1, 1, 1, 0])}, "sorted"),
        ({"batch": torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])}, r"k = 3 .*got 2\)"),
        ({"backend": "faiss"}, "got 'faiss'"),
        ({"max_memory": 0}, r"'max_memory' to be at least 1 byte \(got 0\)"),
    ],
)
def test_bad_input(kwargs, match):
    with pytest.raises(ValueError, match=match):
        knn_graph(**{"x": torch.randn(8, 3), "k": 3, **kwargs})
