"""The graph of one image: its part of a batch, its patches, neighbours and scores."""

import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data

from pyg_viglad.graphs import (
    graph_of_image,
    most_anomalous_node,
    neighbors_of,
    node_at,
    patch_size,
    position_of,
)
from pyg_viglad.graphs.patches import select_image
from pyg_viglad.transforms import ImageToGraph
from tests.graphs.helpers import grid_positions, random_graph

GRIDS = [(4, 5), (3, 6), (1, 3)]


def empty_graph(grid, size):
    """A grid of patches without edges."""
    return Data(
        pos=grid_positions(*grid, *size),
        edge_index=torch.empty(2, 0, dtype=torch.long),
        grid_size=torch.tensor([grid]),
        img_size=torch.tensor([size]),
    )


@pytest.mark.parametrize("batched", [True, False], ids=["batch", "no batch vector"])
def test_graph_of_image_is_the_part_of_the_batch(batched):
    graphs = random_graph(GRIDS, 2, 0).to_data_list()
    for graph in graphs:
        graph.distance = torch.rand(graph.num_edges)
        graph.combined_score = torch.rand(graph.num_nodes)
    whole = Batch.from_data_list(graphs)
    whole.edge_index = EdgeIndex(whole.edge_index, sparse_size=(41, 41))
    whole.added = torch.arange(whole.num_nodes)
    parts = [whole.batch == number for number in range(3)]
    if not batched:
        whole = Data(**{k: v for k, v in whole.to_dict().items() if k not in ("batch", "ptr")})
    for number, graph in enumerate(graphs):
        one = graph_of_image(whole, number)
        for key in graph.keys():  # noqa: SIM118
            assert torch.equal(one[key], graph[key]), key
        assert torch.equal(one.added, whole.added[parts[number]])
        assert type(one.edge_index) is torch.Tensor
    sizes = [(180, 60), (90, 120), (45, 240)]
    scaled = [graph_of_image(whole, number, size=size) for number, size in enumerate(sizes)]
    assert torch.allclose(scaled[0].pos, graphs[0].pos.double() * torch.tensor([0.5, 2]))
    assert torch.equal(scaled[1].pos.float(), graphs[1].pos)
    assert scaled[2].img_size.tolist() == [[45, 240]]
    assert patch_size(scaled[2]) == (80, 45)


def test_size_of_the_image_from_img():
    data = ImageToGraph(patch_size=8, k=3)(torch.rand(3, 16, 24))
    assert graph_of_image(data).img_size.tolist() == [[16, 24]]
    assert patch_size(data) == (8, 8)


def test_as_many_edges_as_nodes():
    graph = random_graph([(1, 3)], 1, 0, loop=False)
    graph.distance = torch.tensor([3.0, 1.0, 2.0])
    order = torch.tensor([2, 0, 1])
    graph.edge_index, graph.distance = graph.edge_index[:, order], graph.distance[order]
    assert torch.equal(select_image(graph, 0).distance, graph.distance)
    graphs = random_graph([(1, 3), (2, 2)], 1, 0, loop=False)
    order = torch.tensor([5, 1, 3, 0, 6, 2, 4])
    graphs.edge_index, graphs.distance = graphs.edge_index[:, order], order.float()
    for number, expected in enumerate(([1, 0, 2], [5, 3, 6, 4])):
        assert graph_of_image(graphs, number).distance.tolist() == expected


@pytest.mark.parametrize(
    ("grid", "size"), [((3, 5), (30, 20)), ((4, 4), (56, 56)), ((1, 7), (9, 9))]
)
def test_node_at_is_the_patch_that_contains_the_pixel(grid, size):
    (rows, columns), (height, width) = grid, size
    graph = empty_graph(grid, size)
    for y in range(height):
        for x in range(width):
            row, column = (y + 0.5) * rows // height, (x + 0.5) * columns // width
            assert node_at(graph, (x + 0.5, y + 0.5)) == row * columns + column


def test_edges_of_a_patch_belong_to_the_next_patch_and_at_the_border_to_the_last():
    graph = empty_graph((2, 2), (8, 8))
    assert node_at(graph, (4, 0)) == 1
    assert node_at(graph, (3.999, 4)) == 2
    assert node_at(graph, (8, 8)) == 3


def test_node_at_follows_positions_in_any_order():
    graph = empty_graph((2, 3), (4, 6))
    graph.pos = graph.pos.flip(0)
    assert node_at(graph, (0.5, 0.5)) == 5


