import functools

import pytest
import torch
import torch.nn.functional as F
from torch_geometric import EdgeIndex
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.testing import assert_module
from torch_geometric.utils import to_torch_coo_tensor, to_torch_csr_tensor

from pyg_viglad.nn import MaxRelativeConv, MaxRelativeDeconv, knn_graph
from tests.oracles.max_relative import interleaved_grouped_linear_oracle, max_relative_oracle


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def plain(in_channels=4, out_channels=6, heads=2, **kwargs):
    return MaxRelativeConv(
        in_channels, out_channels, heads, norm=False, act=None, **kwargs
    ).double()


def shuffle(edge_index):
    return edge_index[:, torch.randperm(edge_index.size(1))]


def watch(conv):
    """Makes a convolution take the plain path."""
    conv.register_message_forward_hook(lambda _, __, out: None)
    return conv


@pytest.fixture
def messages(monkeypatch):
    """Returns the sizes of the messages that were computed."""
    sizes = []
    message = MaxRelativeConv.message

    @functools.wraps(message)
    def record(self, x_i, x_j):
        sizes.append(tuple(x_j.shape))
        return message(self, x_i, x_j)

    monkeypatch.setattr(MaxRelativeConv, "message", record)
    return sizes


def test_repr():
    assert str(MaxRelativeConv(8, 16)) == "MaxRelativeConv(8, 16, heads=4)"
    conv = MaxRelativeDeconv(8, 16, kernel_size=3)
    assert str(conv) == "MaxRelativeDeconv(8, 16, heads=4, kernel_size=3)"


@pytest.mark.parametrize("cls", [MaxRelativeConv, MaxRelativeDeconv])
def test_is_a_pyg_module(cls):
    x = torch.randn(20, 8)
    edge_index = torch.randint(20, (2, 70)).unique(dim=1)
    assert_module(cls(8, 12), x, edge_index, expected_size=(20, 12), atol=1e-5)


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
    hidden = conv.lin(*conv.relative(x, edge_index))
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(conv(x, edge_index), F.gelu(hidden), atol=1e-5)


def features(nodes, ties):
    # With ties: zeros, ones and minus ones, where PyG's scatter loses or shares gradient.
    random = torch.randint(-1, 2, (nodes, 5)) if ties else torch.randn(nodes, 5)
    return random.double().requires_grad_()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("edges", ["regular", "shuffled", "irregular"])
