import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pyg_viglad.metrics import SaturatedOverlap, au_spro, au_spro_by_kind
from tests.metrics.samples import sample
from tests.oracles import spro

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)
MASK = np.array([[True, False], [False, False]])


def row(values, *defects):
    """A map of one row and the defects in it, each (places, saturation area)."""
    masks = [(np.isin(np.arange(len(values)), places)[None], area) for places, area in defects]
    return np.array([values], dtype=np.float32), masks


def gathered(maps, targets, **options):
    overlap = SaturatedOverlap(**options)
    for anomaly_map, target in zip(maps, targets, strict=True):
        overlap.update(anomaly_map, target)
    return overlap


@pytest.mark.parametrize("levels", [None, 1, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_every_threshold(levels, dtype):
    maps, targets = sample(seed=3, levels=levels, dtype=dtype)
    result = au_spro(maps, targets, LIMITS)
    for limit in LIMITS:
        assert result[limit] == pytest.approx(spro.au_spro(maps, targets, limit), abs=1e-12)


def test_one_saturated_region():
    # From the top: 8 of the defect (overlap 1/2), 7 good, 6 of the defect (saturated), 3 good.
    anomaly_map, target = row([8, 6, 2, 1, 7, 5, 4, 3], ([0, 1, 2, 3], 2))
    result = au_spro([anomaly_map], [target], [1.0, 0.1, 0.25, 0.5])
    assert result == pytest.approx({1.0: 0.875, 0.1: 0.5, 0.25: 0.5, 0.5: 0.75})
    assert list(result) == [1.0, 0.1, 0.25, 0.5]
    assert all(type(value) is float for value in result.values())


def test_overlapping_channels():
    # Pixel 1 is in both: it completes the first, saturates the second, and is not counted as good.
    anomaly_map, target = row([6, 4, 2, 5, 3, 1], ([0, 1], 2), ([1, 2], 1))
    result = au_spro([anomaly_map], [target], [1 / 3, 1.0])
    assert result == pytest.approx({1 / 3: 0.25, 1.0: 0.25 / 3 + 2 / 3})


def test_channels_of_several_images_weigh_the_same():
    one = row([9, 1, 2], ([0], 1))
    other = row([0, 5, 0, 0, 0], ([2, 3], 2), ([4], 1))
    good = row([5, 0, 0, 0])
    maps, targets = zip(one, other, good, strict=True)
    # The 9 is a third of the defects, before any good pixel. Of the 8 good ones, 4 are above 0;
    # the other 4 come together with the last two defects.
    expected = 0.5 * (1 / 3) + 0.5 * (1 / 3 + 1) / 2
    assert au_spro(maps, targets, [1.0])[1.0] == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, -3.5, 1e30])
def test_constant_map_is_the_diagonal(value):
    _, target = row([0] * 10, ([0, 1, 2], 2), ([2, 3], 2))
    maps = [np.full((1, 10), value), np.full((2, 8), value)]
    assert au_spro(maps, [target, []]) == pytest.approx({x: x / 2 for x in LIMITS})


def test_perfect_and_inverted():
    anomaly_map, target = row([5, 4, 4, 1, 0, 2], ([0, 1, 2], 3))
    assert au_spro([anomaly_map], [target]) == pytest.approx(dict.fromkeys(LIMITS, 1))
    assert au_spro([-anomaly_map], [target]) == dict.fromkeys(LIMITS, 0)


def test_tie_of_good_and_defective():
    # Both at 3: the curve goes straight to (1/2, 1/2), and a limit within is met on that line.
    anomaly_map, target = row([3, 1, 3, 0], ([0, 1], 2))
    assert au_spro([anomaly_map], [target], [0.25, 1.0]) == pytest.approx({0.25: 0.125, 1.0: 0.625})


def test_signs_of_zero_are_equal():
    anomaly_map, target = row([0.0, -0.0], ([0], 1))
    for max_thresholds in (1000, 1):
        areas = au_spro([anomaly_map], [target], [1.0], max_thresholds=max_thresholds)
        assert areas == {1.0: 0.5}


