import importlib
import math
import sys
from itertools import accumulate

import pytest
import torch
import torch.nn.functional as F
import torch_cluster
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode

from pyg_viglad.nn import knn_graph
from pyg_viglad.nn.knn_graph import edge_distances, unit_rows
from tests.oracles.knn_graph import knn_graph_oracle

BACKENDS = ["torch", "cluster"]
VIG = {"loop": True, "cosine": True}  # as the networks search
search = importlib.import_module("pyg_viglad.nn.knn_graph")  # the module, not the function


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
def test_knn_graph_of_features_with_zeros(backend, cosine):
    x = torch.randn(60, 6).relu()
    expected = knn_graph_oracle(x, 5, cosine=cosine)
    assert torch.equal(knn_graph(x, 5, cosine=cosine, backend=backend), expected)


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
    edge_index = knn_graph(x, 4, dilation=3, loop=True, cosine=cosine)
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
    neighbors = knn_graph(x, 4, **VIG, backend=backend)[0].view(nodes, 4)
    for centre in (0, 1, 3, nodes - 1):
        others = [j for j in range(nodes) if j != centre]
        assert neighbors[centre].tolist() == [centre, *others[:3]]


@pytest.mark.parametrize("nodes", [130, 513, 1000, 1801, 3136])
def test_duplicates_are_ordered_by_index_whatever_the_rounding(nodes):
    # Ten different vectors only: each has hundreds of duplicates at a distance that rounding moves.
    x = torch.randn(10, 48)[torch.randint(10, (nodes,))]
    kind = (x[:, None, 0] == x[None, :, 0]) if nodes < 2000 else None
    neighbors = knn_graph(x, 4, **VIG)[0].view(nodes, 4)
    assert torch.equal(neighbors[:, 0], torch.arange(nodes))
    for centre in range(0, nodes, 37):
        same = kind[centre] if kind is not None else x[:, 0] == x[centre, 0]
        others = [j for j in same.nonzero().view(-1).tolist() if j != centre]
        assert neighbors[centre, 1:].tolist() == others[:3]


def test_self_comes_first_among_near_duplicates():
    x = torch.ones(600, 16) + 1e-5 * torch.randn(600, 16)
    edge_index = knn_graph(x, 9, **VIG)
    assert torch.equal(edge_index[0].view(600, 9)[:, 0], torch.arange(600))
    assert all(len(set(row)) == 9 for row in edge_index[0].view(600, 9).tolist())


def test_large_graph_equals_full_sort():
    x = torch.randn(1500, 24)
    unit = F.normalize(x.double())
    distance = torch.cdist(unit, unit).fill_diagonal_(-1)
    expected = distance.sort(dim=1).indices[:, :18:2]
    found = knn_graph(x, 9, **VIG, dilation=2)[0].view(1500, 9)
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
@pytest.mark.parametrize(
    "sizes",
    [
        ([4, 4], [6, 6]),
        ([3, 3], [4, 4]),  # just enough candidates for the dilation
        ([4, 4], [5, 7]),
        ([4, 7], [6, 5]),
        ([3, 0, 2], [5, 0, 9]),
        ([3, 2, 0], [4, 4, 5]),
    ],
)
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
    edge_index = knn_graph(x.flatten(0, 1), 9, batch, **VIG, dilation=3)
    for graph in (0, 17, 299):
        part = edge_index[:, graph * 441 : (graph + 1) * 441] - graph * 49
        assert torch.equal(part, knn_graph(x[graph], 9, **VIG, dilation=3))
    equal = knn_graph(x.flatten(0, 1), 9, batch_size=300, **VIG, dilation=3)
    assert torch.equal(equal, edge_index)
    y = torch.randn(300 * 12, 8)
    batch_y = torch.arange(300).repeat_interleave(12)
    edge_index = knn_graph(x.flatten(0, 1), 9, batch, y=y, batch_y=batch_y)
    assert torch.equal(knn_graph(x.flatten(0, 1), 9, batch_size=300, y=y), edge_index)


@pytest.mark.parametrize("cosine", [True, False])
def test_memory_bounds_do_not_change_the_graph(cosine):
    x = torch.randn(3 * 300, 12)
    batch = torch.arange(3).repeat_interleave(300)
    expected = knn_graph(x, 5, batch, cosine=cosine)
    for bound in (1, 80_000, 2**30):
        assert torch.equal(knn_graph(x, 5, batch, cosine=cosine, max_memory=bound), expected)
    odd = knn_graph(x, 5, torch.sort(torch.randint(4, (900,))).values, max_memory=30_000)
    assert odd.shape == expected.shape


