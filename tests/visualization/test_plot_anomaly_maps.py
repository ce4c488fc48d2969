import numpy as np
import pytest
import torch

from pyg_viglad.visualization import plot_anomaly_maps
from tests.visualization.helpers import artists, assert_inside, one, render


@pytest.fixture
def images():
    return torch.rand(2, 3, 24, 36, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def maps():
    local = torch.zeros(2, 6, 9) - 0.2
    local[1, 2, 3] = 0.9
    return {"local": local, "global": local * 0.1}


def panels(figure, rows=2):
    return np.array([axes for axes in figure.axes if axes.images]).reshape(rows, -1)


def test_all_maps_share_one_scale_and_a_normal_image_stays_dark(images, maps):
    row = panels(plot_anomaly_maps(images, {**maps, "normal": torch.rand(2, 8, 8) * 0.1}))
    norm = row[0, 1].images[0].norm
    assert all(panel.images[0].norm is norm for panel in row[:, 1:].flat)
    assert (norm.vmin, norm.vmax) == (0, 0.5)
    assert np.array_equal(row[1, 1].images[0].get_array(), maps["local"][1].double())
    normal = row[0, 3].images[0]
    colors = normal.to_rgba(normal.get_array())
    assert (colors[..., :3] @ [0.299, 0.587, 0.114]).max() < 0.2


def test_panels_cover_the_image(images, maps):
    figure = plot_anomaly_maps(images, maps)
    for panel in panels(figure).flat:
        assert list(panel.images[0].get_extent()) == [0, 36, 24, 0]
        assert panel.get_ylim() == (24, 0)
        box = panel.get_window_extent()
        assert box.width / box.height == pytest.approx(1.5, rel=1e-6)


def test_the_bar_names_the_calibrated_values_and_says_what_is_cut_off(images, maps):
    bar = plot_anomaly_maps(images, maps).axes[-1]
    texts = [label.get_text() for label in bar.get_xticklabels()]
    labels = dict(zip(bar.get_xticks().tolist(), texts, strict=True))
    assert labels[0.0] == "0\n90%"
    assert labels[0.1] == "0.1\n99.5%"
    assert "0.5" in labels.values()
    assert one(bar, "calibration").get_xdata()[0] == 0.1
    assert bar._colorbar.extend == "both"
    inside = plot_anomaly_maps(images, {"map": torch.full((2, 4, 4), 0.2)}, quantiles=(0.9, 0.999))
    assert inside.axes[-1]._colorbar.extend == "neither"
    assert "0.1\n99.9%" in [label.get_text() for label in inside.axes[-1].get_xticklabels()]


def test_maps_without_calibration(images, maps):
    figure = plot_anomaly_maps(images, maps, quantiles=None)
    norm = panels(figure)[0, 2].images[0].norm
    assert (norm.vmin, norm.vmax) == pytest.approx((-0.2, 0.9))
    assert figure.axes[-1].get_xlabel() == "anomaly"
    assert artists(figure, "calibration") == []


def test_the_true_anomaly_is_outlined_and_has_a_column(images, maps):
    masks = torch.zeros(2, 1, 12, 18)
    masks[1, 0, 2:5, 3:9] = 1
    row = panels(plot_anomaly_maps(images, maps, masks))
    assert [panel.get_title() for panel in row[0]] == ["image", "truth", "local map", "global map"]
    for panel in (row[1, 0], row[1, 2]):
        corners = np.array(one(panel, "truth").get_segments()).reshape(-1, 2)
        assert (corners.min(axis=0).tolist(), corners.max(axis=0).tolist()) == ([6, 4], [18, 10])
    assert artists(row[0, 0], "truth") == artists(row[1, 1], "truth") == []
    assert row[1, 1].images[0].get_array().sum() == 18


def test_outlines_follow_holes_and_corners(images, maps):
    masks = torch.zeros(2, 24, 36)
    masks[0, 4:10, 4:10] = 1
    masks[0, 6:8, 6:8] = 0
    segments = one(panels(plot_anomaly_maps(images, maps, masks))[0, 0], "truth").get_segments()
    lengths = [float(np.abs(b - a).sum()) for a, b in segments]
    assert sorted(lengths) == [2, 2, 2, 2, 6, 6, 6, 6]


def test_threshold(images, maps):
    figure = plot_anomaly_maps(images, maps, threshold=0.3)
    row = panels(figure)
    corners = np.array(one(row[1, 1], "above").get_segments()).reshape(-1, 2)
    assert corners.min(axis=0).tolist() == [12, 8]
    assert corners.max(axis=0).tolist() == [16, 12]
    assert artists(row[0, 1], "above") == []
    assert artists(row[1, 2], "above") == []  # its largest value is 0.09
    assert one(figure.axes[-1], "threshold").get_x() == 0.3


def test_node_maps_have_their_own_scale(images, maps):
    figure = plot_anomaly_maps(images, maps, node_maps=torch.rand(2, 3, 3), node_limits=(-1, 4))
    row = panels(figure)
    nodes = row[0, -1].images[0]
    assert row[0, -1].get_title() == "node scores"
    assert (nodes.norm.vmin, nodes.norm.vmax) == (-1, 4)
    assert nodes.norm is row[1, -1].images[0].norm
    assert nodes.get_cmap().name != row[0, 1].images[0].get_cmap().name
    assert figure.axes[-1].get_xlabel() == "standard deviations"


def test_labels(images, maps):
    figure = plot_anomaly_maps(images, maps, scores=[-0.04, 5.16], titles=["good", "logical"])
    row = panels(figure)
    assert [panel.texts[0].get_text() for panel in row[:, 0]] == [
        "good\nscore = 0.0",
        "logical\nscore = 5.2",
    ]
    assert one(row[0, 1], "caption").get_text() == "max \N{MINUS SIGN}0.20"
    assert one(row[1, 1], "caption").get_text() == "max 0.90"


@pytest.mark.parametrize("quantiles", [(0.9, 0.995), None])
@pytest.mark.parametrize("value", [0.0, 1e9])
def test_constant_maps(images, value, quantiles):
    figure = plot_anomaly_maps(
        images, {"map": torch.full((2, 5, 5), value)}, quantiles=quantiles, threshold=0.2
    )
    assert render(figure).std() > 0.05


def test_many_columns_fit_into_a_notebook(images, maps):
    many = {str(i): maps["local"] for i in range(9)}
    figure = plot_anomaly_maps(images, many, titles=["a", "b"])
    assert figure.get_figwidth() < 10
    assert_inside(figure)


@pytest.mark.parametrize("panel_size", [1.5, 3.0])
def test_nothing_leaves_the_figure(images, maps, panel_size):
    for more in ({}, {"node_maps": torch.ones(2, 3, 3)}):
        one_map = {"combined": maps["local"]}
        figure = plot_anomaly_maps(images, one_map, scores=[1, 2], panel_size=panel_size, **more)
        assert_inside(figure)
        assert panels(figure)[0, 0].get_window_extent().width == pytest.approx(
            100 * panel_size * 1.5**0.5
        )


def test_images_of_different_shapes_have_rows_of_their_own():
    images = [torch.rand(3, 10, 20), torch.rand(3, 20, 20)]
    figure = plot_anomaly_maps(images, {"a": [torch.rand(5, 10), torch.rand(5, 5)]})
    boxes = [panel.get_window_extent() for panel in panels(figure)[:, 0]]
    assert [box.width / box.height for box in boxes] == pytest.approx([2, 1])
    assert boxes[0].y0 > boxes[1].y1


def test_it_changes_nothing_it_was_given(images, maps):
    before = images.clone(), {name: values.clone() for name, values in maps.items()}
    masks = torch.ones(2, 24, 36, dtype=torch.bool)
    figure = plot_anomaly_maps(images.requires_grad_(), maps, masks)
    panels(figure)[0, 1].images[0].get_array()[:] = 7  # not a view of the input either
    assert torch.equal(images, before[0])
    assert all(torch.equal(maps[name], before[1][name]) for name in maps)
    assert masks.all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": torch.zeros(2, 4, 4)}, r"Expected maps to map names.*got Tensor"),
        ({"maps": {}}, r"at least one \(got dict\)"),
        ({"maps": {"local": torch.zeros(3, 4, 4)}}, r"maps\['local'\] for 2 images \(got 3\)"),
        ({"maps": {"a": torch.zeros(2, 3, 4, 4)}}, r"maps\['a'\]\[0\] of shape \[H, W\] \(got"),
        ({"maps": {"a": torch.full((2, 4, 4), torch.inf)}}, r"maps\['a'\]\[0\] to be finite"),
        ({"masks": torch.zeros(1, 4, 4)}, r"masks for 2 images \(got 1\)"),
        ({"node_maps": torch.zeros(1, 4, 4)}, r"node_maps for 2 images \(got 1\)"),
        ({"limits": (0.5, 0.5)}, r"limits in ascending order \(got \(0.5, 0.5\)\)"),
        ({"node_limits": (1, 0)}, r"node_limits in ascending order"),
        ({"titles": ["a", "b", "c"]}, r"titles for 2 images \(got 3\)"),
        ({"scores": torch.zeros(2, 1)}, r"scores of shape \[2\] \(got \[2, 1\]\)"),
    ],
)
def test_errors(images, maps, change, message):
    with pytest.raises(ValueError, match=message):
        plot_anomaly_maps(**{"images": images, "maps": maps, **change})
