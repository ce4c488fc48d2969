import math

import numpy as np
import pytest
import torch

from pyg_viglad.scoring import GraphComposition, Whitening
from tests.oracles import composition as oracle
from tests.oracles import scoring

PALETTE = 5 * torch.eye(4)[:, :3]


def draw(images, seed=0, side=7):
    """Features of random kinds, each well apart."""
    kinds = torch.randint(4, (images, side, side), generator=torch.Generator().manual_seed(seed))
    return PALETTE[kinds].permute(0, 3, 1, 2)


def boards(parts, seed=0, side=12):
    """Features of empty boards with so many parts of 2 x 2 nodes, anywhere on a lattice."""
    generator = torch.Generator().manual_seed(seed)
    features = 0.1 * torch.randn(len(parts), 3, side, side, generator=generator)
    for image, number in enumerate(parts):
        for place in torch.randperm(9, generator=generator)[:number].tolist():
            row, column = 4 * (place // 3), 4 * (place % 3)
            features[image, :, row : row + 2, column : column + 2] += 5
    return features


def make(**options):
    return GraphComposition(**{"kinds": 4, "window": 1, "stride": 1, **options})


@pytest.mark.parametrize("least", [1, 2, 3])
def test_numbers_and_scores_against_loops(least):
    features = draw(14)
    module = make(least=least)
    module.fit([features[:7], features[7:10]])
    assert module.members.shape == (6, 4)
    assert torch.equal(module.members[:4], torch.eye(4, dtype=torch.bool))
    assert all(members.sum() in (2, 3) for members in module.members[4:])
    kinds = [set(members.nonzero().flatten().tolist()) for members in module.members]
    z = (features.permute(0, 2, 3, 1) - module.shift) @ module.projection
    whitening = Whitening(3, 3)
    whitening.fit([features[:10]])
    assert torch.allclose(z, whitening(features).permute(0, 2, 3, 1), atol=1e-5)
    expected = []
    for image in z:
        grid = [
            [min(range(4), key=lambda k: float((x - module.centers[k]).norm())) for x in row]
            for row in image
        ]
        expected.append(oracle.numbers(grid, kinds, least))
    assert module.describe(features).tolist() == expected
    roots = np.array([[math.sqrt(value) for value in row] for row in expected])
    train = roots[:10]
    std = np.sqrt(train.var(0) + 0.01)
    d = (roots - train.mean(0)) / std
    found = module(features[10:])
    covariance = scoring.ledoit_wolf(d[:10]) + np.diag(0.01 / std**2)
    wanted = scoring.mahalanobis(d[10:], d[:10].mean(0), covariance)
    assert torch.allclose(found, wanted.float(), rtol=1e-3)


def test_images_are_judged_one_by_one_and_the_module_is_saved():
    features = draw(12)
    module = make()
    module.fit([features[:8]])
    scores = module(features)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert torch.equal(module.describe(features[order]), module.describe(features)[order])
    assert torch.allclose(module(features[order]), scores[order])
    assert torch.allclose(torch.cat([module(image[None]) for image in features]), scores)
    other = make()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(features), scores)
    for _ in range(5):
        other.fit([features[:8]])
        assert torch.equal(other.centers, module.centers)


@pytest.mark.parametrize("images", [5, 40])
def test_a_part_too_few_and_a_part_too_many_stand_out(images):
    module = make(kinds=2)
    module.fit([boards([4] * images)])
    normal = module(boards([4] * 8, seed=1))
    odd = boards([3, 5, 4], seed=2)
    assert module(odd)[:2].min() > normal.max() + 1
    few, many, _ = module.explain(odd)
    assert few.deviation < 0 < many.deviation
    assert few.kind == many.kind
    assert module.describe(odd)[:, few.kind].tolist() == [12, 20, 16]
    assert few.text == f"12 nodes of kind {few.kind} where training images have 16.0 ± 0.0"
    assert torch.equal(many.nodes, odd[1, 0] > 2.5)
    assert few.nodes.any()
    assert not (few.nodes & (odd[0, 0] > 2.5)).any()


@pytest.mark.parametrize(
    ("images", "missing"),
    [
        # The first it has too; the last less than half of the training images have.
        ([range(21), range(20), range(12), range(10), range(8)], slice(1, 4)),
        ([range(8), range(8, 16), range(16, 20)], slice(2)),  # two places that most of them have
    ],
)
def test_missing_nodes_are_where_most_images_have_them(images, missing):
    features = 0.1 * torch.randn(21, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    places = [[0, 0], [0, 3], [2, 1], [4, 0], [4, 4]][: len(images)]
    for (row, column), having in zip(places, images, strict=True):
        features[list(having), :, row, column] += 5
    module = make(kinds=2, least=1)
    module.fit([features[:20]])
    (odd,) = module.explain(features[20:])
    assert odd.deviation < 0
    assert odd.nodes.nonzero().tolist() == places[missing]


def test_constant_features_small_maps_and_few_images():
    module = GraphComposition(kinds=3)
    module.fit([torch.ones(2, 4, 6, 6)])
    assert torch.allclose(module(torch.ones(3, 4, 6, 6)), torch.zeros(3), atol=1e-4)
    assert module(draw(1)[:, [0, 1, 2, 0], :6, :6]).isfinite().all()
    assert len(module.explain(torch.ones(1, 4, 6, 6))) == 1
    module = GraphComposition(kinds=2, window=9, directions=3)
    module.fit([torch.rand(3, 4, 5, 6)])
    assert module.projection.shape == (4, 3)
    assert module(torch.rand(2, 4, 5, 6)).shape == (2,)


def test_bad_values():
    with pytest.raises(ValueError, match=r"'kinds' to be at least 2 \(got 1\)"):
        GraphComposition(kinds=1)
    with pytest.raises(ValueError, match="of at least 1"):
        GraphComposition(least=0)
    with pytest.raises(ValueError, match=r"at least 2 training images \(got 1\)"):
        make().fit([draw(1)])
    with pytest.raises(ValueError, match=r"at least 16 nodes \(got 2\)"):
        GraphComposition().fit([torch.rand(2, 4, 2, 2)])
    with pytest.raises(ValueError, match="not fitted"):
        make()(draw(1))
