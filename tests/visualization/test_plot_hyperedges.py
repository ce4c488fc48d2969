import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from torch_geometric.data import Batch

from pyg_viglad.nn import HyperedgeData
from pyg_viglad.visualization import plot_hyperedges
from pyg_viglad.visualization.drawing import OKABE_ITO
from tests.visualization.helpers import artists, assert_inside, graph, one, render

MEMBERS = {0: [0, 1, 6], 1: [], 2: [1, 7], 3: [20]}


def hypergraph(grid=(4, 6), size=(16, 24)):
    """Node 1 belongs to two hyperedges; node 23 reads the empty one."""
    fields = graph(1, grid, size).to_dict()
    del fields["edge_index"]
    feeding = [[n, k] for k, nodes in MEMBERS.items() for n in nodes]
    return HyperedgeData(
        **fields,
        hyperedge_index=torch.tensor(feeding).t(),
        reading_index=torch.tensor([*feeding, [23, 1]]).t(),
        num_hyperedges=4,
    )


@pytest.fixture
def image():
    return torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def data():
    return hypergraph()


def centers(panel, gid):
    boxes = [path.get_extents() for path in one(panel, gid).get_paths()]
    return [((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in boxes]


def test_squares_on_members_and_dots_on_readers(image, data):
    figure = plot_hyperedges(image, data, [2, 3, 1])
    panel = figure.axes[0]
    pos = 2 * data.pos.numpy()
    np.testing.assert_allclose(centers(panel, "members-0"), pos[[1, 7]])
    np.testing.assert_allclose(centers(panel, "members-1"), pos[[20]])
    assert one(panel, "members-2").get_paths() == []
    np.testing.assert_allclose(centers(panel, "readers-2"), pos[[23]], atol=1e-6)
    assert one(panel, "readers-0").get_paths() == []
    box = one(panel, "members-0").get_paths()[0].get_extents()
    assert box.width == pytest.approx(box.height)
    assert 6 < box.width < 8  # within a patch of 8 pixels
    for number in range(3):
        color = to_hex(one(panel, f"members-{number}").get_facecolor()[0])
        assert color == OKABE_ITO[number] == panel.get_legend().legend_handles[number].get_color()
    (caption,) = artists(panel, "caption")
    assert caption.get_text() == "members of 3 of 4 hyperedges; dots: readers only"


def test_a_shared_patch_is_divided(image, data):
    panel = plot_hyperedges(image, data, [0, 2]).axes[0]
    left = one(panel, "members-0").get_paths()[1].get_extents()
    right = one(panel, "members-1").get_paths()[0].get_extents()
    alone = one(panel, "members-0").get_paths()[0].get_extents()
    assert left.x1 == pytest.approx(right.x0)
    assert left.width == pytest.approx(alone.width / 2)
    assert (left.x0 + right.x1) / 2 == pytest.approx(2 * float(data.pos[1, 0]))
    assert (left.y0, left.y1) == pytest.approx((right.y0, right.y1))


def test_the_largest_by_default_and_labels(image, data):
    panel = plot_hyperedges(image, data, title="a").axes[0]
    texts = [text.get_text() for text in panel.get_legend().get_texts()]
    assert texts == [
        *("no. 0 (3 members)", "no. 2 (2 members)", "no. 3 (1 member)", "no. 1 (0 members)")
    ]
    assert panel.get_title() == "a"
    panel = plot_hyperedges(image, data, torch.tensor([3, 0]), labels=["screw", "nut"]).axes[0]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["screw", "nut"]
    assert artists(panel, "caption")[0].get_text() == "members of 2 of 4 hyperedges"


def test_an_image_of_a_batch(image, data):
    batch = Batch.from_data_list([hypergraph((2, 3)), data])
    panel = plot_hyperedges(image, batch[1], [2]).axes[0]
    np.testing.assert_allclose(centers(panel, "members-0"), 2 * data.pos[[1, 7]].numpy())


@pytest.mark.parametrize("width", [2.5, 3.5, 7.2])
@pytest.mark.parametrize("grid", [(4, 6), (32, 48)])
def test_nothing_leaves_the_figure(image, width, grid):
    data = hypergraph(grid)
    figure = plot_hyperedges(image, data, width=width, mask=torch.ones(4, 4))
    assert_inside(figure)
    assert figure.get_figwidth() == pytest.approx(width)
    assert artists(figure, "truth")
    assert render(figure).std() > 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hyperedges": []}, r"one to 7 hyperedges \(got 0\)"),
        ({"hyperedges": range(8)}, r"one to 7 hyperedges \(got 8\)"),
        ({"hyperedges": [1, 1]}, r"differ, from 0 to 3 \(got \[1, 1\]\)"),
        ({"hyperedges": [4]}, r"from 0 to 3 \(got \[4\]\)"),
        ({"labels": ["a"]}, r"labels for 4 hyperedges \(got \['a'\]\)"),
        ({"dimming": 3}, "dimming in"),
        ({"graph": graph(1, (4, 6), (16, 24))}, r"HyperedgeData \(got Data\)"),
        ({"graph": Batch.from_data_list([hypergraph()] * 2)}, "of one image"),
    ],
)
def test_errors(image, data, change, message):
    with pytest.raises(ValueError, match=message):
        plot_hyperedges(**{"image": image, "graph": data, **change})