@pytest.mark.parametrize("bipartite", [False, True])
def test_values_and_gradients_equal_the_oracle(ties, edges, bipartite, monkeypatch):
    monkeypatch.setattr("pyg_viglad.nn.max_relative_conv._GATHERED", 60)  # few nodes at once
    source = features(11, ties)
    target = features(7, ties) if bipartite else source
    neighbors = torch.randint(11, (target.size(0), 4))
    centres = torch.arange(target.size(0)).repeat_interleave(4)
    edge_index = torch.stack([neighbors.flatten(), centres])
    if edges == "shuffled":
        edge_index = shuffle(edge_index)
    elif edges == "irregular":  # five, three or no neighbours
        centres = torch.tensor([5, 1, 2, 4, 0]).repeat(5)[:23]
        edge_index = torch.stack([torch.randint(11, (23,)), centres])
    x = (source, target) if bipartite else source
    _, relative = plain(5, 5, 1).relative(x, edge_index)
    gradient = torch.randn_like(relative)
    values, of_source, of_target = max_relative_oracle(
        source.detach(), target.detach(), edge_index, gradient
    )
    assert torch.equal(relative.detach(), values)
    relative.backward(gradient)
    if bipartite:
        assert torch.allclose(source.grad, of_source, atol=1e-12)
        assert torch.allclose(target.grad, of_target, atol=1e-12)
    else:
        assert torch.allclose(source.grad, of_source + of_target, atol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_plain_path_equals_the_oracle(ties):
    x = features(11, ties)
    edge_index = torch.stack([torch.randint(11, (25,)), torch.randint(6, (25,))])
    _, relative = watch(plain(5, 5, 1)).relative(x, edge_index)
    gradient = torch.randn_like(relative)
    values, of_source, of_target = max_relative_oracle(x.detach(), x.detach(), edge_index, gradient)
    assert torch.equal(relative.detach(), values)
    relative.backward(gradient)
    if ties:  # shared among equally large messages, none lost
        assert torch.allclose(x.grad.sum(), torch.zeros(()).double(), atol=1e-12)
    else:
        assert torch.allclose(x.grad, of_source + of_target, atol=1e-12)


def test_gradient_of_a_maximum_of_zero_is_not_lost():
    # PyG's own maximum loses half of it.
    source = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    target = torch.zeros(1, 4, dtype=torch.float64)
    for conv in (plain(), watch(plain())):
        _, relative = conv.relative((source, target), torch.tensor([[0], [0]]))
        (gradient,) = torch.autograd.grad(relative.sum(), source)
        assert torch.equal(gradient, torch.ones_like(source))


def test_any_degrees_equal_the_oracle():
    # Nodes with 0 to 5 edges as a table, and a node with so many that the table would be too large.
    for last in (6, 300):
        degree = torch.cat([torch.arange(6), torch.tensor([0, last, 0])])
        centres = torch.repeat_interleave(torch.arange(9), degree)
        edge_index = shuffle(torch.stack([torch.randint(9, centres.shape), centres]))
        x = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
        gradient = torch.randn(9, 5, dtype=torch.float64)
        values, *grads = max_relative_oracle(x.detach(), x.detach(), edge_index, gradient)
        _, relative = plain(5, 5, 1).relative(x, edge_index)
        assert torch.equal(relative.detach(), values)
        (found,) = torch.autograd.grad(relative, x, gradient)
        assert torch.allclose(found, grads[0] + grads[1], atol=1e-12)


def test_gradcheck():
    conv = plain(2, 2, 1)
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    regular = torch.stack([torch.randint(6, (18,)), torch.arange(6).repeat_interleave(3)])
    irregular = torch.randint(6, (2, 12))
    for edge_index in (regular, irregular):
        for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
            assert check(lambda x, e=edge_index: conv.relative(x, e)[1], (x,))


@pytest.mark.parametrize("k", [1, 256, 257])
def test_many_neighbors(k):
    x = torch.randn(300, 3, dtype=torch.float64)
    x = x[x[:, 0].argsort()].requires_grad_()  # of the first channel the last neighbour is largest
    neighbors = torch.stack([torch.randperm(300)[:k].sort().values for _ in x])
    edge_index = torch.stack([neighbors.flatten(), torch.arange(300).repeat_interleave(k)])
    _, relative = plain(3, 3, 1).relative(x, edge_index)
    expected = x[neighbors].max(dim=1).values - x
    gradient = torch.randn_like(expected)
    assert torch.equal(relative, expected)
    (found,), (wanted,) = (torch.autograd.grad(out, x, gradient) for out in (relative, expected))
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("path", ["table", "irregular", "messages", "compiled"])
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
    if path in ("irregular", "messages"):
        edge_index = shuffle(edge_index)
    if path == "messages":
        watch(conv)
    if path == "compiled":
        function = torch.compile(conv.relative, fullgraph=True, backend="aot_eager")
    gradient = (torch.rand(40, 6) / 32).to(dtype)
    _, out = function(x, edge_index, k=3 if path == "compiled" else None)
    values, of_source, of_target = max_relative_oracle(
        x.detach(), x.detach(), edge_index, gradient.double()
    )
    assert out.dtype == dtype
    out.backward(gradient)
    assert torch.allclose(out.double(), values, atol=atol, rtol=atol)
    assert torch.allclose(x.grad.double(), of_source + of_target, atol=atol, rtol=atol)


def test_paths_agree_and_only_the_plain_one_computes_messages(messages):
    conv = MaxRelativeConv(4, 8).eval()
    x = torch.randn(10, 4)
    edge_index = knn_graph(x, 3)
    expected = conv(x, edge_index)
    for other in (conv(x, edge_index, k=3), conv((x, x), edge_index), conv(x, shuffle(edge_index))):
        assert torch.allclose(other, expected)
    assert messages == []
    assert torch.allclose(watch(conv)(x, edge_index), expected)
    assert messages == [(30, 4)]


def test_as_many_edges_in_another_order_are_not_taken_for_regular():
    conv = plain()
    x = torch.randn(3, 4, dtype=torch.float64)
    edge_index = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 0, 0, 0, 1, 1]])  # 6 edges, node 2 has none
    expected, _, _ = max_relative_oracle(x, x, edge_index, torch.zeros(3, 4))
    assert torch.equal(conv.relative(x, edge_index)[1], expected)


