import warnings

import numpy as np
import pytest

from pyg_viglad.metrics import SaturatedOverlap, au_spro
from tests.metrics.samples import sample
from tests.oracles import spro

MASK = np.array([[True, False], [False, False]])


def gathered(maps, truths, **options):
    overlap = SaturatedOverlap(**options)
    for anomaly_map, truth in zip(maps, truths, strict=True):
        overlap.update(anomaly_map, truth)
    return overlap


def test_repr_and_repeated_compute():
    maps, truths = sample(seed=0)
    overlap = gathered(maps[:4], truths[:4])
    assert str(overlap) == "SaturatedOverlap(images=4, defects=6, exact=True)"
    assert overlap.compute() == overlap.compute() == au_spro(maps[:4], truths[:4])
    for anomaly_map, truth in zip(maps[4:], truths[4:], strict=True):
        overlap.update(anomaly_map, truth)  # goes on after a result
    assert overlap.compute() == pytest.approx(au_spro(maps, truths), abs=1e-12)
    assert set(overlap.bounds().values()) == {0.0}


def test_maps_are_not_changed():
    maps, truths = sample(seed=0)
    copies = [m.copy() for m in maps]
    gathered(maps, truths).compute()
    assert all((a == b).all() for a, b in zip(maps, copies, strict=True))


@pytest.mark.filterwarnings("ignore:The maps did not fit")
@pytest.mark.parametrize("memory", [0, 300])  # in bins from the first image on, or in the middle
def test_bins_stay_within_their_bound(memory):
    maps, truths = sample(seed=5, images=9)
    maps = [m + m.max() * 1e-3 * np.sin(m) for m in maps]
    overlap = gathered(maps, truths, memory=memory)
    assert not overlap.exact
    for limit, value in overlap.compute().items():
        error = abs(value - spro.au_spro(maps, truths, limit))
        assert error <= overlap.bounds()[limit] + 1e-12
        assert error < 1e-3


@pytest.mark.filterwarnings("ignore:The maps did not fit")
def test_bins_of_few_levels_are_exact():
    maps, truths = sample(seed=2, levels=4)
    assert gathered(maps, truths, memory=0).compute() == pytest.approx(
        au_spro(maps, truths), abs=1e-12
    )


def test_bins_too_wide_give_a_true_bound_and_a_warning():
    generator = np.random.default_rng(0)
    maps = [1000 + generator.random((8, 8)) * 1e-3 for _ in range(3)]  # all in one bin
    truths = [[(generator.random((8, 8)) < 0.3, 4)] for _ in maps]
    overlap = gathered(maps, truths, memory=0)
    with pytest.warns(UserWarning, match="did not fit in 'memory'"):
        value = overlap.compute([0.3])[0.3]
    exact = spro.au_spro(maps, truths, 0.3)
    assert 0.001 < abs(value - exact) <= overlap.bounds([0.3])[0.3]


def test_float64_is_not_rounded_while_it_is_kept():
    anomaly_map = np.array([[1 + 1e-12, 1.0], [1.0, 1.0]])
    assert au_spro([anomaly_map], [[(MASK, 1)]], [0.1]) == {0.1: 1.0}
    late = SaturatedOverlap()  # what came in float32 is widened
    late.update(np.ones((2, 2), np.float32), [])
    late.update(anomaly_map, [(MASK, 1)])
    assert late.compute([0.1]) == {0.1: 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        huge = np.array([[1e300, 1.0], [-1e300, 0.0]])
        assert au_spro([huge], [[(MASK, 1)]], [0.1], memory=0) == {0.1: 1.0}


@pytest.mark.filterwarnings("ignore:The maps did not fit")
@pytest.mark.parametrize("memories", [(10**6, 10**6), (0, 10**6), (10**6, 0), (0, 0)])
def test_sum_joins_images(memories):
    maps, truths = sample(seed=4, levels=4, images=8)
    first = gathered(maps[:4], truths[:4], memory=memories[0])
    second = gathered(maps[4:], truths[4:], memory=memories[1])
    both = first + second
    expected = pytest.approx(au_spro(maps, truths), abs=1e-12)
    assert both.compute() == expected
    assert both.exact == (0 not in memories)
    for overlap in (first, second):  # what is added later to one of them is not part of the sum
        overlap.update(10 * maps[1], truths[1])
        overlap.compute()
    assert both.compute() == expected
    assert first.compute() == pytest.approx(
        au_spro([*maps[:4], 10 * maps[1]], [*truths[:4], truths[1]]), abs=1e-12
    )


@pytest.mark.parametrize(
    ("anomaly_map", "truth", "message"),
    [
        (np.full((2, 2), np.nan), [], r"finite values in the map of image 1 \(got 4 of 4 not"),
        (np.array([[0, np.inf], [0, 0]]), [], r"map of image 1 \(got 1 of 4 not"),
        (np.zeros((1, 2, 2)), [], r"map \[H, W\] of image 1 \(got \[1, 2, 2\]"),
        (np.zeros((2, 2), complex), [], "real numbers of image 1"),
        (np.zeros((2, 3)), [(MASK, 1)], r"mask 0 of image 1 to be as large as its map \[2, 3\]"),
        (np.zeros((2, 2)), [(MASK, 1), (MASK & ~MASK, 1)], "mask 1 of image 1 to hold a defect"),
        (np.zeros((2, 2)), [(MASK, 0)], "positive saturation area of mask 0 of image 1"),
        (np.zeros((2, 2)), [(MASK, float("nan"))], "positive saturation area"),
        (np.zeros((2, 2)), [(MASK * 0.5, 1)], "mask 0 of image 1 to hold bools"),
    ],
)
def test_errors_name_the_image_and_leave_it_out(anomaly_map, truth, message):
    overlap = SaturatedOverlap()
    overlap.update(np.eye(2), [(MASK, 1)])
    before = overlap.compute()
    with pytest.raises(ValueError, match=message):
        overlap.update(anomaly_map, truth)
    assert overlap.compute() == before


def test_masks_of_numbers():
    maps = [np.arange(4.0).reshape(2, 2)]
    expected = au_spro(maps, [[(MASK, 1)]])
    assert au_spro(maps, [[(MASK * np.uint8(255), 1)]]) == expected
    assert au_spro(maps, [[(MASK.astype(np.float32), 1)]]) == expected
