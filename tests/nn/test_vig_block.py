import shutil

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch_geometric import EdgeIndex
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import GraphConv
from torch_geometric.testing import assert_module

from pyg_viglad.nn import (
    OPERATORS,
    ConvViG,
    DeconvViG,
    MaxRelativeDeconv,
    knn_graph,
    position_codes,
)
from tests.oracles.pyramid_vig import nearest, relative_position_table

BLOCKS = [ConvViG, DeconvViG]
VIG = {"loop": True, "cosine": True}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shake(block):
    """Move the normalization's weights and statistics away from one and zero."""
    for module in block.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return block


@pytest.mark.parametrize("block", BLOCKS)
def test_repr(block):
    text = str(block(8, k=5, dilation=2))
    assert text.startswith(f"{block.__name__}(\n  8, k=5, dilation=2")
    assert "MaxRelative" in text


@pytest.mark.parametrize("block", BLOCKS)
def test_is_a_pyg_module(block):
    x, edge_index = torch.randn(20, 8), torch.randint(20, (2, 70))
    module = block(8, k=4)
    assert_module(module, x, edge_index, expected_size=(20, 8), test_sparse_layouts=[], atol=1e-5)


def test_equals_equations_6_and_7():
    block = shake(ConvViG(8, k=3, heads=2, ffn_ratio=2)).eval()
    x = torch.randn(10, 8)
    state = block.state_dict()

    def linear(values, name):
        return values @ state[f"{name}.weight"].t() + state[f"{name}.bias"]

    def norm(values, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scaled = (values - mean) / (var + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    hidden = norm(linear(x, "fc_in.0"), "fc_in.1")
    neighbors = knn_graph(hidden, 3, **VIG)[0].view(10, 3)
    relative = hidden[neighbors].amax(1) - hidden
    joined = torch.stack([hidden, relative], dim=2).flatten(1)
    heads = [
        part @ weight
        for part, weight in zip(joined.chunk(2, 1), state["conv.lin.weight"], strict=True)
    ]
    conv = F.gelu(norm(torch.cat(heads, 1) + state["conv.lin.bias"], "conv.norm"))
    y = norm(linear(conv, "fc_out.0"), "fc_out.1") + x
    z = norm(linear(F.gelu(norm(linear(y, "ffn.0"), "ffn.1")), "ffn.3"), "ffn.4") + y
    assert torch.allclose(block(x), z, atol=1e-5)


@pytest.mark.parametrize("block", BLOCKS)
def test_graph_is_built_from_the_features_the_operator_sees(block):
    module = block(8, k=4, dilation=2).eval()
    x = torch.randn(2 * 15, 8)
    out, edge_index = module(x, batch_size=2, return_edge_index=True)
    batch = torch.arange(2).repeat_interleave(15)
    assert torch.equal(edge_index, knn_graph(module.fc_in(x), 4, batch, **VIG, dilation=2))
    assert torch.equal(out, module(x, batch_size=2))
    assert torch.allclose(out, module(x, edge_index), atol=1e-6)
    assert torch.allclose(out, module(x, edge_index, k=4), atol=1e-6)
    assert torch.allclose(out, module(x, batch=batch), atol=1e-6)
    assert torch.allclose(out, module(x, EdgeIndex(edge_index, sparse_size=(30, 30))), atol=1e-6)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("sizes", [[7, 7], [6, 11, 9], [2, 12], [1, 0, 5]])
def test_batched_graphs_equal_each_alone(block, sizes):
    module = block(8, k=4, dilation=2).eval()
    parts = [torch.randn(size, 8) for size in sizes if size]
    batch = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    together = module(torch.cat(parts), batch=batch)
    alone = torch.cat([module(part) for part in parts])
    assert torch.allclose(together, alone, atol=1e-5)


def test_k_and_dilation_are_clamped_to_the_nodes():
    block = ConvViG(8, k=9, dilation=3).eval()
    _, edge_index = block(torch.randn(4, 8), return_edge_index=True)
    assert edge_index.shape == (2, 16)
    _, edge_index = block(torch.randn(20, 8), return_edge_index=True)
    assert edge_index.shape == (2, 180)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("operator", [*OPERATORS, GraphConv, "TransformerConv"])
def test_operators(block, operator):
    module = block(8, k=4, operator=operator)
    x = torch.randn(18, 8, requires_grad=True)
    module(x, batch_size=2).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("reduce_ratio", [1, 2])
def test_edge_features(block, reduce_ratio):
    options = {"edge_features": ["distance", "position"]}
    module = block(8, 4, operator="gatv2", operator_kwargs=options, reduce_ratio=reduce_ratio)
    x = torch.randn(60, 8, requires_grad=True)
    module(x, batch_size=2, grid_size=(5, 6)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    module = module.eval()
    alone = [module(part, grid_size=(5, 6)) for part in (x[:30], x[30:])]
    assert torch.allclose(module(x, grid_size=(5, 6), batch_size=2), torch.cat(alone), atol=1e-5)
    with pytest.raises(ValueError, match="'grid_size'"):
        module(x)


def test_edge_weights_in_graphs_of_other_sizes():
    options = {"edge_features": ["distance"]}
    module = ConvViG(8, 4, operator="GCNConv", operator_kwargs=options).eval()
    parts = [torch.randn(7, 8), torch.randn(12, 8)]
    batch = torch.tensor([0] * 7 + [1] * 12)
    together = module(torch.cat(parts), batch=batch)
    assert torch.allclose(together, torch.cat([module(part) for part in parts]), atol=1e-5)


@pytest.mark.parametrize("block", BLOCKS)
def test_one_node_in_training(block):
    module = block(8, k=4).train()
    out = module(torch.randn(1, 8))
    assert out.isfinite().all()
    assert all(
        int(m.num_batches_tracked) == 0 for m in module.modules() if isinstance(m, nn.BatchNorm1d)
    )


@pytest.mark.parametrize("block", BLOCKS)
def test_constant_image(block):
    x = torch.full((49, 8), 0.3, requires_grad=True)
    module = block(8, k=9)
    out = module(x)
    assert torch.equal(out, module(x))
    out.sum().backward()
    assert x.grad.isfinite().all()


def test_drop_path_leaves_out_whole_graphs_in_training_only():
    block = ConvViG(8, k=3, drop_path=0.5)
    x = torch.randn(400, 8)
    same = (block(x, batch_size=100) == x).all(1).view(100, 4)
    assert torch.equal(same.all(1), same.any(1))
    assert 10 < int(same.all(1).sum()) < 45  # both branches dropped: a quarter
    batch = torch.arange(100).repeat_interleave(4)
    same = (block(x, batch=batch) == x).all(1).view(100, 4)
    assert torch.equal(same.all(1), same.any(1))
    block.eval()
    assert not (block(x, batch_size=100) == x).all(1).any()


@pytest.mark.parametrize("block", BLOCKS)
def test_compiled_equals_eager(block):
    module = block(8, k=4).eval()
    x = torch.randn(2 * 12, 8)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x, batch_size=2), module(x, batch_size=2), atol=1e-6)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_compiled_code_equals_eager():
    module = ConvViG(8, k=4).eval()
    x = torch.randn(2 * 12, 8, requires_grad=True)
    compiled = torch.compile(module, fullgraph=True, backend="inductor")
    out, expected = compiled(x, batch_size=2), module(x, batch_size=2)
    assert torch.allclose(out, expected, atol=1e-5)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    (wanted,) = torch.autograd.grad(expected.square().sum(), x)
    assert torch.allclose(gradient, wanted, rtol=1e-4, atol=1e-4)


def test_exported_equals_eager():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = ConvViG(8, k=4, dilation=2)

        def forward(self, x):
            return self.block(x.flatten(0, 1), batch_size=x.size(0)).view_as(x)

    network = Network().eval()
    size = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network, (torch.randn(2, 30, 8),), dynamic_shapes=size)
    x = torch.randn(5, 30, 8)
    assert torch.allclose(program.module()(x), network(x), atol=1e-6)


