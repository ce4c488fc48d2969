import pytest
import torch
from torch_geometric import EdgeIndex

from pyg_viglad.visualization import neighbors_of, node_at
from tests.visualization.helpers import grid_positions


@pytest.mark.parametrize(
    ("grid", "size"), [((3, 5), (30, 20)), ((4, 4), (56, 56)), ((1, 7), (9, 9))]
)
def test_node_at_is_the_patch_that_contains_the_pixel(grid, size):
    (rows, columns), (height, width) = grid, size
    pos = grid_positions(rows, columns, height, width)
    for y in range(height):
        for x in range(width):
            row, column = (y + 0.5) * rows // height, (x + 0.5) * columns // width
            assert node_at(pos, grid, size, (x + 0.5, y + 0.5)) == row * columns + column


def test_node_at_edges_belong_to_the_next_patch_and_at_the_border_to_the_last():
    pos = grid_positions(2, 2, 8, 8)
    assert node_at(pos, (2, 2), (8, 8), (4, 0)) == 1
    assert node_at(pos, (2, 2), (8, 8), (3.999, 4)) == 2
    assert node_at(pos, (2, 2), (8, 8), (8, 8)) == 3


def test_node_at_follows_positions_in_any_order():
    pos = grid_positions(2, 3, 4, 6).flip(0)
    assert node_at(pos, (2, 3), (4, 6), (0.5, 0.5)) == 5


@pytest.mark.parametrize("xy", [(-0.1, 0), (0, 8.1), (float("nan"), 0)])
def test_node_at_outside(xy):
    with pytest.raises(ValueError, match=r"Expected a position inside the image of 8 x 8.*got"):
        node_at(grid_positions(2, 2, 8, 8), (2, 2), (8, 8), xy)


def test_node_at_wrong_grid():
    with pytest.raises(ValueError, match=r"pos of shape \[6, 2\].*got \[4, 2\]"):
        node_at(grid_positions(2, 2, 8, 8), (2, 3), (8, 8), (1, 1))


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: EdgeIndex(e, sort_order="col")])
def test_neighbors_keep_their_order_and_leave_the_node_out(wrap):
    edges = wrap(torch.tensor([[0, 3, 1, 2, 1, 0], [0, 0, 0, 1, 1, 1]]))
    assert neighbors_of(edges, 0).tolist() == [3, 1]
    assert neighbors_of(edges, 1).tolist() == [2, 0]
    assert neighbors_of(edges, 2).tolist() == []
    assert type(neighbors_of(edges, 0)) is torch.Tensor


def test_neighbors_wrong_shape():
    with pytest.raises(ValueError, match=r"edge_index of shape \[2, E\] \(got \[3, 4\]\)"):
        neighbors_of(torch.zeros(3, 4, dtype=torch.long), 0)
