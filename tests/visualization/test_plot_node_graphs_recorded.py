"""Figure 5 of what ``record_graphs`` gives: any block, any node, images as users hold them."""

import numpy as np
import pytest
import torch
from PIL import Image

from pyg_viglad import ViGAutoEncoder, ViGLAD
from pyg_viglad.graphs import node_at, record_graphs
from pyg_viglad.visualization import plot_anomaly_maps, plot_node_graphs
from tests.visualization.helpers import artists, graph, one


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    model = ViGLAD("small", (96, 128), k=6)
    model.fit_statistics(torch.rand(4, 3, 96, 128), torch.rand(3, 3, 96, 128))
    images = [torch.rand(3, 60, 200), torch.rand(3, 100, 130)]
    return images, record_graphs(model, images)


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def test_all_recorded_graphs_give_the_three_of_the_figure(fitted):
    images, graphs = fitted
    titles = [p.get_title().split("\n")[0] for p in panels(plot_node_graphs(images, graphs))[:3]]
    assert titles == ["input graph", "encoder block 10 graph", "decoder graph"]


def test_the_default_node_is_the_most_anomalous_of_each_image(fitted):
    images, graphs = fitted
    drawn = panels(plot_node_graphs(images, graphs))
    for number, panel in enumerate((drawn[0], drawn[3])):
        own = graphs["input"][number]
        x, y = own.pos[int(own.combined_score.argmax())].tolist()
        box = one(panel, "node").get_bbox()
        assert ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) == pytest.approx((x, y), rel=1e-5)


def test_any_block_by_name_and_lines_to_what_the_network_used(fitted):
    images, graphs = fitted
    blocks = ["encoder.4", "decoder.11", "encoder.0"]
    figure = plot_node_graphs(images, graphs, [(150.0, 20.0), (3.0, 99.0)], blocks=blocks)
    drawn = np.array(panels(figure)).reshape(2, 3)
    titles = [panel.get_title().split("\n")[0] for panel in drawn[0]]
    assert titles == ["encoder block 5 graph", "decoder block 12 graph", "encoder block 1 graph"]
    for row, place in enumerate([(150.0, 20.0), (3.0, 99.0)]):
        for panel, name in zip(drawn[row], blocks, strict=True):
            own = graphs[name][row]
            node = node_at(own, place)
            others = [a for a, b in own.edge_index.T.tolist() if b == node and a != node]
            lines = one(panel, "edges")
            segments = dict(zip(lines.get_array().tolist(), lines.get_segments(), strict=True))
            for rank, other in enumerate(others, start=1):
                expected = [own.pos[node].numpy(), own.pos[other].numpy()]
                np.testing.assert_allclose(segments[rank], expected, rtol=1e-4)


@pytest.mark.parametrize("node", [(30.0, 9.0), 2 * 12 + 7, [2 * 12 + 7], [(30.0, 9.0)]])
def test_one_node_of_one_image_needs_no_list(node):
    data = graph(1, (8, 12), (16, 24))
    panel = plot_node_graphs(torch.rand(3, 32, 48), {"input": data}, node).axes[0]
    assert one(panel, "node").get_bbox().bounds == pytest.approx((28, 8, 4, 4))


def test_images_as_users_hold_them(tmp_path):
    pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    pixels[9, 30] = 255  # one bright pixel
    Image.fromarray(pixels).save(tmp_path / "image.png")
    data = graph(1, (8, 12), (16, 24))
    for image in (
        pixels,
        Image.fromarray(pixels),
        tmp_path / "image.png",
        str(tmp_path / "image.png"),
        [pixels],
        pixels[None],
    ):
        panel = plot_node_graphs(image, {"input": data}, (30.5, 9.5), dimming=0).axes[0]
        array = panel.images[0].get_array()[..., 0]
        row, column = np.unravel_index(array.argmax(), array.shape)
        box = one(panel, "node").get_bbox()
        assert box.x0 <= column < box.x1
        assert box.y0 <= row < box.y1
    figure = plot_anomaly_maps(tmp_path / "image.png", {"local": torch.zeros(1, 4, 4)})
    assert list(figure.axes[0].images[0].get_extent()) == [0, 48, 32, 0]
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        plot_node_graphs(tmp_path / "none.png", {"input": data}, 0)


def test_an_unfitted_network_needs_a_node():
    image = torch.rand(3, 64, 64)
    graphs = record_graphs(ViGAutoEncoder(8, image_size=64, k=4), image)
    with pytest.raises(ValueError, match=r"nodes or anomaly_maps \(got neither\)"):
        plot_node_graphs(image, graphs)
    with pytest.raises(ValueError, match=r"blocks to name graphs.*got 'encoder.12'\)"):
        plot_node_graphs(image, graphs, 0, blocks=["input", "encoder.12"])
    with pytest.raises(ValueError, match=r"blocks to name graphs.*got 'input'\)"):
        plot_node_graphs(image, graphs, 0, blocks="input")


def test_patches_too_small_to_see_are_drawn_larger_around_their_centres():
    data = graph(1, (56, 84), (224, 336), k=4)
    panel = plot_node_graphs(torch.rand(3, 224, 336), {"input": data}, 100, width=1.6).axes[0]
    vertices = one(panel, "neighbors").get_paths()[0].vertices
    point = 336 / (72 * panel.get_window_extent().width / panel.figure.dpi)
    assert np.ptp(vertices, axis=0) == pytest.approx([2.6 * point] * 2)
    corners = vertices[:4]
    np.testing.assert_allclose(corners.mean(axis=0), data.pos[103].numpy(), rtol=1e-5)
    assert artists(panel, "rank") == []


def test_truth_and_calibration_on_the_maps():
    masks = torch.zeros(1, 12, 18)
    masks[0, 2:5, 3:9] = 1
    figure = plot_anomaly_maps(torch.rand(3, 24, 36), {"map": torch.rand(1, 6, 9)}, masks)
    image, truth, heat = panels(figure)
    for panel in (image, heat):
        corners = np.array(one(panel, "truth").get_segments()).reshape(-1, 2)
        assert corners.min(axis=0).tolist() == [6, 4]
        assert corners.max(axis=0).tolist() == [18, 10]
    assert artists(truth, "truth") == []
    assert one(figure.axes[-1], "calibration").get_xdata()[0] == 0.1
    plain = plot_anomaly_maps(torch.rand(3, 24, 36), {"map": torch.rand(1, 6, 9)}, quantiles=None)
    assert artists(plain, "calibration") == []
