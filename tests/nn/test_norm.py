import pytest
import torch

from pyg_viglad.nn._grouped_linear import GroupedLinear
from pyg_viglad.nn._norm import NodeNorm


def test_norm_equals_batch_norm_from_16_nodes_on():
    torch.manual_seed(0)
    norm, expected = NodeNorm(5), torch.nn.BatchNorm1d(5)
    x = torch.randn(16, 5)
    assert torch.equal(norm(x), expected(x))
    assert torch.equal(norm.running_var, expected.running_var)
    assert torch.equal(norm.eval()(x[:1]), expected.eval()(x[:1]))


@pytest.mark.parametrize("nodes", [1, 2, 15])
def test_few_nodes_use_the_running_statistics_and_keep_them(nodes):
    torch.manual_seed(0)
    norm = NodeNorm(5)
    norm(torch.randn(20, 5) * 3 + 1)
    state = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.randn(nodes, 5)
    assert torch.equal(norm(x), norm.eval()(x))
    assert all(torch.equal(value, state[name]) for name, value in norm.state_dict().items())


def test_grouped_linear_equals_a_grouped_convolution():
    torch.manual_seed(0)
    layer = GroupedLinear(12, 8, groups=4)
    x = torch.randn(6, 12)
    weight = layer.weight.transpose(1, 2).reshape(8, 3, 1)
    expected = torch.nn.functional.conv1d(x.t()[None], weight, layer.bias, groups=4)[0].t()
    assert torch.allclose(layer(x), expected, atol=1e-6)
    assert str(layer) == "GroupedLinear(12, 8, groups=4)"
