import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import (
    GATConv,
    GATv2Conv,
    GCNConv,
    GINEConv,
    GraphConv,
    MessagePassing,
    MixHopConv,
    PointNetConv,
    RGCNConv,
    SAGEConv,
    WLConv,
)

from pyg_viglad.nn import (
    OPERATORS,
    MaxRelativeConv,
    NodeNorm,
    OperatorAdapter,
    knn_graph,
    make_operator,
    register_operator,
)
from pyg_viglad.nn import operators as operators_module


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def run(operator, in_channels=8):
    x = torch.randn(20, in_channels, requires_grad=True)
    out = operator(x, knn_graph(x, 4), k=4, grid_size=(4, 5))
    assert out.shape == (20, 16)
    out.square().sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", OPERATORS)
def test_names_of_the_house(name):
    operator = make_operator(name, 8, 16)
    run(operator)
    assert all(parameter.grad is not None for parameter in operator.parameters())
    activations = [m for m in operator.modules() if isinstance(m, nn.GELU | nn.ReLU)]
    norms = [m for m in operator.modules() if isinstance(m, nn.BatchNorm1d)]
    # Sigma is applied exactly once, to the neighbours that SAGE transforms first too.
    assert len(activations) == len(norms) == (2 if name == "vig_sage" else 1)
    assert str(make_operator(f"{name}_conv", 8, 16)) == str(operator)


def test_meaning_of_the_names_of_the_house():
    edge, sage, gin, gatv2 = (make_operator(name, 8, 16).conv for name in OPERATORS[1:5])
    assert (edge.aggr, sage.aggr) == ("max", "max")
    assert edge.nn.weight.shape == (16, 16)
    assert gin.nn.weight.shape == (16, 8)
    assert isinstance(gin.eps, nn.Parameter)
    assert (gatv2.heads, gatv2.out_channels, gatv2.add_self_loops) == (4, 4, False)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("GraphConv", {}),
        ("graph", {"aggr": "mean"}),
        ("GCNConv", {"add_self_loops": False}),
        ("TransformerConv", {}),
        ("transformer", {"heads": 4}),
        ("GATConv", {"heads": 2, "concat": False}),
        ("cheb", {"K": 2}),
        ("ResGatedGraphConv", {}),
        ("GENConv", {}),
        ("CGConv", {"batch_norm": True}),
        ("MixHopConv", {"powers": [0, 1]}),
        (
            "RGATConv",
            {
                "num_relations": 1,
                "heads": 2,
                "dim": 2,
                "attention_mode": "multiplicative-self-attention",
            },
        ),
        ("FeaStConv", {"heads": 3}),
        ("DirGNNConv", {"conv": "GATConv"}),
        ("AntiSymmetricConv", {"phi": "SAGEConv"}),
        ("PNAConv", {"aggregators": ["mean"], "scalers": ["identity"], "deg": [0, 0, 0, 0, 20]}),
    ],
)
def test_any_operator_of_pyg_by_name(name, kwargs):
    run(make_operator(name, 8, 16, operator_kwargs=kwargs))


def test_operator_kwargs_override_the_house():
    assert make_operator("sage", 8, 16, operator_kwargs={"aggr": "mean"}).conv.aggr == "mean"
    gatv2 = make_operator("gatv2", 8, 16, operator_kwargs={"heads": 8}).conv
    assert (gatv2.heads, gatv2.out_channels) == (8, 2)
    layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16))
    assert make_operator("gin", 8, 16, operator_kwargs={"nn": layers}).conv.nn is layers
    conv = make_operator("max_relative", 8, 16, operator_kwargs={"heads": 2, "act": None})
    assert (conv.heads, str(conv.act)) == (2, "Identity()")
    assert make_operator(SAGEConv, 8, 16, operator_kwargs={"aggr": "add"}).conv.aggr == "add"


def test_self_loops_of_named_operators():
    assert make_operator("GATConv", 8, 16).conv.add_self_loops is False
    assert make_operator(
        "GATConv", 8, 16, operator_kwargs={"add_self_loops": True}
    ).conv.add_self_loops
    assert make_operator(GATConv, 8, 16).conv.add_self_loops
    x, edges = torch.randn(20, 8), knn_graph(torch.randn(20, 3), 4, loop=True)
    for name in ("GATConv", "GCNConv", "SGConv"):
        ours = make_operator(name, 8, 16)
        theirs = make_operator(name, 8, 16, operator_kwargs={"add_self_loops": True})
        theirs.load_state_dict(ours.state_dict())
        assert torch.allclose(ours(x, edges), theirs(x, edges), atol=1e-5)