def test_position_of_a_node_or_a_position():
    graph = empty_graph((2, 3), (4, 6))
    assert position_of(graph, 4) == (3, 3)
    assert position_of(graph, torch.tensor(0)) == (1, 1)
    assert position_of(graph, (5.5, 4)) == (5.5, 4)
    for node, message in (
        (6, r"here to be from 0 to 5 \(got 6\)"),
        ((0.0, 4.5), r"here inside the image of 6 x 4 pixels \(got x=0, y=4.5\)"),
        ((1, 2, 3), r"here as a number or a position \(x, y\)"),
    ):
        with pytest.raises(ValueError, match=message):
            position_of(graph, node, "here")


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: EdgeIndex(e, sort_order="col")])
def test_neighbors_keep_their_order_and_leave_the_node_out(wrap):
    edges = wrap(torch.tensor([[0, 3, 1, 2, 1, 0], [0, 0, 0, 1, 1, 1]]))
    graph = Data(edge_index=edges, num_nodes=4)
    assert neighbors_of(graph, 0).tolist() == [3, 1]
    assert neighbors_of(graph, 1).tolist() == [2, 0]
    assert neighbors_of(graph, 2).tolist() == []
    assert type(neighbors_of(graph, 0)) is torch.Tensor


def test_most_anomalous_node():
    graph = empty_graph((2, 3), (4, 6))
    assert most_anomalous_node(graph) is None
    graph.combined_score = torch.tensor([0.0, 1, 1, 0, 0, 0])
    assert most_anomalous_node(graph) == 1  # of equal ones the one nearer to the middle
    graph.node_score = torch.arange(6.0)
    assert most_anomalous_node(graph) == 5
    graph.node_score[0] = float("nan")
    assert most_anomalous_node(graph) is None
    with pytest.raises(ValueError, match=r"the graph of one image \(got 2\)"):
        most_anomalous_node(random_graph([(2, 3), (2, 3)], 2, 0))


def test_errors():
    graph = random_graph([(2, 3), (2, 3)], 2, 0)
    with pytest.raises(ValueError, match=r"Expected mine to be of one image \(got 2\)"):
        graph_of_image(graph, name="mine")
    with pytest.raises(ValueError, match=r"Expected an image of graph from 0 to 1 \(got 2\)"):
        graph_of_image(graph, 2)
    for xy in ((-0.1, 0), (0, 90.1), (float("nan"), 0)):
        with pytest.raises(ValueError, match="a position inside the image of 120 x 90 pixels"):
            node_at(graph_of_image(graph, 1), xy)
    with pytest.raises(ValueError, match=r"edge_index of shape \[2, E\] \(got \[3, 4\]\)"):
        neighbors_of(Data(edge_index=torch.zeros(3, 4, dtype=torch.long), num_nodes=3), 0)
    for key in ("pos", "edge_index", "grid_size", "img_size"):
        lacking = graph.clone()
        del lacking[key]
        with pytest.raises(ValueError, match=rf"Expected mine to have the field '{key}' \(got "):
            graph_of_image(lacking, 0, name="mine")
    with pytest.raises(ValueError, match=r"Expected mine to have the field 'pos' \(got dict\)"):
        graph_of_image({}, name="mine")
    uneven = random_graph([(1, 3), (2, 3)], 1, 0)
    uneven.grid_size = uneven.grid_size.flip(0)
    with pytest.raises(
        ValueError, match=r"mine\.grid_size of \[3, 6\] nodes \(got \[\[2, 3\], \[1"
    ):
        graph_of_image(uneven, 0, name="mine")
    alone = Data(**{k: v for k, v in uneven.to_dict().items() if k not in ("batch", "ptr")})
    alone.grid_size = torch.tensor([[2, 2], [2, 3]])
    with pytest.raises(
        ValueError, match=r"graph\.grid_size of 9 nodes \(got \[\[2, 2\], \[2, 3\]\]"
    ):
        graph_of_image(alone, 0)
    graph.edge_index[0, 0] = 9
    with pytest.raises(ValueError, match=r"mine\.edge_index to join nodes of the same image"):
        graph_of_image(graph, 0, name="mine")
    graph.pos = graph.pos[:-1]
    with pytest.raises(ValueError, match=r"mine\.pos of shape \[12, 2\] \(got \[11, 2\]"):
        graph_of_image(graph, 0, name="mine")
