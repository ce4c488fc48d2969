import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch

from pyg_viglad.visualization import plot_node_graphs
from tests.visualization.helpers import artists, assert_inside, graph, one, render


def panels(figure):
    return np.array([axes for axes in figure.axes if axes.images]).reshape(2, -1)


def test_the_square_is_the_patch_around_the_position_in_every_grid(images, graphs):
    # (30, 9): column 7 and row 2 of patches of 4 x 4, column 1 and row 0 of 16 x 16.
    figure = plot_node_graphs(images, graphs, [(30.0, 9.0), (1.0, 31.0)])
    assert isinstance(figure, Figure)
    expected = [
        [(28, 8, 4, 4), (16, 0, 16, 16), (28, 8, 4, 4)],
        [(0, 28, 4, 4), (0, 16, 16, 16), (0, 28, 4, 4)],
    ]
    for row, boxes in zip(panels(figure), expected, strict=True):
        for panel, (x, y, width, height) in zip(row, boxes, strict=True):
            box = one(panel, "node").get_bbox()
            assert box.bounds == pytest.approx((x, y, width, height))


def test_panels_have_pixel_coordinates_and_the_shape_of_the_image(images, graphs):
    figure = plot_node_graphs(images, graphs, [0, 0])
    for panel in panels(figure).flat:
        assert panel.get_xlim() == (0, 48)
        assert panel.get_ylim() == (32, 0)
        assert list(panel.images[0].get_extent()) == [0, 48, 32, 0]
        box = panel.get_window_extent()
        assert box.width / box.height == pytest.approx(48 / 32, rel=1e-6)
        assert not panel.axison


def test_lines_go_to_the_neighbours_in_rank_order(images, graphs):
    figure = plot_node_graphs(images, graphs, torch.tensor([[30.0, 9.0], [1.0, 31.0]]))
    node = {"input": 2 * 12 + 7, "encoder": 1, "decoder": 2 * 12 + 7}
    for panel, (name, data) in zip(panels(figure)[0], graphs.items(), strict=True):
        lines = one(panel, "edges")
        ranks = lines.get_array()
        count = 4 if name == "decoder" else 2  # two of three: the node itself is no line
        # Farthest first, so that the nearest is drawn on top.
        assert ranks.tolist() == list(range(count, 0, -1))
        segments = dict(zip(ranks.tolist(), lines.get_segments(), strict=True))
        nodes = data.grid_size[0].prod().item()
        for rank, (start, end) in segments.items():
            other = (node[name] + int(rank)) % nodes
            np.testing.assert_allclose(start, 2 * data.pos[node[name]])
            np.testing.assert_allclose(end, 2 * data.pos[other])


def test_the_second_image_uses_its_own_nodes(images, graphs):
    figure = plot_node_graphs(images, graphs, [0, 5])
    ends = {tuple(segment[1]) for segment in one(panels(figure)[1, 0], "edges").get_segments()}
    assert ends == {(26.0, 2.0), (30.0, 2.0)}  # columns 6 and 7 of the first row


def test_colours_follow_the_rank_and_are_shared(images, graphs):
    figure = plot_node_graphs(images, graphs, [0, 0])
    figure.draw_without_rendering()
    seen = {}
    for panel in panels(figure).flat:
        lines = one(panel, "edges")
        for rank, color in zip(lines.get_array().tolist(), lines.get_edgecolor(), strict=True):
            assert seen.setdefault(rank, tuple(color)) == tuple(color)
    assert set(seen) == {1, 2, 3, 4}
    luminance = [np.dot(seen[rank][:3], [0.299, 0.587, 0.114]) for rank in (1, 2, 3, 4)]
    assert luminance == sorted(luminance)
    assert min(np.diff(luminance)) > 0.1
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "rank of neighbour (1 = nearest)"
    assert bar.yaxis_inverted()


def test_squares_of_neighbours_cover_their_patches(images, graphs):
    figure = plot_node_graphs(images, graphs, [0, 0])
    squares = one(panels(figure)[0, 1], "neighbors")
    first = squares.get_paths()[int(np.argmin(squares.get_array()))].vertices
    assert first.min(axis=0).tolist() == [16, 0]
    assert first.max(axis=0).tolist() == [32, 16]


def test_numbers_only_where_patches_have_room(images):
    many = {"fine": graph(2, (32, 48), (32, 48), k=9), "coarse": graph(2, (4, 6), (32, 48), k=9)}
    fine, coarse = panels(plot_node_graphs(images, many, [0, 0]))[0]
    assert artists(fine, "rank") == []
    texts = artists(coarse, "rank")
    assert [text.get_text() for text in texts] == [str(rank) for rank in range(1, 9)]
    assert texts[0].get_position() == (12, 4)


def test_num_neighbors_takes_the_nearest(images, graphs):
    figure = plot_node_graphs(images, graphs, [0, 0], num_neighbors=1)
    assert one(panels(figure)[0, 2], "edges").get_array().tolist() == [1]


def test_the_largest_value_of_a_map_of_another_size(images, graphs):
    maps = torch.zeros(2, 4, 4)
    maps[0, 1, 3] = 1.0  # the cell around x = 42, y = 12
    maps[1, 3, 0] = 1.0
    first, second = panels(plot_node_graphs(images, graphs, anomaly_maps=maps))[:, 0]
    assert one(first, "node").get_xy() == (40, 12)
    assert one(second, "node").get_xy() == (4, 28)