def test_saturation_area_larger_than_the_mask_or_in_fractions():
    anomaly_map, target = row([6, 4, 2, 5, 3, 1], ([0, 1, 2], 100))
    _, same = row([0] * 6, ([0, 1, 2], 3))
    assert au_spro([anomaly_map], [target]) == au_spro([anomaly_map], [same])
    _, half = row([0] * 6, ([0, 1, 2], 1.5))
    result = au_spro([anomaly_map], [half], [1.0])[1.0]
    assert result == pytest.approx(spro.au_spro([anomaly_map], [half], 1.0), abs=1e-12)


def test_generators_and_tensors():
    maps, targets = sample(seed=1)
    tensors = (torch.from_numpy(m).requires_grad_() for m in maps)
    masks = ([(torch.from_numpy(m), area) for m, area in target] for target in targets)
    assert au_spro(tensors, masks) == au_spro(maps, targets)
    half = [torch.from_numpy(m).bfloat16() for m in maps]
    assert au_spro(half, targets) == au_spro([m.float() for m in half], targets)


def test_masks_of_numbers():
    maps = [np.arange(4.0).reshape(2, 2)]
    expected = au_spro(maps, [[(MASK, 1)]])
    assert au_spro(maps, [[(MASK * np.uint8(255), 1)]]) == expected
    assert au_spro(maps, [[(MASK.astype(np.float32), 1)]]) == expected


def test_update_goes_on_after_compute_and_keeps_the_maps():
    maps, targets = sample(seed=0)
    copies = [m.copy() for m in maps]
    overlap = gathered(maps[:4], targets[:4])
    assert overlap.compute() == overlap.compute() == au_spro(maps[:4], targets[:4])
    overlap = pickle.loads(pickle.dumps(overlap))
    for anomaly_map, target in zip(maps[4:], targets[4:], strict=True):
        overlap.update(anomaly_map, target)
    assert overlap.compute() == pytest.approx(au_spro(maps, targets), abs=1e-12)
    assert overlap.exact
    assert not overlap.bounds().any()
    assert all((a == b).all() for a, b in zip(maps, copies, strict=True))
    overlap.reset()
    with pytest.raises(ValueError, match="none in 0 images"):
        overlap.bounds()


@pytest.mark.parametrize("max_thresholds", [5, 20, 40])
def test_fewer_thresholds_stay_within_their_bound(max_thresholds):
    maps, targets = sample(seed=5, images=9)
    overlap = gathered(maps, targets, max_thresholds=max_thresholds)
    assert not overlap.exact
    areas, bounds = overlap.compute(), overlap.bounds().tolist()
    for (limit, value), bound in zip(areas.items(), bounds, strict=True):
        assert abs(value - spro.au_spro(maps, targets, limit)) <= bound + 1e-12
    assert max(bounds) < 4 / max_thresholds**0.5
    assert sum(map(len, overlap.values)) <= 2 * max_thresholds


def test_the_bound_is_that_of_any_curve_through_the_points():
    maps = [np.random.default_rng(0).normal(scale=3, size=(4, 4)) for _ in range(2)]
    overlap = gathered(maps, [[(maps[0] > 0, 4)], []], limits=[0.5, 1.0], max_thresholds=1)
    # One threshold is left, and with it the straight line from (0, 0) to (1, 1).
    assert overlap.compute() == pytest.approx({0.5: 0.25, 1.0: 0.5})
    assert overlap.bounds().tolist() == pytest.approx([0.75, 0.5])


def test_thresholds_are_not_limited_by_a_large_offset():
    generator = np.random.default_rng(0)
    maps = [1000 + generator.random((32, 32)) * 1e-3 for _ in range(3)]  # float64
    targets = [[(generator.random((32, 32)) < 0.3, 4)] for _ in maps]
    overlap = gathered(maps, targets, limits=[0.3], max_thresholds=1000)
    assert overlap.compute()[0.3] == pytest.approx(au_spro(maps, targets, [0.3])[0.3], abs=2e-3)
    assert not overlap.exact


