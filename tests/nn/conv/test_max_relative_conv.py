import pytest
import torch
from torch import nn
from torch_geometric import EdgeIndex
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.testing import assert_module

from pyg_viglad.nn import MaxRelativeConv, knn_graph
from pyg_viglad.nn.conv._max_relative import max_relative
from tests.oracles.max_relative import interleaved_grouped_linear_oracle, max_relative_oracle


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def plain(in_channels=4, out_channels=6, heads=2):
    return MaxRelativeConv(in_channels, out_channels, heads, norm=False, act=None).double()


def shuffle(edge_index):
    return edge_index[:, torch.randperm(edge_index.size(1))]


def test_repr():
    assert str(MaxRelativeConv(8, 16)) == "MaxRelativeConv(8, 16, heads=4)"


def test_is_a_pyg_module():
    x = torch.randn(20, 8)
    edge_index = torch.randint(20, (2, 70))
    conv = MaxRelativeConv(8, 12)
    assert_module(conv, x, edge_index, expected_size=(20, 12), test_sparse_layouts=[], atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_values_equal_the_oracle(heads):
    conv = plain(4, 8, heads)
    x = torch.randn(9, 4, dtype=torch.float64)
    edge_index = knn_graph(x, 3)
    relative, _, _ = max_relative_oracle(x, x, edge_index, torch.zeros(9, 4))
    expected = interleaved_grouped_linear_oracle(x, relative, conv.lin.weight, conv.lin.bias)
    assert torch.allclose(conv(x, edge_index), expected, atol=1e-12)
    assert torch.allclose(conv(x, shuffle(edge_index)), expected, atol=1e-12)


def test_norm_and_activation_are_applied_once_in_this_order():
    conv = MaxRelativeConv(4, 8)
    x, edge_index = torch.randn(20, 4), torch.randint(20, (2, 60))
    target, relative = conv.relative(x, edge_index)
    hidden = conv.lin(torch.stack([target, relative], dim=2).flatten(1))
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(conv(x, edge_index), nn.functional.gelu(hidden), atol=1e-5)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("regular", [False, True])
@pytest.mark.parametrize("bipartite", [False, True])
def test_values_and_gradients_equal_the_oracle(ties, regular, bipartite):
    def features(nodes):
        # With ties: zeros, ones and minus ones, where PyG's scatter loses or shares gradient.
        random = (
            torch.randint(-1, 2, (nodes, 5)).double() if ties else torch.randn(nodes, 5).double()
        )
        return random.requires_grad_()

    source = features(11)
    target = features(7) if bipartite else source
    if regular:
        neighbors = torch.randint(11, (target.size(0), 4))
        centres = torch.arange(target.size(0)).repeat_interleave(4)
        edge_index = torch.stack([neighbors.flatten(), centres])
    else:
        edge_index = torch.stack([torch.randint(11, (25,)), torch.randint(6, (25,))])
    conv = plain(5, 5, 1)
    x = (source, target) if bipartite else source
    _, relative = conv.relative(x, edge_index)
    gradient = torch.randn_like(relative)
    values, grad_source, grad_target = max_relative_oracle(
        source.detach(), target.detach(), edge_index, gradient
    )
    assert torch.equal(relative.detach(), values)
    relative.backward(gradient)
    if bipartite:
        assert torch.allclose(source.grad, grad_source, atol=1e-12)
        assert torch.allclose(target.grad, grad_target, atol=1e-12)
    else:
        assert torch.allclose(source.grad, grad_source + grad_target, atol=1e-12)


def test_regular_edges_take_the_fast_path(monkeypatch):
    conv = MaxRelativeConv(4, 8).eval()
    x = torch.randn(10, 4)
    edge_index = knn_graph(x, 3)
    expected = conv(x, shuffle(edge_index))
    monkeypatch.setattr(conv, "propagate", lambda *_, **__: pytest.fail("generic path"))
    assert torch.allclose(conv(x, edge_index), expected)
    assert torch.allclose(conv(x, edge_index, k=3), expected)
    assert torch.allclose(conv((x, x), edge_index), expected)


def test_as_many_edges_in_another_order_are_not_taken_for_regular():
    conv = plain()
    x = torch.randn(3, 4, dtype=torch.float64)
    edge_index = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 0, 0, 0, 1, 1]])  # 6 edges, node 2 has none
    expected, _, _ = max_relative_oracle(x, x, edge_index, torch.zeros(3, 4))
    assert torch.equal(conv.relative(x, edge_index)[1], expected)


def test_bipartite():
    conv = MaxRelativeConv(8, 16)
    source, target = torch.randn(5, 8), torch.randn(9, 8)
    edge_index = knn_graph(target, 3, y=source)
    assert conv((source, target), edge_index).shape == (9, 16)
    assert conv((source, target), torch.tensor([[4], [8]])).shape == (9, 16)


@pytest.mark.parametrize("sort_order", [None, "col"])
def test_edge_index_class(sort_order):
    conv = MaxRelativeConv(8, 16).eval()
    x = torch.randn(12, 8)
    edge_index = knn_graph(x, 4)
    expected = conv(x, edge_index)
    typed = EdgeIndex(edge_index, sparse_size=(12, 12), sort_order=sort_order)
    assert torch.equal(conv(x, typed), expected)
    irregular = edge_index[:, 1:]
    typed = EdgeIndex(irregular, sparse_size=(12, 12), sort_order=sort_order)
    assert torch.equal(conv(x, typed), conv(x, irregular))


