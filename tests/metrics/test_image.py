import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyg_viglad.metrics import image_auroc, image_average_precision, image_f1_max
from tests.metrics.samples import assert_by_kind
from tests.oracles.auroc import auroc
from tests.oracles.precision_recall import average_precision, f1_max

METRICS = [
    (image_auroc, auroc),
    (image_average_precision, average_precision),
    (image_f1_max, f1_max),
]


@pytest.mark.parametrize("levels", [3, 1000])  # with 3 levels nearly all are ties
@pytest.mark.parametrize(("metric", "oracle"), METRICS)
def test_against_oracle(metric, oracle, levels):
    assert_by_kind(metric, oracle, levels)


def test_mean_and_pooled_auroc_differ():
    scores = torch.tensor([0.0, 1, 2, 2, 2, 0], dtype=torch.bfloat16, requires_grad=True)
    result = image_auroc(scores, [*["good"] * 2, *["logical"] * 3, "structural"])
    assert result["mean"] == pytest.approx((1 + 0.25) / 2)
    assert result["pooled"] == pytest.approx((3 * 1 + 0.25) / 4)


def test_average_precision_by_hand():
    kinds = ["good", "good", "structural", "structural"]
    result = image_average_precision([1, 3, 2, 4], kinds)  # precision 1 at 4, then 2/3 at 2
    assert result["structural"] == result["pooled"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert image_average_precision([7] * 4, kinds)["pooled"] == 0.5  # the share of anomalous images


def test_f1_max_by_hand():
    kinds = ["good", "good", "good", "logical", "logical"]
    assert image_f1_max([0, 1, 2, 3, 4], kinds)["logical"] == 1
    # The best is to call all but the lowest anomalous: 2 hits, 2 wrong, none missed.
    assert image_f1_max([0, 3, 4, 2, 1], kinds)["logical"] == pytest.approx(4 / 6)
    assert image_f1_max([1] * 5, kinds)["logical"] == pytest.approx(4 / 7)  # all of them


@pytest.mark.parametrize("metric", [image_auroc, image_average_precision, image_f1_max])
def test_missing_kind_is_nan(metric):
    result = metric([0.0, 1.0], ["good", "structural"])
    assert math.isnan(result["logical"])
    assert math.isnan(result["mean"])
    assert result["structural"] == result["pooled"] == 1


@pytest.mark.parametrize(
    ("scores", "kinds", "message"),
    [
        ([0.0], ["good", "logical"], "as many scores"),
        ([0.0, 1.0], ["good", "bad"], "Expected kinds"),
        ([0.0, float("nan")], ["good", "logical"], "finite scores"),
        ([0.0, 1.0], ["logical", "logical"], "at least one good"),
    ],
)
def test_errors(scores, kinds, message):
    with pytest.raises(ValueError, match=message):
        image_auroc(scores, kinds)


@st.composite
def judged(draw):
    """Scores of few different values, and kinds with at least one good image."""
    kinds = draw(st.lists(st.sampled_from(["good", "logical", "structural"]), max_size=20))
    levels = st.integers(-3, 3).map(float) | st.floats(-1e30, 1e30)
    scores = draw(st.lists(levels, min_size=len(kinds) + 3, max_size=len(kinds) + 3))
    return scores, ["good", "logical", "structural", *kinds]


@pytest.mark.parametrize(("metric", "oracle"), METRICS)
@given(judged())
def test_property_of_ties(metric, oracle, judged):
    scores, kinds = judged
    of = {kind: [s for s, k in zip(scores, kinds, strict=True) if k == kind] for kind in kinds}
    result = metric(scores, kinds)
    for kind in ("logical", "structural"):
        assert result[kind] == pytest.approx(oracle(of["good"], of[kind]), abs=1e-12)
    pooled = oracle(of["good"], of["logical"] + of["structural"])
    assert result["pooled"] == pytest.approx(pooled, abs=1e-12)
    order = sorted(set(scores))  # any rising function of the scores, and any order of the images
    ranks = [order.index(score) for score in scores]
    assert metric(ranks[::-1], kinds[::-1]) == pytest.approx(result, abs=1e-12)
