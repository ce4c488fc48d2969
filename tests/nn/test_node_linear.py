import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyg_viglad.nn import NodeLinear


@pytest.mark.parametrize("nodes", [0, 1, 853, 854])  # 24 channels: 20,480 values between
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_a_matrix_product_in_values_and_gradients(nodes, bias, dtype):
    torch.manual_seed(0)
    layer = NodeLinear(24, 56, bias=bias).to(dtype)
    x = torch.randn(nodes, 24, dtype=dtype, requires_grad=True)
    gradient = torch.randn(nodes, 56, dtype=dtype)
    inputs = (x, *layer.parameters())
    out = layer(x)
    assert out.shape == (nodes, 56)
    assert out.is_contiguous()
    exact = [part.detach().double().requires_grad_() for part in inputs]
    expected = exact[0] @ exact[1].t() + (exact[2] if bias else 0)
    assert torch.allclose(out.double(), expected, atol=1e-5)
    found = torch.autograd.grad(out, inputs, gradient)
    wanted = torch.autograd.grad(expected, exact, gradient.double())
    for own, other in zip(found, wanted, strict=True):
        assert torch.allclose(own.double(), other, atol=1e-4)


def test_rows_that_are_not_contiguous():
    layer = NodeLinear(6, 4)
    x = torch.randn(6, 4000).t()
    assert torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-5)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize(("nodes", "convolves"), [(200, False), (853, False), (854, True)])
def test_convolves_only_where_torch_does_so_by_onednn(nodes, convolves):
    # Its own convolution takes several times as long as the matrix product.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        NodeLinear(24, 56)(torch.randn(nodes, 24))
    names = {event.key for event in profile.key_averages()}
    assert ("aten::conv2d" in names, "aten::mkldnn_convolution" in names) == (convolves, convolves)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_no_channels_give_the_bias():
    layer = NodeLinear(0, 4)
    assert torch.equal(layer(torch.zeros(200, 0)), layer.bias.expand(200, 4))


def test_second_derivatives():
    layer = NodeLinear(4, 2).float()
    x = torch.randn(6000, 4, requires_grad=True)
    found = []
    for out in (layer(x), F.linear(x, layer.weight, layer.bias)):
        (first,) = torch.autograd.grad(out.pow(3).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().mean(), (x, layer.weight)))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


def test_has_the_weights_of_torch_and_autocasts_as_it_does():
    torch.manual_seed(0)
    own = NodeLinear(24, 56)
    torch.manual_seed(0)
    other = nn.Linear(24, 56)
    other.load_state_dict(own.state_dict())
    x = torch.randn(1000, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(own(x), other(x))
    compiled = torch.compile(own, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), other(x))
