import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv, GraphConv, MessagePassing

from pyg_viglad.nn import OPERATORS, MaxRelativeConv, OperatorAdapter, knn_graph, make_operator


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", OPERATORS)
def test_names(name):
    operator = make_operator(name, 8, 16)
    x = torch.randn(20, 8, requires_grad=True)
    out = operator(x, knn_graph(x, 4))
    assert out.shape == (20, 16)
    out.square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in operator.parameters())


@pytest.mark.parametrize("name", OPERATORS)
def test_sigma_is_applied_exactly_once(name):
    operator = make_operator(name, 8, 16)
    activations = [m for m in operator.modules() if isinstance(m, nn.GELU | nn.ReLU)]
    norms = [m for m in operator.modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(activations) == len(norms) == 1


def test_adapter_is_norm_and_gelu_after_the_operator():
    adapter = make_operator(GraphConv, 8, 16)
    x, edge_index = torch.randn(20, 8), torch.randint(20, (2, 50))
    hidden = adapter.conv(x, edge_index)
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(adapter(x, edge_index), nn.functional.gelu(hidden), atol=1e-5)


def test_factories_and_instances():
    made = make_operator(lambda i, o: GCNConv(i, o, add_self_loops=False), 8, 16)
    assert isinstance(made, OperatorAdapter)
    instance = GraphConv(8, 16)
    assert make_operator(instance, 8, 16).conv is instance
    assert instance.training
    conv = MaxRelativeConv(8, 16, heads=2)
    assert make_operator(conv, 8, 16) is conv
    assert make_operator(lambda i, o: conv, 8, 16) is conv


def test_heads_reach_the_operator():
    assert make_operator("max_relative", 8, 16, heads=2).heads == 2
    assert make_operator("gatv2", 8, 16, heads=2).conv.heads == 2


def test_reset_parameters():
    operator = make_operator("sage", 8, 16)
    before = [parameter.clone() for parameter in operator.parameters()]
    operator.reset_parameters()
    pairs = zip(before, operator.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in pairs)


class Failing(MessagePassing):
    def forward(self, x, edge_index):
        raise RuntimeError("edge weights needed")


@pytest.mark.parametrize(
    ("operator", "match"),
    [
        ("gcn", "max_relative.*edge.*sage.*gin.*gatv2.*got 'gcn'"),
        (3, "got 3"),
        (lambda i, o: GraphConv(i, o + 1), r"16 output channels \(got \[2, 17\]"),
        (GraphConv(9, 16), "takes 8 channels"),
        (MaxRelativeConv(8, 12), "got 8 -> 12"),
        (lambda i, o: MaxRelativeConv(i, 12), "got 8 -> 12"),
        (lambda i, o: Failing(), "edge weights needed"),
    ],
)
def test_bad_operators(operator, match):
    with pytest.raises(ValueError, match=match):
        make_operator(operator, 8, 16)


def test_gatv2_needs_divisible_channels():
    with pytest.raises(ValueError, match="divisible by heads"):
        make_operator("gatv2", 8, 18)
