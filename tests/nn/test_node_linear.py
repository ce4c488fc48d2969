import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyg_viglad.nn import NodeLinear


@pytest.mark.parametrize("nodes", [0, 1, 127, 128, 700])
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
    x = torch.randn(6, 300).t()
    assert torch.allclose(layer(x), F.linear(x, layer.weight, layer.bias), atol=1e-5)


def test_has_the_weights_of_torch_and_autocasts_as_it_does():
    torch.manual_seed(0)
    own = NodeLinear(24, 56)
    torch.manual_seed(0)
    other = nn.Linear(24, 56)
    other.load_state_dict(own.state_dict())
    x = torch.randn(200, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(own(x), other(x))
    compiled = torch.compile(own, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), other(x))
