"""The largest difference to the neighbours: precisions, any numbers of edges, export."""

import pytest
import torch

from pyg_viglad.nn import MaxRelativeConv, knn_graph
from pyg_viglad.nn.conv._max_by_edge import max_by_edge, max_relative_by_edge
from pyg_viglad.nn.conv._max_relative import max_relative
from tests.oracles.max_relative import max_relative_oracle


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shuffle(edge_index):
    return edge_index[:, torch.randperm(edge_index.size(1))]


def test_all_zero_features_lose_no_gradient():
    # PyG's scatter(reduce="max") halves it where the maximum is exactly zero.
    x = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
    edge_index = knn_graph(x, 2)
    for edges in (edge_index, edge_index.flip(1)):
        messages = x[edges[0]]
        (gradient,) = torch.autograd.grad(max_by_edge(messages, edges[1], 6).sum(), x)
        assert gradient.sum() == 18
    (gradient,) = torch.autograd.grad((max_relative(x, edge_index[0].view(6, 2)) + x).sum(), x)
    assert gradient.sum() == 18


def test_gradcheck():
    neighbors = torch.randint(6, (6, 3))
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(max_relative, (x, neighbors))
    assert torch.autograd.gradgradcheck(max_relative, (x, neighbors))
    messages = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    edge_index = torch.stack([torch.randint(6, (9,)), torch.randint(5, (9,))])
    assert torch.autograd.gradcheck(lambda m: max_by_edge(m, edge_index[1], 5), (messages,))
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda x: max_relative_by_edge(x, edge_index), (x,))


@pytest.mark.parametrize("k", [1, 255, 300])
def test_many_neighbors(k):
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    neighbors = torch.randint(4, (4, k))
    relative = max_relative(x, neighbors)
    expected = x[neighbors].max(dim=1).values - x
    gradient = torch.randn_like(expected)
    assert torch.equal(relative, expected)
    assert torch.equal(
        torch.autograd.grad(relative, x, gradient)[0], torch.autograd.grad(expected, x, gradient)[0]
    )
    with torch.no_grad():
        assert torch.equal(max_relative(x, neighbors), expected)


@pytest.mark.parametrize("path", ["regular", "any edges", "messages", "compiled"])
@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 1e-2)]
)
def test_precisions_equal_the_oracle(path, dtype, atol):
    x = torch.randn(40, 6).to(dtype).requires_grad_()
    # Node 0 is a neighbour of all: its gradient sums up many values.
    neighbors = torch.cat([torch.zeros(40, 1).long(), torch.randint(40, (40, 2))], dim=1)
    with torch.no_grad():
        x[0] += 3
    edge_index = torch.stack([neighbors.flatten(), torch.arange(40).repeat_interleave(3)])
    conv = MaxRelativeConv(6, 6, heads=1)
    function = conv.relative
    if path in ("any edges", "messages"):
        edge_index = shuffle(edge_index)
    if path == "messages":
        conv.register_message_forward_hook(lambda _, __, out: None)
    if path == "compiled":
        function = torch.compile(conv.relative, fullgraph=True, backend="aot_eager")
    gradient = (torch.rand(40, 6) / 32).to(dtype)
    _, out = function(x, edge_index, 3 if path == "compiled" else None)
    values, of_source, of_target = max_relative_oracle(
        x.detach(), x.detach(), edge_index, gradient.double()
    )
    assert out.dtype == dtype
    out.backward(gradient)
    assert torch.allclose(out.double(), values, atol=atol, rtol=atol)
    assert torch.allclose(x.grad.double(), of_source + of_target, atol=atol, rtol=atol)


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("direct", [True, False])
def test_any_degrees_equal_the_oracle(in_order, direct):
    # Nodes with 0, 1, ... 22 and with 300 edges, more nodes than sixteen bits count, and ties.
    degree = torch.cat([torch.arange(23), torch.tensor([0, 300, 0])])
    centres = torch.repeat_interleave(torch.arange(26), degree)
    edge_index = torch.stack([torch.randint(26, centres.shape), centres])
    edge_index = edge_index if in_order else shuffle(edge_index)
    x = torch.randint(-2, 3, (26, 4)).double().requires_grad_()
    gradient = torch.randn(26, 4, dtype=torch.float64)
    values, of_source, of_target = max_relative_oracle(x.detach(), x.detach(), edge_index, gradient)
    for nodes in (26, 70_000):
        target = torch.nn.functional.pad(x, (0, 0, 0, nodes - 26))
        if direct:
            out = max_relative_by_edge(target, edge_index)
        else:
            messages = target[edge_index[0]] - target[edge_index[1]]
            out = max_by_edge(messages, edge_index[1], nodes)
        assert torch.equal(out[:26].detach(), values)
        assert out[26:].eq(0).all()
        (found,) = torch.autograd.grad((out[:26] * gradient).sum(), x)
        assert torch.allclose(found, of_source + of_target, atol=1e-12)


def test_edges_in_another_order_need_no_messages(monkeypatch):
    conv = MaxRelativeConv(4, 8).eval()
    x, edge_index = torch.randn(10, 4), torch.randint(10, (2, 30))
    monkeypatch.setattr(conv, "propagate", lambda *_, **__: pytest.fail("messages"))
    assert conv(x, edge_index).shape == (10, 8)


@pytest.mark.parametrize("training", [False, True])
def test_exported_equals_eager(training):
    conv = MaxRelativeConv(8, 16, norm=False).train(training)
    x = torch.randn(12, 8)
    edge_index = knn_graph(x, 3)
    nodes, edges = torch.export.Dim("nodes", max=1000), torch.export.Dim("edges", max=9000)
    sizes = ({0: nodes}, {1: edges}, None)
    any_edges = torch.export.export(conv, (x, edge_index, None), dynamic_shapes=sizes)
    program = torch.export.export(conv, (x, edge_index, 3))
    expected = conv(x, edge_index)
    assert torch.allclose(any_edges.module()(x, edge_index, None), expected, atol=1e-6)
    assert torch.allclose(program.module()(x, edge_index, 3), expected, atol=1e-6)
