import pytest
import torch
from scipy.sparse.csgraph import connected_components
from torch_geometric.utils import to_scipy_sparse_matrix

from pyg_viglad.nn import (
    GRAPHS,
    KNN,
    ConvViG,
    DeconvViG,
    Hypergraph,
    knn_graph,
    make_graph,
    register_graph,
)
from tests.oracles import graph_builders as oracles

GRID = ("window", "axial", "grid", "position")
REGULAR = ("knn", "axial", "random", "position")
SYMMETRIC = ("mutual", "undirected", "grid")  # and connected
BUILDERS = (
    ("knn", {}),
    ("mutual", {}),
    ("undirected", {}),
    ("window", {"size": 3}),
    ("window", {"size": 3, "number": 1}),
    ("window", {"size": 4, "number": 3}),
    ("axial", {}),
    ("axial", {"step": 1}),
    ("axial", {"step": 3}),
    ("grid", {}),
    ("random", {"seed": 5, "number": 2}),
    ("adaptive", {}),
    ("adaptive", {"max_neighbors": 4, "deviations": 1.0}),
    ("position", {}),
    ("position", {"weight": 0.3}),
)
PAIRS = [(seed, number) for seed in range(10) for number in range(10)]


def ring(x, batch_size, grid_size):
    """A user's own builder: each node with itself and the one before it, in one ring for all."""
    nodes = torch.arange(x.size(0), device=x.device)
    return torch.stack(
        [torch.stack([nodes, nodes.roll(1)], 1).flatten(), nodes.repeat_interleave(2)]
    )


def images(kind, nodes, channels=3):
    """Features of one image, in double precision: the oracles' roundings are others."""
    generator = torch.Generator().manual_seed(nodes)
    if kind == "constant":
        return torch.full((nodes, channels), 2.0, dtype=torch.float64)
    if kind == "zero":
        return torch.zeros(nodes, channels, dtype=torch.float64)
    if kind == "tied":  # equal nodes, and distances that are exactly equal
        return torch.eye(channels, dtype=torch.float64)[
            torch.randint(channels, (nodes,), generator=generator)
        ]
    return torch.randn(nodes, channels, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["random", "tied", "constant", "zero"])
@pytest.mark.parametrize(("name", "kwargs"), BUILDERS)
def test_edges_and_properties(name, kwargs, kind):
    for grid_size, k, dilation in (
        ((6, 5), 4, 1),
        ((3, 8), 5, 2),
        ((7, 1), 7, 1),
        ((2, 2), 9, 3),
        ((1, 1), 3, 1),
    ):
        builder = make_graph(name, k, dilation, kwargs)
        nodes = grid_size[0] * grid_size[1]
        parts = [images(kind, nodes), images("random", nodes)]
        edge_index = builder(torch.cat(parts), 2, grid_size)
        expected = []
        for number, part in enumerate(parts):
            neighbors = getattr(oracles, name)(part, k, dilation, grid_size, **kwargs)
            expected += [
                (j + number * nodes, i + number * nodes)
                for i, row in enumerate(neighbors)
                for j in row
            ]
        assert edge_index.t().tolist() == [list(edge) for edge in expected]
        check_properties(name, kwargs, edge_index, 2, nodes, grid_size)


