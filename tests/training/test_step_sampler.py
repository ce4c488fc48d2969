import pytest

from pyg_viglad.training import Photographs
from pyg_viglad.training.step_sampler import StepSampler, step_seed


def test_every_round_holds_every_item_once():
    items = list(StepSampler(5, 2, steps=10, seed=3))
    assert len(items) == len(StepSampler(5, 2, steps=10, seed=3)) == 20
    rounds = [items[first : first + 5] for first in range(0, 20, 5)]
    assert all(sorted(part) == [0, 1, 2, 3, 4] for part in rounds)
    assert len({tuple(part) for part in rounds}) > 1
    assert items != list(StepSampler(5, 2, steps=10, seed=4))


@pytest.mark.parametrize("shuffle", [True, False])
def test_starts_at_any_step(shuffle):
    whole = list(StepSampler(5, 3, 7, seed=0, shuffle=shuffle))
    for step in range(8):
        assert list(StepSampler(5, 3, 7, 0, lambda step=step: step, shuffle)) == whole[3 * step :]
    if not shuffle:
        assert whole[:7] == [0, 1, 2, 3, 4, 0, 1]


def test_seeds_differ():
    assert len({step_seed(seed, step) for seed in range(20) for step in range(20)}) == 400


def test_seeded_photographs_are_told_by_their_number():
    photographs = Photographs(size=32, length=40, seed=1)
    backwards = [photographs[n] for n in reversed(range(40))]
    again = Photographs(size=32, length=50, seed=1)
    assert all((again[n] == backwards[39 - n]).all() for n in range(40))
    assert (Photographs(size=32, length=40, seed=2)[0] != photographs[0]).any()


def test_errors():
    with pytest.raises(ValueError, match="at least one training image"):
        StepSampler(0, 1, 1, 0)
    with pytest.raises(ValueError, match="counts steps"):
        StepSampler(1, 1, -1, 0)
