import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pyg_viglad.metrics import _kept_values, pixel_auroc
from tests.oracles.auroc import auroc


@pytest.mark.filterwarnings("ignore:The maps did not fit")
@pytest.mark.parametrize("levels", [2, 1000])
def test_against_counted_pairs_and_scikit_learn(levels, monkeypatch):
    monkeypatch.setattr(_kept_values, "_SLAB", 4)
    generator = np.random.default_rng(levels)
    masks = [generator.random(shape) < 0.2 for shape in ((6, 8), (9, 5), (4, 4))]
    masks.append(np.zeros((5, 5), bool))
    maps = [np.round((generator.random(m.shape) + 0.3 * m) * levels) / levels for m in masks]
    values = np.concatenate([m.ravel() for m in maps])
    labels = np.concatenate([m.ravel() for m in masks])
    result = pixel_auroc(iter(maps), iter(masks))
    assert result == pytest.approx(auroc(values[~labels], values[labels]), abs=1e-12)
    assert result == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
    assert pixel_auroc(maps, masks, memory=0) == pytest.approx(result, abs=1e-4)
    tensors = [torch.from_numpy(m) for m in maps]
    assert pixel_auroc(tensors, masks) == result


def test_errors():
    with pytest.raises(ValueError, match="at least one defect"):
        pixel_auroc([np.eye(2)], [np.zeros((2, 2))])
    with pytest.raises(ValueError, match="outside of the defects"):
        pixel_auroc([np.eye(2)], [np.ones((2, 2))])
    with pytest.raises(ValueError, match="map of image 1"):
        pixel_auroc([np.eye(2), np.full((2, 2), np.nan)], [np.eye(2), np.eye(2)])
