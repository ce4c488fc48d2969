import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Batch, Data
from torch_geometric.nn import HypergraphConv

from pyg_viglad.nn import (
    ConvViG,
    DeconvViG,
    HyperedgeConv,
    HyperedgeData,
    Hyperedges,
    Hypergraph,
    fuzzy_c_means,
    hyperedges,
    make_graph,
    make_operator,
    to_hypergraph,
)
from tests.oracles.vision_hgnn import convolve, incidences, memberships


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def points(images, nodes, channels=6):
    """Points around a few centres, so that memberships become large."""
    centers = 3 * torch.randn(4, channels, dtype=torch.float64)
    noise = torch.randn(images, nodes, channels, dtype=torch.float64)
    return centers[torch.randint(4, (images, nodes))] + noise


def as_lists(found, nodes):
    """The incidences as the oracle returns them."""
    images = found.num_graphs
    clusters = found.num_hyperedges // images
    feeding = [[[] for _ in range(clusters)] for _ in range(images)]
    reading = [[[] for _ in range(nodes)] for _ in range(images)]
    for n, k in found.feeding.t().tolist():
        assert n // nodes == k // clusters
        feeding[n // nodes][k % clusters].append(n % nodes)
    for n, k in found.reading.t().tolist():
        assert n // nodes == k // clusters
        reading[n // nodes][n % nodes].append(k % clusters)
    return feeding, reading


# --- memberships --------------------------------------------------------------------------------------


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("m", [2, 1.5, 3])
@pytest.mark.parametrize("iterations", [1, 2, 15])
def test_memberships_equal_the_oracle(iterations, m, joint):
    x, start = points(3, 60), torch.rand(3, 60, 5, dtype=torch.float64)
    expected = memberships(x, start, m, iterations, joint=joint)
    found = fuzzy_c_means(x, 5, m, iterations, start=start, joint=joint)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)
    assert torch.allclose(found.sum(2), torch.ones_like(found[:, :, 0]))


def test_the_end_is_that_of_each_image_or_of_the_batch():
    x, start = points(2, 40), torch.rand(2, 40, 3, dtype=torch.float64)
    x[1] = x[1] * 1e-3 + torch.tensor([0.0, 0.0, 5, 0, 0, 0]) * (torch.arange(40) > 20)[:, None]
    options = {"iterations": 100, "tol": 0.05}
    alone = [fuzzy_c_means(x[[b]], 3, start=start[b], **options) for b in range(2)]
    assert torch.allclose(fuzzy_c_means(x, 3, start=start, **options), torch.cat(alone), atol=1e-12)
    joint = fuzzy_c_means(x, 3, start=start, joint=True, **options)
    assert torch.allclose(joint, memberships(x, start, 2, 100, 0.05), atol=1e-10)
    assert float((joint - torch.cat(alone)).abs().max()) > 1e-4  # they end at different rounds


def test_equal_points_and_clusters_without_points():
    u = fuzzy_c_means(torch.full((1, 9, 4), 1e4), 3)
    assert torch.allclose(u, torch.full_like(u, 1 / 3))
    x, start = points(1, 20), torch.rand(1, 20, 3, dtype=torch.float64)
    start[:, :, 1] = 0  # its centre is undefined
    for iterations in (1, 5):
        expected = memberships(x, start, iterations=iterations)
        assert torch.allclose(expected, torch.full_like(expected, 1 / 3))
        assert torch.allclose(fuzzy_c_means(x, 3, iterations=iterations, start=start), expected)
    # A centre on a point: the least distance counts.
    x = torch.tensor([[[0.0], [4.0]]], dtype=torch.float64)
    u = fuzzy_c_means(x, 2, iterations=1, start=torch.eye(2, dtype=torch.float64))
    assert torch.allclose(
        u, memberships(x, torch.eye(2, dtype=torch.float64)[None], 2, 1), atol=1e-14
    )
    assert u[0, 0, 0] > 1 - 1e-10


def test_single_precision_at_an_offset_and_fuzzifiers_near_one():
    x, start = points(2, 60), torch.rand(60, 5)
    exact = fuzzy_c_means(x, 5, start=start)
    shifted = fuzzy_c_means((x + 300).float(), 5, start=start)
    assert torch.allclose(shifted.double(), exact, atol=1e-3)
    half = fuzzy_c_means(x.half(), 5, start=start)
    assert half.dtype == torch.float32
    assert torch.allclose(half.double(), exact, atol=1e-1)
    hard = fuzzy_c_means(x.float() * 1e-3, 5, m=1.05)
    assert hard.isfinite().all()
    assert float(hard.amax(2).mean()) > 0.99


def test_seeds_and_gradients():
    x = points(2, 30).requires_grad_()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(fuzzy_c_means(x, 4, iterations=2))
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])
    assert not found[0].requires_grad


