import json
import subprocess
import sys
import tracemalloc
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from pyg_viglad.metrics import (
    PerRegionOverlap,
    PixelAUROC,
    SaturatedOverlap,
    au_pro,
    pixel_auroc,
)
from tests.oracles import spro
from tests.oracles.auroc import auroc
from tests.oracles.regions import regions


def sample(seed, levels=None):
    generator = np.random.default_rng(seed)
    shapes = ((7, 9), (6, 8), (9, 5), (4, 4))
    masks = [generator.random(s) < p for s, p in zip(shapes, (0, 0.15, 0.2, 0.3), strict=True)]
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


@pytest.mark.parametrize("levels", [None, 2])
def test_auroc_against_counted_pairs_and_scikit_learn(levels):
    maps, masks = sample(0, levels)
    values = np.concatenate([m.ravel() for m in maps])
    labels = np.concatenate([m.ravel() for m in masks])
    result = pixel_auroc(iter(maps), iter(masks))
    assert result == pytest.approx(auroc(values[~labels], values[labels]), abs=1e-12)
    assert result == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
    assert pixel_auroc([torch.from_numpy(m) for m in maps], masks) == result


@pytest.mark.parametrize("levels", [None, 1, 3])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_au_pro_against_every_threshold(levels, limit):
    maps, masks = sample(0, levels)
    expected = spro.au_spro(maps, [channels(mask) for mask in masks], limit)
    assert au_pro(maps, masks, limit) == pytest.approx(expected, abs=1e-12)


def test_regions_weigh_the_same_and_touch_at_corners():
    mask = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 1, 1]], dtype=bool)
    # Two regions, the diagonal pair and the block; the pair is detected, the block after all good.
    anomaly_map = np.array([[5, 1, 1, 0, 0], [1, 5, 1, 0, 0]])
    assert au_pro([anomaly_map], [mask]) == pytest.approx(0.5)
    assert au_pro([anomaly_map], [mask], 1.0) == pytest.approx(0.5)
    anomaly_map[0, 0] = 0  # half of the pair: a quarter of the regions
    assert au_pro([anomaly_map], [mask]) == pytest.approx(0.25)


def test_extreme_maps():
    mask = np.eye(4, dtype=bool)
    assert au_pro([mask * 2.0], [mask]) == pytest.approx(1)
    assert au_pro([mask * -2.0], [mask]) == 0
    assert au_pro([np.ones((4, 4))], [mask]) == pytest.approx(0.15)  # half the limit
    assert type(au_pro(iter([torch.eye(4)]), iter([torch.eye(4).bool()]))) is float


def test_called_as_a_metric_it_accumulates():
    maps, masks = np.arange(32.0).reshape(2, 4, 4), np.zeros((2, 4, 4), bool)
    masks[0, 2:, 2:] = True  # the other image is good
    called, updated = PixelAUROC(), PixelAUROC()
    for one, mask in zip(maps, masks, strict=True):
        assert called(one, mask) is None
        updated.update(one, mask)
    assert called.compute() == updated.compute()


@pytest.mark.parametrize("metric", [PixelAUROC, PerRegionOverlap])
def test_metric_accumulates_and_resets(metric):
    maps, masks = sample(3)
    function = {PixelAUROC: pixel_auroc, PerRegionOverlap: au_pro}[metric]
    whole = metric()
    for number in range(1, 5):
        whole.update(maps[number - 1], masks[number - 1])
        if number > 1:
            expected = function(maps[:number], masks[:number])
            assert whole.compute() == pytest.approx(expected, abs=1e-12)
    whole.reset()
    whole.update(maps[1], masks[1])
    assert whole.compute() == pytest.approx(function(maps[1:2], masks[1:2]), abs=1e-12)


PROCESS = r"""
import sys
from datetime import timedelta
import torch.distributed as dist
from pyg_viglad.metrics import PixelAUROC, SaturatedOverlap
from tests.metrics.test_pixel import sample

limit = timedelta(seconds=120)
dist.init_process_group("gloo", init_method=sys.argv[1], timeout=limit, rank=1, world_size=2)
pixels, overlap = PixelAUROC(), SaturatedOverlap(limits=[0.3])
maps, masks = sample(0)
for anomaly_map, mask in zip(maps[2:], masks[2:]):
    pixels.update(anomaly_map, mask)
print([pixels.compute().item(), overlap.compute()[0.3]])
"""


