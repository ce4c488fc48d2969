import pytest
import torch
from torch_geometric.data import Batch, Data

from pyg_viglad import GraphConstructor
from pyg_viglad.models import grid_graphs
from tests.oracles.knn_graph import knn_graph_oracle


def test_batch_fields_and_places():
    model = GraphConstructor(8, image_size=(32, 48), k=5).eval()
    images = torch.rand(2, 3, 32, 48)
    batch = model(images)
    assert isinstance(batch, Batch)
    assert batch.num_graphs == 2
    assert batch.x.shape == (2 * 8 * 12, 8)
    assert batch.grid_size.tolist() == [[8, 12], [8, 12]]
    assert batch.img_size.tolist() == [[32, 48], [32, 48]]
    assert batch[1].pos[0].tolist() == [2, 2]
    assert batch[1].pos[12].tolist() == [2, 6]  # the second row is below the first
    assert batch[1].pos[11].tolist() == [46, 2]


def test_edges_are_the_nearest_neighbours_of_each_image():
    model = GraphConstructor(8, image_size=32, k=5).eval()
    images = torch.rand(3, 3, 32, 32)
    batch = model(images)
    for number in range(3):
        graph = batch[number]
        assert torch.equal(graph.edge_index, knn_graph_oracle(graph.x, 5, loop=True, cosine=True))
        assert torch.allclose(graph.x, model(images[number : number + 1]).x, atol=1e-5)


def test_a_batch_with_img_and_other_sizes():
    model = GraphConstructor(8, image_size=32).eval()
    images = torch.rand(2, 3, 32, 32)
    items = [Data(img=image[None], num_nodes=0) for image in images]
    assert torch.equal(model(Batch.from_data_list(items)).x, model(images).x)
    torch.nn.init.normal_(model.position)
    assert model(torch.rand(1, 3, 40, 24)).grid_size.tolist() == [[10, 6]]


def test_k_is_lowered_on_few_nodes():
    batch = GraphConstructor(8, image_size=8, k=12).eval()(torch.rand(2, 3, 8, 8))
    assert batch.edge_index.shape == (2, 2 * 4 * 4)


def test_grid_graphs_keep_edges_inside_their_image():
    edges = torch.tensor([[0, 3, 4, 7], [1, 2, 5, 6]])
    batch = grid_graphs(torch.arange(8.0)[:, None], edges, (2, 2), (4, 4))
    assert torch.equal(batch.edge_index, edges)
    assert torch.equal(batch[1].edge_index, edges[:, 2:] - 4)


def test_grid_graphs_of_unequal_numbers_of_edges():
    edges = torch.tensor([[0, 3, 4, 7, 5], [1, 2, 5, 6, 7]])
    fields = {"distance": torch.arange(5.0), "score": torch.arange(8.0)}
    first, second = grid_graphs(torch.zeros(8, 1), edges, (2, 2), (4, 4), **fields).to_data_list()
    assert torch.equal(first.edge_index, edges[:, :2])
    assert torch.equal(second.edge_index, edges[:, 2:] - 4)
    assert second.distance.tolist() == [2, 3, 4]
    assert second.score.tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("name", ["k", "dilation"])
def test_arguments_below_one(name):
    with pytest.raises(ValueError, match=f"'{name}' to be at least 1 \\(got 0\\)"):
        GraphConstructor(8, **{name: 0})


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 30, 32)])
def test_bad_images(shape):
    with pytest.raises(ValueError, match="Expected"):
        GraphConstructor(8)(torch.zeros(shape))
    with pytest.raises(ValueError, match="with 'img'"):
        GraphConstructor(8)(Batch.from_data_list([Data(x=torch.zeros(1, 3))]))


def test_no_images():
    with pytest.raises(ValueError, match="at least one image"):
        GraphConstructor()(torch.zeros(0, 3, 32, 32))