@pytest.mark.parametrize("block", BLOCKS)
def test_reset_parameters_reproduces_the_state(block):
    module = block(8, k=4)
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        module.reset_parameters()
        states.append({name: value.clone() for name, value in module.state_dict().items()})
        module(torch.randn(9, 8))
        shake(module)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def maps_of(nodes, grid_size):
    return nodes.view(-1, *grid_size, nodes.size(1)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("reduce_ratio", [1, 2])
@pytest.mark.parametrize("side", [None, 6])
@pytest.mark.parametrize("grid_size", [(6, 6), (4, 8), (7, 5), (3, 4)])
def test_extras_of_pyramid_vig(block, reduce_ratio, side, grid_size):
    """At the grid of the table, and at others, where table and all change."""
    module = block(8, 2, 2, reduce_ratio=reduce_ratio, relative_position=side)
    module = shake(module).double().eval()
    nodes = grid_size[0] * grid_size[1]
    x = torch.randn(2 * nodes, 8, dtype=torch.float64)
    kwargs = {"grid_size": grid_size, "batch_size": 2}
    out, edge_index = module(x, return_edge_index=True, **kwargs)
    hidden = module.fc_in(x)
    maps = maps_of(hidden, grid_size)
    pooled = F.avg_pool2d(maps, reduce_ratio)  # leaves out what fills no whole cell
    source = pooled.permute(0, 2, 3, 1).reshape(-1, 8)
    table = None if side is None else relative_position_table(8, side, reduce_ratio)
    dilation = min(2, pooled[0, 0].numel() // 2)
    expected = nearest(maps, pooled, 2, dilation, table)
    expected = expected + torch.tensor([0, len(source) // 2]).view(2, 1, 1)
    assert torch.equal(edge_index[0].view(2, nodes, 2), expected)
    y = x + module.fc_out(module.conv((source, hidden), edge_index))
    assert torch.allclose(out, y + module.ffn(y), atol=1e-10)
    assert torch.allclose(module(x, edge_index, **kwargs), out, atol=1e-10)
    out.sum().backward()


@pytest.mark.parametrize(
    ("side", "channels", "reduce_ratio"), [(56, 48, 4), (28, 96, 2), (7, 8, 1)]
)
def test_position_codes_are_factors_of_the_table(side, channels, reduce_ratio):
    table = relative_position_table(channels, side, reduce_ratio)[0]
    first, second = position_codes(channels, side, reduce_ratio, dtype=torch.float64)
    assert torch.allclose(-2 * first @ second.t(), table, atol=1e-13)
    size = (side * (side + 8), side * (side + 8) // reduce_ratio**2)
    table = F.interpolate(table[None, None], size, mode="bicubic")[0, 0]
    first, second = position_codes(channels, side, reduce_ratio, *size, dtype=torch.float64)
    assert torch.allclose(-2 * first @ second.t(), table, atol=1e-13)


def test_positions_rank_features_of_zero_as_pyramid_vig_does():
    """Such candidates are nearer than in cosine distance: |0 - x| is 1, of unit vectors up to 2."""
    module = ConvViG(8, 4, relative_position=4, reduce_ratio=2).double().eval()
    module.fc_in = nn.Identity()
    x = torch.randn(64, 8, dtype=torch.float64)
    x[[0, 1, 8, 9, 20, 40]] = 0  # one whole cell, and parts of two others
    edge_index = module(x, grid_size=(8, 8), return_edge_index=True)[1]
    maps = maps_of(x, (8, 8))
    expected = nearest(maps, F.avg_pool2d(maps, 2), 4, 1, relative_position_table(8, 4, 2))
    assert torch.equal(edge_index[0].view(1, 64, 4), expected)


def test_each_node_is_its_own_first_neighbour_where_the_table_is_made_for_the_grid():
    module = ConvViG(8, 4, relative_position=5).eval()
    edge_index = module(torch.ones(50, 8), grid_size=(5, 5), return_edge_index=True)[1]
    assert torch.equal(edge_index[0].view(50, 4)[:, 0], torch.arange(50))


def test_grids_narrower_than_a_cell_are_one_cell():
    module = ConvViG(8, 9, reduce_ratio=4, relative_position=56)
    out, edge_index = module(torch.randn(22, 8), grid_size=(2, 11), return_edge_index=True)
    assert (out.shape, edge_index.shape) == ((22, 8), (2, 44))
    assert int(edge_index[0].max()) == 1


def test_positions_in_compiled_and_exported_code():
    module = ConvViG(8, k=4, relative_position=4, reduce_ratio=2).eval()
    x = torch.randn(2 * 24, 8)
    expected = module(x, grid_size=(4, 6))
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x, grid_size=(4, 6)), expected, atol=1e-6)
    program = torch.export.export(module, (x,), {"grid_size": (4, 6)})
    assert torch.allclose(program.module()(x, grid_size=(4, 6)), expected, atol=1e-6)
    assert torch.equal(module(x, grid_size=(4, 6)), expected)


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_see_pooled_candidates(operator):
    module = ConvViG(8, 3, operator=operator, reduce_ratio=2)
    x = torch.randn(40, 8)
    out, edges = module.eval()(x, batch_size=2, grid_size=(4, 5), return_edge_index=True)
    hidden = module.fc_in(x)
    maps = hidden.view(2, 4, 5, 8)
    parts = [maps[:, r : r + 2, c : c + 2].mean((1, 2)) for r in (0, 2) for c in (0, 2)]
    pair = (torch.stack(parts, dim=1).flatten(0, 1), hidden)
    y = x + module.fc_out(module.conv(pair, edges))
    assert torch.allclose(out, y + module.ffn(y), atol=1e-5)


@pytest.mark.parametrize("block", BLOCKS)
def test_explainer_finds_the_edges(block):
    module = block(8, k=3)
    x = torch.randn(20, 8)
    edge_index = knn_graph(module.eval().fc_in(x), 3, loop=True)
    explainer = Explainer(
        module,
        GNNExplainer(epochs=3),
        explanation_type="model",
        edge_mask_type="object",
        model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
    )
    mask = explainer(x, edge_index).edge_mask
    assert mask.shape == (60,)
    assert (mask.view(20, 3)[:, 1:].amax(dim=1) > 0).all()


@pytest.mark.parametrize("name", ["max_relative", "MaxRelativeConv"])
def test_operator_is_the_deconvolution_by_any_spelling(name):
    block = DeconvViG(8, k=3, operator=name, kernel_size=3)
    assert isinstance(block.conv, MaxRelativeDeconv)


def test_operator_is_the_deconvolution():
    block = DeconvViG(8, k=3, heads=2, kernel_size=3)
    assert isinstance(block.conv, MaxRelativeDeconv)
    assert (block.conv.kernel_size, block.conv.heads) == (3, 2)


def test_kernel_1_equals_the_encoders_block():
    torch.manual_seed(0)
    deconv, conv = DeconvViG(8, k=3), ConvViG(8, k=3)
    state = deconv.state_dict()
    state["conv.lin.weight"] = state["conv.lin.weight"].view_as(conv.conv.lin.weight)
    conv.load_state_dict(state)
    x = torch.randn(12, 8)
    assert torch.equal(deconv(x), conv(x))


def test_kernel_3_reaches_the_nodes_around():
    torch.manual_seed(0)
    block = DeconvViG(8, k=1, kernel_size=3).eval()  # k=1: each node is its only neighbour
    x = torch.randn(2 * 5 * 6, 8)
    changed = x.clone()
    changed[2 * 6 + 3] += 1  # row 2, column 3 of the first image
    kwargs = {"batch_size": 2, "grid_size": (5, 6)}
    moved = (block(x, **kwargs) != block(changed, **kwargs)).any(1).view(2, 5, 6)
    expected = torch.zeros(2, 5, 6, dtype=torch.bool)
    expected[0, 1:4, 2:5] = True
    assert torch.equal(moved, expected)


def test_weights_count_as_in_vig():
    # Two linear layers C x C, the operator 2C x 2C in 4 heads, 2C x C, and the FFN 2 x 4C^2.
    block = ConvViG(48, k=9)
    weights = sum(p.numel() for p in block.parameters() if p.dim() > 1)
    assert weights == 12 * 48**2


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ConvViG(8, k=0), "'k' to be at least 1"),
        (lambda: ConvViG(8, k=3, dilation=0), "'dilation' to be at least 1"),
        (lambda: ConvViG(8, k=3, drop_path=1.0), r"\[0, 1\)"),
        (lambda: ConvViG(8, k=3, ffn_ratio=0), "'ffn_ratio'"),
        (lambda: ConvViG(6, k=3), "divisible by 'heads'"),
        (lambda: ConvViG(8, k=3, operator="none"), "got 'none'"),
        (lambda: ConvViG(8, k=3, operator_kwargs={"flow": "up"}), "'flow'"),
        (lambda: DeconvViG(8, k=3, operator_kwargs={"colour": 1}), "MaxRelativeDeconv.*colour"),
        (lambda: DeconvViG(8, k=3, kernel_size=3)(torch.zeros(6, 8)), "'grid_size'"),
        (
            lambda: DeconvViG(8, k=3, operator="sage", kernel_size=3),
            r"'kernel_size' to be 1 with operator 'sage' \(got 3\)",
        ),
        (lambda: ConvViG(8, k=3, reduce_ratio=0), "'reduce_ratio' to be at least 1"),
        (lambda: ConvViG(6, 3, heads=2, relative_position=7), "divisible by 4"),
        (lambda: ConvViG(8, 3, reduce_ratio=2.0), r"'reduce_ratio' to be an integer \(got 2.0\)"),
        (lambda: ConvViG(8, 3, relative_position=True), r"an integer \(got True\)"),
        (lambda: ConvViG(8, 3, relative_position=0), "'relative_position' to be at least 1"),
        (
            lambda: ConvViG(8, 3, relative_position=4)(torch.rand(30, 8), grid_size=(3, 4)),
            r"nodes of 3 x 4 grids \(got 30\)",
        ),
        (lambda: ConvViG(8, 3, reduce_ratio=4, relative_position=3), "at least 4 nodes a side"),
        (lambda: ConvViG(8, 3, relative_position=7)(torch.zeros(49, 8)), "'grid_size'"),
        (lambda: ConvViG(8, k=3, reduce_ratio=2)(torch.zeros(6, 8)), "'grid_size'"),
        (lambda: ConvViG(8, k=3)(torch.zeros(5, 7)), r"\[N, 8\] \(got \[5, 7\]\)"),
        (
            lambda: ConvViG(8, k=3)(torch.zeros(4, 8), batch=torch.tensor([0, 1, 0, 1])),
            "'batch' to be sorted",
        ),
        (lambda: ConvViG(8, k=3)(torch.zeros(5, 8), batch_size=2), r"2 graphs .*got 5 nodes"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises(ValueError, match=match):
        make()