def test_node_numbers_agree_with_positions(images, graphs):
    by_number = plot_node_graphs(images, graphs, torch.tensor([31, 95]))
    by_place = plot_node_graphs(images, graphs, [(30.0, 10.0), (46.0, 30.0)])
    for a, b in zip(panels(by_number).flat, panels(by_place).flat, strict=True):
        assert one(a, "node").get_xy() == one(b, "node").get_xy()


def test_titles_scores_and_kept_neighbours(images, graphs):
    figure = plot_node_graphs(
        images,
        graphs,
        [0, 0],
        titles=["good", "disorder"],
        scores=[-0.31, 5.24],
        node_scores=[0, 4],
    )
    texts = [panel.texts[0].get_text() for panel in panels(figure)[:, 0]]
    texts = [" ".join(text.replace("\N{NO-BREAK SPACE}", " ").split()) for text in texts]
    assert texts == [
        "good score = \N{MINUS SIGN}0.3, node score = 0.0",
        "disorder score = 5.2, node score = 4.0",
    ]
    titles = [panel.get_title() for panel in panels(figure)[0]]
    assert titles == [
        "input graph\n8 \N{MULTIPLICATION SIGN} 12, k = 3 incl. itself",
        "encoder graph\n2 \N{MULTIPLICATION SIGN} 3, k = 3 incl. itself",
        "decoder graph\n8 \N{MULTIPLICATION SIGN} 12, k = 4",
    ]
    assert artists(panels(figure)[0, 1], "caption") == []
    assert one(panels(figure)[0, 2], "caption").get_text() == "2 of 2 neighbours kept"


def test_long_titles_are_broken_and_nothing_leaves_the_figure(images, graphs):
    figure = plot_node_graphs(
        images,
        graphs,
        [0, 0],
        titles=["logical anomalies: screw bag, one washer too many", "x" * 60],
        scores=[5, 6],
        node_scores=[4, 3],
    )
    figure.draw_without_rendering()
    heights = [panel.get_window_extent().height for panel in panels(figure)[:, 0]]
    for panel, limit in zip(panels(figure)[:, 0], heights, strict=True):
        assert panel.texts[0].get_text().count("\n") >= 2
        assert panel.texts[0].get_window_extent().height <= limit
    assert_inside(figure)


def test_truth_is_outlined_along_pixel_edges(images, graphs):
    masks = torch.zeros(2, 32, 48, dtype=torch.bool)
    masks[1, 10:20, 5:48] = True
    figure = plot_node_graphs(images, graphs, [0, 0], masks=masks)
    assert artists(panels(figure)[0, 0], "truth") == []
    segments = np.array(one(panels(figure)[1, 0], "truth").get_segments())
    assert len(segments) == 4
    assert segments.reshape(-1, 2).min(axis=0).tolist() == [5, 10]
    assert segments.reshape(-1, 2).max(axis=0).tolist() == [48, 20]


def test_batches_of_images_of_different_sizes_and_edge_index_class():
    images = [torch.rand(3, 16, 16), torch.rand(1, 8, 32)]
    parts = [graph(1, (4, 4), (16, 16)), graph(1, (2, 8), (8, 32))]
    batch = Batch.from_data_list(parts)
    batch.edge_index = EdgeIndex(batch.edge_index, sparse_size=(32, 32), sort_order="col")
    first, second = plot_node_graphs(images, {"input": batch}, [0, 9]).axes[:2]
    assert one(first, "node").get_bbox().bounds == (0, 0, 4, 4)
    assert one(second, "node").get_bbox().bounds == (4, 4, 4, 4)
    assert first.get_title().startswith("input graph\ndifferent grids")


def test_single_image_and_size_from_the_field_img():
    data = graph(1, (4, 4), (16, 16))
    del data.img_size
    data.img = torch.zeros(1, 3, 16, 16)
    panel = plot_node_graphs(torch.rand(3, 32, 32), {"input": data}, [5]).axes[0]
    assert one(panel, "node").get_bbox().bounds == (8, 8, 8, 8)


def test_node_without_neighbours():
    data = graph(1, (2, 2), (8, 8), k=1)  # only itself
    figure = plot_node_graphs(torch.rand(3, 8, 8), {"input": data}, [3])
    assert len(figure.axes) == 1  # no colour bar of nothing
    assert artists(figure, "edges") == []
    assert one(figure, "node").get_xy() == (4, 4)
    render(figure)


def test_it_draws_and_changes_nothing_it_was_given(images, graphs):
    before = images.clone(), {name: data.clone() for name, data in graphs.items()}
    masks = torch.ones(2, 32, 48)
    figure = plot_node_graphs(images, graphs, [3, 4], masks=masks, scores=torch.ones(2))
    pixels = render(figure)
    assert pixels.std() > 0.1
    assert torch.equal(images, before[0])
    for name, data in graphs.items():
        assert set(data.keys()) == set(before[1][name].keys())
        assert all(torch.equal(data[key], before[1][name][key]) for key in data.keys())  # noqa: SIM118
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_dimming(images, graphs):
    plain = plot_node_graphs(images, graphs, [0, 0], dimming=0).axes[0].images[0].get_array()
    np.testing.assert_allclose(plain, images[0].permute(1, 2, 0), atol=1e-6)
    dimmed = plot_node_graphs(images, graphs, [0, 0], dimming=1).axes[0].images[0].get_array()
    assert dimmed.std() < 0.5 * plain.std()
    np.testing.assert_allclose(dimmed[..., 0], dimmed[..., 2])  # gray


def test_no_pyplot():
    code = """
import sys
import pyg_viglad.visualization as v
import torch
v.plot_anomaly_maps(torch.rand(1, 3, 8, 8), {'a': torch.rand(1, 8, 8)})._repr_png_()
assert 'matplotlib.pyplot' not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