def test_an_operator_that_keeps_the_channels_follows_a_linear_layer():
    adapter = make_operator("LGConv", 8, 16).eval()
    x, edges = torch.randn(20, 8), knn_graph(torch.randn(20, 3), 4, loop=True)
    hidden = x @ adapter.linear.weight.t() + adapter.linear.bias
    expected = torch.stack([hidden[edges[0][edges[1] == i]].mean(dim=0) for i in range(20)])
    degree = torch.bincount(edges[1]).float()
    assert (degree == 4).all()  # where the symmetric normalization is the mean
    assert torch.allclose(adapter(x, edges), F.gelu(adapter.norm(expected)), atol=1e-5)


def test_heads_reach_the_operator():
    assert make_operator("max_relative", 8, 16, heads=2).heads == 2
    assert make_operator("gatv2", 8, 16, heads=2).conv.heads == 2
    assert make_operator("vig_sage", 8, 16, heads=2).heads == 2
    assert make_operator("hyperedge", 6, 10, heads=2).heads == 2


def test_adapter_is_norm_and_gelu_after_the_operator():
    adapter = make_operator(GraphConv, 8, 16)
    x, edge_index = torch.randn(20, 8), torch.randint(20, (2, 50))
    hidden = adapter.conv(x, edge_index)
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    assert isinstance(adapter.norm, NodeNorm)
    assert torch.allclose(adapter(x, edge_index), F.gelu(hidden), atol=1e-5)


def test_factories_and_instances():
    made = make_operator(lambda i, o: GCNConv(i, o, cached=True), 8, 16)
    assert isinstance(made, OperatorAdapter)
    assert made.conv._cached_edge_index is None  # not run while it is built
    instance = GraphConv(8, 16)
    assert make_operator(instance, 8, 16).conv is instance
    assert make_operator(GATv2Conv(8, 4, heads=4), 8, 16).conv.heads == 4
    conv = MaxRelativeConv(8, 16, heads=2)
    assert make_operator(conv, 8, 16) is conv
    assert make_operator(lambda i, o: conv, 8, 16) is conv
    assert make_operator(made, 8, 16) is made


def test_reset_parameters():
    operator = make_operator("sage", 8, 16)
    before = [parameter.clone() for parameter in operator.parameters()]
    operator.reset_parameters()
    pairs = zip(before, operator.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in pairs)


@pytest.fixture
def registry(monkeypatch):
    """Forgets after the test what it registers."""
    monkeypatch.setattr(operators_module, "_REGISTERED", {})


def test_registered_operators(registry):
    @register_operator("my_conv")
    class MyConv(SAGEConv):
        pass

    assert isinstance(make_operator("MyConv", 8, 16).conv, MyConv)
    run(make_operator("my_conv", 8, 16, operator_kwargs={"aggr": "sum"}))

    @register_operator("another")
    def another(in_channels, out_channels, *, heads=2):
        return MaxRelativeConv(in_channels, out_channels, heads)

    assert make_operator("another", 8, 16, operator_kwargs={"heads": 8}).heads == 8
    with pytest.raises(ValueError, match=r"'gatv2'.*'my_conv', 'another'.*got 'magic'"):
        make_operator("magic", 8, 16)
    with pytest.raises(ValueError, match=r"'another' with .*'colour'"):
        make_operator("another", 8, 16, operator_kwargs={"colour": 1})


def test_an_operator_with_its_own_activation_is_used_as_it_is(registry):
    @register_operator("own")
    class Own(SAGEConv):
        activated = True

    assert isinstance(make_operator("own", 8, 16), Own)


@pytest.mark.parametrize("name", ["max_relative", "Sage", "GCNConv", "gcn", "mine", "MineConv"])
def test_taken_names(registry, name):
    register_operator("mine")(GCNConv)
    with pytest.raises(ValueError, match=f"got '{name}', which is taken"):
        register_operator(name)(GraphConv)


def test_a_class_defined_again_replaces_the_registered_one(registry):
    def cell():
        @register_operator("mine")
        class Mine(SAGEConv):
            pass

        return Mine

    cell()
    assert type(make_operator("mine", 8, 16).conv) is not cell()
    assert type(make_operator("mine", 8, 16).conv) is operators_module._REGISTERED["mine"][1]