@pytest.mark.parametrize("observed", [False, True])
def test_bipartite_with_size(observed):
    conv = watch(MaxRelativeConv(8, 16)) if observed else MaxRelativeConv(8, 16)
    source, target = torch.randn(5, 8), torch.randn(9, 8)
    edge_index = knn_graph(target, 3, y=source)
    assert conv((source, target), edge_index, (5, 9)).shape == (9, 16)
    assert conv((source, target), torch.tensor([[4], [8]])).shape == (9, 16)
    with pytest.raises(ValueError, match=r"'size' to be \(5, 9\).*got \(5, 8\)"):
        conv((source, target), edge_index, (5, 8))


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("bipartite", [False, True])
def test_flow(observed, bipartite):
    conv = plain()
    back = plain(flow="target_to_source", node_dim=0)
    back.load_state_dict(conv.state_dict())
    if observed:
        watch(back)
    x = torch.randn(12, 4, dtype=torch.float64)
    y = torch.randn(7, 4, dtype=torch.float64) if bipartite else x
    edge_index = torch.stack([torch.randint(len(y), (30,)), torch.randint(12, (30,))])
    expected = conv((y, x), edge_index)
    assert torch.allclose(back((x, y), edge_index.flip(0)), expected)
    reverse = knn_graph(x, 3, flow="target_to_source")
    assert torch.allclose(back(x, reverse), conv(x, reverse.flip(0)))
    assert torch.allclose(back(x, reverse, k=3), conv(x, reverse.flip(0)))


@pytest.mark.parametrize("sort_order", [None, "col"])
def test_edge_index_class(sort_order):
    conv = MaxRelativeConv(8, 16).eval()
    x = torch.randn(12, 8)
    edge_index = knn_graph(x, 4)
    for edges in (edge_index, edge_index[:, 1:]):
        typed = EdgeIndex(edges, sparse_size=(12, 12), sort_order=sort_order)
        assert torch.equal(conv(x, typed), conv(x, edges))


@pytest.mark.parametrize("observed", [False, True])
def test_sparse_adjacency(observed):
    conv = plain(8, 8)
    source, target = torch.randn(5, 8).double(), torch.randn(9, 8).double()
    edge_index = torch.randint(5, (2, 20)).unique(dim=1)
    expected = conv((source, target), edge_index)
    if observed:
        watch(conv)
    transposed = edge_index.flip(0)
    for adjacency in (
        to_torch_coo_tensor(transposed, size=(9, 5)),
        to_torch_csr_tensor(transposed, size=(9, 5)),
    ):
        assert torch.allclose(conv((source, target), adjacency), expected)
    with pytest.raises(ValueError, match="flow='source_to_target'"):
        plain(8, 8, flow="target_to_source")((source, target), adjacency)


def test_batched_graphs_equal_each_alone():
    conv = MaxRelativeConv(8, 16).eval()
    first, second = torch.randn(6, 8), torch.randn(9, 8)
    batch = torch.tensor([0] * 6 + [1] * 9)
    x = torch.cat([first, second])
    together = conv(x, knn_graph(x, 3, batch))
    alone = torch.cat([conv(part, knn_graph(part, 3)) for part in (first, second)])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("edges", [[[], []], [[0, 1, 2], [0, 0, 1]], [[0], [0]]])
def test_node_without_neighbors_has_relative_feature_zero(edges, observed):
    conv = watch(plain()) if observed else plain()
    x = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    edge_index = torch.tensor(edges, dtype=torch.int64)
    _, relative = conv.relative(x, edge_index)
    assert relative[2:].eq(0).all()
    conv(x, edge_index).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("observed", [True, False])
def test_no_nodes(training, observed):
    none, edge_index = torch.rand(0, 8, requires_grad=True), torch.empty(2, 0, dtype=torch.long)
    for conv in (MaxRelativeConv(8, 16), MaxRelativeDeconv(8, 16)):
        conv.train(training)
        if observed:
            conv.register_message_forward_hook(lambda *_: None)
        assert conv(none, edge_index).shape == (0, 16)
        assert conv(none, edge_index, k=3).shape == (0, 16)
        assert conv((none, torch.rand(5, 8)), edge_index).shape == (5, 16)
        assert conv((torch.rand(5, 8), none), edge_index).shape == (0, 16)
        conv(none, edge_index).sum().backward()
        assert none.grad.shape == (0, 8)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_constant_image(value):
    conv = MaxRelativeConv(8, 16)
    x = torch.full((40, 8), value, requires_grad=True)
    edge_index = knn_graph(x, 9, loop=True)
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
    for conv in (plain(), watch(plain())):
        assert conv.relative(x, edge_index)[1][0].isnan().tolist() == [False, False, True, False]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("k", [None, 3])
