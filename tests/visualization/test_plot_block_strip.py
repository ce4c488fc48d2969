import numpy as np
import pytest
import torch

from pyg_viglad import ViGAutoEncoder
from pyg_viglad.graphs import node_at, record_graphs
from pyg_viglad.visualization import plot_block_strip
from tests.visualization.helpers import artists, assert_inside, graph, one, render

GRIDS = {"encoder.0": (8, 12), "encoder.1": (4, 6), "encoder": (2, 3), "decoder.0": (4, 6)}


@pytest.fixture
def image():
    return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def graphs():
    """The graphs saw images of half the size."""
    return {name: graph(1, grid, (16, 24), k=4) for name, grid in GRIDS.items()}


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def test_lines_of_every_panel_go_to_the_neighbours_there(image, graphs):
    figure = plot_block_strip(image, graphs, (30.0, 9.0))
    assert len(panels(figure)) == 4
    for panel, (name, grid) in zip(panels(figure), GRIDS.items(), strict=True):
        data, nodes = graphs[name], grid[0] * grid[1]
        node = node_at(data, (15.0, 4.5))
        lines = one(panel, "edges")
        segments = dict(zip(lines.get_array().tolist(), lines.get_segments(), strict=True))
        assert sorted(segments) == [1, 2, 3]
        for rank, (start, end) in segments.items():
            np.testing.assert_allclose(start, 2 * data.pos[node])
            np.testing.assert_allclose(end, 2 * data.pos[(node + int(rank)) % nodes])
        box = one(panel, "node").get_bbox()
        assert box.x0 <= 30 <= box.x1
        assert box.y0 <= 9 <= box.y1


def test_rows_are_encoder_and_decoder_and_captions_name_blocks(image, graphs):
    figure = plot_block_strip(image, graphs, 0)
    drawn = panels(figure)
    tops = [round(panel.get_position().y1, 6) for panel in drawn]
    assert tops[0] == tops[1] == tops[2] > tops[3]
    assert [panel.texts[0].get_text() for panel in (drawn[0], drawn[3])] == ["encoder", "decoder"]
    times = "\N{MULTIPLICATION SIGN}"
    captions = [one(panel, "caption").get_text() for panel in drawn]
    assert captions == [f"1: 8{times}12", f"2: 4{times}6", f"out: 2{times}3", f"1: 4{times}6"]


def test_recorded_graphs_of_a_network(image):
    model = ViGAutoEncoder(8, image_size=64, k=5)
    graphs = record_graphs(model, torch.rand(1, 3, 64, 96))
    figure = plot_block_strip(torch.rand(3, 64, 96), graphs, (90.0, 10.0), width=7.2)
    assert len(panels(figure)) == 26  # 12 blocks and what leaves them, twice; not the input again
    assert {round(p.get_position().y1, 6) for p in panels(figure)}.__len__() == 2
    narrow = plot_block_strip(torch.rand(3, 64, 96), graphs, (90.0, 10.0), width=3.5)
    assert len({round(p.get_position().y1, 6) for p in panels(narrow)}) == 4
    for drawn, width in ((figure, 7.2), (narrow, 3.5)):
        assert drawn.get_figwidth() == pytest.approx(width)
        assert_inside(drawn)
        sizes = [text.get_fontsize() for p in panels(drawn) for text in p.texts if text.get_text()]
        assert min(sizes) >= 6
        for panel in panels(drawn):
            box, text = panel.get_window_extent(), one(panel, "caption").get_window_extent()
            assert text.width < box.width + 0.16 * drawn.dpi  # the gaps to both sides
    assert render(narrow).std() > 0.05


def test_the_default_node_has_the_largest_recorded_score(image, graphs):
    graphs["encoder.0"].combined_score = torch.arange(96.0).roll(-40)  # the largest: 55
    drawn = panels(plot_block_strip(image, graphs))
    assert one(drawn[0], "node").get_bbox().bounds == pytest.approx((28, 16, 4, 4))
    graphs["encoder.0"].node_score = -torch.arange(96.0)
    drawn = panels(plot_block_strip(image, graphs))
    assert one(drawn[0], "node").get_bbox().bounds == pytest.approx((0, 0, 4, 4))


def test_num_neighbors_and_truth(image, graphs):
    mask = torch.zeros(32, 48)
    mask[4:8, 10:20] = 1
    figure = plot_block_strip(image, graphs, 0, num_neighbors=2, mask=mask)
    for panel in panels(figure):
        assert one(panel, "edges").get_array().tolist() == [2, 1]
        corners = np.array(one(panel, "truth").get_segments()).reshape(-1, 2)
        assert corners.min(axis=0).tolist() == [10, 4]
        assert corners.max(axis=0).tolist() == [20, 8]


def test_graphs_of_other_names_share_a_row(image, graphs):
    chosen = {"first": graphs["encoder.0"], "second": graphs["encoder"]}
    drawn = panels(plot_block_strip(image, chosen, 0))
    assert one(drawn[0], "caption").get_text().startswith("first: ")
    assert drawn[0].get_position().y1 == drawn[1].get_position().y1
    assert artists(drawn[1], "node")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graphs": {}}, "at least one"),
        ({"graphs": {"a": graph(2, (2, 3), (16, 24))}}, r"to be of one image \(got 2\)"),
        ({"node": None}, r"Expected node, or graphs with recorded scores \(got neither\)"),
        ({"node": 96}, r"node to be from 0 to 95 \(got 96\)"),
        ({"node": (50.0, 0.0)}, r"inside the image of 48 x 32 pixels"),
        ({"num_neighbors": 0}, r"num_neighbors of at least 1"),
        ({"dimming": -1}, r"dimming in \[0, 1\]"),
    ],
)
def test_errors(image, graphs, change, message):
    with pytest.raises(ValueError, match=message):
        plot_block_strip(**{"image": image, "graphs": graphs, "node": 0, **change})