def test_processes_share_one_curve(tmp_path):
    """Two processes, one of which has no image for one of the metrics."""
    maps, masks = sample(0)
    store = f"file://{tmp_path}/store"
    command = [sys.executable, "-W", "ignore", "-c", PROCESS, store]
    pixels, overlap = PixelAUROC(), SaturatedOverlap(limits=[0.3])
    for anomaly_map, mask in zip(maps[:2], masks[:2], strict=True):
        pixels.update(anomaly_map, mask)
        overlap.update(anomaly_map, [(mask, 3)] if mask.any() else [])
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    dist.init_process_group(
        "gloo", init_method=store, timeout=timedelta(seconds=120), rank=0, world_size=2
    )
    try:
        found = [pixels.compute().item(), overlap.compute()[0.3]]
        assert json.loads(other.communicate(timeout=120)[0]) == found
    finally:
        dist.destroy_process_group()
        other.kill()
    targets = [[], [(masks[1], 3)]]
    assert found == pytest.approx(
        [pixel_auroc(maps, masks), spro.au_spro(maps[:2], targets, 0.3)], abs=1e-12
    )
    pixels.update(maps[2], masks[2])  # goes on with the images of its own process
    assert pixels.compute() == pytest.approx(pixel_auroc(maps[:3], masks[:3]), abs=1e-12)


def test_memory_does_not_grow_with_the_images():
    def measure(count):
        generator = np.random.default_rng(0)
        metric = PixelAUROC(max_thresholds=1 << 13)
        maps, masks = [], []
        tracemalloc.start()
        for _ in range(count):
            mask = generator.random((64, 64)) < 0.2
            maps.append(generator.random((64, 64), dtype=np.float32) + mask * np.float32(0.1))
            masks.append(mask)
            metric.update(maps[-1], mask)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        expected = roc_auc_score(np.stack(masks).ravel(), np.stack(maps).ravel())
        assert metric.compute() == pytest.approx(expected, abs=1e-5)
        return peak - sum(m.nbytes for m in [*maps, *masks])

    assert measure(100) < 1.2 * measure(20)


def test_errors():
    with pytest.raises(ValueError, match="at least one defect"):
        pixel_auroc([np.eye(2)], [np.zeros((2, 2))])
    with pytest.raises(ValueError, match="outside of the defects"):
        pixel_auroc([np.eye(2)], [np.ones((2, 2))])
    with pytest.raises(ValueError, match="map of image 1"):
        pixel_auroc([np.eye(2), np.full((2, 2), np.nan)], [np.eye(2), np.eye(2)])
    with pytest.raises(ValueError, match="mask of image 1 to be as large"):
        au_pro([np.eye(2), np.eye(2)], [np.eye(2), np.eye(3)])
    with pytest.raises(ValueError, match="as many maps as masks"):
        au_pro([np.eye(2)], [])
    with pytest.raises(ValueError, match=r"in \(0, 1\]"):
        au_pro([np.eye(2)], [np.eye(2)], 30)
    with pytest.raises(ValueError, match="'max_thresholds' of at least 1"):
        PixelAUROC(max_thresholds=0)


@st.composite
def located(draw):
    """Maps of few different values and masks with at least one pixel of either kind."""
    maps, masks = [], []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 4)))
        levels = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1e30])
        maps.append(draw(arrays(np.float64, shape, elements=levels)))
        masks.append(draw(arrays(bool, shape)))
    masks[0][0, 0], masks[0][-1, -1] = True, False
    return maps, masks


@given(located(), st.sampled_from([0.05, 0.3, 1.0]))
def test_property_of_ties(located, limit):
    maps, masks = located
    values, labels = (np.concatenate([m.ravel() for m in part]) for part in located)
    expected = auroc(values[~labels], values[labels])
    assert pixel_auroc(maps, masks) == pytest.approx(expected, abs=1e-12)
    expected = spro.au_spro(maps, [channels(mask) for mask in masks], limit)
    assert au_pro(maps, masks, limit) == pytest.approx(expected, abs=1e-12)
