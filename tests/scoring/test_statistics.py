import math

import numpy as np
import pytest
import torch
from scipy.stats import t
from sklearn.covariance import LedoitWolf

from pyg_viglad.scoring import (
    ChannelNormalization,
    Mahalanobis,
    MapCalibration,
    Standardization,
    Whitening,
    upper_quantile,
)
from pyg_viglad.scoring.statistics import ledoit_wolf
from tests.oracles import scoring as oracle


def test_channel_statistics_of_unequal_batches():
    generator = torch.Generator().manual_seed(0)
    images = 1000 + torch.randn(7, 3, 4, 5, generator=generator)  # far from 0: must not cancel
    module = ChannelNormalization(3)
    module.fit(images.split([4, 1, 2]))
    values = images.double().transpose(0, 1).flatten(1)
    assert torch.allclose(module.mean.double(), values.mean(1), rtol=1e-6)
    assert torch.allclose(module.std.double(), values.std(1, correction=0), rtol=1e-4)
    normalized = module(images)
    assert torch.allclose(normalized.mean((0, 2, 3)), torch.zeros(3), atol=1e-3)


def test_constant_channel_stays_finite():
    module = ChannelNormalization(1)
    module.fit([torch.full((1, 1, 1, 7), 0.1, dtype=torch.float64)])  # their mean is not quite 0.1
    assert torch.allclose(module(torch.full((1, 1, 2, 2), 1.1)), torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("shrinkage", [0.002, 0.02, float("inf")])
def test_whitening_against_loops(shrinkage):
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=generator)
    images = 50 + torch.einsum(
        "cd,bdhw->bchw", mixing, torch.randn(5, 6, 4, 3, generator=generator)
    )
    module = Whitening(6, 4, shrinkage)
    module.fit(images.split([1, 3, 1]))
    vectors = images.double().permute(0, 2, 3, 1).flatten(0, 2).numpy()
    expected = torch.from_numpy(oracle.whitened(vectors, 4, shrinkage))
    found = module(images).permute(0, 2, 3, 1).flatten(0, 2).double()
    assert torch.allclose(found, expected, atol=1e-3)
    standardized = module.standardize(images)
    assert torch.allclose(standardized.std((0, 2, 3), correction=0), torch.ones(6), atol=1e-3)


def test_whitening_of_constant_and_repeated_channels():
    channel = torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    module = Whitening(4, 3)
    module.fit([torch.cat([channel, channel, channel, torch.ones_like(channel)], dim=1)])
    answer = module(torch.cat([channel] * 3 + [torch.ones_like(channel)], dim=1))
    assert answer.isfinite().all()
    assert torch.allclose(answer[:, :1].abs(), answer.norm(dim=1, keepdim=True), atol=1e-3)


def test_whitening_does_not_round_under_autocast():
    module = Whitening(3, 2)
    features = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    module.fit([features])
    with torch.autocast("cpu", torch.bfloat16):
        inside = module(features)
    assert torch.equal(inside, module(features))


def test_quantiles_become_0_and_a_tenth():
    maps = torch.rand(5, 8, 9, generator=torch.Generator().manual_seed(0))
    module = MapCalibration(0.9, 0.995)
    module.fit(maps)
    expected = np.quantile(maps.double().numpy(), [0.9, 0.995])
    calibrated = module(torch.tensor(expected, dtype=torch.float32))
    assert torch.allclose(calibrated, torch.tensor([0.0, 0.1]), atol=1e-5)
    assert (module(maps) > 0).float().mean() == pytest.approx(0.1, abs=0.01)


def test_constant_maps_are_guarded():
    for rounding in (0, 1e-6):
        module = MapCalibration()
        with pytest.warns(UserWarning, match="whose maps differ.*only maps of 3.*taken as 1"):
            module.fit(torch.full((2, 4, 4), 3.0) + rounding * torch.rand(2, 4, 4))
        assert module(torch.full((1, 4, 4), 3.0)).abs().max() < 1e-6
        assert torch.allclose(module(torch.full((1, 4, 4), 4.0)), torch.tensor(0.1))


def test_maps_of_small_values_are_calibrated(recwarn):
    maps = torch.rand(2, 8, 8)
    calibrated = []
    for factor in (1, 1e-8):
        module = MapCalibration()
        module.fit(maps * factor)
        calibrated.append(module(maps * factor))
    assert torch.allclose(*calibrated, atol=1e-4)
    assert not recwarn


@pytest.mark.parametrize(
    "scores", [[2.0], [7.0, 7.0, 7.0], [-1e6, -1e6 + 0.5], [0.3, 0.3 + 1e-7], [0.0, 0.0]]
)
def test_scores_that_agree_are_not_standardised(scores):
    module = Standardization()
    with pytest.warns(UserWarning, match=r"whose scores differ.*only scores of .*taken as 1"):
        module.fit(torch.tensor(scores))
    assert float(module.std) == 1
    assert float(module(torch.tensor(scores[0] + 3))) == pytest.approx(3, abs=0.3)


def test_scores_that_differ_a_little_are_standardised(recwarn):
    module = Standardization()
    module.fit(torch.tensor([5.0, 5.002]))
    assert not recwarn
    assert float(module.std) == pytest.approx(0.001, rel=1e-2)