# --- hyperedges ---------------------------------------------------------------------------------------


def rows(*values):
    return torch.tensor([values], dtype=torch.float64)


WEAK = [0.09] * 11 + [0.01]  # its best is the first


@pytest.mark.parametrize(
    ("u", "feeding", "reading"),
    [
        # 0.01 is not above 0.01.
        (rows([0.98, 0.01, 0.01], [0.4, 0.6, 0.0]), [[0, 1], [1], []], [[0], [0, 1]]),
        # A weak point: all others need 0.5, and read their best where there is none.
        (
            rows([0.05, *[0.0] * 10, 0.95], WEAK, [0.5, *[0.0] * 9, 0.5, 0.0]),
            [[1], *[[]] * 10, [0]],
            [[11], [0], [0]],
        ),
    ],
)
def test_members(u, feeding, reading):
    found = hyperedges(u)
    assert as_lists(found, u.size(1)) == ([feeding], [reading])
    assert incidences(u) == ([feeding], [reading])
    assert found.num_hyperedges == u.size(2)


@pytest.mark.parametrize("joint", [False, True])
def test_a_weak_point_and_the_other_images(joint):
    strong = [0.6, 0.4] + [0.0] * 10
    u = torch.tensor([[strong, WEAK], [strong, strong]])
    found = as_lists(hyperedges(u, joint=joint), 2)
    assert found == incidences(u, joint=joint)
    assert found[1][1] == [[0], [0]] if joint else [[0, 1], [0, 1]]


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(("clusters", "threshold"), [(4, 0.01), (4, 0.2), (15, 0.01), (50, 0.01)])
def test_hyperedges_equal_the_oracle(clusters, threshold, joint):
    x = points(3, 49)
    x[0] = torch.randn(49, 6) * 0.1  # without clusters
    u = fuzzy_c_means(x, clusters)
    found = hyperedges(u, threshold, joint=joint)
    assert as_lists(found, 49) == incidences(u, threshold, joint=joint)
    for index, row in ((found.feeding, 1), (found.reading, 0)):
        assert (index[row].diff() >= 0).all()
    assert torch.equal(found.reading[0].unique(), torch.arange(3 * 49))
    alone = [hyperedges(one[None], threshold) for one in u]
    if not joint:
        assert as_lists(found, 49)[0] == [as_lists(part, 49)[0][0] for part in alone]


def test_ties_go_to_the_first_cluster():
    found = Hypergraph(25)(torch.ones(98, 8), batch_size=2)
    assert found.feeding.tolist() == [list(range(98)), [0] * 49 + [25] * 49]
    assert torch.equal(found.feeding, found.reading)


