import numpy as np
import pytest
import torch

from pyg_viglad.metrics import _blocks, _kept_values, au_spro
from tests.metrics.samples import sample
from tests.oracles import spro

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)


def row(values, *defects):
    """A map of one row and the defects in it, each (places, saturation area)."""
    masks = [(np.isin(np.arange(len(values)), places)[None], area) for places, area in defects]
    return np.array([values], dtype=np.float32), masks


@pytest.mark.parametrize("levels", [None, 1, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_every_threshold(levels, dtype):
    maps, truths = sample(seed=3, levels=levels, dtype=dtype)
    result = au_spro(maps, truths, LIMITS)
    for limit in LIMITS:
        assert result[limit] == pytest.approx(spro.au_spro(maps, truths, limit), abs=1e-12)


def test_many_arrays_and_slabs(monkeypatch):
    monkeypatch.setattr(_blocks, "_LENGTH", 16)
    monkeypatch.setattr(_kept_values, "_SLAB", 4)
    for seed, levels in ((0, None), (1, 2)):
        maps, truths = sample(seed, levels)
        for limit, value in au_spro(maps, truths).items():
            assert value == pytest.approx(spro.au_spro(maps, truths, limit), abs=1e-12)


def test_one_saturated_region():
    # From the top: 8 of the defect (overlap 1/2), 7 good, 6 of the defect (saturated), 3 good.
    anomaly_map, truth = row([8, 6, 2, 1, 7, 5, 4, 3], ([0, 1, 2, 3], 2))
    result = au_spro([anomaly_map], [truth], [1.0, 0.1, 0.25, 0.5])
    assert result == pytest.approx({1.0: 0.875, 0.1: 0.5, 0.25: 0.5, 0.5: 0.75}, abs=1e-6)
    assert list(result) == [1.0, 0.1, 0.25, 0.5]
    assert all(type(value) is float for value in result.values())


def test_overlapping_channels():
    # Pixel 1 is in both: it completes the first, saturates the second, and is not counted as good.
    anomaly_map, truth = row([6, 4, 2, 5, 3, 1], ([0, 1], 2), ([1, 2], 1))
    result = au_spro([anomaly_map], [truth], [1 / 3, 1.0])
    assert result == pytest.approx({1 / 3: 0.25, 1.0: 0.25 / 3 + 2 / 3}, abs=1e-6)


def test_channels_of_several_images_weigh_the_same():
    one = row([9, 1, 2], ([0], 1))
    other = row([0, 5, 0, 0, 0], ([2, 3], 2), ([4], 1))
    good = row([5, 0, 0, 0])
    maps, truths = zip(one, other, good, strict=True)
    # The 9 is a third of the defects, before any good pixel. Of the 8 good ones, 4 are above 0;
    # the other 4 come together with the last two defects.
    expected = 0.5 * (1 / 3) + 0.5 * (1 / 3 + 1) / 2
    assert au_spro(maps, truths, [1.0])[1.0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, -3.5, 1e30])
def test_constant_map_is_the_diagonal(value):
    _, truth = row([0] * 10, ([0, 1, 2], 2), ([2, 3], 2))
    maps = [np.full((1, 10), value), np.full((2, 8), value)]
    assert au_spro(maps, [truth, []]) == pytest.approx({x: x / 2 for x in LIMITS}, abs=1e-6)


def test_perfect_and_inverted():
    anomaly_map, truth = row([5, 4, 4, 1, 0, 2], ([0, 1, 2], 3))
    assert au_spro([anomaly_map], [truth]) == pytest.approx(dict.fromkeys(LIMITS, 1), abs=1e-6)
    assert au_spro([-anomaly_map], [truth]) == pytest.approx(dict.fromkeys(LIMITS, 0), abs=1e-6)


def test_tie_of_good_and_defective():
    # Both at 3: the curve goes straight to (1/2, 1/2), and a limit within is met on that line.
    anomaly_map, truth = row([3, 1, 3, 0], ([0, 1], 2))
    result = au_spro([anomaly_map], [truth], [0.25, 1.0])
    assert result == pytest.approx({0.25: 0.125, 1.0: 0.625}, abs=1e-6)


@pytest.mark.filterwarnings("ignore:The maps did not fit")
def test_signs_of_zero_are_equal():
    anomaly_map, truth = row([0.0, -0.0], ([0], 1))
    for memory in (1000, 0):
        assert au_spro([anomaly_map], [truth], [1.0], memory=memory) == {1.0: 0.5}


def test_saturation_area_larger_than_the_mask_or_in_fractions():
    anomaly_map, truth = row([6, 4, 2, 5, 3, 1], ([0, 1, 2], 100))
    _, same = row([0] * 6, ([0, 1, 2], 3))
    assert au_spro([anomaly_map], [truth]) == au_spro([anomaly_map], [same])
    _, half = row([0] * 6, ([0, 1, 2], 1.5))
    for memory in (1000, 0):
        result = au_spro([anomaly_map], [half], [1.0], memory=memory)[1.0]
        assert result == pytest.approx(spro.au_spro([anomaly_map], [half], 1.0), abs=1e-12)


def test_generators_and_tensors():
    maps, truths = sample(seed=1)
    tensors = (torch.from_numpy(m).requires_grad_() for m in maps)
    masks = ([(torch.from_numpy(m), area) for m, area in truth] for truth in truths)
    assert au_spro(tensors, masks) == au_spro(maps, truths)
    half = [torch.from_numpy(m).bfloat16() for m in maps]
    assert au_spro(half, truths) == au_spro([m.float() for m in half], truths)


def test_errors():
    anomaly_map, truth = row([1, 2, 3], ([0], 1))
    with pytest.raises(ValueError, match=r"at least one defect .*none in 2 images"):
        au_spro([anomaly_map, anomaly_map], [[], []])
    with pytest.raises(ValueError, match="pixels outside of the defects"):
        au_spro([anomaly_map[:, :1]], [[(truth[0][0][:, :1], 1)]])
    with pytest.raises(ValueError, match=r"as many maps as truths \(got only 1 maps\)"):
        au_spro([anomaly_map], [truth, truth])
    with pytest.raises(ValueError, match=r"as many maps as truths \(got only 1 truths\)"):
        au_spro(iter([anomaly_map, anomaly_map]), iter([truth]))
    for limits in ([], [0.0], [0.3, 1.1], [float("nan")]):
        with pytest.raises(ValueError, match="limits of the false-positive rate"):
            au_spro([anomaly_map], [truth], limits)
