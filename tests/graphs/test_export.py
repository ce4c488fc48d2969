"""What other programs read is the graph: edges, directions, positions, scores."""

import json
import xml.etree.ElementTree as ElementTree

import networkx
import pytest
import torch
from torch_geometric.data import Batch, Data

from pyg_viglad.graphs import (
    SCORES,
    export_graph,
    neighbor_overlap,
    write_graphml,
    write_node_link,
)
from pyg_viglad.transforms import ImageToGraph
from tests.graphs.helpers import random_graph


@pytest.fixture
def graph():
    """Two images on different grids, with what record_graphs gives each."""
    images = random_graph([(6, 8), (4, 10)], 5, 0).to_data_list()
    generator = torch.Generator().manual_seed(1)
    for image in images:
        image.distance = torch.rand(image.num_edges, generator=generator)
        for name in SCORES:
            image[name] = torch.rand(image.num_nodes, generator=generator)
    return Batch.from_data_list(images)


def read(path):
    if path.suffix == ".json":
        return networkx.node_link_graph(json.loads(path.read_text()), edges="edges")
    return networkx.read_graphml(path, node_type=int)


def assert_is(network, images):
    """Node by node and edge by edge, from the tensors of each image."""
    assert network.is_directed()
    nodes, edges = {}, {}
    for number, graph in enumerate(images):
        first = len(nodes)
        for node in range(graph.num_nodes):
            row, column = divmod(node, int(graph.grid_size[0, 1]))
            x, y = graph.pos[node].tolist()
            values = {"x": x, "y": y, "row": row, "column": column}
            values |= {name: float(graph[name][node]) for name in SCORES}
            nodes[first + node] = values | ({"image": number} if len(images) > 1 else {})
        ranks = [0] * graph.num_nodes
        for place, (neighbor, center) in enumerate(graph.edge_index.T.tolist()):
            ranks[center] += neighbor != center
            rank = ranks[center] if neighbor != center else 0
            distance = float(graph.distance[place])
            edges[first + neighbor, first + center] = {"rank": rank, "distance": distance}
    assert dict(network.nodes) == nodes
    assert dict(network.edges) == edges
    numbers = [*network.nodes.values(), *network.edges.values()]
    assert {type(value) for values in numbers for value in values.values()} == {float, int}


@pytest.mark.parametrize("suffix", ["graphml", "json"])
def test_written_files_read_back(graph, suffix, tmp_path):
    write = {"graphml": write_graphml, "json": write_node_link}[suffix]
    path = tmp_path / f"graph.{suffix}"
    graph.img_size = torch.tensor([[60, 200], [100, 130]])
    write(graph, path, image=1)
    network = read(path)
    assert_is(network, graph.to_data_list()[1:])
    assert network.graph["direction"].startswith("source: the neighbour")
    assert (network.graph["height"], network.graph["width"]) == (100, 130)
    write(graph, path)  # over what is there
    network = read(path)
    assert_is(network, graph.to_data_list())
    assert networkx.number_weakly_connected_components(network) == 2
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_graphml_has_the_types_that_gephi_reads(graph, tmp_path):
    write_graphml(graph, tmp_path / "graph.graphml", image=0)
    space = {"g": "http://graphml.graphdrawing.org/xmlns"}
    root = ElementTree.parse(tmp_path / "graph.graphml").getroot()
    keys = {
        (k.get("for"), k.get("attr.name")): k.get("attr.type") for k in root.findall("g:key", space)
    }
    assert keys["node", "x"] == keys["node", "y"] == keys["edge", "distance"] == "double"
    assert keys["edge", "rank"] == keys["node", "row"] == "long"
    assert set(keys.values()) <= {"double", "long", "string"}
    assert root.find("g:graph", space).get("edgedefault") == "directed"


def test_json_is_plain(graph, tmp_path):
    write_node_link(graph, tmp_path / "graph.json", image=0)
    values = json.loads((tmp_path / "graph.json").read_text())
    assert values["directed"] is True
    assert values["multigraph"] is False
    assert [node["id"] for node in values["nodes"]] == list(range(48))
    pairs = [(edge["source"], edge["target"]) for edge in values["edges"]]
    assert sorted(pairs) == sorted(map(tuple, graph[0].edge_index.T.tolist()))


def test_own_fields_go_along(graph):
    """Also those that were added to the whole batch."""
    graph.overlap = neighbor_overlap(random_graph([(6, 8), (4, 10)], 9, 2), graph)
    graph.wrong = graph.overlap < 0.5
    graph.edge_weight = 1 - graph.distance
    network = export_graph(graph, image=1)
    first = graph.ptr[1]
    assert network.nodes[3]["overlap"] == float(graph.overlap[first + 3])
    assert network.nodes[3]["wrong"] is bool(graph.wrong[first + 3])
    number = int((graph.edge_index == first).all(0).nonzero()[0])
    assert network.edges[0, 0]["edge_weight"] == float(graph.edge_weight[number])


def test_as_many_edges_as_nodes():
    """Whose a field is must not be guessed from its length."""
    pos = torch.rand(3, 2)
    edges = torch.tensor([[1, 2, 0], [0, 1, 2]])
    graph = Data(pos=pos, edge_index=edges, distance=torch.rand(3), combined_score=torch.rand(3))
    network = export_graph(graph)
    assert set(network.nodes[0]) == {"x", "y", "combined_score"}
    assert set(network.edges[1, 0]) == {"rank", "distance"}


def test_graph_of_the_transform():
    data = ImageToGraph(patch_size=8, k=3)(torch.rand(3, 16, 24))
    network = export_graph(data)
    assert network.nodes[5] == {"x": 20.0, "y": 12.0, "row": 1, "column": 2}
    assert "height" not in network.graph


def test_errors(graph, tmp_path):
    with pytest.raises(ValueError, match=r"image from 0 to 1 \(got -1\)"):
        export_graph(graph, image=-1)
    graph = random_graph([(2, 3)], 2, 0)[0]
    with pytest.raises(ValueError, match=r"image from 0 to 0 \(got 1\)"):
        export_graph(graph, image=1)
    with pytest.raises(FileNotFoundError, match="existing folder"):
        write_graphml(graph, tmp_path / "nowhere" / "graph.graphml")
    path = tmp_path / "graph.json"
    graph.combined_score = torch.tensor([0, 1, 2, float("nan"), 4, 5])
    for write in (write_graphml, write_node_link):
        with pytest.raises(ValueError, match="finite values of 'combined_score'"):
            write(graph, path)
    assert not list(tmp_path.iterdir())
    named = Data(pos=torch.rand(2, 2), edge_index=torch.tensor([[1], [0]]), rank=torch.rand(2))
    with pytest.raises(ValueError, match=r"nodes and edges \(got \['rank'\] twice\)"):
        export_graph(named)
    with pytest.raises(ValueError, match="every edge once"):
        export_graph(Data(pos=torch.rand(2, 2), edge_index=torch.tensor([[1, 1], [0, 0]])))
    with pytest.raises(ValueError, match=r"graph\.pos"):
        export_graph(Data(edge_index=torch.tensor([[1], [0]]), num_nodes=2))
