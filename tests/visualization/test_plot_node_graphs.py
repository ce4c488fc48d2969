"""What ``plot_node_graphs`` shows: the node, its neighbours in rank order, titles and captions."""

import numpy as np
import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch

from pyg_viglad import ViGAutoEncoder, ViGLAD
from pyg_viglad.graphs import graph_of_image, neighbors_of, node_at, record_graphs
from pyg_viglad.visualization import plot_node_graphs
from tests.visualization.helpers import artists, assert_inside, graph, one, render

TIMES = "\N{MULTIPLICATION SIGN}"


def panels(figure, rows=2):
    return np.array([axes for axes in figure.axes if axes.images]).reshape(rows, -1)


def segments(panel):
    """The lines of a panel by the rank of the neighbour."""
    lines = one(panel, "edges")
    return dict(zip(lines.get_array().tolist(), lines.get_segments(), strict=True))


@pytest.fixture(scope="module")
def recorded():
    torch.manual_seed(0)
    model = ViGLAD("small", (96, 128), k=6)
    model.fit_statistics(torch.rand(4, 3, 96, 128), torch.rand(3, 3, 96, 128))
    images = [torch.rand(3, 60, 200), torch.rand(3, 100, 130)]
    return images, record_graphs(model, images)


def test_the_square_is_the_patch_around_the_position_in_every_grid(images, graphs):
    # (30, 9): column 7 and row 2 of patches of 4 x 4, column 1 and row 0 of 16 x 16.
    figure = plot_node_graphs(images, graphs, [(30.0, 9.0), (1.0, 31.0)])
    expected = [
        [(28, 8, 4, 4), (16, 0, 16, 16), (28, 8, 4, 4)],
        [(0, 28, 4, 4), (0, 16, 16, 16), (0, 28, 4, 4)],
    ]
    for row, boxes in zip(panels(figure), expected, strict=True):
        for panel, box in zip(row, boxes, strict=True):
            assert one(panel, "node").get_bbox().bounds == pytest.approx(box)
            assert (panel.get_xlim(), panel.get_ylim()) == ((0, 48), (32, 0))
            assert list(panel.images[0].get_extent()) == [0, 48, 32, 0]
            shape = panel.get_window_extent()
            assert shape.width / shape.height == pytest.approx(48 / 32, rel=1e-6)
            assert not panel.axison


def test_lines_go_to_the_neighbours_in_rank_order(images, graphs):
    drawn = panels(plot_node_graphs(images, graphs, torch.tensor([[30.0, 9.0], [22.0, 2.0]])))
    for row, nodes in zip(drawn, [(31, 1, 31), (5, 1, 5)], strict=True):
        for panel, node, data in zip(row, nodes, graphs.values(), strict=True):
            count, total = data.num_edges // data.num_nodes, int(data.grid_size[0].prod())
            count -= int((data.edge_index[0] == data.edge_index[1]).any())  # no line to itself
            # Farthest first, so that the nearest is drawn on top.
            assert list(segments(panel)) == list(range(count, 0, -1))
            for rank, (start, end) in segments(panel).items():
                np.testing.assert_allclose(start, 2 * data.pos[node])
                np.testing.assert_allclose(end, 2 * data.pos[(node + rank) % total])
    figure = plot_node_graphs(images, graphs, [0, 0], num_neighbors=1)
    assert list(segments(panels(figure)[0, 2])) == [1]


@pytest.mark.parametrize("name", ["adaptive", "axial", "mutual"])
def test_any_number_of_neighbours(images, name):
    torch.manual_seed(0)
    graphs = record_graphs(ViGAutoEncoder(8, image_size=32, k=5, graph=name), images)
    figure = plot_node_graphs(images, graphs, [(30.0, 9.0), (1.0, 31.0)])
    names = ("input", "decoder")
    for number, row in enumerate(panels(figure)):
        for key, panel in zip(names, row[::2], strict=True):
            one_image = graph_of_image(graphs[key], number)
            node = node_at(one_image, [(30.0, 9.0), (1.0, 31.0)][number])
            neighbors = neighbors_of(one_image, node)
            if len(neighbors) == 0:  # an adaptive graph may have such nodes
                assert not artists(panel, "edges")
                continue
            for rank, (_, end) in segments(panel).items():
                np.testing.assert_allclose(end, one_image.pos[neighbors[rank - 1]])
            assert sorted(segments(panel)) == list(range(1, len(neighbors) + 1))
    assert_inside(figure)


