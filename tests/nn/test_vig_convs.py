import pytest
import torch
from torch import nn
from torch_geometric import EdgeIndex

from pyg_viglad.nn import GroupedLinear, ViGEdgeConv, ViGGINConv, ViGSAGEConv, knn_graph
from tests.oracles.vig_convs import edge_oracle, gin_oracle, sage_oracle

KINDS = [(ViGEdgeConv, edge_oracle), (ViGSAGEConv, sage_oracle), (ViGGINConv, gin_oracle)]
CLASSES = [cls for cls, _ in KINDS]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def reference_layers(conv):
    """Random tensors under the reference's names and in its shapes."""
    layers = {}
    for name, value in conv.state_dict().items():
        shape = value.shape
        if value.dim() == 3:
            shape = (value.size(0) * value.size(2), value.size(1), 1, 1)
        if value.is_floating_point():
            layers[name] = torch.rand(shape, dtype=torch.float64) + 0.5
            if "weight" in name or "bias" in name or name == "eps":
                layers[name] = (torch.randn(shape, dtype=torch.float64) / 2).requires_grad_()
    return layers


def load_reference(conv, layers):
    state = conv.state_dict()
    for name, value in layers.items():
        value = value.detach()
        if value.dim() == 4:
            groups, inputs, outputs = state[name].shape
            value = value.view(groups, outputs, inputs).transpose(1, 2)
        state[name] = value
    conv.load_state_dict(state)


def regular(nodes):
    return knn_graph(torch.randn(nodes, 3), 5, loop=True)


def irregular(nodes):
    """Nodes without neighbours (the first four), with one, with several; one edge twice, no order."""
    edges = torch.cat([torch.randint(nodes, (1, 40)), torch.randint(4, nodes, (1, 40))])
    edges[1, 1::2] = torch.arange(4, 24)
    edges = torch.cat([edges, edges[:, :1]], dim=1)
    return edges[:, torch.randperm(41)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("graph", [regular, irregular])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(("cls", "oracle"), KINDS)
def test_oracle(cls, oracle, graph, pooled, training):
    conv = cls(8, 12).double().train(training)
    layers = reference_layers(conv)
    load_reference(conv, layers)
    edges = graph(24)
    target = torch.randn(24, 8, dtype=torch.float64, requires_grad=True)
    source = target
    if pooled:
        source = torch.randn(7, 8, dtype=torch.float64, requires_grad=True)
        edges = torch.stack([edges[0] % 7, edges[1]])
    assert len(edges[1].unique()) == (24 if graph is regular else 20)
    out = conv((source, target) if pooled else target, edges)
    expected = oracle(source, target, edges, layers, training)
    assert torch.allclose(out, expected, rtol=0, atol=1e-12)

    weights = torch.randn_like(out)
    names = [name for name, value in layers.items() if value.requires_grad]
    inputs = [source, target] if pooled else [target]
    ours = torch.autograd.grad(
        (out * weights).sum(), [*inputs, *(conv.get_parameter(name) for name in names)]
    )
    theirs = torch.autograd.grad(
        (expected * weights).sum(), [*inputs, *(layers[name] for name in names)]
    )
    for value, wanted in zip(ours, theirs, strict=True):
        if value.dim() == 3:
            value = value.transpose(1, 2).reshape(wanted.shape)
        assert torch.allclose(value, wanted, rtol=0, atol=1e-10)


def test_grouped_linear_is_a_convolution_in_groups():
    layer, conv = GroupedLinear(8, 12, groups=2), nn.Conv2d(8, 12, 1, groups=2)
    layer.weight.data = conv.weight.data.view(2, 6, 4).transpose(1, 2)
    layer.bias.data = conv.bias.data
    x = torch.randn(5, 8)
    assert torch.allclose(layer(x), conv(x[:, :, None, None]).flatten(1), atol=1e-6)
    assert str(layer) == "GroupedLinear(8, 12, groups=2)"
    with pytest.raises(ValueError, match=r"number of groups \(got 8, 12 and 3\)"):
        GroupedLinear(8, 12, groups=3)


@pytest.mark.parametrize("cls", CLASSES)
def test_graphs_in_a_batch_equal_each_alone(cls):
    conv = cls(8, 12).eval()
    x, edges = torch.randn(40, 8), [regular(16), regular(24)]
    joined = conv(x, torch.cat([edges[0], edges[1] + 16], dim=1))
    alone = torch.cat([conv(x[:16], edges[0]), conv(x[16:], edges[1])])
    assert torch.allclose(joined, alone, atol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_kinds_of_edges(cls):
    conv, x, edges = cls(8, 12).eval(), torch.randn(24, 8), regular(24)
    out = conv(x, edges, k=5, grid_size=(4, 6))
    index = EdgeIndex(edges, sparse_size=(24, 24), sort_order="col")
    assert torch.allclose(conv(x, index), out, atol=1e-6)
    adjacency = torch.sparse_coo_tensor(edges.flip(0), torch.ones(edges.size(1)), (24, 24))
    assert torch.allclose(conv(x, adjacency.coalesce()), out, atol=1e-6)
    assert torch.allclose(conv(x, edges[:, torch.randperm(120)]), out, atol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_flow_from_target_to_source(cls):
    conv, backwards = cls(8, 12).eval(), cls(8, 12, flow="target_to_source").eval()
    backwards.load_state_dict(conv.state_dict())
    source, target, edges = torch.randn(24, 8), torch.randn(24, 8), regular(24)
    out = backwards((target, source), edges.flip(0))
    assert torch.allclose(out, conv((source, target), edges), atol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_constant_features_and_equal_neighbors(cls):
    conv = cls(8, 12)
    x = torch.ones(24, 8, requires_grad=True)
    out = conv(x, knn_graph(x, 5, loop=True))
    out.sum().backward()
    assert out.isfinite().all()
    assert x.grad.isfinite().all()
    assert torch.equal(out, out[:1].expand_as(out))


@pytest.mark.parametrize("cls", CLASSES)
def test_reset_parameters(cls):
    conv = cls(8, 12)
    torch.manual_seed(1)
    conv.reset_parameters()
    first = {name: value.clone() for name, value in conv.state_dict().items()}
    for parameter in conv.parameters():
        parameter.data += 1
    torch.manual_seed(1)
    conv.reset_parameters()
    assert all(torch.equal(first[name], value) for name, value in conv.state_dict().items())


@pytest.mark.parametrize("cls", CLASSES)
def test_bad_arguments(cls):
    assert str(cls(8, 12)) == f"{cls.__name__}(8, 12, heads=4)"
    for heads in (0, 3, 5):
        with pytest.raises(ValueError, match=f"number of groups .*and {heads}"):
            cls(8, 12, heads=heads)
    conv, x, edges = cls(8, 12), torch.randn(24, 8), regular(24)
    with pytest.raises(ValueError, match=r"to be \[N, 8\] \(got \[24, 7\]"):
        conv(x[:, 1:], edges)
    with pytest.raises(ValueError, match="24"):
        conv((x, x), edges, size=(24, 25))