def test_compiled_equals_eager(training, k):
    conv = MaxRelativeConv(8, 16, norm=False).train(training)
    x = torch.randn(12, 8, requires_grad=training)
    edge_index = knn_graph(x, 3)
    compiled = torch.compile(conv, fullgraph=True, backend="aot_eager")
    out, expected = compiled(x, edge_index, k=k), conv(x, edge_index, k=k)
    assert torch.allclose(out, expected, atol=1e-6)
    if training:
        (gradient,) = torch.autograd.grad(out.square().sum(), x)
        (wanted,) = torch.autograd.grad(expected.square().sum(), x)
        assert torch.allclose(gradient, wanted, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_exported_equals_eager(training):
    conv = MaxRelativeConv(8, 16, norm=False).train(training)
    x = torch.randn(12, 8)
    edge_index = knn_graph(x, 3)
    nodes, edges = torch.export.Dim("nodes", max=1000), torch.export.Dim("edges", max=9000)
    sizes = {"x": {0: nodes}, "edge_index": {1: edges}}
    irregular = torch.export.export(conv, (x, edge_index), dynamic_shapes=sizes)
    regular = torch.export.export(conv, (x, edge_index), {"k": 3})
    expected = conv(x, edge_index)
    assert torch.allclose(irregular.module()(x, edge_index), expected, atol=1e-6)
    assert torch.allclose(regular.module()(x, edge_index, k=3), expected, atol=1e-6)


def test_hooks_see_the_messages():
    conv = MaxRelativeConv(8, 4).eval()
    x = torch.randn(12, 8)
    edge_index = knn_graph(x, 3)
    expected = conv(x, edge_index)
    seen = []
    for register in (
        conv.register_propagate_forward_pre_hook,
        conv.register_propagate_forward_hook,
        conv.register_message_forward_pre_hook,
        conv.register_message_forward_hook,
        conv.register_aggregate_forward_pre_hook,
        conv.register_aggregate_forward_hook,
    ):
        hook = register(lambda *_: seen.append(1))
        assert torch.allclose(conv(x, edge_index, k=3), expected)
        hook.remove()
    assert len(seen) == 6
    conv(x, edge_index)
    assert len(seen) == 6


def explain(model, x, edge_index):
    explainer = Explainer(
        model,
        GNNExplainer(epochs=3),
        explanation_type="model",
        edge_mask_type="object",
        model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
    )
    return explainer(x, edge_index).edge_mask


def test_explainer_finds_the_edges():
    conv = MaxRelativeConv(8, 4)
    x = torch.randn(12, 8)
    edge_index = knn_graph(x, 3)
    mask = explain(conv, x, edge_index)
    assert mask.shape == (36,)
    assert (mask.view(12, 3).amax(dim=1) > 0).all()


@pytest.mark.parametrize("conv", [MaxRelativeConv(8, 16), MaxRelativeDeconv(8, 16, kernel_size=3)])
def test_reset_parameters_reproduces_the_state(conv):
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        conv.reset_parameters()
        states.append({name: value.clone() for name, value in conv.state_dict().items()})
        conv(torch.randn(20, 8), torch.randint(20, (2, 9)), grid_size=(4, 5))
        with torch.no_grad():
            conv.lin.weight.add_(1)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("conv", "inputs"),
    [(MaxRelativeConv(64, 128, 2), 64), (MaxRelativeDeconv(64, 128, 2, kernel_size=3), 64 * 9)],
)
def test_parameters_are_drawn_as_those_of_a_linear_layer(conv, inputs):
    conv.reset_parameters()
    for parameter in (conv.lin.weight, conv.lin.bias):
        low, high = inputs**0.5 * parameter.min().item(), inputs**0.5 * parameter.max().item()
        assert -1 <= low < -0.9
        assert 0.9 < high <= 1


def test_heads_equal_a_grouped_convolution():
    layer = MaxRelativeConv(6, 8, heads=2).lin
    x, relative = torch.randn(9, 6), torch.randn(9, 6)
    weight = layer.weight.transpose(1, 2).reshape(8, 6, 1)
    joined = torch.stack([x, relative], dim=2).flatten(1)
    expected = F.conv1d(joined.t()[None], weight, layer.bias, groups=2)[0].t()
    assert torch.allclose(layer(x, relative), expected, atol=1e-6)


