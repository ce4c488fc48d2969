"""Edge lengths, degrees, homophily and components against sets and loops, and the table of all."""

import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data
from torch_geometric.utils import homophily as pyg_homophily

from pyg_viglad import ViGAutoEncoder
from pyg_viglad.graphs import (
    connected_components,
    edge_length,
    export_graph,
    graph_measures,
    homophily,
    in_degree,
    neighbor_overlap,
    neighbor_ranks,
    record_graphs,
)
from tests.graphs.helpers import edge_lists, random_graph
from tests.oracles import graph_measures as oracle

GRIDS = [(4, 5), (3, 6), (1, 3)]


@pytest.fixture(params=[(2, True), (1, False)], ids=["k=2, loops", "k=1"])
def graph(request):
    k, loop = request.param
    return random_graph(GRIDS, k, 5, loop)


def parts(graph):
    return zip(edge_lists(graph), graph.to_data_list(), strict=True)


def flat(lists):
    return [value for part in lists for value in part]


def test_edge_length(graph):
    lengths = [oracle.edge_lengths(g.pos.tolist(), e, g.num_nodes) for e, g in parts(graph)]
    expected = flat([[oracle.mean(node) for node in image] for image in lengths])
    assert edge_length(graph).tolist() == pytest.approx(expected)
    expected = [oracle.mean(flat(image)) for image in lengths]
    assert edge_length(graph, per_graph=True).tolist() == pytest.approx(expected)
    graph.pos = 3 * graph.pos
    assert edge_length(graph, per_graph=True).tolist() == pytest.approx([3 * e for e in expected])


def test_in_degree(graph):
    degrees = [oracle.in_degrees(e, g.num_nodes) for e, g in parts(graph)]
    assert in_degree(graph).tolist() == flat(degrees)
    assert in_degree(graph, per_graph=True).tolist() == [max(d) for d in degrees]


def test_homophily_of_features(graph):
    cosines = [oracle.cosines(g.x.tolist(), e, g.num_nodes) for e, g in parts(graph)]
    expected = flat([[oracle.mean(node) for node in image] for image in cosines])
    assert homophily(graph).tolist() == pytest.approx(expected, abs=1e-6)
    assert homophily(graph, graph.x.double()).tolist() == pytest.approx(expected, abs=1e-6)
    expected = [oracle.mean(flat(image)) for image in cosines]
    assert homophily(graph, per_graph=True).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_homophily_does_not_depend_on_the_scale_of_features(graph, scale):
    assert torch.allclose(homophily(graph, graph.x * scale), homophily(graph), atol=1e-6)


def test_homophily_of_labels():
    graph = random_graph(GRIDS, 2, 6, loop=False)
    labels = torch.randint(3, (graph.num_nodes,), generator=torch.Generator().manual_seed(0))
    expected = [
        oracle.mean([float(labels[n] == labels[i]) for n in neighbors])
        for i, neighbors in enumerate(oracle.neighbor_lists(graph.edge_index.T.tolist(), 41))
    ]
    assert homophily(graph, labels).tolist() == pytest.approx(expected)
    images = homophily(graph, labels, per_graph=True)
    assert torch.allclose(images, pyg_homophily(graph.edge_index, labels, graph.batch, "edge"))
    assert set(homophily(graph, labels == 1, per_graph=True).tolist()) != {0.0}


def test_recorded_distances_stand_for_features():
    autoencoder = ViGAutoEncoder(8, image_size=64, k=4)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with_x = record_graphs(autoencoder, images, features=True)["decoder"]
    without = record_graphs(autoencoder, images)["decoder"]
    assert without.x is None
    assert torch.allclose(homophily(without), homophily(with_x), atol=1e-5)
    del without.distance
    with pytest.raises(ValueError, match="'x' or 'distance'"):
        homophily(without)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_connected_components(graph, keep):
    for image in (images := graph.to_data_list()):
        image.edge_index = image.edge_index[:, ::keep]
    graph = Batch.from_data_list(images)
    components = [oracle.components(e, g.num_nodes) for e, g in parts(graph)]
    assert connected_components(graph).tolist() == flat(components)
    counts = connected_components(graph, per_graph=True).tolist()
    assert counts == [max(c) + 1 for c in components]
    assert keep == 1 or max(counts) > 1
    lonely = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=3)
    assert connected_components(lonely).tolist() == [0, 1, 2]


