from typing import get_args

import pytest
import torch

from pyg_viglad.nn import Downsample, Upsample, Upsampling, to_maps, to_nodes
from tests.oracles.resample import convolve, upsample

MODES = get_args(Upsampling)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_nodes_are_row_major():
    x = torch.arange(12.0).view(12, 1)
    maps = to_maps(x, (2, 3))
    assert maps[0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert maps[1, 0, 0, 0] == 6
    assert torch.equal(to_nodes(maps), x)


@pytest.mark.parametrize("grid_size", [(8, 8), (7, 5), (1, 2), (1, 1)])
def test_downsample_equals_the_oracle(grid_size):
    layer = Downsample(4, 6).double().eval()
    x = torch.randn(2 * grid_size[0] * grid_size[1], 4, dtype=torch.float64)
    out, size = layer(x, grid_size)
    assert size == ((grid_size[0] + 1) // 2, (grid_size[1] + 1) // 2)
    expected = convolve(to_maps(x, grid_size), layer.conv.weight, layer.conv.bias, stride=2)
    assert torch.allclose(out, to_nodes(expected) / (1 + 1e-5) ** 0.5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("grid_size", "output_size"),
    [((4, 5), (8, 10)), ((4, 5), (7, 9)), ((4, 5), (7, 10)), ((1, 3), (1, 6)), ((1, 1), (2, 2))],
)
def test_upsample_equals_the_oracle(mode, grid_size, output_size):
    layer = Upsample(6, 4, mode).double().eval()
    x = torch.randn(2 * grid_size[0] * grid_size[1], 6, dtype=torch.float64, requires_grad=True)
    out, size = layer(x, grid_size, output_size)
    assert size == output_size
    weight, bias = layer.conv.weight, layer.conv.bias
    expected = upsample(to_maps(x, grid_size), weight, bias, mode, output_size)
    expected = to_nodes(expected) / (1 + 1e-5) ** 0.5
    assert out.shape == expected.shape
    assert torch.allclose(out, expected)
    seed = torch.randn_like(out)
    found = torch.autograd.grad((out * seed).sum(), [x, weight, bias])
    for one, other in zip(
        found, torch.autograd.grad((expected * seed).sum(), [x, weight, bias]), strict=True
    ):
        assert torch.allclose(one, other)


@pytest.mark.parametrize("mode", MODES)
def test_resized_grids_have_no_lattice(mode):
    out, _ = Upsample(3, 1, mode).eval()(torch.ones(25, 3), (5, 5), (10, 10))
    inner = out.view(10, 10)[2:8, 2:8]
    squares = inner.unflatten(0, (3, 2)).unflatten(2, (3, 2)).transpose(1, 2)  # 3 x 3 of 2 x 2
    assert torch.allclose(squares, squares[:1, :1].expand_as(squares), atol=1e-6)
    assert (squares[0, 0].std() > 0.01) == mode.startswith("transposed")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("grid_size", [(56, 56), (24, 40), (3, 7)])
def test_up_returns_to_the_size_before_down(grid_size, mode):
    x = torch.randn(grid_size[0] * grid_size[1], 4)
    small, small_size = Downsample(4, 8)(x, grid_size)
    large, large_size = Upsample(8, 4, mode)(small, small_size, grid_size)
    assert large.shape == x.shape
    assert large_size == grid_size


def test_training_normalises_over_all_nodes():
    out, _ = Downsample(4, 6)(torch.randn(2 * 64, 4), (8, 8))
    assert torch.allclose(out.mean(0), torch.zeros(6), atol=1e-5)
    assert torch.allclose(out.var(0, unbiased=False), torch.ones(6), atol=1e-3)


def test_one_node_in_training():
    out, size = Downsample(4, 6)(torch.randn(1, 4), (1, 1))
    assert size == (1, 1)
    out, _ = Upsample(6, 4)(out, size, (1, 1))
    assert out.isfinite().all()


@pytest.mark.parametrize("layer", [Downsample(4, 6), *(Upsample(4, 6, mode) for mode in MODES)])
def test_reset_parameters(layer):
    before = layer.conv.weight.clone()
    layer.reset_parameters()
    assert not torch.equal(before, layer.conv.weight)


def test_bad_input():
    with pytest.raises(ValueError, match=r"4 x 4 grids \(got \[15, 4\]\)"):
        Downsample(4, 6)(torch.zeros(15, 4), (4, 4))
    for size in ((6, 8), (9, 8), (8, 4)):
        with pytest.raises(ValueError, match="twice"):
            Upsample(4, 6)(torch.zeros(16, 4), (4, 4), size)
    with pytest.raises(ValueError, match=r"'mode' of upsampling among .*nearest.*got 'cubic'"):
        Upsample(4, 6, "cubic")
