import numpy as np
import pytest
import torch
from torch_geometric.explain import Explanation

from pyg_viglad.visualization import plot_explanation
from tests.visualization.helpers import artists, assert_inside, graph, one, render

CENTER = 3
WEIGHTS = [0.9, 0.0, 0.4, 1.0]  # of the edges from 3 (itself), 4, 5 and 6


def explanation(grid=(4, 6), k=4, **fields):
    data = graph(1, grid, (16, 24), k=k)  # n, n + 1, n + 2, n + 3
    mask = torch.zeros(data.num_edges)
    mask[data.edge_index[1] == CENTER] = torch.tensor(WEIGHTS)[:k]
    mask[data.edge_index[1] == 10] = 0.5
    values = {"edge_mask": mask, "center": CENTER, "error": torch.tensor(0.25)}
    return Explanation(**{**data.to_dict(), **values, "block": "decoder.11", **fields})


@pytest.fixture
def image():
    return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_lines_by_weight_from_the_node_to_its_neighbours(image):
    data = explanation()
    panel = plot_explanation(image, data).axes[0]
    lines = one(panel, "edges")
    # The heaviest last, on top.
    assert lines.get_array().tolist() == pytest.approx([0.0, 0.4, 1.0])
    for (start, end), other in zip(lines.get_segments(), [4, 5, 6], strict=True):
        np.testing.assert_allclose(start, 2 * data.pos[CENTER])
        np.testing.assert_allclose(end, 2 * data.pos[other])
    widths = lines.get_linewidths()
    assert widths[0] < 0.5 * widths[1] < 0.5 * widths[2]
    x, y = (2 * data.pos[CENTER] - 4).tolist()
    assert one(panel, "node").get_bbox().bounds == pytest.approx((x, y, 8, 8))
    ranks = {text.get_text(): text.get_position() for text in artists(panel, "rank")}
    for rank, other in (("1", 6), ("2", 5), ("3", 4)):
        assert ranks[rank] == pytest.approx(tuple((2 * data.pos[other]).tolist()))
    assert panel.get_title() == "decoder block 12\n4 \N{MULTIPLICATION SIGN} 6 nodes"


def test_the_heavier_the_darker_and_the_bar_says_so(image):
    figure = plot_explanation(image, explanation())
    figure.draw_without_rendering()
    panel, bar = figure.axes
    colors = one(panel, "edges").get_edgecolor()
    assert (np.diff(colors[:, :3] @ [0.299, 0.587, 0.114]) < -0.05).all()
    assert np.ptp(colors[0, :3]) == 0  # a weight of 0 is gray
    assert bar.get_ylabel() == "weight of edge"
    assert bar.get_ylim() == (0, 1)


def test_number_of_neighbours_and_edges_of_other_nodes(image):
    panel = plot_explanation(image, explanation(), num_neighbors=1).axes[0]
    assert one(panel, "edges").get_array().tolist() == [1.0]
    assert len(one(panel, "other-edges").get_segments()) == 0
    data = explanation()
    lines = one(plot_explanation(image, data, num_edges=2).axes[0], "other-edges")
    for (start, end), other in zip(lines.get_segments(), [12, 11], strict=True):
        np.testing.assert_allclose(start, 2 * data.pos[10])
        np.testing.assert_allclose(end, 2 * data.pos[other])
    # Those of weight 0 are left out, however many are wanted.
    lines = one(plot_explanation(image, data, num_edges=99).axes[0], "other-edges")
    assert lines.get_array().tolist() == [0.5, 0.5, 0.5]


def test_the_caption_tells_the_error_and_what_the_heaviest_edge_has_to_do_with_it(image):
    data = explanation()
    assert one(plot_explanation(image, data), "caption").get_text() == "error 0.25"
    data.edge_effect = 0.031 * data.edge_mask
    text = one(plot_explanation(image, data), "caption").get_text()
    assert text == "error 0.25, 3.1% of it by the heaviest edge"
    data.edge_effect = -data.edge_mask
    text = one(plot_explanation(image, data), "caption").get_text()
    assert text == "error 0.25, raised by no edge"


def test_several_side_by_side(image):
    views = {"GNNExplainer": explanation(), "occlusion": explanation((8, 12))}
    figure = plot_explanation(image, views, title="a", mask=torch.ones(4, 4))
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == [*views, ""]
    assert len(artists(figure, "truth")) == 2


@pytest.mark.parametrize("width", [1.8, 3.5, None])
@pytest.mark.parametrize("count", [1, 3])
def test_nothing_leaves_the_figure(image, width, count):
    data = explanation(edge_effect=torch.rand(96))
    width = width and width * count
    figure = plot_explanation(image, dict.fromkeys("abc"[:count], data), width=width, title="good")
    assert_inside(figure)
    assert render(figure).std() > 0.05


def test_a_node_without_neighbours(image):
    render(plot_explanation(image, explanation(k=1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"explanations": graph(1, (4, 6), (16, 24))}, "the explanation with 'edge_mask'"),
        ({"explanations": {"a": graph(1, (4, 6), (16, 24))}}, r"explanations\['a'\] with"),
        ({"explanations": {}}, "at least one"),
        ({"num_edges": 0}, "num_edges of at least 1"),
        ({"num_neighbors": 0}, "num_neighbors of at least 1"),
        ({"dimming": 3}, "dimming in"),
    ],
)
def test_errors(image, change, message):
    with pytest.raises(ValueError, match=message):
        plot_explanation(**{"image": image, "explanations": explanation(), **change})
