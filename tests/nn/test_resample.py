import pytest
import torch

from pyg_viglad.nn import Downsample, Upsample, to_maps, to_nodes


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def loops(maps, weight, bias):
    """3 x 3 convolution, stride 2, padding 1, one output at a time."""
    images, _, rows, columns = maps.shape
    out = bias.view(1, -1, 1, 1).repeat(images, 1, (rows + 1) // 2, (columns + 1) // 2)
    for row in range(out.size(2)):
        for column in range(out.size(3)):
            for i in range(3):
                for j in range(3):
                    r, c = 2 * row + i - 1, 2 * column + j - 1
                    if 0 <= r < rows and 0 <= c < columns:
                        out[:, :, row, column] += maps[:, :, r, c] @ weight[:, :, i, j].t()
    return out


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
    expected = loops(to_maps(x, grid_size), layer.conv.weight.detach(), layer.conv.bias.detach())
    assert torch.allclose(out, to_nodes(expected) / (1 + 1e-5) ** 0.5)


@pytest.mark.parametrize("output_size", [(8, 10), (7, 9), (7, 10)])
def test_upsample_is_the_adjoint_of_a_downsampling_convolution(output_size):
    layer = Upsample(6, 4).double().eval()
    with torch.no_grad():
        layer.conv.bias.zero_()
    x = torch.randn(2 * 4 * 5, 6, dtype=torch.float64)
    out, size = layer(x, (4, 5), output_size)
    assert size == output_size
    maps = torch.randn(2, 4, *output_size, dtype=torch.float64)
    down = loops(maps, layer.conv.weight.detach(), torch.zeros(6, dtype=torch.float64))
    left = (to_maps(out, output_size) * maps).sum() * (1 + 1e-5) ** 0.5
    assert torch.allclose(left, (to_maps(x, (4, 5)) * down).sum())


@pytest.mark.parametrize("grid_size", [(56, 56), (24, 40), (3, 7)])
def test_up_returns_to_the_size_before_down(grid_size):
    x = torch.randn(grid_size[0] * grid_size[1], 4)
    small, small_size = Downsample(4, 8)(x, grid_size)
    large, large_size = Upsample(8, 4)(small, small_size, grid_size)
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


@pytest.mark.parametrize("layer", [Downsample(4, 6), Upsample(4, 6)])
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