def test_builder():
    x = points(2, 30).flatten(0, 1).float()
    builder = make_graph("hypergraph", 4, 3, {"seed": 5})
    assert builder == Hypergraph(4, 3, seed=5)
    found = builder(x, 2, (5, 6))
    start = torch.rand(30, 4, generator=torch.Generator().manual_seed(5))
    u = memberships(x.view(2, 30, 6).double(), start.double().expand(2, -1, -1), joint=False)
    assert as_lists(found, 30) == incidences(u, joint=False)
    # Neither the state of the random numbers nor the place in a batch matters.
    torch.rand(1)
    assert torch.equal(builder(x, 2).reading, found.reading)
    second = found.feeding[:, found.feeding[0] >= 30] - torch.tensor([[30], [4]])
    assert torch.equal(builder(x[30:]).feeding, second)
    assert builder(x[:3]).num_hyperedges == 3
    anew = Hypergraph(4, iterations=1, threshold=0.25, seed=None)
    assert not torch.equal(anew(x, 2).reading, anew(x, 2).reading)


# --- convolution --------------------------------------------------------------------------------------


def reference_layer(conv, training):
    """The layers of a HyperedgeConv as convolutions on maps, sharing its parameters."""

    def layer(maps, name):
        linear, norm, _ = getattr(conv, name)
        weight = linear.weight.transpose(1, 2).flatten(0, 1)[:, :, None, None]
        maps = F.conv2d(maps, weight, linear.bias, groups=conv.heads)
        statistics = (None, None) if training else (norm.running_mean, norm.running_var)
        return F.gelu(F.batch_norm(maps, *statistics, norm.weight, norm.bias, training))

    return layer


def random_conv(**kwargs):
    conv = HyperedgeConv(8, 12, **kwargs).double()
    for name, value in conv.state_dict().items():
        if "num" not in name:
            value.copy_(torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value))
    return conv


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("padding", [None, "last"])
@pytest.mark.parametrize("clusters", [8, 25])
def test_convolution_equals_the_oracle(clusters, padding, training):
    conv = random_conv(padding=padding).train(training)
    x = points(2, 42, 8)
    if clusters == 25:
        x[:, 20:] = torch.randn(2, 22, 8)  # weak points
    maps = x.transpose(1, 2).unflatten(2, (6, 7)).requires_grad_()
    x = maps.flatten(2).transpose(1, 2).flatten(0, 1)
    found = Hypergraph(clusters)(x, 2)
    feeding, reading = as_lists(found, 42)
    if clusters == 25:
        assert [] in feeding[0]  # an empty hyperedge, and points that read what they do not feed
        assert found.reading.size(1) > found.feeding.size(1)
    out = conv(x, found, k=3, grid_size=(6, 7))
    layer = reference_layer(conv, training)
    expected = convolve(maps, feeding, reading, conv.eps, layer, padding)
    expected = expected.flatten(2).transpose(1, 2).flatten(0, 1)
    assert torch.allclose(out, expected, atol=1e-11)
    weights = torch.randn_like(out)
    inputs = [maps, *conv.parameters()]
    ours, theirs = (
        torch.autograd.grad((values * weights).sum(), inputs, retain_graph=True)
        for values in (out, expected)
    )
    for value, wanted in zip(ours, theirs, strict=True):
        assert torch.allclose(value, wanted, atol=1e-9)


def test_padding_depends_on_the_longest_list_of_the_batch():
    conv = random_conv(padding="last").eval()
    x = points(2, 42, 8).flatten(0, 1)
    found = hyperedges(torch.eye(3)[torch.arange(42) % 3].expand(2, -1, -1).clone())
    out = conv(x, found)
    assert torch.allclose(
        out, random_conv_like(conv)(x, found)
    )  # equally long lists need no padding
    with pytest.raises(ValueError, match="equal size with padding 'last'"):
        conv(x, found._replace(num_graphs=None))


def random_conv_like(conv):
    clean = HyperedgeConv(8, 12).double().eval()
    clean.load_state_dict(conv.state_dict())
    return clean


