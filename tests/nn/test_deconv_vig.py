import pytest
import torch

from pyg_viglad.nn import ConvViG, DeconvViG, MaxRelativeDeconv

# What both blocks share is tested in test_conv_vig.py.


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


@pytest.mark.parametrize("grid_size", [(7, 7), (4, 9)])
def test_sizes(grid_size):
    block = DeconvViG(8, k=4, kernel_size=3)
    nodes = 3 * grid_size[0] * grid_size[1]
    assert block(torch.randn(nodes, 8), batch_size=3, grid_size=grid_size).shape == (nodes, 8)


def test_bad_input():
    with pytest.raises(ValueError, match="'grid_size'"):
        DeconvViG(8, k=3, kernel_size=3)(torch.zeros(6, 8))
    with pytest.raises(ValueError, match=r"'kernel_size' to be 1 with operator 'sage' \(got 3\)"):
        DeconvViG(8, k=3, operator="sage", kernel_size=3)