@pytest.fixture
def scores(monkeypatch):
    """Returns the shapes of the tiles of scores held at once."""
    shapes = []
    smallest = search._smallest

    def record(score, offset, count, index=None):
        shapes.append(tuple(score.shape))
        return smallest(score, offset, count, index)

    monkeypatch.setattr(search, "_smallest", record)
    return shapes


@pytest.mark.parametrize(
    ("nodes", "bound", "most"),
    [(3000, None, 2**21), (3000, 400_000, 100_000), (300, 1, 300), (200, 2**20, 2**18)],
)
@pytest.mark.parametrize("graphs", [1, 40])
def test_no_more_distances_than_allowed_are_held_at_once(scores, nodes, bound, most, graphs):
    nodes = nodes // graphs * graphs
    knn_graph(torch.randn(nodes, 4), 2, batch_size=graphs, **VIG, max_memory=bound)
    assert max(math.prod(shape) for shape in scores) <= most
    if bound is None and graphs == 1:
        assert len(scores) > 1


def test_equal_graphs_share_a_product(scores):
    batch = torch.arange(40).repeat_interleave(50)
    knn_graph(torch.randn(2000, 4), 3, batch)
    assert scores == [(40, 50, 50)]


def test_no_value_is_read_from_the_device():
    # Fake tensors hold no values: whatever reads one raises. No GPU is needed for them.
    with FakeTensorMode(), torch.device("cuda"):
        x, y = torch.randn(3136, 48), torch.randn(784, 48)
        assert knn_graph(x, 9, **VIG, dilation=2).shape == (2, 9 * 3136)
        assert knn_graph(x, 9, y=y, max_memory=2**20).shape == (2, 9 * 3136)
        assert knn_graph(x, 12, batch_size=16, **VIG, dilation=3).shape == (2, 12 * 3136)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_other_types(dtype, backend):
    x = torch.randint(-9, 9, (30, 2)).to(dtype)
    assert torch.equal(knn_graph(x, 4, backend=backend), knn_graph_oracle(x, 4))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
