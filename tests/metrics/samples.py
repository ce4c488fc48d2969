"""Small random maps, targets and scores."""

import numpy as np
import pytest
import torch


def sample(seed, levels=None, images=6, dtype=np.float32):
    """Maps of two sizes and 0 to 3 overlapping defects per image; few ``levels`` give many ties."""
    generator = np.random.default_rng(seed)
    maps, targets = [], []
    for i in range(images):
        shape = (5, 7) if i % 2 else (6, 4)
        values = generator.normal(size=shape)
        if levels:
            values = np.round(values * levels) / levels
        target = []
        for _ in range(i % 4):
            mask = generator.random(shape) < 0.3
            mask[2, 1:3] = True
            target.append((mask, int(generator.integers(1, 1 + mask.sum()))))
            values = values + mask * generator.integers(0, 2)
        maps.append(values.astype(dtype))
        targets.append(target)
    return maps, targets


def assert_by_kind(metric, oracle, levels):
    """Compare with ``oracle(good, anomalous)`` on 60 images; few ``levels`` give many ties."""
    generator = np.random.default_rng(levels)
    scores = generator.integers(0, levels, 60) / levels
    kinds = generator.choice(["good", "logical", "structural"], 60)
    result = metric(torch.from_numpy(scores), kinds.tolist())
    good = scores[kinds == "good"]
    for kind in ("logical", "structural"):
        assert result[kind] == pytest.approx(oracle(good, scores[kinds == kind]))
    assert result["pooled"] == pytest.approx(oracle(good, scores[kinds != "good"]))
    assert result["mean"] == pytest.approx((result["logical"] + result["structural"]) / 2)