def test_the_means_are_those_of_pyg():
    """Without layers and with one incidence for both halves: PyG's D^-1 H B^-1 H^T x."""
    conv, x = HyperedgeConv(8, 8), torch.rand(30, 8)
    conv.nn_node_to_hyperedge = conv.nn_hyperedge_to_node = torch.nn.Identity()
    conv.eps.data.fill_(-1)
    index = hyperedges(torch.softmax(3 * torch.randn(1, 30, 4), 2), threshold=0.2).feeding
    pyg = HypergraphConv(8, 8, bias=False)
    pyg.lin.weight.data = torch.eye(8)
    assert torch.allclose(conv(x, Hyperedges(index, index, 4)), pyg(x, index), atol=1e-6)


def test_graphs_in_a_batch_equal_each_alone():
    conv, x = random_conv().eval(), points(2, 40, 8).flatten(0, 1)
    graph = Hypergraph(5)
    alone = torch.cat([conv(part, graph(part)) for part in x.split(40)])
    assert torch.allclose(conv(x, graph(x, 2)), alone, atol=1e-12)


def test_reset_parameters_and_compiled():
    conv = HyperedgeConv(8, 12)
    assert str(conv) == "HyperedgeConv(8, 12, heads=4)"
    assert str(HyperedgeConv(8, 12, 2, "last")) == "HyperedgeConv(8, 12, heads=2, padding=last)"
    for value in conv.state_dict().values():
        value.fill_(2)
    torch.manual_seed(1)
    conv.reset_parameters()
    torch.manual_seed(1)
    fresh = HyperedgeConv(8, 12).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in conv.state_dict().items())
    x = torch.rand(40, 8)
    found = Hypergraph(5)(x)
    compiled = torch.compile(conv.eval(), fullgraph=True, backend="eager")
    assert torch.allclose(compiled(x, found), conv(x, found), atol=1e-6)


# --- blocks and batches -------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [ConvViG, DeconvViG])
def test_in_a_block(cls):
    block = cls(8, k=5, graph="hypergraph", operator="hyperedge", graph_kwargs={"seed": 3})
    assert isinstance(block.conv, HyperedgeConv)
    x = points(2, 30, 8).flatten(0, 1).float().requires_grad_()
    out, found = block(x, batch_size=2, grid_size=(5, 6), return_edge_index=True)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
    expected = Hypergraph(5, seed=3)(block.eval().fc_in(x), 2)
    found = block(x, batch_size=2, return_edge_index=True)[1]
    assert torch.equal(found.feeding, expected.feeding)
    given = block(x, found, batch_size=2)
    assert torch.equal(given, block(x, batch_size=2))
    assert torch.equal(given, block(x, batch_size=2))


def test_a_block_on_graphs_of_unequal_size():
    block = ConvViG(8, k=5, graph="hypergraph", operator="hyperedge").eval()
    x = points(1, 53, 8)[0].float()
    batch = torch.tensor([0] * 30 + [2] * 3 + [3] * 20)
    out, found = block(x, batch=batch, return_edge_index=True)
    alone = [block(part) for part in x.split([30, 3, 20])]
    assert torch.allclose(out, torch.cat(alone), atol=1e-5)
    assert (found.num_hyperedges, found.num_graphs) == (5 + 3 + 5, None)


def test_a_batch_of_images_with_different_numbers_of_hyperedges():
    images = [
        to_hypergraph(Data(x=points(1, n, 8)[0].float(), pos=torch.rand(n, 2)), k)
        for n, k in ((30, 5), (20, 25), (40, 12))
    ]
    assert [image.num_hyperedges for image in images] == [5, 20, 12]
    # In the second, nodes read hyperedges that they do not feed; some are empty, the last one, too.
    images[1].hyperedge_index = images[1].hyperedge_index[:, images[1].hyperedge_index[1] < 18]
    batch = Batch.from_data_list(images)
    for name in ("hyperedge_index", "reading_index"):
        nodes, edges = batch[name].split([image[name].size(1) for image in images], 1)[2]
        assert torch.equal(nodes, images[2][name][0] + 50)
        assert torch.equal(edges, images[2][name][1] + 25)
    conv = HyperedgeConv(8, 12).eval()
    alone = torch.cat([conv(image.x, image.hyperedges) for image in images])
    assert torch.allclose(conv(batch.x, batch.hyperedges), alone, atol=1e-5)
    assert batch.hyperedges.num_hyperedges == 37
    second = batch[1]
    assert isinstance(second, HyperedgeData)
    assert torch.equal(second.reading_index, images[1].reading_index)
    assert int(second.num_hyperedges) == 20
    assert second.keys() == images[1].keys()


