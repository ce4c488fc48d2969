"""Every figure can be drawn into the user's own axes, and at a paper's width."""

import inspect

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch_geometric.data import Data

from pyg_viglad import visualization
from pyg_viglad.visualization import (
    plot_ablation,
    plot_anomaly_maps,
    plot_block_strip,
    plot_explanation,
    plot_graph,
    plot_hyperedges,
    plot_neighbors,
    plot_node_graphs,
    plot_roc,
    plot_score_histogram,
)
from tests.visualization.helpers import assert_inside, graph, one, render
from tests.visualization.test_plot_hyperedges import hypergraph

IMAGES = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
MAPS = torch.rand(2, 8, 12)
DATA = graph(1, (8, 12), (16, 24))
EXPLAINED = Data(
    **DATA.to_dict(), edge_mask=torch.rand(288), center=5, error=0.1, block="decoder.11"
)
PAIR = {name: graph(2, (8, 12), (16, 24)) for name in ("input", "encoder", "decoder")}
BLOCKS = {f"encoder.{n}": DATA for n in range(3)} | {f"decoder.{n}": DATA for n in range(3)}
SCORES, KINDS = [0.0, 1.0, 2.0, 3.0], ["good", "good", "logical", "structural"]
ABLATION = {"a": {"logical": [0.7, 0.8]}, "b": {"logical": [0.9, 0.8]}}

# The function, its arguments, and the shape of its panels.
CASES = {
    "node_graphs": (plot_node_graphs, (IMAGES, PAIR, [3, 4]), {}, (2, 3)),
    "node_graphs-one": (plot_node_graphs, (IMAGES[0], {"input": DATA}, 3), {}, ()),
    "anomaly_maps": (
        plot_anomaly_maps,
        (IMAGES, {"local": MAPS, "global": MAPS}, MAPS),
        {"node_maps": MAPS},
        (2, 5),
    ),
    "graph": (plot_graph, (IMAGES[0], DATA), {}, ()),
    "graph-change": (plot_graph, (IMAGES[0], DATA, DATA), {}, (3,)),
    "graph-overlay": (plot_graph, (IMAGES[0], DATA, DATA), {"overlay": True}, ()),
    "block_strip": (plot_block_strip, (IMAGES[0], BLOCKS, 5), {}, (2, 3)),
    "neighbors": (plot_neighbors, (IMAGES[0], DATA, [3, 40]), {}, ()),
    "hyperedges": (plot_hyperedges, (IMAGES[0], hypergraph()), {}, ()),
    "explanation": (plot_explanation, (IMAGES[0], {"a": EXPLAINED, "b": EXPLAINED}), {}, (2,)),
    "ablation": (plot_ablation, (ABLATION,), {}, ()),
    "roc": (plot_roc, (SCORES, KINDS), {}, ()),
    "roc-several": (plot_roc, ({"a": SCORES, "b": SCORES}, KINDS), {}, (3,)),
    "histogram": (plot_score_histogram, (SCORES, KINDS), {}, ()),
}


def own_axes(shape):
    figure = Figure(figsize=(8, 5), layout="constrained")
    part = figure.subfigures(1, 2)[0]  # axes of a part of a figure belong to the whole
    axes = part.subplots(
        *(shape if len(shape) == 2 else (1, *shape) if shape else (1, 1)), squeeze=False
    )
    return figure, (axes if len(shape) == 2 else axes[0] if shape else axes[0, 0])


def test_every_function_is_tested():
    named = {n for n in visualization.__all__ if n.startswith("plot_")}
    assert named == {case[0].__name__ for case in CASES.values()}
    for name in named:
        parameters = inspect.signature(getattr(visualization, name)).parameters
        assert parameters["ax"].default is None


@pytest.mark.parametrize("case", CASES)
def test_it_draws_into_the_axes_and_returns_their_figure(case):
    function, arguments, more, shape = CASES[case]
    figure, axes = own_axes(shape)
    mine = list(np.array(axes, dtype=object).flat)
    count = len(figure.axes)
    assert function(*arguments, **more, ax=axes) is figure
    assert all(panel.has_data() for panel in mine)
    assert render(figure).std() > 0.02
    for bar in figure.axes[count:]:
        assert bar not in mine
    # The same things as in a figure of its own.
    alone = list(function(*arguments, **more).axes)[: len(mine)]
    for panel, other in zip(mine, alone, strict=True):
        assert len(panel.images) == len(other.images)
        assert len(panel.lines) == len(other.lines)
        if panel.images:
            box = panel.get_window_extent()
            assert box.width / box.height == pytest.approx(1.5, rel=1e-3)  # square pixels
            assert panel.get_xlim() == (0, 48)


@pytest.mark.parametrize("case", CASES)
def test_axes_of_another_shape(case):
    function, arguments, more, shape = CASES[case]
    figure = Figure()
    axes = figure.subplots(4, 7, squeeze=False)
    with pytest.raises(ValueError, match=r"Expected ax to hold .* \(got (4 x 7|28)\)"):
        function(*arguments, **more, ax=axes)
    with pytest.raises(ValueError, match="Expected ax to hold"):
        function(*arguments, **more, ax=np.full(shape or (1,), 3))


@pytest.mark.parametrize("width", [3.5, 7.2])
@pytest.mark.parametrize("case", CASES)
def test_a_column_s_width(case, width):
    function, arguments, more, _ = CASES[case]
    figure = function(*arguments, **more, width=width)
    figure.draw_without_rendering()
    assert figure.get_figwidth() == pytest.approx(width)
    assert_inside(figure)
    texts = [t for t in figure.findobj(lambda a: hasattr(a, "get_fontsize")) if t.get_text()]
    ranks = {id(t) for t in texts if t.get_gid() in ("rank", "value")}
    assert min(t.get_fontsize() for t in texts if id(t) not in ranks) >= 6


def test_panels_of_own_axes_show_the_same_lines():
    _, axes = own_axes((2, 3))
    plot_node_graphs(IMAGES, PAIR, [3, 4], ax=axes)
    alone = np.array(plot_node_graphs(IMAGES, PAIR, [3, 4]).axes[:6]).reshape(2, 3)
    for panel, other in zip(axes.flat, alone.flat, strict=True):
        np.testing.assert_array_equal(
            one(panel, "edges").get_segments(), one(other, "edges").get_segments()
        )
        assert one(panel, "node").get_bbox().bounds == one(other, "node").get_bbox().bounds


def test_width_and_panel_size_exclude_each_other():
    with pytest.raises(ValueError, match=r"panel_size or width, not both \(got 2 and 3.5\)"):
        plot_node_graphs(IMAGES, PAIR, [3, 4], panel_size=2, width=3.5)
    with pytest.raises(ValueError, match=r"room for 3 columns.*\(got 0.7 inches\)"):
        plot_node_graphs(IMAGES, PAIR, [3, 4], width=0.7)


def test_one_bright_pixel_lies_in_the_square_of_its_node():
    image = torch.zeros(3, 32, 48)
    image[:, 9, 30] = 1
    for figure, name in (
        (plot_node_graphs(image, {"input": DATA}, (30.5, 9.5), dimming=0), "node"),
        (plot_neighbors(image, DATA, [(30.5, 9.5)], dimming=0), "node-0"),
        (plot_block_strip(image, {"input": DATA}, (30.5, 9.5), dimming=0), "node"),
    ):
        array = figure.axes[0].images[0].get_array()[..., 0]
        row, column = np.unravel_index(array.argmax(), array.shape)
        box = one(figure.axes[0], name).get_bbox()
        assert box.x0 <= column < box.x1
        assert box.y0 <= row < box.y1
