import numpy as np
import pytest
import torch

from pyg_viglad.visualization import plot_score_histogram
from tests.visualization.helpers import one, render

SCORES = torch.tensor([0.0, 1.0, 1.0, 4.0, 5.0, 9.0])
KINDS = ["good", "structural", "good", "logical", "odd", "logical"]


def test_one_row_a_kind_on_shared_bins():
    figure = plot_score_histogram(SCORES, KINDS, 3.0, bins=9)
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["odd\n(1)", "structural\n(1)", "logical\n(2)", "good\n(2)"]
    bottoms = []
    for kind, first in (("good", 0), ("logical", 4), ("structural", 1), ("odd", 5)):
        heights, edges, base = one(axes, kind).get_data()
        np.testing.assert_allclose(edges, np.arange(10))
        heights = heights - base
        assert heights.nonzero()[0][0] == first
        assert heights.max() == pytest.approx(0.7)
        bottoms.append(float(np.max(base)))
    assert bottoms == [3, 2, 1, 0]  # good on top


def test_threshold_and_shares():
    (axes,) = plot_score_histogram(SCORES, KINDS, 4.5).axes
    assert one(axes, "threshold").get_xdata() == [4.5, 4.5]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["0% above", "50% above", "0% above", "100% above", "threshold 4.50"]


@pytest.mark.parametrize("scores", [[2.0, 2.0], [-1e6, 1e6]])
def test_it_draws(scores):
    assert render(plot_score_histogram(scores, ["good", "logical"], 1.0)).std() > 0.05


@pytest.mark.parametrize(
    ("scores", "kinds", "message"),
    [
        ([1.0, 2.0], ["good"], r"scores of shape \[1\] \(got \[2\]\)"),
        ([1.0], [], r"Expected kinds to name the kind of each image \(got \[\]\)"),
        ([1.0] * 4, "good", r"Expected kinds to name the kind of each image \(got 'good'\)"),
        ([float("nan")], ["good"], "scores to be finite"),
    ],
)
def test_errors(scores, kinds, message):
    with pytest.raises(ValueError, match=message):
        plot_score_histogram(scores, kinds)


def test_bins():
    with pytest.raises(ValueError, match=r"bins of at least 1 \(got 0\)"):
        plot_score_histogram([1.0], ["good"], bins=0)
