import math

import numpy as np
import pytest

from pyg_viglad.metrics import au_spro, au_spro_by_kind
from tests.metrics.samples import sample
from tests.oracles import spro

LIMITS = (0.05, 0.3, 1.0)


def sample_by_kind():
    maps, truths = sample(seed=6, levels=8, images=12)
    anomalous = iter(["logical", "structural", "logical"] * 3)
    return maps, truths, [next(anomalous) if truth else "good" for truth in truths]


@pytest.mark.filterwarnings("ignore:The maps did not fit")
@pytest.mark.parametrize("memory", [10**6, 0, 900])
def test_equals_the_subsets(memory):
    maps, truths, kinds = sample_by_kind()
    result = au_spro_by_kind(iter(maps), iter(truths), kinds, LIMITS, memory=memory)
    for kind in ("logical", "structural"):
        chosen = [i for i, k in enumerate(kinds) if k in ("good", kind)]
        subset = [maps[i] for i in chosen], [truths[i] for i in chosen]
        assert result[kind] == pytest.approx(au_spro(*subset, LIMITS), abs=1e-12)
        assert result[kind][0.3] == pytest.approx(spro.au_spro(*subset, 0.3), abs=1e-12)
    assert result["logical"] != result["structural"]
    for limit in LIMITS:
        mean = (result["logical"][limit] + result["structural"][limit]) / 2
        assert result["mean"][limit] == pytest.approx(mean)


def test_missing_kind_is_nan():
    maps, truths, kinds = sample_by_kind()
    kinds = ["logical" if kind == "structural" else kind for kind in kinds]
    result = au_spro_by_kind(maps, truths, kinds, LIMITS)
    assert result["logical"] == pytest.approx(au_spro(maps, truths, LIMITS))
    assert all(math.isnan(v) for kind in ("structural", "mean") for v in result[kind].values())


def test_errors():
    mask = np.eye(2, dtype=bool)
    maps = [np.eye(2), np.zeros((2, 2))]
    truths = [[(mask, 1)], []]
    with pytest.raises(ValueError, match="Expected kinds 'good'"):
        au_spro_by_kind(maps, truths, ["bad", "good"])
    with pytest.raises(ValueError, match=r"no defect in the good image 0 \(got 1\)"):
        au_spro_by_kind(maps, truths, ["good", "good"])
    with pytest.raises(ValueError, match="a defect in the logical image 1"):
        au_spro_by_kind(maps, truths, ["logical", "logical"])
    with pytest.raises(ValueError, match=r"as many maps as kinds \(got only 1 kinds"):
        au_spro_by_kind(maps, truths, ["logical"])
    with pytest.raises(ValueError, match=r"as many maps as truths \(got only 1 truths"):
        au_spro_by_kind(maps, truths[:1], ["logical", "good"])
    with pytest.raises(ValueError, match=r"finite values in the map of image 1 "):
        au_spro_by_kind([maps[0], maps[1] * np.nan], truths, ["logical", "good"])
