import numpy as np
import pytest
import torch

from pyg_viglad.metrics import _kept_values, au_pro
from tests.oracles import spro
from tests.oracles.regions import regions


def sample(seed, levels=None):
    generator = np.random.default_rng(seed)
    masks = [generator.random((7, 9)) < share for share in (0, 0.15, 0.2, 0.3)]
    maps = [generator.normal(size=m.shape) + m for m in masks]
    return [np.round(m * levels) / levels for m in maps] if levels else maps, masks


def channels(mask):
    """Each region as a channel of its own, saturated by its whole area."""
    result = []
    for region in regions(mask):
        channel = np.zeros_like(mask)
        channel[tuple(zip(*region, strict=True))] = True
        result.append((channel, len(region)))
    return result


@pytest.mark.filterwarnings("ignore:The maps did not fit")
@pytest.mark.parametrize("levels", [None, 1, 3])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_against_every_threshold(levels, limit, monkeypatch):
    monkeypatch.setattr(_kept_values, "_SLAB", 4)
    maps, masks = sample(0, levels)
    expected = spro.au_spro(maps, [channels(mask) for mask in masks], limit)
    assert au_pro(maps, masks, limit) == pytest.approx(expected, abs=1e-12)
    assert au_pro(maps, masks, limit, memory=0) == pytest.approx(expected, abs=1e-3)


def test_regions_weigh_the_same_and_touch_at_corners():
    mask = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 1, 1]], dtype=bool)
    # Two regions, the diagonal pair and the block; the pair is found, the block after all good.
    anomaly_map = np.array([[5, 1, 1, 0, 0], [1, 5, 1, 0, 0]])
    assert au_pro([anomaly_map], [mask]) == pytest.approx(0.5, abs=1e-6)
    assert au_pro([anomaly_map], [mask], 1.0) == pytest.approx(0.5, abs=1e-6)
    anomaly_map[0, 0] = 0  # half of the pair: a quarter of the regions
    assert au_pro([anomaly_map], [mask]) == pytest.approx(0.25, abs=1e-6)


def test_limits_of_the_scale():
    mask = np.eye(4, dtype=bool)
    assert au_pro([mask * 2.0], [mask]) == pytest.approx(1)
    assert au_pro([mask * -2.0], [mask]) == 0
    assert au_pro([np.ones((4, 4))], [mask]) == pytest.approx(0.15)  # half the limit
    assert type(au_pro(iter([torch.eye(4)]), iter([torch.eye(4).bool()]))) is float


def test_errors():
    with pytest.raises(ValueError, match="at least one defect"):
        au_pro([np.eye(2)], [np.zeros((2, 2))])
    with pytest.raises(ValueError, match="mask of image 1 to be as large"):
        au_pro([np.eye(2), np.eye(2)], [np.eye(2), np.eye(3)])
    with pytest.raises(ValueError, match="as many maps as masks"):
        au_pro([np.eye(2)], [])
    with pytest.raises(ValueError, match=r"in \(0, 1\]"):
        au_pro([np.eye(2)], [np.eye(2)], 30)