@pytest.mark.parametrize(
    ("low", "high"), [(0, 2**20), (2**20, 2**20 + 30), (2**20 - 3000, 2**20 + 3000)]
)
def test_large_integers_are_exact(low, high, dtype, backend):
    # Squared distances up to 2**42: float32 could not tell neighbours apart.
    x = torch.randint(low, high, (700, 4))
    x[::7] = x[::7] // 1000 * 1000  # ties
    x = x.to(dtype)
    expected = torch.cdist(x.double(), x.double()).square().round().long()
    expected = expected.fill_diagonal_(2**60).sort(dim=1, stable=True).indices[:, :5]
    assert torch.equal(knn_graph(x, 5, backend=backend)[0].view(700, 5), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("offset", [0, 2**24, 2**53, 2**62])
def test_integers_at_any_offset(offset, sign, backend):
    x = sign * (offset + torch.tensor([[0], [1], [3], [7]]))
    assert knn_graph(x, 1, backend=backend)[0].tolist() == [1, 0, 1, 2]
    many = torch.randint(0, 1000, (400, 3))
    expected = knn_graph_oracle(many, 3)
    assert torch.equal(knn_graph(sign * (many + offset), 3, backend=backend), expected)
    y = torch.randint(0, 1000, (50, 3))
    expected = knn_graph_oracle(many, 3, y=y)
    assert torch.equal(knn_graph(many + offset, 3, y=y + offset, backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cosine_graphs_ignore_any_scale(dtype, backend):
    x = torch.randn(300, 6, dtype=dtype)
    expected = knn_graph(x, 5, **VIG, backend=backend)
    for scale in (1e-38, 1e-25, 1e-14, 1e20, 1e37):
        assert torch.equal(knn_graph(scale * x, 5, **VIG, backend=backend), expected)
    # Powers of two change no digit, so that ties stay ties.
    x = signs(300) * 2.0 ** torch.randint(-120, 120, (300, 1))
    expected = knn_graph_oracle(x.sign(), 5, loop=True, cosine=True)
    assert torch.equal(knn_graph(x.to(dtype), 5, **VIG, backend=backend), expected)
    y = torch.randn(40, 4, dtype=dtype) * 1e-20
    expected = knn_graph_oracle(x.sign(), 5, y=y, cosine=True)
    assert torch.equal(knn_graph(x.to(dtype), 5, y=y, cosine=True, backend=backend), expected)


def test_distances_of_edges_are_computed_in_parts():
    x = 1e30 * torch.randn(50, 4)
    edge_index = torch.randint(50, (2, 40_000))
    source, target = F.normalize(x.double(), dim=1)[edge_index]
    expected = (source - target).norm(dim=1)
    assert torch.allclose(edge_distances(x, edge_index).double(), expected, atol=1e-6)


def test_unit_rows():
    x = torch.randn(50, 7) * 10.0 ** torch.randint(-44, 37, (50, 1))
    x[3] = 0
    expected = x.double() / x.double().norm(dim=1, keepdim=True)
    assert torch.allclose(unit_rows(x).double(), expected.nan_to_num(), atol=2e-7)
    assert torch.equal(unit_rows(x * 2**5), unit_rows(x))
    x[0, 1], x[1, 1] = torch.nan, -torch.inf
    assert unit_rows(x)[:2].abs().max() == 0
    assert unit_rows(torch.tensor([[3, 4]])).tolist() == [[0.6, 0.8]]
    assert unit_rows(x[:, :0]).shape == (50, 0)


@pytest.mark.parametrize("cosine", [True, False])
def test_centres_and_candidates_of_other_types(cosine):
    x, y = torch.randn(30, 4), torch.randn(20, 4)
    for other in (y.double(), y.half(), (9 * y).long()):
        expected = knn_graph(x.double(), 3, y=other.double(), cosine=cosine)
        assert torch.equal(knn_graph(x, 3, y=other, cosine=cosine), expected)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_any_scale_and_offset(scale, offset):
    x = (torch.randint(0, 30, (50, 2)).float() / 4 + offset) * scale
    assert torch.equal(knn_graph(x, 5), knn_graph_oracle(x, 5))


def test_float64_is_not_rounded():
    x = 1 + 1e-12 * torch.randn(600, 1, dtype=torch.float64)
    found = knn_graph(x, 6)[0].view(600, 6)
    distance = (x - x.t()).abs().fill_diagonal_(torch.inf)
    assert torch.equal(found, distance.sort(dim=1, stable=True).indices[:, :6])


@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_drop_in_for_pygs_knn_graph(loop, flow, batched):
    # torch-cluster has PyG's former implementation, with PyG's positional arguments.
    x = torch.randn(150, 3)
    batch = torch.arange(3).repeat_interleave(50) if batched else None
    expected = torch_cluster.knn_graph(x, 6, batch, loop, flow)
    assert torch.equal(knn_graph(x, 6, batch, loop, flow), expected)
    assert torch.equal(knn_graph(x, 6, batch), torch_cluster.knn_graph(x, 6, batch))
    near = torch_cluster.knn_graph(F.normalize(x), 6, batch, loop, flow)  # no cosine on CPUs
    assert torch.equal(knn_graph(x, 6, batch, loop, flow, True), near)


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
    assert not (edge_index[0] == edge_index[1]).any()


def test_autocast_does_not_coarsen_the_distances():
    x = torch.randn(600, 32)
    expected = knn_graph(x, 9, **VIG)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(knn_graph(x, 9, **VIG), expected)


class Network(torch.nn.Module):
    def forward(self, x):
        edges = knn_graph(x.flatten(0, 1), 5, batch_size=x.size(0), **VIG, dilation=2)
        return x.flatten(0, 1)[edges[0]].view(-1, 5).sum(1), edges


def test_compiled_equals_eager():
    x = torch.randn(2, 600, 8)
    compiled = torch.compile(Network(), fullgraph=True, backend="aot_eager")
    for out, expected in zip(compiled(x), Network()(x), strict=True):
        assert torch.allclose(out, expected)


def test_exported_equals_eager():
    x = torch.randn(2, 60, 8)
    size = {0: torch.export.Dim("batch")}
    program = torch.export.export(Network(), (x,), dynamic_shapes=(size,)).module()
    # Rounded, they have ties, and rows of zeros.
    for x in (torch.randn(3, 60, 8), torch.randn(3, 60, 3).round().repeat(1, 1, 3)[:, :, :8]):
        for scale in (1.0, 1e-30, 1e30):
            for out, expected in zip(program(scale * x), Network()(scale * x), strict=True):
                assert torch.equal(out, expected)


def test_no_nodes():
    for batch in (None, torch.zeros(0, dtype=torch.long)):
        none = knn_graph(torch.zeros(0, 3), 4, batch)
        assert (none.shape, none.dtype) == ((2, 0), torch.int64)
    x = torch.randn(6, 3)
    last = knn_graph(x, 2, torch.zeros(6, dtype=torch.long), batch_size=2)  # a graph without any
    assert torch.equal(last, knn_graph(x, 2))


def test_fewer_candidates_lower_the_dilation():
    x = torch.randn(10, 3)
    assert torch.equal(
        knn_graph(x, 4, dilation=9, loop=True), knn_graph(x, 4, dilation=2, loop=True)
    )
    assert torch.equal(knn_graph(x, 10, dilation=2, loop=True), knn_graph(x, 10, loop=True))
    assert torch.equal(knn_graph(x, 3, dilation=4), knn_graph(x, 3, dilation=3))


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"k": 9, "loop": True}, "k = 9 candidates"),
        ({"k": 8}, r"got 7\)"),
        ({"k": 0}, "'k' to be at least 1"),
        ({"k": True}, r"'k' to be an integer \(got True\)"),
        ({"k": 2.0}, r"'k' to be an integer \(got 2.0\)"),
        ({"k": None}, r"'k' to be an integer \(got None\)"),
        ({"dilation": 1.5}, "'dilation' to be an integer"),
        ({"batch_size": 2.0}, "'batch_size' to be an integer"),
        ({"x": [[1.0]]}, "'x' to be a tensor .*got list"),
        ({"dilation": 0}, "'dilation' to be at least 1"),
        ({"x": torch.zeros(8)}, r"'x' to be \[N, C\] \(got \[8\]\)"),
        ({"x": torch.zeros(8, 3, dtype=torch.cfloat)}, r"'x' to be \[N, 3\]"),
        ({"y": torch.zeros(8, 2)}, r"'y' to be \[N, 3\]"),
        ({"batch_y": torch.zeros(8).long()}, "without 'y'"),
        (
            {
                "batch": torch.zeros(8).long(),
                "y": torch.zeros(0, 3),
                "batch_y": torch.zeros(0).long(),
            },
            r"k = 3 candidates .*got 0\)",
        ),
        ({"y": torch.zeros(8, 3), "batch": torch.zeros(8).long()}, "both or none"),
        ({"batch": torch.zeros(7).long()}, "8 integers"),
        ({"batch": torch.zeros(8)}, "8 integers"),
        ({"batch": torch.zeros(8, 1).long()}, "8 integers"),
        ({"batch": torch.tensor([0, 0, 0, 0, 1, 1, 1, 0])}, "sorted"),
        ({"batch": torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])}, r"k = 3 .*got 1\)"),
        ({"batch_size": 3}, r"3 graphs of equal size \(got 8 nodes\)"),
        ({"batch_size": 2, "y": torch.zeros(7, 3)}, "'y' to hold 2 graphs"),
        ({"batch": torch.arange(8) // 4, "batch_size": 1}, "below batch_size = 1"),
        ({"batch_size": 0}, "'batch_size' to be at least 1"),
        ({"flow": "up"}, "'flow' to be .*got 'up'"),
        ({"backend": "pyg"}, "got 'pyg'"),
        ({"max_memory": 0}, r"'max_memory' to be at least 1 \(got 0\)"),
        ({"batch": torch.tensor([-1] + [0] * 7)}, "'batch' to be at least 0"),
    ],
)
def test_bad_input(kwargs, match):
    with pytest.raises(ValueError, match=match):
        knn_graph(**{"x": torch.randn(8, 3), "k": 3, **kwargs})