@pytest.mark.parametrize(("name", "factory"), [("conv", GCNConv), ("mine", 3)])
def test_what_cannot_be_registered(registry, name, factory):
    with pytest.raises(ValueError, match="Expected the name and the class"):
        register_operator(name)(factory)


class Wide(MessagePassing):
    def forward(self, x, edge_index):
        return x


class NeedsEdges(MessagePassing):
    def __init__(self, in_channels, out_channels):
        super().__init__()

    def forward(self, x, edge_index, edge_attr):
        return x


@pytest.mark.parametrize(
    ("operator", "kwargs", "match"),
    [
        ("magic", {}, "max_relative.*gatv2.*PyG.*got 'magic'"),
        ("cheb", {}, "'cheb' with {}: .*'K'"),
        ("sage", {"colour": 1}, "'sage' with .*colour"),
        ("gatv2", {"heads": 0}, r"16 channels divisible by heads \(got 0\)"),
        (SAGEConv, {"colour": 1}, "SAGEConv.*colour"),
        ("gatv2", {"heads": 3}, r"16 channels divisible by heads \(got 3\)"),
        (GraphConv(8, 16), {"aggr": "mean"}, "no 'operator_kwargs' with an instance"),
        (3, {}, "got 3"),
        (lambda i, o: GraphConv(i, o + 1), {}, r"16 output channels \(got 17 from GraphConv"),
        (GATv2Conv(8, 16, heads=2), {}, r"16 output channels \(got 32"),
        (GraphConv(9, 16), {}, "8 input channels .*got 9"),
        (MaxRelativeConv(8, 12), {}, "16 output channels .*got 12"),
        (MixHopConv(8, 16, powers=[0, 1]), {}, "16 output channels .*got 32"),
        ("MixHopConv", {}, r"16 channels divisible by heads \(got 3\)"),
        ("PointNetConv", {}, r"got PointNetConv: it takes \(x, pos, edge_index\)"),
        (PointNetConv, {}, r"got PointNetConv: it takes \(x, pos, edge_index\)"),
        (PointNetConv(), {}, r"got PointNetConv: it takes \(x, pos, edge_index\)"),
        (WLConv(), {}, "got WLConv: it needs whole numbers as features"),
        ("MessagePassing", {}, "got MessagePassing: it takes"),
        ("PDNConv", {"hidden_channels": 4}, "'edge_features' in 'operator_kwargs' with PDNConv"),
        (GINEConv(nn.Linear(8, 16)), {}, "'edge_features' in 'operator_kwargs' with GINEConv"),
        ("gatv2", {"edge_features": "colour"}, r"\['distance', 'position'\] \(got \['colour'\]"),
        ("gatv2", {"edge_features": ["distance"] * 2}, r"got \['distance', 'distance'\]"),
        ("gatv2", {"edge_features": ["position"], "edge_dim": 3}, r"'edge_dim' to be 2.*got 3"),
        (GATv2Conv(8, 16), {"edge_features": ["position"]}, "edge_dim=2 .*edge_dim=None"),
        ("GCNConv", {"edge_features": ["position"]}, r"\['distance'\] with GCN.*\['position'\]"),
        (
            "sage",
            {"edge_features": ["distance"]},
            r"no 'edge_features' with SAGEConv.*\['distance'\]",
        ),
        (NeedsEdges, {}, r"Expected 'edge_features' with NeedsEdges\(\) \(got none\)"),
        ("max_relative", {"edge_features": ["distance"]}, "no 'edge_features' with MaxRelative"),
        ("DirGNNConv", {"conv": "magic"}, "got 'magic'"),
        ("FAConv", {"edge_features": ["distance"]}, "normalize=False and 'edge_features'"),
    ],
)
def test_bad_operators(operator, kwargs, match):
    with pytest.raises(ValueError, match=match):
        make_operator(operator, 8, 16, operator_kwargs=kwargs)


def test_width_that_shows_in_use_only():
    x, edge_index = torch.randn(20, 8), torch.randint(20, (2, 50))
    with pytest.raises(ValueError, match=r"16 output channels \(got \[20, 8\]"):
        make_operator(Wide(), 8, 16)(x, edge_index)


