"""The whole graph: what is drawn are edges of ``edge_index``, and changes are those of plain sets."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from pyg_viglad.visualization import plot_graph
from tests.graphs.helpers import random_graph as random_batch
from tests.visualization.helpers import artists, assert_inside, graph, one

KINDS = ("kept", "lost", "gained")
SHORT = Data(**graph(1, (4, 6), (16, 24)).to_dict(), distance=torch.rand(3))


def random_graph(grid, size, k, seed):
    """Every node is joined to itself and k others, in random order."""
    data = random_batch([grid], k, seed, size=size)[0]
    data.distance = torch.rand(data.num_edges, generator=torch.Generator().manual_seed(seed))
    return data


def pairs(data):
    """Edges without self-loops, in order."""
    return [(a, b) for a, b in data.edge_index.T.tolist() if a != b]


def drawn(panel, gid, data, scale):
    """The edges that lines belong to, from where they end."""
    segments = np.array(one(panel, gid).get_segments()).reshape(-1, 2, 2)
    away = np.abs(segments[:, :, None] - data.pos.numpy() * scale).max(axis=-1)
    assert away.min(axis=-1).max(initial=0) < 1e-4  # every end lies on a node
    return [(int(other), int(center)) for center, other in away.argmin(axis=-1)]


@pytest.fixture
def image():
    return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_every_edge_is_drawn_once_from_its_centre_to_its_neighbour(image):
    data = random_graph((4, 6), (16, 24), 3, seed=1)  # the graph saw half the picture's pixels
    figure = plot_graph(image, data, every=1)
    panel, bar = figure.axes
    assert sorted(drawn(panel, "edges", data, 2)) == sorted(pairs(data))
    assert one(panel, "caption").get_text() == "all 72 edges"
    assert artists(panel, "centers") == []
    assert bar.get_ylabel() == "length of edge (pixels)"
    assert list(panel.images[0].get_extent()) == [0, 48, 32, 0]


@pytest.mark.parametrize("color_by", ["length", "distance"])
def test_colours_are_the_values_and_the_smallest_lie_on_top(image, color_by):
    data = random_graph((4, 6), (16, 24), 3, seed=2)
    lines = one(plot_graph(image, data, every=1, color_by=color_by), "edges")
    values = {}
    for (other, center), distance in zip(
        data.edge_index.T.tolist(), data.distance.tolist(), strict=True
    ):
        length = float((data.pos[other] - data.pos[center]).norm()) * 2
        values[other, center] = length if color_by == "length" else distance
    edges = drawn(lines.axes, "edges", data, 2)
    np.testing.assert_allclose(lines.get_array(), [values[edge] for edge in edges], rtol=1e-6)
    assert (np.diff(lines.get_array()) <= 0).all()


def test_fewer_neighbours_are_thinned_less():
    image, graph = torch.rand(3, 56, 56), random_graph((56, 56), (56, 56), 12, seed=0)
    counts = [
        len(one(plot_graph(image, graph, num_neighbors=number), "edges").get_segments())
        for number in (1, None)
    ]
    assert min(counts) > 0.5 * max(counts)


@pytest.mark.parametrize(("grid", "every"), [((9, 14), 4), ((9, 14), 3), ((3, 20), 8)])
def test_thinning_takes_all_neighbours_of_centres_on_a_step(image, grid, every):
    data = random_graph(grid, (32, 48), 5, seed=3)
    panel = plot_graph(image, data, every=every).axes[0]
    first = [min(every // 2, n // 2) for n in grid]
    centers = [
        r * grid[1] + c
        for r in range(grid[0])
        for c in range(grid[1])
        if r % every == first[0] and c % every == first[1]
    ]
    assert centers
    expected = [edge for edge in pairs(data) if edge[1] in centers]
    assert sorted(drawn(panel, "edges", data, 1)) == sorted(expected)
    np.testing.assert_allclose(one(panel, "centers").get_offsets(), data.pos[centers])
    assert one(panel, "caption").get_text().startswith(f"{len(expected)} of {len(pairs(data))} ")


def test_the_default_step_leaves_what_can_be_followed(image):
    data = random_graph((24, 36), (32, 48), 11, seed=4)
    panel = plot_graph(image, data).axes[0]
    limit = 180 * panel.get_window_extent().width / panel.figure.dpi
    number = len(one(panel, "edges").get_segments())
    assert 0.2 * limit < number <= limit
    assert f"{number} of 9,504 edges (every " in one(panel, "caption").get_text()
    small = random_graph((4, 6), (32, 48), 3, seed=4)
    assert one(plot_graph(image, small), "caption").get_text() == "all 72 edges"


def test_num_neighbors_takes_the_nearest_of_each(image):
    data = random_graph((4, 6), (32, 48), 5, seed=5)
    order = torch.randperm(data.num_edges, generator=torch.Generator().manual_seed(0))
    ranked = sorted(order.tolist(), key=lambda e: int(data.edge_index[1, e]) % 3)  # centres mixed
    data.edge_index = data.edge_index[:, ranked]
    expected = []
    for center in range(24):
        expected += [edge for edge in pairs(data) if edge[1] == center][:2]
    panel = plot_graph(image, data, every=1, num_neighbors=2).axes[0]
    assert sorted(drawn(panel, "edges", data, 1)) == sorted(expected)


@pytest.mark.parametrize("overlay", [False, True])
def test_kept_lost_and_gained_are_those_of_plain_sets(image, overlay):
    old, new = (random_graph((4, 6), (32, 48), k, seed=k) for k in (7, 9))
    before, after = set(pairs(old)), set(pairs(new))
    expected = {"kept": before & after, "lost": before - after, "gained": after - before}
    figure = plot_graph(image, new, old, every=1, overlay=overlay)
    panels = [figure.axes[0]] * 3 if overlay else figure.axes
    colors = set()
    for kind, panel in zip(KINDS, panels, strict=True):
        assert sorted(drawn(panel, kind, new, 1)) == sorted(expected[kind])
        colors.add(tuple(one(panel, kind).get_colors()[0][:3]))
    assert len(colors) == 3
    share = {"kept": len(before), "lost": len(before), "gained": len(after)}
    labels = [
        f"{kind} {len(expected[kind])} ({100 * len(expected[kind]) / share[kind]:.0f}%)"
        for kind in KINDS
    ]
    if overlay:
        assert [text.get_text() for text in panels[0].get_legend().get_texts()] == labels
    else:
        assert [panel.get_title() for panel in panels] == labels


def test_counts_of_changes_do_not_depend_on_what_is_drawn(image):
    old, new = (random_graph((8, 12), (32, 48), 6, seed=seed) for seed in (1, 2))
    titles = [
        [panel.get_title() for panel in plot_graph(image, new, old, every=every).axes]
        for every in (1, 4)
    ]
    assert titles[0] == titles[1]
    figure = plot_graph(image, new, old, every=4, num_neighbors=2)
    centers = {r * 12 + c for r in (2, 6) for c in (2, 6, 10)}
    before = set(pairs(old))
    nearest = [e for n in centers for e in [e for e in pairs(old) if e[1] == n][:2]]
    lost = [edge for edge in nearest if edge not in set(pairs(new))]
    assert sorted(drawn(figure.axes[1], "lost", old, 1)) == sorted(lost)
    assert set(lost) <= before


@pytest.mark.parametrize("arguments", [{}, {"title": "encoder"}, {"overlay": True}])
def test_nothing_leaves_the_figure(image, arguments):
    old, new = (random_graph((14, 14), (32, 48), 9, seed=seed) for seed in (1, 2))
    for before in (None, old):
        figure = plot_graph(image, new, before, mask=torch.ones(8, 8), **arguments)
        assert_inside(figure)
        assert artists(figure, "truth")


def test_a_graph_without_edges(image):
    data = graph(1, (2, 2), (32, 48), k=1)  # only itself
    assert one(plot_graph(image, data), "caption").get_text() == "no edges"
    titles = [panel.get_title() for panel in plot_graph(image, data, data).axes]
    assert titles == ["kept 0 (0%)", "lost 0 (0%)", "gained 0 (0%)"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"before": graph(1, (2, 3), (16, 24))}, r"grid of graph, \(4, 6\) \(got \(2, 3\)\)"),
        ({"every": 0}, r"every of at least 1 \(got 0\)"),
        ({"num_neighbors": 0}, r"num_neighbors of at least 1 \(got 0\)"),
        ({"dimming": 2}, r"dimming in \[0, 1\] \(got 2\)"),
        ({"color_by": "rank"}, r"'length' or 'distance' \(got 'rank'\)"),
        ({"color_by": "distance"}, r"field 'distance' to colour by, \[72\] \(got none\)"),
        ({"color_by": "distance", "graph": SHORT}, r"\[72\] \(got \(3,\)\)"),
        ({"graph": graph(2, (4, 6), (16, 24))}, r"graph to be of one image \(got 2\)"),
        ({"image": torch.rand(2, 3, 8, 8)}, r"one image \(got 2\)"),
        ({"mask": torch.zeros(3, 3, 3)}, r"mask\[0\] of shape \[H, W\]"),
        ({"width": 0.5}, "width with room"),
    ],
)
def test_errors(image, change, message):
    arguments = {"image": image, "graph": graph(1, (4, 6), (16, 24)), **change}
    with pytest.raises(ValueError, match=message):
        plot_graph(**arguments)