def test_batched_graphs_equal_each_alone():
    conv = MaxRelativeConv(8, 16).eval()
    first, second = torch.randn(6, 8), torch.randn(9, 8)
    batch = torch.tensor([0] * 6 + [1] * 9)
    x = torch.cat([first, second])
    together = conv(x, knn_graph(x, 3, batch))
    alone = torch.cat([conv(part, knn_graph(part, 3)) for part in (first, second)])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("edges", [[[], []], [[0, 1, 2], [0, 0, 1]]])
def test_node_without_neighbors_has_relative_feature_zero(edges):
    conv = plain()
    x = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    edge_index = torch.tensor(edges, dtype=torch.int64)
    _, relative = conv.relative(x, edge_index)
    assert relative[2:].eq(0).all()
    conv(x, edge_index).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_constant_image(value):
    conv = MaxRelativeConv(8, 16)
    x = torch.full((40, 8), value, requires_grad=True)
    edge_index = knn_graph(x, 9)
    out = conv(x, edge_index)
    assert out.isfinite().all()
    assert torch.equal(out, conv(x, edge_index))
    assert conv.relative(x, edge_index)[1].eq(0).all()
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert gradient.isfinite().all()


def test_not_a_number_is_not_hidden():
    x = torch.zeros(3, 4, dtype=torch.float64)
    x[1, 2] = torch.nan
    edge_index = torch.tensor([[0, 1, 2, 0], [0, 0, 2, 2]])
    assert plain().relative(x, edge_index)[1][0].isnan().tolist() == [False, False, True, False]
    assert max_relative(x, torch.tensor([[0, 1], [1, 0], [2, 2]]))[0, 2].isnan()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("k", [None, 3])
def test_compiled_equals_eager(training, k):
    conv = MaxRelativeConv(8, 16, norm=False).train(training)
    x = torch.randn(12, 8, requires_grad=training)
    edge_index = knn_graph(x, 3)
    compiled = torch.compile(conv, fullgraph=True, backend="aot_eager")
    out, expected = compiled(x, edge_index, k), conv(x, edge_index, k)
    assert torch.allclose(out, expected, atol=1e-6)
    if training:
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        (wanted,) = torch.autograd.grad(expected.square().sum(), x)
        assert torch.allclose(gradient, wanted, atol=1e-5)


def test_explainer_and_hooks_see_the_messages():
    conv = MaxRelativeConv(8, 4)
    x = torch.randn(12, 8)
    edge_index = knn_graph(x, 3)
    expected = conv.eval()(x, edge_index)
    seen = []
    hook = conv.register_message_forward_hook(lambda _, __, out: seen.append(out.shape))
    assert torch.allclose(conv(x, edge_index), expected)
    hook.remove()
    assert seen == [(36, 8)]
    explainer = Explainer(
        conv,
        GNNExplainer(epochs=2),
        explanation_type="model",
        edge_mask_type="object",
        model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
    )
    assert explainer(x, edge_index).edge_mask.shape == (36,)


def test_reset_parameters_reproduces_the_state():
    conv = MaxRelativeConv(8, 16)
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        conv.reset_parameters()
        states.append({name: value.clone() for name, value in conv.state_dict().items()})
        conv(torch.randn(5, 8), torch.randint(5, (2, 9)))
        with torch.no_grad():
            conv.lin.weight.add_(1)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MaxRelativeConv(6, 16), "divisible by 'heads' .*got 6, 16 and 4"),
        (lambda: MaxRelativeConv(8, 6), "divisible by 'heads'"),
        (lambda: MaxRelativeConv(8, 16, heads=0), "divisible by 'heads'"),
        (
            lambda: MaxRelativeConv(8, 16)(torch.zeros(3, 7), torch.zeros(2, 1).long()),
            r"\[N, 8\] \(got \[3, 7\]\)",
        ),
        (
            lambda: MaxRelativeConv(8, 16)(torch.zeros(3, 8), torch.zeros(3, 1).long()),
            r"'edge_index' to be \[2, E\]",
        ),
        (
            lambda: MaxRelativeConv(8, 16)(torch.zeros(3, 8), torch.zeros(2, 1).int()),
            "torch.int64",
        ),
    ],
)
def test_bad_input(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_equals_cpu():
    conv = plain(8, 8)
    x = torch.randint(-2, 3, (50, 8)).double()
    edge_index = knn_graph(x, 5)
    results = {}
    for device in ("cpu", "cuda"):
        for edges in (edge_index, edge_index.flip(1)):
            inputs = x.to(device).requires_grad_()
            out = conv.to(device)(inputs, edges.to(device))
            out.square().sum().backward()
            results.setdefault(device, []).extend([out.detach().cpu(), inputs.grad.cpu()])
    for cpu, gpu in zip(results["cpu"], results["cuda"], strict=True):
        assert torch.allclose(cpu, gpu, atol=1e-9)
