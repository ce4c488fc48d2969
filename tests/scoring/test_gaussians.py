import numpy as np
import pytest
import torch

from pyg_viglad.scoring import Mahalanobis, NodeGaussian
from tests.oracles import scoring as oracle


def test_mahalanobis_against_loops_with_more_channels_than_images():
    vectors = torch.randn(15, 20, generator=torch.Generator().manual_seed(0))
    module = Mahalanobis()
    module.fit(vectors[:12])
    train = vectors[:12].double().numpy()
    expected = oracle.mahalanobis(
        vectors.double().numpy(), train.mean(0), oracle.ledoit_wolf(train)
    )
    assert torch.allclose(module(vectors).double(), expected.double(), rtol=1e-4)


def test_node_gaussian_against_loops():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(12, 7, 6, 5, generator=generator)
    module = NodeGaussian(window=3, stride=2, channels=4)
    module.fit([features[:6], features[6:10]])
    distances = module(features[10:])
    assert distances.shape == (2, *module.grid_size(6, 5)) == (2, 2, 2)
    selected = module.selected.tolist()
    assert len(set(selected)) == 4
    array = features[:, selected].double().numpy()
    for row in range(2):
        for column in range(2):
            window = array[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            vectors = np.array([[channel.mean() for channel in image] for image in window])
            train = vectors[:10]
            expected = oracle.mahalanobis(
                vectors[10:], train.mean(0), oracle.ledoit_wolf(train)
            ).float()
            assert torch.allclose(distances[:, row, column], expected, rtol=1e-3)


def test_calibration_standardises_every_node():
    features = torch.randn(40, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    module = NodeGaussian(window=2, stride=2)
    module.fit([features[:20]])
    before = module(features[20:])
    module.calibrate([features[20:30], features[30:]])
    after = module(features[20:])
    assert torch.allclose(after.mean(0), torch.zeros(2, 2), atol=1e-4)
    assert torch.allclose(after.std(0, correction=0), torch.ones(2, 2), atol=1e-4)
    expected = (before - before.mean(0)) / before.std(0, correction=0)
    assert torch.allclose(after, expected, atol=1e-4)
    other = NodeGaussian(window=2, stride=2)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(features), module(features))


def test_the_odd_place_stands_out():
    features = torch.randn(60, 8, 6, 6, generator=torch.Generator().manual_seed(1))
    module = NodeGaussian(window=1, stride=1)
    module.fit([features[:50]])
    odd = features[50:51].clone()
    odd[0, :, 4, 2] += 6
    assert module(odd).flatten().argmax() == 4 * 6 + 2


def test_window_larger_than_the_map_and_constant_features():
    module = NodeGaussian(window=9)
    module.fit([torch.ones(4, 3, 2, 2)])
    assert module(torch.ones(1, 3, 2, 2)).shape == (1, 1, 1)
    assert module(torch.ones(1, 3, 2, 2)).isfinite().all()


def test_bad_values():
    with pytest.raises(ValueError, match="at least 2 finite"):
        Mahalanobis().fit(torch.zeros(1, 4))
    with pytest.raises(ValueError, match="at least 2 training images"):
        NodeGaussian().fit([torch.zeros(1, 3, 4, 4)])
    with pytest.raises(ValueError, match="of at least 1"):
        NodeGaussian(window=0)
    with pytest.raises(ValueError, match="not fitted"):
        NodeGaussian()(torch.zeros(1, 3, 4, 4))
