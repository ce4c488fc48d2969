"""Recorded graphs are those the network used, in pixels of the image as the user has it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.nn import GraphConv
from torch_geometric.utils import remove_self_loops

from pyg_viglad import ViGAutoEncoder, ViGLAD
from pyg_viglad.graphs import (
    SCORES,
    export_graph,
    graph_measures,
    node_at,
    record_graphs,
    select_graphs,
)
from pyg_viglad.models.vig_autoencoder import evaluation_mode
from pyg_viglad.nn import knn_graph
from pyg_viglad.transforms import to_batch


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = ViGLAD("small", (96, 128), k=6, node_scorer={"channels": 5})
    model.fit_statistics(torch.rand(4, 3, 96, 128), torch.rand(3, 3, 96, 128))
    return model


def test_names_and_fields(model):
    image = np.zeros((60, 200, 3), dtype=np.uint8)
    graphs = record_graphs(model, [image, Image.new("RGB", (130, 100))])
    blocks = [f"{part}.{number}" for part in ("encoder", "decoder") for number in range(12)]
    assert list(graphs) == ["input", *blocks[:12], "encoder", *blocks[12:], "decoder"]
    for graph in graphs.values():
        assert graph.img_size.tolist() == [[60, 200], [100, 130]]
        assert "x" not in graph
        (rows, columns), *_ = graph.grid_size.tolist()
        for number, (height, width) in enumerate([(60, 200), (100, 130)]):
            pos = graph[number].pos
            assert pos[0].tolist() == pytest.approx([width / columns / 2, height / rows / 2])
            assert pos[-1].tolist() == pytest.approx(
                [width - width / columns / 2, height - height / rows / 2]
            )
        for name in SCORES:
            assert graph[name].shape == (graph.num_nodes,)
        assert graph.distance.shape == (graph.num_edges,)


def test_outputs_are_the_graphs_that_the_loss_compares(model):
    images = [torch.rand(3, 60, 200), torch.rand(3, 96, 128)]
    graphs = record_graphs(model, images, features=True, outputs=True)
    assert list(graphs)[-3:] == ["teacher", "output", "student"]
    assert graphs.keys() - record_graphs(model, images) == {"teacher", "output", "student"}
    resized = torch.cat([to_batch(image[None], (96, 128)) for image in images])
    with torch.no_grad(), evaluation_mode(model):
        found = model.features(resized)
    for name, maps in (
        ("teacher", found.target),
        ("output", found.autoencoder),
        ("student", found.student_second),
    ):
        graph = graphs[name]
        assert torch.equal(graph.pos, graphs["input"].pos)
        assert torch.equal(graph.img_size, graphs["input"].img_size)
        x = maps.permute(0, 2, 3, 1).flatten(0, 2)
        assert torch.equal(graph.x, x)
        edges = knn_graph(x, 6, batch_size=2, loop=True, cosine=True)
        assert torch.equal(graph.edge_index, edges)
        unit = x.double() / x.double().norm(dim=1, keepdim=True)
        distance = (unit[edges[0]] - unit[edges[1]]).norm(dim=1)
        assert torch.allclose(graph.distance.double(), distance, atol=1e-3)
        assert torch.equal(graph.node_score, graphs["input"].node_score)
    with pytest.raises(ValueError, match="Expected a ViGLAD for 'outputs'"):
        record_graphs(model.autoencoder, torch.rand(3, 64, 64), outputs=True)


def test_outputs_of_another_autoencoder_in_evaluation_mode():
    model = ViGLAD("small", 96, autoencoder="conv", k=3, whiten=5)
    model.fit_teacher_statistics(torch.rand(4, 3, 96, 96))
    images = torch.rand(2, 3, 96, 96)
    graphs = model.train().feature_graphs(images)
    assert model.training
    assert not model.teacher.training
    again = model.eval().feature_graphs(images)
    for name, graph in graphs.items():
        assert graph.x.shape == (2 * 256, 5)
        assert torch.equal(graph.x, again[name].x)


def test_neighbours_are_the_nearest_among_the_recorded_features(model):
    image = torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(1))
    graphs = record_graphs(model, image, features=True)
    blocks = [b for part in (model.autoencoder.encoder, model.autoencoder.decoder) for b in part]
    dilations = [block.dilation for stage in blocks for block in stage]
    names = [name for name in graphs if "." in name]
    for name, dilation in zip(names[1:], dilations[1:], strict=True):
        graph = graphs[name]
        k = min(6, graph.num_nodes)
        assert torch.equal(
            graph.edge_index, knn_graph(graph.x, k, loop=True, cosine=True, dilation=dilation)
        )
        assert torch.equal(graph.edge_index[1], torch.arange(graph.num_nodes).repeat_interleave(k))


@pytest.mark.parametrize("name", ["adaptive", "axial", "grid", "mutual"])
def test_measured_and_exported_with_other_numbers_of_neighbours(name):
    torch.manual_seed(0)
    images = torch.rand(2, 3, 32, 48)
    graphs = record_graphs(ViGAutoEncoder(8, image_size=32, k=4, graph=name), images)
    assert list(select_graphs(graphs))[::2] == ["input", "decoder"]
    of_images, of_nodes = (graph_measures(graphs, per_graph=flag) for flag in (True, False))
    for key, graph in graphs.items():
        edges, _ = remove_self_loops(graph.edge_index)
        degrees = torch.bincount(edges[0], minlength=graph.num_nodes)
        assert torch.equal(of_nodes[key]["in_degree"], degrees)
        second = graph_measures({"input": graphs["input"][1], key: graph[1]}, per_graph=True)[key]
        for measure, values in of_images[key].items():
            assert values[1] == pytest.approx(float(second[measure]), abs=1e-6)
    assert export_graph(graphs["input"][1]).number_of_edges() == graphs["input"][1].num_edges


@pytest.mark.parametrize("operator", ["gatv2", GraphConv])
def test_any_operator_and_an_autoencoder_alone(operator):
    autoencoder = ViGAutoEncoder(8, image_size=64, k=4, operator=operator)
    graphs = record_graphs(autoencoder, torch.randn(2, 3, 64, 96))
    assert autoencoder.training
    assert graphs["decoder"].num_graphs == 2
    assert graphs["decoder"][1].img_size.tolist() == [[64, 96]]
    assert not set(SCORES) & set(graphs["input"].keys())


def test_an_unfitted_detector_has_graphs_without_scores():
    graphs = record_graphs(ViGLAD("small", 96), torch.rand(3, 96, 96))
    assert not set(SCORES) & set(graphs["encoder"].keys())


@pytest.mark.parametrize(("x", "y"), [(30, 20), (371, 22), (200, 130)])
def test_one_bright_spot_is_where_it_is(model, x, y):
    """At every resolution of the encoder, the patch there is the one whose features change most."""
    height, width = 150, 400  # a shape other than the network's
    dark = torch.zeros(3, height, width)
    bright = dark.clone()
    bright[:, y - 2 : y + 3, x - 3 : x + 4] = 1  # about one pixel once it is resized
    with_it = record_graphs(model, bright, features=True)
    without = record_graphs(model, dark, features=True)
    for name in ("input", "encoder.2", "encoder.4", "encoder.10"):
        graph = with_it[name]
        change = (graph.x - without[name].x).norm(dim=1)
        rows, columns = graph.grid_size[0].tolist()
        offset = graph.pos[int(change.argmax())] - torch.tensor([x + 0.5, y + 0.5])
        # A stride of 2 looks a little further than one patch.
        assert (offset.abs() <= 1.25 * torch.tensor([width / columns, height / rows])).all()


def test_scores_are_the_maps_of_the_prediction(model):
    image = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(2))
    prediction = model.predict(image)
    graphs = record_graphs(model, image)
    for graph in (graphs["input"], graphs["encoder.4"], graphs["decoder"]):
        for name, source in SCORES.items():
            peak = getattr(prediction, source)[0]
            assert float(graph[name].max()) == pytest.approx(float(peak.max()))
            row, column = divmod(int(peak.argmax()), 128)
            node = node_at(graph, (column + 0.5, row + 0.5))
            assert float(graph[name][node]) == pytest.approx(float(peak.max()))


def test_errors(tmp_path):
    for model in (ViGAutoEncoder(8), ViGLAD("small", 96)):
        with pytest.raises(ValueError, match="at least one image"):
            record_graphs(model, [])
    with pytest.raises(ValueError, match="Expected a ViGLAD or a ViGAutoEncoder"):
        record_graphs(torch.nn.Linear(1, 1), torch.rand(3, 64, 64))
    with pytest.raises(ValueError, match="one size"):
        record_graphs(ViGAutoEncoder(8), [torch.rand(3, 64, 64), torch.rand(3, 64, 96)])
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        record_graphs(ViGLAD("small", 96), tmp_path / "none.png")
    with pytest.raises(ValueError, match="Expected a ViGAutoEncoder"):
        record_graphs(ViGLAD("small", 96, autoencoder="conv"), torch.rand(3, 96, 96))


@pytest.mark.parametrize(
    ("side", "name", "grid"),
    [(224, "encoder", 4), (96, "encoder.9", 6), (64, "encoder.9", 4)],
)
def test_selected_is_the_deepest_encoder_graph_that_is_not_complete(side, name, grid):
    graphs = ViGAutoEncoder(8, image_size=side, k=9).graphs(torch.rand(2, 3, side, side), True)
    chosen = select_graphs(graphs)
    assert list(chosen) == ["input", name, "decoder"]
    assert chosen[name].grid_size[0].tolist() == [grid, grid]
    assert chosen["input"] is graphs["input"]


def test_select_without_blocks_or_without_an_encoder_graph():
    graphs = ViGAutoEncoder(8, image_size=64).graphs(torch.rand(1, 3, 64, 64))
    assert list(select_graphs(graphs)) == ["input", "encoder", "decoder"]
    with pytest.raises(ValueError, match="got no 'encoder'"):
        select_graphs({"input": None})