def test_missing_torch_cluster_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_cluster", None)
    with pytest.raises(ValueError, match=r"pyg-viglad\[cluster\]"):
        knn_graph(torch.randn(8, 3), 3, backend="cluster")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_equals_cpu():
    x = signs(1000, 16)
    for cosine in (True, False):
        expected = knn_graph(x, 6, dilation=2, cosine=cosine)
        assert torch.equal(knn_graph(x.cuda(), 6, dilation=2, cosine=cosine).cpu(), expected)


@pytest.mark.parametrize(
    ("centres", "candidates", "k"), [(40, 9, 3), (200, 196, 9), (150, 300, 17)]
)
def test_codes_add_a_product_to_the_distance(centres, candidates, k):
    x, y = torch.randn(2, centres, 6).double(), torch.randn(2, candidates, 6).double()
    y[1, 3] = 0
    codes = (2 * torch.randn(centres, 4).double(), torch.randn(candidates, 4).double())
    unit = [F.normalize(part, dim=2) for part in (x, y)]
    distance = torch.cdist(*unit).square() - 2 * codes[0] @ codes[1].t()
    expected = distance.argsort(dim=2)[:, :, : 2 * k : 2]
    kwargs = {"cosine": True, "batch_size": 2, "dilation": 2}
    flat = (x.flatten(0, 1), y.flatten(0, 1))
    edges = knn_graph(flat[0], k, y=flat[1], codes=codes, **kwargs)
    first = torch.tensor([0, candidates]).view(2, 1, 1)
    assert torch.equal(edges[0].view(2, centres, k) - first, expected)
    single = knn_graph(flat[0].float(), k, y=flat[1].float(), codes=codes, **kwargs)
    assert (single == edges).double().mean() > 0.99
    batches = {"batch": torch.arange(2).repeat_interleave(centres)}
    batches["batch_y"] = torch.arange(2).repeat_interleave(candidates)
    for other in ({"y": None}, {"cosine": False}, {"backend": "cluster"}, batches):
        with pytest.raises(ValueError, match=r"'codes' with 'y' and cosine=True"):
            knn_graph(flat[0], k, **{"y": flat[1], "codes": codes, **kwargs, **other})


