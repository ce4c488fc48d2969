import pytest

from pyg_viglad.metrics import image_f1_max
from tests.metrics.samples import assert_by_kind
from tests.oracles.precision_recall import f1_max


@pytest.mark.parametrize("levels", [3, 1000])  # with 3 levels nearly all are ties
def test_against_every_threshold(levels):
    assert_by_kind(image_f1_max, f1_max, levels)


def test_hand_worked():
    kinds = ["good", "good", "good", "logical", "logical"]
    assert image_f1_max([0, 1, 2, 3, 4], kinds)["logical"] == 1
    # The best is to call all but the lowest anomalous: 2 hits, 2 wrong, none missed.
    assert image_f1_max([0, 3, 4, 2, 1], kinds)["logical"] == pytest.approx(4 / 6)
    assert image_f1_max([1] * 5, kinds)["logical"] == pytest.approx(4 / 7)  # all of them