def test_the_hypergraph_of_a_graph_keeps_all_but_its_edges():
    data = Data(
        x=torch.rand(6, 4), edge_index=torch.zeros(2, 6, dtype=torch.long), distance=torch.rand(6)
    )
    data.grid_size = torch.tensor([[2, 3]])
    made = to_hypergraph(data, 2, seed=1)
    assert torch.equal(made.x, data.x)
    assert "edge_index" not in made
    assert "distance" not in made
    assert torch.equal(made.grid_size, data.grid_size)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda x: fuzzy_c_means(x, 2), r"'x' to be points \[B, N, C\] \(got torch.float32 \[9, 8"),
        (lambda x: fuzzy_c_means(x[None], 0), "'num_clusters' to be at least 1"),
        (lambda x: fuzzy_c_means(x[None], 2, m=1), "'m' to be above 1"),
        (lambda x: fuzzy_c_means(x[None], 2, iterations=0), "'iterations' to be at least 1"),
        (lambda x: fuzzy_c_means(x[None], 2, tol=-1), "'tol' to be at least 0"),
        (lambda x: fuzzy_c_means(x[None], 2, start=x), r"'start' to be \[1, 9, 2\] or \[9, 2\]"),
        (lambda x: hyperedges(x), r"'memberships' to be \[B, N, K\]"),
        (lambda x: hyperedges(x[None], 1.0), r"'threshold' to lie in \[0, 1\)"),
        (lambda x: Hypergraph(0), "'k' to be at least 1"),
        (lambda x: make_graph("hypergraph", 5, graph_kwargs={"m": 0.5}), "'m' to be above 1"),
        (lambda x: HyperedgeConv(8, 12, padding="first"), "'padding' to be None or 'last'"),
        (lambda x: HyperedgeConv(8, 12, heads=3), "number of groups"),
        (lambda x: HyperedgeConv(8, 12)(x, torch.zeros(2, 3)), r"Expected Hyperedges.*got Tensor"),
        (lambda x: HyperedgeConv(7, 7, 1)(x, Hypergraph(2)(x)), r"\[N, 7\] \(got \[9, 8\]\)"),
        (lambda x: HyperedgeConv(8, 8)((x, x), Hypergraph(2)(x)), r"\[N, 8\] \(got tuple\)"),
        (lambda x: to_hypergraph(Data(pos=x)), r"features 'x' .*got None"),
        (lambda x: to_hypergraph(Batch.from_data_list([Data(x=x)])), "one image"),
        (
            lambda x: ConvViG(8, k=3, graph="hypergraph"),
            r"reads the hyperedges of graph Hypergraph.*MaxRelativeConv.*reads edges",
        ),
        (
            lambda x: ConvViG(8, k=3, operator="hyperedge"),
            r"reads the edges of graph KNN.*HyperedgeConv.*reads hyperedges",
        ),
        (
            lambda x: ConvViG(8, 3, graph="hypergraph", operator="hyperedge", reduce_ratio=2),
            "graph 'knn' with reduce_ratio",
        ),
        (lambda x: make_operator("hyperedge", 8, 16, operator_kwargs={"a": 1}), "'a'"),
    ],
)
def test_bad_arguments(make, match):
    with pytest.raises(ValueError, match=match):
        make(torch.rand(9, 8))