@st.composite
def searches(draw, ties=True):
    """Features of small integers, or of signs for cosine distances, and the arguments of a search."""
    cosine, loop = draw(st.booleans()), draw(st.booleans())
    nodes = draw(st.integers(2, 40) | st.sampled_from([127, 128, 200]))
    k = draw(st.integers(1, min(nodes - 1, 12)))
    torch.manual_seed(draw(st.integers(0, 2**32)))
    if not ties:
        x = torch.randn(nodes, 5, dtype=torch.float64)
    else:
        x = (
            signs(nodes)
            if cosine
            else torch.randint(-2, 3, (nodes, draw(st.integers(1, 3)))).float()
        )
    return x, {"k": k, "dilation": draw(st.integers(1, 4)), "loop": loop, "cosine": cosine}


@given(searches())
def test_property_of_ties(search):
    x, options = search
    edge_index = knn_graph(x, **options)
    neighbors, centres = edge_index.view(2, len(x), options["k"])
    assert torch.equal(centres, torch.arange(len(x))[:, None].expand_as(centres))
    assert all(len(set(row)) == options["k"] for row in neighbors.tolist())
    if options["loop"]:
        assert torch.equal(neighbors[:, 0], centres[:, 0])
    else:
        assert not (neighbors == centres).any()
    distance = (x[neighbors] - x[centres]).norm(dim=2)
    assert (distance.diff(dim=1) >= 0).all()
    assert torch.equal(edge_index, knn_graph_oracle(x, **options))


@given(searches(ties=False))
def test_property_of_permutations(search):
    x, options = search
    order = torch.randperm(len(x))
    edges, permuted = knn_graph(x, **options), knn_graph(x[order], **options)
    neighbors = order[permuted[0]].view(len(x), -1)
    assert torch.equal(neighbors, edges[0].view(len(x), -1)[order])


@given(st.lists(searches(), min_size=1, max_size=4))
def test_property_of_batches(parts):
    options = {**parts[0][1], "k": min(options["k"] for _, options in parts)}
    x = [F.pad(part, (0, 4 - part.size(1))) for part, _ in parts]
    batch = torch.repeat_interleave(torch.arange(len(x)), torch.tensor([len(part) for part in x]))
    first = [0, *accumulate(len(part) for part in x)]
    alone = [knn_graph(part, **options) + start for part, start in zip(x, first[:-1], strict=True)]
    assert torch.equal(knn_graph(torch.cat(x), batch=batch, **options), torch.cat(alone, dim=1))


@given(searches(), st.integers(-100, 100), st.integers(-(2**20), 2**20))
def test_property_of_scale_and_offset(search, power, offset):
    x, options = search
    expected = knn_graph(x, **options)
    moved = x.double() if options["cosine"] else x.double() + offset
    assert torch.equal(knn_graph(moved * 2.0**power, **options), expected)
    if options["cosine"]:
        scales = 2.0 ** torch.randint(-100, 100, (len(x), 1))
        assert torch.equal(knn_graph(x * scales, **options), expected)