def test_colours_follow_the_rank_and_are_shared(images, graphs):
    figure = plot_node_graphs(images, graphs, [0, 0])
    figure.draw_without_rendering()
    seen = {}
    for panel in panels(figure).flat:
        lines = one(panel, "edges")
        for rank, color in zip(lines.get_array().tolist(), lines.get_edgecolor(), strict=True):
            assert seen.setdefault(rank, tuple(color)) == tuple(color)
    luminance = [np.dot(seen[rank][:3], [0.299, 0.587, 0.114]) for rank in (1, 2, 3, 4)]
    assert min(np.diff(luminance)) > 0.1
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "rank of neighbour (1 = nearest)"
    assert bar.yaxis_inverted()


def test_squares_cover_patches_and_have_numbers_where_there_is_room(images):
    many = {"fine": graph(2, (32, 48), (32, 48), k=9), "coarse": graph(2, (4, 6), (32, 48), k=9)}
    fine, coarse = panels(plot_node_graphs(images, many, [0, 0]))[0]
    squares = one(coarse, "neighbors")
    first = squares.get_paths()[int(np.argmin(squares.get_array()))].vertices
    assert (first.min(axis=0).tolist(), first.max(axis=0).tolist()) == ([8, 0], [16, 8])
    assert artists(fine, "rank") == []
    texts = artists(coarse, "rank")
    assert [text.get_text() for text in texts] == [str(rank) for rank in range(1, 9)]
    assert texts[0].get_position() == (12, 4)


def test_patches_too_small_to_see_are_drawn_larger_around_their_centres():
    data = graph(1, (56, 84), (224, 336), k=4)
    panel = plot_node_graphs(torch.rand(3, 224, 336), {"input": data}, 100, width=1.6).axes[0]
    vertices = one(panel, "neighbors").get_paths()[0].vertices
    point = 336 / (72 * panel.get_window_extent().width / panel.figure.dpi)
    assert np.ptp(vertices, axis=0) == pytest.approx([2.6 * point] * 2)
    np.testing.assert_allclose(vertices[:4].mean(axis=0), data.pos[103].numpy(), rtol=1e-5)


def test_nodes_by_number_by_map_and_for_one_image_without_a_list(images, graphs):
    maps = torch.zeros(2, 4, 4)
    maps[0, 1, 3] = maps[1, 3, 0] = 1.0  # cells around (42, 12) and (6, 28)
    first, second = panels(plot_node_graphs(images, graphs, anomaly_maps=maps))[:, 0]
    assert (one(first, "node").get_xy(), one(second, "node").get_xy()) == ((40, 12), (4, 28))
    by_number = plot_node_graphs(images, graphs, torch.tensor([31, 95]))
    by_place = plot_node_graphs(images, graphs, [(30.0, 10.0), (46.0, 30.0)])
    for a, b in zip(panels(by_number).flat, panels(by_place).flat, strict=True):
        assert one(a, "node").get_xy() == one(b, "node").get_xy()
    for node in ((30.0, 9.0), 31, [31], [(30.0, 9.0)]):
        figure = plot_node_graphs(images[0], {"input": graph(1, (8, 12), (16, 24))}, node)
        assert one(figure, "node").get_bbox().bounds == pytest.approx((28, 8, 4, 4))