def check_properties(name, kwargs, edge_index, batch_size, nodes, grid_size):
    degree = torch.bincount(edge_index[1], minlength=batch_size * nodes)
    assert degree.min() >= 1
    assert torch.equal(edge_index[1], edge_index[1].sort().values)
    first = degree.cumsum(0) - degree
    assert torch.equal(edge_index[0, first], torch.arange(batch_size * nodes))
    assert torch.equal(edge_index[0] // nodes, edge_index[1] // nodes)
    forward, backward = (edge_index[a] * batch_size * nodes + edge_index[1 - a] for a in (0, 1))
    assert len(forward.unique()) == len(forward)
    assert GRAPHS[name].regular == (name in REGULAR)
    if name in REGULAR:
        assert len(set(degree.tolist())) == 1
    step = kwargs.get("step", 2)
    whole = name == "axial" and all(side % step == 0 or side <= step for side in grid_size)
    if name in SYMMETRIC or whole:
        assert torch.equal(forward.sort().values, backward.sort().values)
    if name in SYMMETRIC or (name == "axial" and step == 1):
        adjacency = to_scipy_sparse_matrix(edge_index, num_nodes=batch_size * nodes)
        assert connected_components(adjacency)[0] == batch_size


@pytest.mark.parametrize("name", sorted({name for name, _ in BUILDERS}))
def test_single_precision_and_many_nodes(name):
    """The properties hold where no oracle reaches: 3136 nodes, half of them alike."""
    torch.manual_seed(0)
    x = torch.randn(2, 56 * 56, 16)
    x[:, ::2] = x[:, :1]
    edge_index = make_graph(name, 9, 2)(x.flatten(0, 1), 2, (56, 56))
    check_properties(name, {}, edge_index, 2, 56 * 56, (56, 56))
    alone = make_graph(name, 9, 2)(x[1], 1, (56, 56))
    of_second = edge_index[1] >= 56 * 56
    assert torch.equal(edge_index[:, of_second] - 56 * 56, alone)


@pytest.mark.parametrize("name", sorted({name for name, _ in BUILDERS}))
def test_in_a_block(name):
    """No gradient through the choice, none lost beside it; unequal graphs where no grid is read."""
    torch.manual_seed(0)
    block, x = ConvViG(8, k=3, graph=name), torch.randn(24, 8, requires_grad=True)
    out, edge_index = block(x, batch_size=2, grid_size=(3, 4), return_edge_index=True)
    assert not edge_index.requires_grad
    assert edge_index.dtype == torch.int64
    out.sum().backward()
    assert x.grad.isfinite().all()
    block.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert block(x, batch_size=2, grid_size=(3, 4)).isfinite().all()
    batch = torch.tensor([0] * 7 + [2] * 17)
    if name in GRID:
        for options in ({"batch": batch}, {"batch_size": 2}):
            with pytest.raises(ValueError, match=rf"Expected 'grid_size' with graph '{name}'"):
                block(x, **options)
        with pytest.raises(ValueError, match="Expected 2 grids of 3 x 5 nodes"):
            block(x, batch_size=2, grid_size=(3, 5))
        return
    out, edge_index = block(x, batch=batch, return_edge_index=True)
    assert torch.equal(*batch[edge_index])
    alone = block(x[7:], batch_size=1)
    assert torch.allclose(out[7:], alone, atol=1e-5)


def test_window_regular_where_windows_are_large_enough():
    x = torch.randn(14 * 14, 8)
    for number, k, degrees in ((0, 12, {12}), (1, 12, {9, 12}), (1, 9, {9})):
        edge_index = make_graph("window", k, number=number)(x, 1, (14, 14))
        assert set(torch.bincount(edge_index[1]).tolist()) == degrees


def test_random_graph_by_seed_block_and_size():
    x = torch.zeros(400, 1)
    builders = [make_graph("random", 9, graph_kwargs={"seed": s}, number=n) for s, n in PAIRS]
    graphs = [builder(x, 1, None) for builder in builders]
    for graph in graphs[1:]:
        same = (graph[0] == graphs[0][0]).view(400, 9)[:, 1:].double().mean()
        assert same < 0.02
    # Every node is as likely as any other.
    degree = torch.bincount(torch.cat(graphs, dim=1)[0], minlength=400).double()
    assert 0.8 < degree.var() / (len(graphs) * 8) < 1.2


def test_adaptive_has_about_k_neighbors():
    x = torch.randn(2 * 400, 16)
    degree = torch.bincount(make_graph("adaptive", 9)(x, 2, None)[1]).double()
    assert 7 < degree.mean() < 12
    assert degree.max() == 18
    assert degree.std() > 2


def test_register_graph():
    def define():
        @register_graph("test_ring")
        def make_ring(k, dilation):
            return ring

        return make_ring

    try:
        define()
        again = define()  # as a notebook's cell
        assert GRAPHS["test_ring"] is again
        assert make_graph("test_ring", 3) is ring
        with pytest.raises(ValueError, match="'test_ring', which is taken"):
            register_graph("test_ring")(ring)
    finally:
        GRAPHS.pop("test_ring", None)
    with pytest.raises(ValueError, match="'knn', which is taken"):
        register_graph("knn")(ring)
    with pytest.raises(ValueError, match="Expected the name and the class or factory"):
        register_graph("nothing")(None)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("window", {"size": 0}),
        ("window", {"size": 7.0}),
        ("axial", {"step": 2.0}),
        ("axial", {"step": 0}),
        ("random", {"seed": -1}),
        ("adaptive", {"max_neighbors": 0}),
        ("position", {"weight": -1}),
    ],
)
def test_mistakes(name, kwargs):
    (argument,) = kwargs
    with pytest.raises(ValueError, match=f"Expected '{argument}' to be (at least|an integer)"):
        make_graph(name, 3, graph_kwargs=kwargs)