def test_statistics_keep_their_type():
    module = Mahalanobis(3)
    module.fit(1e-4 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
    assert module.precision.max() > 65504  # the largest number of float16
    kept = module.precision.clone()
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert torch.equal(module.to(dtype).precision, kept)
    assert module.to("meta").precision.is_meta


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_estimates_must_be_finite(number):
    features = torch.rand(2, 3, 4, 4)
    features[1, 2, 3, 0] = number
    for module in (ChannelNormalization(3), Whitening(3, 2)):
        with pytest.raises(ValueError, match="Expected finite features of the training images"):
            module.fit([features])
        assert not module.fitted
    with pytest.raises(ValueError, match=r"Expected finite scores \(got \[1.0, (nan|inf)\]\)"):
        upper_quantile(torch.tensor([1.0, number]), 0.9)
    with pytest.raises(ValueError, match=r"finite statistics .* 'mean' of Standardization"):
        Standardization()._store(mean=torch.tensor(number), std=torch.tensor(1.0))


def test_upper_quantile():
    generator = np.random.default_rng(0)
    for number in (100, 150):  # enough to have it among them
        scores = generator.normal(size=number)
        found = upper_quantile(torch.from_numpy(scores), 0.99)
        assert float(found) == pytest.approx(np.quantile(scores, 0.99))
    for number in (2, 5, 40):
        scores = generator.normal(size=number)
        bound = scores.mean() + t.ppf(0.99, number - 1) * np.sqrt(scores.var(ddof=1)) * np.sqrt(
            1 + 1 / number
        )
        found = upper_quantile(torch.from_numpy(scores), 0.99)
        assert float(found) == pytest.approx(max(bound, np.quantile(scores, 0.99)))
    assert float(upper_quantile(torch.tensor([4.0]), 0.99)) == 4
    outlier = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 9.0, 9.0, 9.0])
    for quantile in (0.0, 0.5, 1.0):
        expected = np.quantile(outlier.numpy(), quantile)
        assert float(upper_quantile(outlier, quantile)) == expected


def test_few_images_raise_about_as_many_false_alarms_as_asked_for():
    scores = torch.randn(4000, 5, generator=torch.Generator().manual_seed(0))
    alarms = [row[4] > upper_quantile(row[:4], 0.95) for row in scores]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.015)
    assert np.mean([row[4] > torch.quantile(row[:4], 0.95) for row in scores]) > 0.18


def test_mahalanobis_against_loops_with_more_channels_than_images():
    vectors = torch.randn(15, 20, generator=torch.Generator().manual_seed(0))
    module = Mahalanobis(20)
    module.fit(vectors[:12])
    train = vectors[:12].double().numpy()
    expected = oracle.mahalanobis(
        vectors.double().numpy(), train.mean(0), oracle.ledoit_wolf(train)
    )
    assert torch.allclose(module(vectors).double(), expected.double(), rtol=1e-4)


@pytest.mark.parametrize("number", [2, 9, 400])
@pytest.mark.parametrize("channels", [1, 4])
def test_ledoit_wolf_equals_that_of_scikit_learn(number, channels):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, number, channels, dtype=torch.float64, generator=generator)
    x *= torch.arange(1, channels + 1)
    x[1] = 0  # vectors all alike
    x[2] = torch.eye(channels).repeat(number, 1)[:number]  # nearly a sphere: shrunk in full
    fourth = x.square().sum(2).square().sum(1)
    for vectors, found in zip(x, ledoit_wolf(x.mT @ x, fourth, number), strict=True):
        expected = LedoitWolf(assume_centered=True).fit(vectors.numpy()).covariance_
        assert np.allclose(found, expected, atol=1e-12)


MODULES = [
    ChannelNormalization(1),
    Whitening(1, 1),
    MapCalibration(),
    Standardization(),
    Mahalanobis(1),
]


@pytest.mark.parametrize("module", MODULES)
def test_unfitted(module):
    assert not module.fitted
    with pytest.raises(ValueError, match="not fitted"):
        module(torch.zeros(1, 1, 1, 1))


def test_bad_values():
    for start, end in ((0.9, 0.9), (-0.1, 0.9), (0.9, 1.1)):
        with pytest.raises(ValueError, match="start < end"):
            MapCalibration(start, end)
    for maps in (torch.tensor([[1.0, float("nan")]]), torch.zeros(0, 4, 4)):
        with pytest.raises(ValueError, match="finite validation maps"):
            MapCalibration(0, 1).fit(maps)
    for scores in ([], [1.0, float("inf")]):
        with pytest.raises(ValueError, match="finite validation scores"):
            Standardization().fit(torch.tensor(scores))
    with pytest.raises(ValueError, match="at least one training image"):
        ChannelNormalization(3).fit([])
    for directions in (0, 4):
        with pytest.raises(ValueError, match="from 1 to 3 directions"):
            Whitening(3, directions)
    with pytest.raises(ValueError, match="'shrinkage' above 0"):
        Whitening(3, 2, 0.0)
    Mahalanobis(4).fit(torch.eye(4)[:2])
    for vectors in (torch.zeros(1, 4), torch.zeros(4), torch.tensor([[0.0] * 4, [math.nan] * 4])):
        with pytest.raises(ValueError, match="at least 2 finite"):
            Mahalanobis(4).fit(vectors)


def test_estimates_are_saved():
    module, other = ChannelNormalization(6), ChannelNormalization(6)
    module.fit([torch.randn(2, 6, 3, 3)])
    other.load_state_dict(module.state_dict())
    features = torch.randn(1, 6, 2, 2)
    assert torch.equal(other(features), module(features))
    other.load_state_dict(ChannelNormalization(6).state_dict())
    assert not other.fitted