class Probe(MessagePassing):
    """Keeps what it is given."""

    def forward(self, x, edge_index, edge_attr=None):
        self.seen = edge_attr
        nodes = (x if isinstance(x, torch.Tensor) else x[1]).size(0)
        return edge_attr.new_zeros(nodes, 16).index_add(
            0, edge_index[1], edge_attr.sum(1, True).expand(-1, 16)
        )


class WeightProbe(Probe):
    def forward(self, x, edge_index, edge_weight=None):
        return super().forward(x, edge_index, edge_weight[:, None])


def edge_features_oracle(source, target, edges, grid_size, cell):
    """Distance and position of every edge, one after the other."""
    rows, columns = grid_size
    wide = columns // cell
    rows_of = []
    for j, i in edges.t().tolist():
        a, b = source[j] / source[j].norm(), target[i] / target[i].norm()
        j, i = j % (rows // cell * wide), i % (rows * columns)
        inside = [
            (j // wide * cell + y, j % wide * cell + x) for y in range(cell) for x in range(cell)
        ]
        down = sum(y for y, _ in inside) / len(inside) - i // columns
        right = sum(x for _, x in inside) / len(inside) - i % columns
        rows_of.append([float((a - b).square().sum().sqrt()), right / columns, down / rows])
    return torch.tensor(rows_of, dtype=torch.float64)


@pytest.mark.parametrize(("cell", "pair"), [(1, False), (1, True), (2, True), (3, True)])
def test_edge_features(cell, pair):
    grid_size = (6, 7)
    target = torch.randn(2 * 42, 8, dtype=torch.float64)
    source = target
    if pair:
        source = torch.randn(2 * (6 // cell) * (7 // cell), 8, dtype=torch.float64)
    edges = knn_graph(target, 3, batch_size=2, y=source if pair else None)
    oracle = edge_features_oracle(source, target, edges, grid_size, cell)
    x = (source, target) if pair else target
    for names, columns in (
        (("distance", "position"), [0, 1, 2]),
        (["position", "distance"], [1, 2, 0]),
        ("position", [1, 2]),
        ("distance", [0]),
    ):
        adapter = make_operator(Probe(), 8, 16, operator_kwargs={"edge_features": names}).double()
        adapter(x, edges, grid_size=grid_size)
        assert torch.allclose(adapter.conv.seen, oracle[:, columns], rtol=0, atol=1e-12)
    adapter = make_operator(WeightProbe(), 8, 16, operator_kwargs={"edge_features": "distance"})
    adapter.double()(x, edges)
    assert torch.allclose(adapter.conv.seen, (-(oracle[:, :1] ** 2)).exp(), rtol=0, atol=1e-12)


def test_distance_of_equal_nodes_is_zero_and_has_no_gradient():
    x = torch.ones(20, 8, requires_grad=True)
    edges = knn_graph(x.detach(), 4, loop=True)
    adapter = make_operator(Probe(), 8, 16, operator_kwargs={"edge_features": ["distance"]})
    adapter(x, edges).sum().backward()
    assert x.grad is None
    assert adapter.conv.seen.abs().max() == 0
    with torch.autocast("cpu", torch.bfloat16):
        adapter(torch.randn(20, 8).bfloat16(), edges)
    assert adapter.conv.seen.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("gatv2", {"edge_features": ["distance", "position"]}),
        ("GMMConv", {"kernel_size": 3, "edge_features": ["position"]}),
        ("NNConv", {"edge_features": ["distance"]}),
        ("FAConv", {"normalize": False, "edge_features": ["distance"]}),
        ("GraphConv", {"edge_features": ["distance"]}),
        (GATConv(8, 16, edge_dim=2, add_self_loops=False), {"edge_features": ["position"]}),
        (lambda i, o, edge_dim: GATv2Conv(i, o, edge_dim=edge_dim), {"edge_features": "position"}),
    ],
)
def test_operators_with_edge_features(name, kwargs):
    operator = make_operator(name, 8, 16, operator_kwargs=kwargs)
    run(operator)
    assert all(parameter.grad is not None for parameter in operator.parameters())


def test_edge_weights_weigh():
    adapter = make_operator("GraphConv", 8, 16, operator_kwargs={"edge_features": "distance"})
    x, edges = torch.randn(20, 8), knn_graph(torch.randn(20, 3), 4, loop=True)
    unit = F.normalize(x)
    weights = (-(unit[edges[0]] - unit[edges[1]]).square().sum(dim=1)).exp()
    assert ((weights > 0) & (weights <= 1)).all()
    expected = F.gelu(adapter.norm(adapter.conv(x, edges, weights)))
    assert torch.allclose(adapter(x, edges), expected, atol=1e-5)


class TypeProbe(Probe):
    def __init__(self, num_relations):
        super().__init__()
        self.num_relations = num_relations

    def forward(self, x, edge_index, edge_type=None):
        return super().forward(x, edge_index, edge_type[:, None].float())


@pytest.mark.parametrize(
    ("relations", "expected"),
    [
        # The 3 x 3 nodes row by row, seen from the one in the middle.
        (8, [5, 6, 7, 4, 0, 0, 3, 2, 1]),
        (2, [1, 0, 0, 1, 0, 0, 1, 1, 0]),
        (1, [0] * 9),
    ],
)
def test_relations_are_directions(relations, expected):
    edges = torch.stack([torch.arange(9), torch.full((9,), 4)])
    edges = torch.cat([edges, edges + 9], dim=1)
    adapter = make_operator(TypeProbe(relations), 8, 16)
    grid_size = (3, 3) if relations > 1 else None
    adapter(torch.randn(18, 8), edges, grid_size=grid_size)
    assert adapter.conv.seen[:, 0].tolist() == expected * 2


def test_relational_operators():
    run(make_operator("RGCNConv", 8, 16, operator_kwargs={"num_relations": 4}))
    run(make_operator(RGCNConv(8, 16, num_relations=8, num_bases=2), 8, 16))
    adapter = make_operator("FiLMConv", 8, 16, operator_kwargs={"num_relations": 4})
    with pytest.raises(ValueError, match=r"Expected 'grid_size' .*\(got None\)"):
        adapter(torch.randn(20, 8), knn_graph(torch.randn(20, 3), 4))


def test_initial_features_are_the_input():
    adapter = make_operator("GCN2Conv", 8, 16, operator_kwargs={"alpha": 1.0}).eval()
    x, edges = torch.randn(20, 8), knn_graph(torch.randn(20, 3), 4, loop=True)
    hidden = adapter.linear(x)
    assert torch.allclose(
        adapter(x, edges), F.gelu(adapter.norm(adapter.conv(hidden, hidden, edges)))
    )
    assert torch.allclose(
        adapter.conv(hidden, hidden, edges), hidden @ adapter.conv.weight1, atol=1e-5
    )


def test_attention_to_all_nodes_stays_in_the_image():
    adapter = make_operator("GPSConv", 8, 16, operator_kwargs={"conv": "sage"}).eval()
    x, edges = torch.randn(40, 8), knn_graph(torch.randn(40, 3), 4, batch_size=2)
    out = adapter(x, edges, grid_size=(4, 5))
    first = adapter(x[:20], edges[:, :80], grid_size=(4, 5))
    assert torch.allclose(out[:20], first, atol=1e-5)
    with pytest.raises(ValueError, match=r"Expected 'grid_size' .*\(got None\)"):
        adapter(x, edges)


def test_pooled_sources():
    x = (torch.randn(5, 8), torch.randn(20, 8))
    edges = torch.stack([torch.arange(20) % 5, torch.arange(20)])
    assert make_operator("sage", 8, 16)(x, edges).shape == (20, 16)
    assert make_operator("CGConv", 8, 16)(x, edges).shape == (20, 16)
    for operator in ("GCNConv", GATConv):  # takes no pair; adds self-loops
        with pytest.raises(ValueError, match="pairs of source and target features, and adds no"):
            make_operator(operator, 8, 16)(x, edges)
    position = {"edge_features": ["position"]}
    adapter = make_operator("gatv2", 8, 16, operator_kwargs=position)
    with pytest.raises(ValueError, match=r"4 x 5 grids.*got 5 sources and 20 targets"):
        adapter(x, edges, grid_size=(4, 5))
    # 8 x 8 nodes in cells of 3 x 3 or of 4 x 4: both leave 2 x 2.
    edges = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="whose size follows from their number"):
        adapter((torch.randn(4, 8), torch.randn(64, 8)), edges, grid_size=(8, 8))
    with pytest.raises(ValueError, match=r"got 21 sources and 21 targets"):
        adapter(torch.randn(21, 8), edges, grid_size=(4, 5))
    with pytest.raises(ValueError, match="got a sparse matrix"):
        adapter(torch.randn(20, 8), torch.eye(20).to_sparse(), grid_size=(4, 5))
