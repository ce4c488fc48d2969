import math

import pytest

from pyg_viglad.metrics import image_average_precision
from tests.metrics.samples import assert_by_kind
from tests.oracles.precision_recall import average_precision


@pytest.mark.parametrize("levels", [3, 1000])  # with 3 levels nearly all are ties
def test_against_every_threshold(levels):
    assert_by_kind(image_average_precision, average_precision, levels)


def test_hand_worked():
    kinds = ["good", "good", "structural", "structural"]
    result = image_average_precision([1, 3, 2, 4], kinds)  # precision 1 at 4, then 2/3 at 2
    assert result["structural"] == result["pooled"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert math.isnan(result["logical"])
    assert math.isnan(result["mean"])
    assert image_average_precision([7] * 4, kinds)["pooled"] == 0.5  # the share of anomalous images
