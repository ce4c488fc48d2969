import pytest
import torch

from pyg_viglad.nn import MaxRelativeConv, MaxRelativeDeconv, knn_graph
from tests.oracles.max_relative import max_relative_oracle


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


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


def test_repr():
    conv = MaxRelativeDeconv(8, 16, kernel_size=3)
    assert str(conv) == "MaxRelativeDeconv(8, 16, heads=4, kernel_size=3)"


def test_kernel_1_equals_the_convolution():
    deconv = MaxRelativeDeconv(8, 16)
    conv = MaxRelativeConv(8, 16)
    with torch.no_grad():
        conv.lin.weight.copy_(deconv.lin.weight.view_as(conv.lin.weight))
        conv.lin.bias.copy_(deconv.lin.bias)
    x = torch.randn(12, 8)
    edge_index = knn_graph(x, 4)
    assert torch.equal(deconv(x, edge_index), conv(x, edge_index))


def test_kernel_1_equals_a_transposed_convolution():
    deconv = MaxRelativeDeconv(8, 16, norm=False, act=None)
    x = torch.randn(12, 8)
    target, relative = deconv.relative(x, knn_graph(x, 4))
    joined = torch.stack([target, relative], dim=2).flatten(1)
    maps = joined.view(1, 3, 4, 16).permute(0, 3, 1, 2)
    expected = torch.nn.functional.conv_transpose2d(
        maps, deconv.lin.weight, deconv.lin.bias, groups=4
    )
    out = deconv(x, knn_graph(x, 4))
    assert torch.allclose(out, expected.permute(0, 2, 3, 1).reshape(12, 16), atol=1e-6)


def test_kernel_3_equals_the_oracle():
    deconv = MaxRelativeDeconv(4, 6, heads=2, kernel_size=3, norm=False, act=None).double()
    x = torch.randn(2 * 3 * 4, 4, dtype=torch.float64)
    edge_index = knn_graph(x, 3, torch.arange(2).repeat_interleave(12))
    relative, _, _ = max_relative_oracle(x, x, edge_index, torch.zeros(24, 4))
    joined = torch.stack([x, relative], dim=2).flatten(1)
    maps = joined.view(2, 3, 4, 8).permute(0, 3, 1, 2)
    expected = transposed_conv_oracle(maps, deconv.lin.weight.detach(), deconv.lin.bias.detach(), 2)
    out = deconv(x, edge_index, grid_size=(3, 4))
    assert torch.allclose(out, expected.permute(0, 2, 3, 1).reshape(24, 6), atol=1e-12)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_reset_parameters_reproduces_the_state(kernel_size):
    conv = MaxRelativeDeconv(8, 16, kernel_size=kernel_size)
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        conv.reset_parameters()
        states.append({name: value.clone() for name, value in conv.state_dict().items()})
        with torch.no_grad():
            conv.lin.weight.add_(1)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_gradients_reach_all_parameters():
    conv = MaxRelativeDeconv(8, 16, kernel_size=3)
    x = torch.randn(12, 8)
    conv(x, knn_graph(x, 4), grid_size=(3, 4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in conv.parameters())


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda x, e: MaxRelativeDeconv(8, 16, kernel_size=2), r"1 or 3 \(got 2\)"),
        (lambda x, e: MaxRelativeDeconv(8, 16, kernel_size=3)(x, e), "'grid_size'"),
        (
            lambda x, e: MaxRelativeDeconv(8, 16, kernel_size=3)(x, e, grid_size=(5, 4)),
            "5 x 4 grids",
        ),
        (lambda x, e: MaxRelativeDeconv(6, 16), "divisible by 'heads'"),
    ],
)
def test_bad_input(make, match):
    x = torch.randn(12, 8)
    with pytest.raises(ValueError, match=match):
        make(x, knn_graph(x, 3))