@pytest.mark.parametrize("name", ["knn", "window", "axial", "grid", "random", "position"])
def test_compiled_as_one_graph(name):
    torch.manual_seed(0)
    torch.compiler.reset()
    block = ConvViG(4, 3, 2, graph=name).double()
    outputs = []
    for run in (torch.compile(block, fullgraph=True, backend="aot_eager"), block):
        x = torch.randn(24, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        x.requires_grad_()
        out = run(x, batch_size=2, grid_size=(3, 4), return_edge_index=True)
        out[0].square().sum().backward()
        outputs.append((*out, x.grad))
    for ours, theirs in zip(*outputs, strict=True):
        assert torch.allclose(ours, theirs)


def test_knn_is_knn_graph():
    x = torch.randn(20, 4)
    expected = knn_graph(x, 3, loop=True, cosine=True, batch_size=2, dilation=2)
    assert torch.equal(make_graph("knn", 3, 2)(x, 2, None), expected)
    assert KNN(9)(x[:4], 1).size(1) == 4 * 4


def test_name_class_and_instance():
    assert make_graph("knn", 3, 2) == make_graph(KNN, 3, 2) == make_graph(KNN(3, 2), 9)
    assert make_graph(ring, 3) is ring
    for wrong, kwargs in (("nearest", None), (3, None), (ring, {"k": 2}), ("knn", {"side": 2})):
        with pytest.raises(ValueError, match=r"Expected.*got"):
            make_graph(wrong, 3, graph_kwargs=kwargs)
    with pytest.raises(ValueError, match="'k' to be at least 1"):
        make_graph("knn", 0)
    with pytest.raises(ValueError, match="'dilation' to be at least 1"):
        make_graph(ring, 3, 0)
    for name in ("knn", "random", "hypergraph"):
        with pytest.raises(ValueError, match=r"2 graphs of equal size \(got 7 nodes"):
            make_graph(name, 3)(torch.rand(7, 4), 2)


def test_own_builder_in_a_block():
    block, x = ConvViG(8, k=3, graph=ring).eval(), torch.randn(12, 8)
    out, edge_index = block(x, batch_size=2, return_edge_index=True)
    assert torch.equal(edge_index, ring(x, 2, None))
    assert torch.equal(out, block(x, ring(x, 2, None)))
    with pytest.raises(ValueError, match="Expected graph 'knn' with reduce_ratio"):
        ConvViG(8, k=3, graph=ring, reduce_ratio=2)


@pytest.mark.parametrize("by", ["batch", "batch_size"])
@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (lambda edges: None, "NoneType"),
        (lambda edges: edges.int(), r"torch.int32 \[2, 24\]"),
        (lambda edges: edges.t(), r"torch.int64 \[24, 2\]"),
        (lambda edges: Hypergraph(2)(torch.rand(12, 8)), "Hyperedges"),
    ],
)
def test_a_builder_that_returns_no_edges(by, returned, got):
    block = ConvViG(8, k=3, operator="sage", graph=lambda *call: returned(ring(*call)))
    options = {"batch_size": 1} if by == "batch_size" else {"batch": torch.zeros(12).long()}
    with pytest.raises(ValueError, match=rf"edges \[2, E\] of torch.int64 \(got .*{got}"):
        block(torch.rand(12, 8), **options)


def test_a_builder_that_claims_to_be_regular():
    def build(x, batch_size, grid_size):
        return ring(x, batch_size, grid_size)[:, 1:]

    build.regular = True
    with pytest.raises(ValueError, match=r"equally many edges per node.*got 23 edges of 12 nodes"):
        ConvViG(8, k=3, graph=build)(torch.rand(12, 8))


@pytest.mark.parametrize("name", GRID)
def test_grids_in_a_batch(name):
    block, x = ConvViG(8, k=3, graph=name).eval(), torch.randn(24, 8)
    out = block(x, batch=torch.arange(2).repeat_interleave(12), grid_size=(3, 4))
    assert torch.allclose(out, block(x, batch_size=2, grid_size=(3, 4)), atol=1e-6)


@pytest.mark.parametrize("name", sorted(GRAPHS))
@pytest.mark.parametrize("training", [True, False])
def test_no_nodes(name, training):
    x, none = torch.rand(0, 8), torch.zeros(0).long()
    for batch_size, grid_size in ((1, (0, 3)), (2, (3, 0)), (0, (3, 3))):
        edges = make_graph(name, 3)(x, batch_size, grid_size)
        for part in edges[:2] if name == "hypergraph" else [edges]:
            assert part.shape == (2, 0)
            assert part.dtype == torch.int64
    for cls in (ConvViG, DeconvViG):
        operator = "hyperedge" if name == "hypergraph" else "max_relative"
        block = cls(8, k=3, operator=operator, drop_path=0.5, graph=name).train(training)
        assert block(x, batch=none, grid_size=(0, 3)).shape == (0, 8)
        assert block(x, batch_size=2, grid_size=(0, 3)).shape == (0, 8)
