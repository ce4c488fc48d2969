import numpy as np
import pytest
import torch

from pyg_viglad.visualization import plot_neighbors
from tests.visualization.helpers import artists, assert_inside, graph, one, render


@pytest.fixture
def image():
    return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def data():
    return graph(1, (4, 6), (16, 24), k=4)  # n, n + 1, n + 2, n + 3


def test_lines_discs_and_squares_of_every_node(image, data):
    panel = plot_neighbors(image, data, [3, 20]).axes[0]
    colors = set()
    for number, node in enumerate([3, 20]):
        lines = one(panel, f"edges-{number}")
        for rank, (start, end) in enumerate(lines.get_segments(), start=1):
            np.testing.assert_allclose(start, 2 * data.pos[node])
            np.testing.assert_allclose(end, 2 * data.pos[(node + rank) % 24])
        x, y = (2 * data.pos[node] - 4).tolist()
        assert one(panel, f"node-{number}").get_bbox().bounds == pytest.approx((x, y, 8, 8))
        colors.add(tuple(lines.get_edgecolor()[0]))
        extents = [path.get_extents() for path in one(panel, f"neighbors-{number}").get_paths()]
        centers = [((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in extents]
        np.testing.assert_allclose(
            centers, [2 * data.pos[(node + rank) % 24].numpy() for rank in (1, 2, 3)], atol=0.01
        )
        widths = [box.width for box in extents]
        assert widths == sorted(widths, reverse=True)
        assert widths[-1] < 0.6 * widths[0]
    assert len(colors) == 2


def test_a_shared_neighbour_is_divided(image, data):
    panel = plot_neighbors(image, data, [3, 4, 5]).axes[0]  # 6 is a neighbour of all three
    place = 2 * data.pos[6].numpy()
    turns = []
    for number, rank in enumerate((3, 2, 1)):
        path = one(panel, f"neighbors-{number}").get_paths()[rank - 1]
        offsets = path.vertices - place
        # A third of a disc covers a third of its area: by the shoelace formula.
        away = offsets[np.linalg.norm(offsets, axis=1) > 1e-6]
        middle = away.mean(axis=0)
        turns.append(np.degrees(np.arctan2(middle[1], middle[0])) % 360)
    turns = np.sort(turns)
    np.testing.assert_allclose(np.diff(turns), 120, atol=1)


def test_ranks_are_numbered_where_there_is_room(image, data):
    panel = plot_neighbors(image, data, [3, 20]).axes[0]
    texts = sorted(text.get_text() for text in artists(panel, "rank"))
    assert texts == ["1", "1", "2", "2", "3", "3"]
    fine = graph(1, (32, 48), (16, 24), k=4)
    assert artists(plot_neighbors(image, fine, [3]), "rank") == []


def test_positions_labels_and_number_of_neighbours(image, data):
    figure = plot_neighbors(
        image, data, [(30.0, 9.0), (1.0, 31.0)], labels=["screw", "nut"], num_neighbors=1, title="a"
    )
    panel = figure.axes[0]
    assert one(panel, "node-0").get_bbox().bounds == pytest.approx((24, 8, 8, 8))
    assert one(panel, "node-1").get_bbox().bounds == pytest.approx((0, 24, 8, 8))
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["screw", "nut"]
    assert len(one(panel, "edges-0").get_segments()) == 1
    assert panel.get_title() == "a"


@pytest.mark.parametrize("width", [2.5, 3.5, 7.2])
@pytest.mark.parametrize("count", [1, 7])
def test_nothing_leaves_the_figure(image, data, width, count):
    figure = plot_neighbors(image, data, list(range(count)), width=width, mask=torch.ones(4, 4))
    assert_inside(figure)
    assert figure.get_figwidth() == pytest.approx(width)
    assert artists(figure, "truth")
    assert render(figure).std() > 0.05


def test_nodes_without_neighbours(image):
    figure = plot_neighbors(image, graph(1, (4, 6), (16, 24), k=1), [0, 1])
    assert artists(figure, "caption") == []
    render(figure)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": []}, r"one to 7 nodes \(got 0\)"),
        ({"nodes": list(range(8))}, r"one to 7 nodes \(got 8\)"),
        ({"nodes": [1, 1]}, r"nodes that differ \(got \[1, 1\]\)"),
        ({"nodes": [0, 24]}, r"nodes\[1\] to be from 0 to 23 \(got 24\)"),
        ({"nodes": [(0.0, 40.0)]}, r"inside the image of 48 x 32"),
        ({"labels": ["a", "b"]}, r"labels for 1 nodes \(got \['a', 'b'\]\)"),
        ({"num_neighbors": 0}, "num_neighbors of at least 1"),
        ({"dimming": 3}, "dimming in"),
    ],
)
def test_errors(image, data, change, message):
    with pytest.raises(ValueError, match=message):
        plot_neighbors(**{"image": image, "graph": data, "nodes": [0], **change})
