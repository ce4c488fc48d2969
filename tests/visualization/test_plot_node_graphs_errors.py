"""What ``plot_node_graphs`` says of input that it cannot draw."""

import pytest
import torch

from pyg_viglad.visualization import plot_node_graphs


@pytest.mark.parametrize("field", ["pos", "edge_index", "grid_size", "img_size"])
def test_missing_field(images, graphs, field):
    data = graphs["encoder"]
    del data[field]
    with pytest.raises(ValueError, match=rf"Expected graphs\['encoder'\].*'{field}' \(got"):
        plot_node_graphs(images, graphs, [0, 0])


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
        ({"nodes": None, "anomaly_maps": torch.full((2, 4, 4), torch.nan)}, "to be finite"),
        ({"titles": ["a"]}, r"titles for 2 images \(got 1\)"),
        ({"titles": "ab"}, r"titles for 2 images \(got 'ab'\)"),
        ({"scores": [1.0]}, r"scores of shape \[2\] \(got \[1\]\)"),
        ({"node_scores": [1.0, float("inf")]}, r"node_scores to be finite"),
        ({"masks": torch.zeros(1, 4, 4)}, r"masks for 2 images \(got 1\)"),
        ({"num_neighbors": 0}, r"num_neighbors of at least 1 \(got 0\)"),
        ({"dimming": 1.5}, r"dimming in \[0, 1\] \(got 1.5\)"),
        ({"graphs": {}}, r"Expected graphs to map names"),
        ({"images": torch.rand(3, 3, 32, 48)}, r"each of the 3 images \(got 2\)"),
        ({"images": torch.rand(2, 3, 32, 48) * 255}, r"values in \[0, 1\] .*, in images\[0\]"),
        ({"images": torch.rand(2, 5, 32, 48)}, r"3 or 4 channels .*, in images\[0\]"),
        ({"images": []}, r"at least one image"),
    ],
)
def test_errors(images, graphs, change, message):
    arguments = {"images": images, "graphs": graphs, "nodes": [0, 0], **change}
    with pytest.raises(ValueError, match=message):
        plot_node_graphs(**arguments)


def test_positions_that_do_not_fit_the_grid(images, graphs):
    graphs["decoder"].pos = graphs["decoder"].pos[:-1]
    with pytest.raises(ValueError, match=r"graphs\['decoder'\].pos of shape \[192, 2\]"):
        plot_node_graphs(images, graphs, [0, 0])


def test_edges_between_images(images, graphs):
    graphs["input"].edge_index[0, 1] = 100
    with pytest.raises(ValueError, match=r"graphs\['input'\].edge_index to join nodes of the same"):
        plot_node_graphs(images, graphs, [0, 0])


def test_graph_that_is_no_data(images):
    with pytest.raises(ValueError, match=r"graphs\['input'\] to have the field 'pos' \(got dict\)"):
        plot_node_graphs(images, {"input": {}}, [0, 0])
