import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GATv2Conv, GCNConv, GraphConv, MessagePassing, MixHopConv, SAGEConv

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


def test_heads_reach_the_operator():
    assert make_operator("max_relative", 8, 16, heads=2).heads == 2
    assert make_operator("gatv2", 8, 16, heads=2).conv.heads == 2
    assert make_operator("vig_sage", 8, 16, heads=2).heads == 2


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
    ],
)
def test_bad_operators(operator, kwargs, match):
    with pytest.raises(ValueError, match=match):
        make_operator(operator, 8, 16, operator_kwargs=kwargs)


@pytest.mark.parametrize(
    ("operator", "width"), [(Wide(), 8), (MixHopConv(8, 16, powers=[0, 1]), 32)]
)
def test_width_that_shows_in_use_only(operator, width):
    x, edge_index = torch.randn(20, 8), torch.randint(20, (2, 50))
    with pytest.raises(ValueError, match=rf"16 output channels \(got \[20, {width}\]"):
        make_operator(operator, 8, 16)(x, edge_index)