def test_titles_scores_and_kept_neighbours(images, graphs):
    figure = plot_node_graphs(
        images,
        graphs,
        [0, 0],
        titles=["good", "disorder"],
        scores=[-0.31, 5.24],
        node_scores=[0, 4],
        num_neighbors=1,
    )
    drawn = panels(figure)
    assert [" ".join(panel.texts[0].get_text().split()) for panel in drawn[:, 0]] == [
        "good score = \N{MINUS SIGN}0.3, node score = 0.0",
        "disorder score = 5.2, node score = 4.0",
    ]
    assert [panel.get_title() for panel in drawn[0]] == [
        f"input graph\n8 {TIMES} 12, k = 3 incl. itself",
        f"encoder graph\n2 {TIMES} 3, k = 3 incl. itself",
        f"decoder graph\n8 {TIMES} 12, k = 4",
    ]
    assert artists(drawn[0, 1], "caption") == []  # on another grid
    # Of all neighbours, whatever number of them is drawn: 1 and 2 are among 1 to 4.
    assert one(drawn[0, 2], "caption").get_text() == "2 of 2 neighbours kept"
    graphs["decoder"] = graph(2, (8, 12), (16, 24), k=1, loop=False)
    drawn = panels(plot_node_graphs(images, graphs, [0, 0]))
    assert one(drawn[0, 2], "caption").get_text() == "1 of 2 neighbours kept"


def test_long_titles_are_broken_and_nothing_leaves_the_figure(images, graphs):
    titles = ["logical anomalies: screw bag, one washer too many", "x" * 60]
    figure = plot_node_graphs(
        images, graphs, [0, 0], titles=titles, scores=[5, 6], node_scores=[4, 3]
    )
    figure.draw_without_rendering()
    for panel in panels(figure)[:, 0]:
        assert panel.texts[0].get_text().count("\n") >= 2
        text, box = panel.texts[0].get_window_extent(), panel.get_window_extent()
        assert text.height <= box.height
    assert_inside(figure)


def test_the_true_anomaly_is_outlined_along_pixel_edges(images, graphs):
    masks = torch.zeros(2, 32, 48, dtype=torch.bool)
    masks[1, 10:20, 5:48] = True
    drawn = panels(plot_node_graphs(images, graphs, [0, 0], masks=masks))
    assert artists(drawn[0, 0], "truth") == []
    corners = np.array(one(drawn[1, 0], "truth").get_segments()).reshape(-1, 2)
    assert len(corners) == 8
    assert (corners.min(axis=0).tolist(), corners.max(axis=0).tolist()) == ([5, 10], [48, 20])


def test_images_of_different_sizes_and_edge_index_class():
    images = [torch.rand(3, 16, 16), torch.rand(1, 8, 32)]
    batch = Batch.from_data_list([graph(1, (4, 4), (16, 16)), graph(1, (2, 8), (8, 32))])
    batch.edge_index = EdgeIndex(batch.edge_index, sparse_size=(32, 32), sort_order="col")
    first, second = plot_node_graphs(images, {"input": batch}, [0, 9]).axes[:2]
    assert one(first, "node").get_bbox().bounds == (0, 0, 4, 4)
    assert one(second, "node").get_bbox().bounds == (4, 4, 4, 4)
    assert first.get_title().startswith("input graph\ndifferent grids")


def test_node_without_neighbours():
    data = graph(1, (2, 2), (8, 8), k=1)  # only itself
    figure = plot_node_graphs(torch.rand(3, 8, 8), {"input": data}, [3])
    assert len(figure.axes) == 1  # no colour bar of nothing
    assert artists(figure, "edges") == []
    assert one(figure, "node").get_xy() == (4, 4)
    render(figure)


def test_it_draws_and_changes_nothing_it_was_given(images, graphs):
    before = images.clone(), {name: data.clone() for name, data in graphs.items()}
    figure = plot_node_graphs(images, graphs, [3, 4], masks=torch.ones(2, 32, 48), dimming=0)
    assert render(figure).std() > 0.1
    np.testing.assert_allclose(
        figure.axes[0].images[0].get_array(), images[0].permute(1, 2, 0), atol=1e-6
    )
    assert torch.equal(images, before[0])
    for name, data in graphs.items():
        old = before[1][name].to_dict()
        assert old.keys() == data.to_dict().keys()
        assert all(torch.equal(data[key], value) for key, value in old.items())
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_recorded_graphs_give_the_three_of_the_figure_at_the_most_anomalous_node(recorded):
    images, graphs = recorded
    drawn = panels(plot_node_graphs(images, graphs))
    titles = [panel.get_title().split("\n")[0] for panel in drawn[0]]
    assert titles == ["input graph", "encoder block 10 graph", "decoder graph"]
    for number, panel in enumerate(drawn[:, 0]):
        own = graphs["input"][number]
        x, y = own.pos[int(own.combined_score.argmax())].tolist()
        (x0, y0), (x1, y1) = one(panel, "node").get_bbox().get_points()
        assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((x, y), rel=1e-5)