def test_float64_is_not_rounded():
    anomaly_map = np.array([[1 + 1e-12, 1.0], [1.0, 1.0]])
    assert au_spro([anomaly_map], [[(MASK, 1)]], [0.1]) == {0.1: 1.0}
    overlap = gathered([np.ones((2, 2), np.float32), anomaly_map], [[], [(MASK, 1)]], limits=[0.1])
    assert overlap.compute() == {0.1: 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        huge = np.array([[1e300, 1.0], [-1e300, 0.0]])
        assert au_spro([huge], [[(MASK, 1)]], [0.1], max_thresholds=3) == {0.1: 1.0}


@pytest.mark.parametrize("limited", [(), (0,), (1,), (0, 1)])
def test_merged_states_are_those_of_all_images(limited):
    maps, targets = sample(seed=4, images=8)
    options = [{"max_thresholds": 30} if part in limited else {} for part in (0, 1)]
    both, second = (
        gathered(maps[part], targets[part], **option)
        for part, option in zip((slice(4), slice(4, 8)), options, strict=True)
    )
    both.merge_state(second)
    difference = np.abs(
        np.subtract(list(both.compute().values()), list(au_spro(maps, targets).values()))
    )
    assert (difference <= both.bounds().numpy() + 1e-12).all()
    assert both.exact == (not limited)
    before = both.compute()
    second.update(10 * maps[1], targets[1])  # not part of the merged states
    assert both.compute() == before


@pytest.mark.parametrize(
    ("anomaly_map", "target", "message"),
    [
        (np.full((2, 2), np.nan), [], r"finite values in the map of image 1 \(got 4 of 4 not"),
        (np.array([[0, np.inf], [0, 0]]), [], r"map of image 1 \(got 1 of 4 not"),
        (np.zeros((1, 2, 2)), [], r"map \[H, W\] of image 1 \(got \[1, 2, 2\]"),
        (np.zeros((0, 2)), [], r"map \[H, W\] of image 1 \(got \[0, 2\]"),
        (np.zeros((2, 2), complex), [], "real numbers of image 1"),
        (np.zeros((2, 3)), [(MASK, 1)], r"mask 0 of image 1 to be as large as its map \[2, 3\]"),
        (np.zeros((2, 2)), [(MASK, 1), (MASK & ~MASK, 1)], "mask 1 of image 1 to hold a defect"),
        (np.zeros((2, 2)), [(MASK, 0)], "positive saturation area of mask 0 of image 1"),
        (np.zeros((2, 2)), [(MASK, float("nan"))], "positive saturation area"),
        (np.zeros((2, 2)), [(MASK * 0.5, 1)], "mask 0 of image 1 to hold bools"),
    ],
)
def test_errors_name_the_image_and_leave_it_out(anomaly_map, target, message):
    overlap = SaturatedOverlap()
    overlap.update(np.eye(2), [(MASK, 1)])
    before = overlap.compute()
    with pytest.raises(ValueError, match=message):
        overlap.update(anomaly_map, target)
    assert overlap.compute() == before


def test_errors():
    anomaly_map, target = row([1, 2, 3], ([0], 1))
    with pytest.raises(ValueError, match=r"at least one defect .*none in 2 images"):
        au_spro([anomaly_map, anomaly_map], [[], []])
    with pytest.raises(ValueError, match="pixels outside of the defects"):
        au_spro([anomaly_map[:, :1]], [[(target[0][0][:, :1], 1)]])
    with pytest.raises(ValueError, match=r"as many maps as targets \(got only 1 maps\)"):
        au_spro([anomaly_map], [target, target])
    with pytest.raises(ValueError, match=r"as many maps as targets \(got only 1 targets\)"):
        au_spro(iter([anomaly_map, anomaly_map]), iter([target]))
    for limits in ([], [0.0], [0.3, 1.1], [float("nan")]):
        with pytest.raises(ValueError, match="limits of the false-positive rate"):
            au_spro([anomaly_map], [target], limits)


def sample_by_kind():
    maps, targets = sample(seed=6, levels=8, images=12)
    anomalous = iter(["logical", "structural", "logical"] * 3)
    return maps, targets, [next(anomalous) if target else "good" for target in targets]


def test_by_kind_equals_the_subsets():
    maps, targets, kinds = sample_by_kind()
    result = au_spro_by_kind(iter(maps), iter(targets), kinds, LIMITS)
    for kind in ("logical", "structural"):
        chosen = [i for i, k in enumerate(kinds) if k in ("good", kind)]
        subset = [maps[i] for i in chosen], [targets[i] for i in chosen]
        assert result[kind] == pytest.approx(au_spro(*subset, LIMITS), abs=1e-12)
        assert result[kind][0.3] == pytest.approx(spro.au_spro(*subset, 0.3), abs=1e-12)
    assert result["logical"] != result["structural"]
    for limit in LIMITS:
        mean = (result["logical"][limit] + result["structural"][limit]) / 2
        assert result["mean"][limit] == pytest.approx(mean)


def test_by_kind_gives_nan_for_a_missing_kind():
    maps, targets, kinds = sample_by_kind()
    kinds = ["logical" if kind == "structural" else kind for kind in kinds]
    result = au_spro_by_kind(maps, targets, kinds, LIMITS)
    assert result["logical"] == pytest.approx(au_spro(maps, targets, LIMITS))
    assert all(math.isnan(v) for kind in ("structural", "mean") for v in result[kind].values())


def test_by_kind_errors():
    mask = np.eye(2, dtype=bool)
    maps = [np.eye(2), np.zeros((2, 2))]
    targets = [[(mask, 1)], []]
    with pytest.raises(ValueError, match="Expected kinds 'good'"):
        au_spro_by_kind(maps, targets, ["bad", "good"])
    with pytest.raises(ValueError, match=r"no defect in the good image 0 \(got 1\)"):
        au_spro_by_kind(maps, targets, ["good", "good"])
    with pytest.raises(ValueError, match="a defect in the logical image 1"):
        au_spro_by_kind(maps, targets, ["logical", "logical"])
    with pytest.raises(ValueError, match=r"as many maps as kinds \(got only 1 kinds"):
        au_spro_by_kind(maps, targets, ["logical"])
    with pytest.raises(ValueError, match=r"as many maps as targets \(got only 1 targets"):
        au_spro_by_kind(maps, targets[:1], ["logical", "good"])
    with pytest.raises(ValueError, match=r"finite values in the map of image 1 "):
        au_spro_by_kind([maps[0], maps[1] * np.nan], targets, ["logical", "good"])


@st.composite
def located(draw):
    """Maps of few different values, and up to two overlapping defects in each."""
    maps, targets = [], []
    for number in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 4)))
        levels = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1e30])
        maps.append(draw(arrays(np.float64, shape, elements=levels)))
        masks = draw(st.lists(arrays(bool, shape), min_size=number == 0, max_size=2))
        for mask in masks:
            mask[0, 0], mask[-1, -1] = True, False  # neither empty nor all
        areas = [draw(st.integers(1, int(mask.sum()))) for mask in masks]
        targets.append(list(zip(masks, areas, strict=True)))
    return maps, targets


@given(located(), st.sampled_from([0.05, 1 / 3, 1.0]))
def test_property_of_ties(located, limit):
    maps, targets = located
    result = au_spro(maps, targets, [limit])[limit]
    assert result == pytest.approx(spro.au_spro(maps, targets, limit), abs=1e-12)
    assert au_spro(maps[::-1], targets[::-1], [limit])[limit] == pytest.approx(result, abs=1e-12)
