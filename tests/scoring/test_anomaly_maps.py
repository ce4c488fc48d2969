import pytest
import torch

from pyg_viglad import PDN
from pyg_viglad.scoring import anomaly_map, peak, place_map
from tests.oracles import scoring as oracle


def test_map_against_loops():
    first, second = torch.randn(2, 2, 5, 3, 4)
    expected = oracle.mean_squared_map(first, second)
    assert torch.allclose(anomaly_map(first, second).double(), expected, atol=1e-5)


def test_unequal_shapes():
    with pytest.raises(ValueError, match="of one shape"):
        anomaly_map(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 4, 4))


def test_cells_lie_where_the_network_looks():
    """The centre of gravity of a cell's receptive field is where its value is placed."""
    torch.manual_seed(0)
    images = torch.zeros(1, 3, 128, 96, requires_grad=True)
    PDN("small", 4)(images)[0, :, 9, 4].sum().backward()
    ys, xs = images.grad[0].abs().sum(0).nonzero(as_tuple=True)
    centre = ((ys.min() + ys.max() + 1) / 2, (xs.min() + xs.max() + 1) / 2)
    maps = torch.zeros(1, 24, 16)
    maps[0, 9, 4] = 1
    placed = place_map(maps, (128, 96))[0]
    assert placed.shape == (128, 96)
    rows = torch.arange(128) + 0.5
    columns = torch.arange(96) + 0.5
    assert float((placed.sum(1) * rows).sum() / placed.sum()) == pytest.approx(
        float(centre[0]), abs=0.1
    )
    assert float((placed.sum(0) * columns).sum() / placed.sum()) == pytest.approx(
        float(centre[1]), abs=0.1
    )


def test_edges_go_on_and_constants_stay():
    assert torch.allclose(place_map(torch.full((2, 16, 16), 3.0), (96, 96)), torch.tensor(3.0))
    maps = torch.zeros(1, 16, 16)
    maps[0, 0, 0] = 1
    assert place_map(maps, (96, 96))[0, 0, 0] == 1


@pytest.mark.parametrize(
    ("cell", "pixel"), [((0, 0), (16, 16)), ((15, 3), (76, 28)), ((0, 15), (16, 76))]
)
def test_a_peak_at_the_border_is_where_its_cell_lies(cell, pixel):
    """Beyond the outermost cells their value goes on up to the image's edge."""
    maps = torch.zeros(2, 16, 16)
    maps[0][cell] = 1
    maps[1, 7, 8] = 1
    first, second = peak(place_map(maps, (96, 96))).tolist()
    centre = [16.5 + 4 * number for number in cell]
    assert divmod(first, 96) == pytest.approx(pixel)
    assert all(abs(p + 0.5 - c) <= 1 for p, c in zip(divmod(first, 96), centre, strict=True))
    assert divmod(second, 96) == (44, 48)


def test_the_peak_of_a_constant_map_is_its_middle():
    assert peak(torch.ones(1, 5, 7)).tolist() == [2 * 7 + 3]
    assert peak(torch.ones(1, 4, 6)).tolist() == [1 * 6 + 2]
