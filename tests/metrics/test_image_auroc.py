import math

import pytest

from pyg_viglad.metrics import image_auroc
from tests.metrics.samples import assert_by_kind
from tests.oracles.auroc import auroc


@pytest.mark.parametrize("levels", [3, 1000])  # with 3 levels nearly all are ties
def test_against_counted_pairs(levels):
    assert_by_kind(image_auroc, auroc, levels)


def test_mean_and_pooled_differ():
    result = image_auroc(
        [0, 1, 2, 2, 2, 0], ["good", "good", "logical"] + 2 * ["logical"] + ["structural"]
    )
    assert result["mean"] == pytest.approx((1 + 0.25) / 2)
    assert result["pooled"] == pytest.approx((3 * 1 + 0.25) / 4)


def test_missing_kind_is_nan():
    result = image_auroc([0.0, 1.0], ["good", "structural"])
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