def test_any_block_by_name_and_lines_to_what_the_network_used(recorded):
    images, graphs = recorded
    blocks, places = ["encoder.4", "decoder.11", "encoder.0"], [(150.0, 20.0), (3.0, 99.0)]
    drawn = panels(plot_node_graphs(images, graphs, places, blocks=blocks))
    titles = [panel.get_title().split("\n")[0] for panel in drawn[0]]
    assert titles == ["encoder block 5 graph", "decoder block 12 graph", "encoder block 1 graph"]
    for number, place in enumerate(places):
        for panel, name in zip(drawn[number], blocks, strict=True):
            own = graph_of_image(graphs[name], number)
            node = node_at(own, place)
            for rank, other in enumerate(neighbors_of(own, node).tolist(), start=1):
                expected = own.pos[[node, other]].numpy()
                np.testing.assert_allclose(segments(panel)[rank], expected, rtol=1e-4)


def test_an_unfitted_network_needs_a_node():
    image = torch.rand(3, 64, 64)
    graphs = record_graphs(ViGAutoEncoder(8, image_size=64, k=4), image)
    with pytest.raises(ValueError, match=r"nodes or anomaly_maps \(got neither\)"):
        plot_node_graphs(image, graphs)
    for blocks, wrong in ((["input", "encoder.12"], "encoder.12"), ("input", "input")):
        with pytest.raises(ValueError, match=rf"blocks to name graphs.*got '{wrong}'\)"):
            plot_node_graphs(image, graphs, 0, blocks=blocks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": [0, 96]}, r"nodes\[1\] to be from 0 to 95 \(got 96\)"),
        ({"nodes": [-1, 0]}, r"nodes\[0\] to be from 0 to 95 \(got -1\)"),
        ({"nodes": [0]}, r"positions \[2, 2\] or node numbers \[2\] \(got .*\[1\]"),
        ({"nodes": [0.5, 1.0]}, r"node numbers \[2\] \(got torch.float32"),
        ({"nodes": [(0.0, 0.0), (49.0, 0.0)]}, r"nodes\[1\] inside the image of 48 x 32.*x=49"),
        ({"nodes": None}, r"Expected nodes or anomaly_maps \(got neither\)"),
        ({"nodes": None, "anomaly_maps": torch.zeros(3, 4, 4)}, r"anomaly_maps for 2.*got 3"),
        ({"titles": "ab"}, r"titles for 2 images \(got 'ab'\)"),
        ({"scores": [1.0]}, r"scores of shape \[2\] \(got \[1\]\)"),
        ({"node_scores": [1.0, float("inf")]}, r"node_scores to be finite"),
        ({"masks": torch.zeros(1, 4, 4)}, r"masks for 2 images \(got 1\)"),
        ({"num_neighbors": 0}, r"num_neighbors of at least 1 \(got 0\)"),
        ({"dimming": 1.5}, r"dimming in \[0, 1\] \(got 1.5\)"),
        ({"graphs": {}}, r"Expected graphs to map names"),
        ({"graphs": {"input": {}}}, r"graphs\['input'\] to have the field 'pos' \(got dict\)"),
        ({"images": torch.rand(3, 3, 32, 48)}, r"each of the 3 images \(got 2\)"),
    ],
)
def test_errors(images, graphs, change, message):
    with pytest.raises(ValueError, match=message):
        plot_node_graphs(**{"images": images, "graphs": graphs, "nodes": [0, 0], **change})