def test_ranks_in_any_order_of_centers():
    edges = torch.tensor([[3, 1, 1, 0, 2, 2, 3], [1, 0, 1, 1, 0, 1, 3]])
    assert neighbor_ranks(edges).tolist() == [1, 1, 0, 2, 2, 3, 0]
    assert neighbor_ranks(edges[:, :0]).tolist() == []


def test_a_single_image_without_batch_and_an_edge_index_class():
    graph = random_graph([(3, 4)], 2, 7)
    alone = graph[0]
    alone.edge_index = EdgeIndex(alone.edge_index, sparse_size=(12, 12))
    for measure in (edge_length, in_degree, homophily, connected_components):
        assert torch.equal(measure(alone), measure(graph))
        assert torch.equal(measure(alone, per_graph=True), measure(graph, per_graph=True))


def test_a_batch_vector_of_a_plain_data():
    batch = random_graph(GRIDS, 2, 7)
    plain = Data(**{k: v for k, v in batch.to_dict().items() if k != "ptr"})
    for measure in (edge_length, in_degree, homophily, connected_components):
        assert torch.equal(measure(plain, per_graph=True), measure(batch, per_graph=True))
    assert neighbor_overlap(plain, batch, per_graph=True).tolist() == [1, 1, 1]


def test_nodes_without_neighbours_do_not_count():
    edges = torch.tensor([[0, 1], [0, 0]])
    graph = Data(pos=torch.tensor([[0.0, 0], [3, 4], [9, 9]]), x=torch.eye(3), edge_index=edges)
    assert edge_length(graph).tolist() == [5, 0, 0]
    assert edge_length(graph, per_graph=True).tolist() == [5]
    assert homophily(graph, torch.tensor([1, 1, 0]), per_graph=True).tolist() == [1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_graphs_of_a_model_on_the_gpu():
    graphs = record_graphs(ViGAutoEncoder(8, image_size=64, k=4).cuda(), torch.randn(2, 3, 64, 96))
    table = graph_measures(graphs)
    assert {"row", "column", "image"} <= set(export_graph(graphs["encoder"]).nodes[0])
    for name, row in graph_measures({name: graph.cpu() for name, graph in graphs.items()}).items():
        for measure, values in row.items():
            assert torch.allclose(table[name][measure].cpu(), values, atol=1e-5)


def test_table_of_recorded_graphs():
    graphs = record_graphs(ViGAutoEncoder(8, image_size=64, k=4), torch.randn(2, 3, 64, 96))
    table = graph_measures(graphs)
    assert list(table) == list(graphs)
    for name, row in table.items():
        assert list(row) == ["overlap", "edge_length", "in_degree", "homophily", "components"]
        assert all(values.shape == (2,) for values in row.values())
        overlap = neighbor_overlap(graphs["input"], graphs[name], per_graph=True)
        assert torch.equal(row["overlap"], overlap)
    assert table["encoder.0"]["overlap"].tolist() == [1, 1]
    assert 0 < float(table["decoder"]["overlap"][0]) < 1
    of_nodes = graph_measures(graphs, "encoder.2", per_graph=False)
    assert "overlap" not in of_nodes["input"]  # it has more nodes than the reference
    for name, row in of_nodes.items():
        assert all(values.shape == (graphs[name].num_nodes,) for values in row.values())
    with pytest.raises(ValueError, match="Expected the reference among"):
        graph_measures(graphs, "nothing")


def test_errors():
    graph = random_graph([(2, 3)], 2, 8)
    with pytest.raises(ValueError, match="labels as integers"):
        homophily(graph, torch.rand(6))
    with pytest.raises(ValueError, match=r"features \[6, C\]"):
        homophily(graph, torch.rand(5, 2))
    for pos in (None, torch.rand(5, 2)):
        graph.pos = pos
        with pytest.raises(ValueError, match=r"graph\.pos of shape \[6, 2\]"):
            edge_length(graph)
    graph.edge_index = graph.edge_index + 9
    for measure in (in_degree, connected_components):
        with pytest.raises(ValueError, match="nodes 0 to 5"):
            measure(graph)