def transposed_conv_oracle(maps, weight, bias, groups):
    """Transposed convolution, stride 1, padding 1: every input spreads over its neighbourhood."""
    images, channels, rows, columns = maps.shape
    per_group = weight.size(1)
    out = bias.view(1, -1, 1, 1).expand(images, -1, rows, columns).clone()
    for channel in range(channels):
        group = channel // (channels // groups)
        target = slice(group * per_group, (group + 1) * per_group)
        for row in range(rows):
            for column in range(columns):
                for i in range(3):
                    for j in range(3):
                        r, c = row + i - 1, column + j - 1
                        if 0 <= r < rows and 0 <= c < columns:
                            spread = maps[:, channel, row, column, None] * weight[channel, :, i, j]
                            out[:, target, r, c] += spread
    return out


def test_deconvolution_of_kernel_1_equals_the_convolution():
    deconv = MaxRelativeDeconv(8, 16)
    conv = MaxRelativeConv(8, 16)
    with torch.no_grad():
        conv.lin.weight.copy_(deconv.lin.weight.view_as(conv.lin.weight))
        conv.lin.bias.copy_(deconv.lin.bias)
    x = torch.randn(12, 8)
    edge_index = knn_graph(x, 4)
    assert torch.equal(deconv(x, edge_index), conv(x, edge_index))


def test_deconvolution_of_kernel_1_equals_a_transposed_convolution():
    deconv = MaxRelativeDeconv(8, 16, norm=False, act=None)
    x = torch.randn(12, 8)
    joined = torch.stack(deconv.relative(x, knn_graph(x, 4)), dim=2).flatten(1)
    maps = joined.view(1, 3, 4, 16).permute(0, 3, 1, 2)
    expected = F.conv_transpose2d(maps, deconv.lin.weight, deconv.lin.bias, groups=4)
    out = deconv(x, knn_graph(x, 4))
    assert torch.allclose(out, expected.permute(0, 2, 3, 1).reshape(12, 16), atol=1e-6)


def test_deconvolution_of_kernel_3_equals_the_oracle():
    deconv = MaxRelativeDeconv(4, 6, heads=2, kernel_size=3, norm=False, act=None).double()
    x = torch.randn(2 * 3 * 4, 4, dtype=torch.float64)
    edge_index = knn_graph(x, 3, batch_size=2)
    relative, _, _ = max_relative_oracle(x, x, edge_index, torch.zeros(24, 4))
    joined = torch.stack([x, relative], dim=2).flatten(1)
    maps = joined.view(2, 3, 4, 8).permute(0, 3, 1, 2)
    expected = transposed_conv_oracle(maps, deconv.lin.weight.detach(), deconv.lin.bias.detach(), 2)
    out = deconv(x, edge_index, grid_size=(3, 4))
    assert torch.allclose(out, expected.permute(0, 2, 3, 1).reshape(24, 6), atol=1e-12)
    out.square().sum().backward()
    assert all(parameter.grad is not None for parameter in deconv.parameters())


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda x, e: MaxRelativeConv(6, 16), "divisible by 'heads' .*got 6, 16 and 4"),
        (lambda x, e: MaxRelativeConv(8, 6), "divisible by 'heads'"),
        (lambda x, e: MaxRelativeConv(8, 16, heads=0), "divisible by 'heads'"),
        (lambda x, e: MaxRelativeConv(8, 16)(x[:, 1:], e), r"\[N, 8\] \(got \[12, 7\]\)"),
        (lambda x, e: MaxRelativeConv(8, 16)(x[..., None], e), r"\[N, 8\] \(got \[12, 8, 1\]\)"),
        (lambda x, e: MaxRelativeConv(8, 16)(x, e[0]), r"'edge_index' to be \[2, E\]"),
        (lambda x, e: MaxRelativeConv(8, 16)(x, e.expand(3, 2, 36)[0, [0, 1, 1]]), "to be"),
        (lambda x, e: MaxRelativeConv(8, 16)(x, e.int()), "torch.int64"),
        (lambda x, e: MaxRelativeConv(8, 16, flow="up"), "'flow'"),
        (lambda x, e: MaxRelativeDeconv(6, 16), "divisible by 'heads'"),
        (lambda x, e: MaxRelativeDeconv(8, 16, kernel_size=2), r"1 or 3 \(got 2\)"),
        (lambda x, e: MaxRelativeDeconv(8, 16, kernel_size=3)(x, e), "'grid_size'"),
        (
            lambda x, e: MaxRelativeDeconv(8, 16, kernel_size=3)(x, e, grid_size=(5, 4)),
            "5 x 4 grids",
        ),
    ],
)
def test_bad_input(make, match):
    x = torch.randn(12, 8)
    with pytest.raises(ValueError, match=match):
        make(x, knn_graph(x, 3))


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
