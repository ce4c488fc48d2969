import numpy as np
import pytest
import torch

from pyg_viglad.scoring import NodeGaussian, NodeNeighbors, make_node_scorer
from tests.oracles import scoring as oracle


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
    places = [(row, column) for row in range(2) for column in range(2)]
    vectors = {
        (row, column): np.array(
            [
                [channel.mean() for channel in image]
                for image in array[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            ]
        )
        for row, column in places
    }
    within = [vectors[place][:10] - vectors[place][:10].mean(0) for place in places]
    pooled = oracle.ledoit_wolf(np.concatenate(within))
    share = 10**2 / (10**2 + 20**2)
    for row, column in places:
        train = vectors[row, column][:10]
        covariance = share * oracle.ledoit_wolf(train) + (1 - share) * pooled
        expected = oracle.mahalanobis(vectors[row, column][10:], train.mean(0), covariance).float()
        assert torch.allclose(distances[:, row, column], expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("images", "differ"), [(1, True), (2, True), (4, True), (30, True), (8, False)]
)
def test_calibration_of_nodes_against_loops(images, differ):
    features = torch.randn(20 + images, 6, 8, 8, generator=torch.Generator().manual_seed(4))
    if differ:  # or else their means differ less than by chance
        features[:, :, :4] *= torch.linspace(0.5, 2, 4)[:, None]
    module = NodeGaussian(window=2, stride=2)
    module.fit([features[:20]])
    before = module(features[20:])
    module.calibrate([features[20:22], features[22:]] if images > 2 else [features[20:]])
    after = module(features[20:])
    center, scale = oracle.shrunk_moments(before.flatten(1).double().numpy())
    expected = (before.flatten(1).double().numpy() - center) / scale
    assert np.allclose(after.flatten(1).numpy(), expected, rtol=1e-3, atol=1e-3)
    other = NodeGaussian(window=2, stride=2)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(features), module(features))


def test_many_validation_images_standardise_every_node():
    features = torch.randn(420, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    module = NodeGaussian(window=2, stride=2)
    module.fit([features[:20]])
    module.calibrate([features[20:]])
    after = module(features[20:])
    assert torch.allclose(after.mean(0), torch.zeros(2, 2), atol=0.15)
    assert torch.allclose(after.std(0), torch.ones(2, 2), atol=0.1)


def test_copies_of_a_validation_image_give_no_enormous_scores():
    features = draw(images=13)
    copies = [features[10:11].expand(4, -1, -1, -1)]
    for module in (NodeGaussian(window=2), NodeNeighbors(windows=(2,), dimensions=3)):
        module.fit([features[:10]])
        module.calibrate(copies)
        assert module(features[11:]).abs().max() < 100
    spread = module._scores(copies[0]).std((0, 2), correction=0)
    assert torch.allclose(module.scale, spread, rtol=1e-3)
    constant = torch.ones(4, 3, 6, 6)
    for module in (NodeGaussian(window=2), NodeNeighbors(windows=(2,))):
        module.fit([constant])
        with pytest.warns(UserWarning, match=r"whose node scores differ.*taken as 1"):
            module.calibrate([constant])
        assert (module.scale == 1).all()
        assert module(constant + 1).abs().max() < 100


def test_few_images_with_one_covariance_in_all_places(monkeypatch):
    # Two channels go together everywhere: eight images of one node do not tell, all nodes together do.
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(108, 24, 12, 12, generator=generator)
    features[:, 1::2] = features[:, ::2] + 0.05 * features[:, 1::2]
    odd = features[58:].clone()
    odd[:, 0, 5, 5] = odd[:, 1, 5, 5] - 3
    found = []
    for images in (0, 20):
        monkeypatch.setattr("pyg_viglad.scoring.node_scores._FEW", images)
        module = NodeGaussian(window=1, stride=1)
        module.fit([features[:8]])
        module.calibrate([features[8:12]])
        normal, anomalous = (module(part).amax((1, 2)) for part in (features[12:58], odd))
        found.append(float((anomalous[:, None] > normal).float().mean()))
    assert found[0] < 0.7
    assert found[1] > 0.95


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


def draw(images=14, channels=6, rows=9, columns=7, seed=0):
    """Features with places of their own: a mean for each place, and noise."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(1, channels, rows, columns, generator=generator)
    return means + 0.3 * torch.randn(images, channels, rows, columns, generator=generator)


def test_scores_against_loops():
    features = draw()
    module = NodeNeighbors(windows=(2, 4, 6), stride=2, dimensions=3, k=2, elsewhere=70)
    module.fit([features[:5], features[5:12]])
    scores = module._scores(features[12:])
    grid = module.grid_size(9, 7)
    assert grid == (4, 3)
    number = grid[0] * grid[1]
    assert scores.shape == (2, 3, number)
    drawn = torch.randperm(12 * number, generator=torch.Generator().manual_seed(0))[:70].tolist()
    kept = [(place // number, place % number) for place in drawn]
    for place, window in enumerate((2, 4, 6)):
        shift = module.shift[place].double().numpy()
        projection = module.projection[place].double().numpy()
        margin = (window - 2) // 2
        z = np.array(
            [
                [
                    oracle.window_mean(image, 2 * r - margin, 2 * c - margin, window)
                    for r in range(grid[0])
                    for c in range(grid[1])
                ]
                for image in features
            ]
        )
        z = (z - shift) @ projection
        for image in (12, 13):
            expected = oracle.here_or_elsewhere(z[image], z[:12], kept, grid, window, 2, 2)
            found = scores[image - 12, place].double().numpy()
            assert np.allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_mirrored_scores_against_loops():
    features = draw()
    module = NodeNeighbors((3,), stride=2, dimensions=4, k=1, elsewhere=40, mirrored=True)
    mirrors = [[draw(12, seed=1)], [draw(5, seed=2), draw(7, seed=3)]]
    module.fit([features[:12]], mirrors)
    scores = module._scores(features[12:])
    grid = module.grid_size(9, 7)
    number = grid[0] * grid[1]

    def describe(images):
        z = [
            [
                oracle.window_mean(image, 2 * r, 2 * c, 3)
                for r in range(grid[0])
                for c in range(grid[1])
            ]
            for image in images
        ]
        return (np.array(z) - shift) @ projection

    shift = module.shift[0].double().numpy()
    projection = module.projection[0].double().numpy()
    z = describe(features)
    drawn = torch.randperm(12 * number, generator=torch.Generator().manual_seed(0))[:40].tolist()
    kept = [(place // number, place % number) for place in drawn]
    reflected = np.concatenate([describe(torch.cat(view)).reshape(-1, 4) for view in mirrors])
    chosen = torch.randperm(24 * number, generator=torch.Generator().manual_seed(0))[:40]
    for image in (12, 13):
        expected = oracle.here_or_elsewhere(
            z[image], z[:12], kept, grid, 3, 2, 1, reflected[chosen.numpy()]
        )
        found = scores[image - 12, 0].double().numpy()
        assert np.allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_directions_tell_mirror_images_apart():
    features, mirror = draw(images=40, channels=8), draw(images=40, channels=8)
    # In the last channel alone, and there alike at all places, a mirror image is another.
    features[:, -1], mirror[:, -1] = 0.1 * features[:, -1], 0.1 * mirror[:, -1] + 5
    plain = NodeNeighbors(windows=(1,), stride=1, dimensions=2)
    plain.fit([features])
    telling = NodeNeighbors(windows=(1,), stride=1, dimensions=2, mirrored=True)
    telling.fit([features], [[mirror]])
    for module in (plain, telling):
        z = [module._vectors(maps, 1) @ module.projection[0] for maps in (features[:1], mirror[:1])]
        apart = (z[1] - z[0]).abs().amax()
        assert apart > 20 if module is telling else apart < 20
    score = telling(mirror[:1]).mean() - telling(features[:1]).mean()
    assert score > 5 * (plain(mirror[:1]).mean() - plain(features[:1]).mean()).abs()
    other = NodeNeighbors(windows=(1,), stride=1, dimensions=2, mirrored=True)
    other.load_state_dict(telling.state_dict())
    assert torch.equal(other(mirror), telling(mirror))


@pytest.mark.parametrize("images", [3, 200])
@pytest.mark.parametrize("shrinkage", [0.0, 0.003, 0.1])
def test_directions_whiten_within_places_and_tell_places_apart(shrinkage, images):
    features = draw(images=images, channels=5)
    features[:, 0] *= 0.5  # a channel of little variance
    module = NodeNeighbors(windows=(1,), stride=1, dimensions=5, shrinkage=shrinkage)
    module.fit([features])
    vectors = features.flatten(2).transpose(1, 2)
    within = (vectors - vectors.mean(0)).flatten(0, 1).double().numpy()
    projection = module.projection[0].double().numpy()
    covariance = oracle.ledoit_wolf(within)
    covariance += shrinkage * np.linalg.eigvalsh(covariance)[-1] * np.eye(5)
    assert np.allclose(projection.T @ covariance @ projection, np.eye(5), atol=1e-4)
    means = (vectors.mean(0) - vectors.mean((0, 1))).double().numpy() @ projection
    between = means.T @ means
    assert np.allclose(between, np.diag(np.diag(between)), atol=1e-2 * between.max())
    assert (np.diff(np.diag(between)) < 0).all()


def test_what_is_in_order_elsewhere_is_odd_here():
    features = draw(images=60, rows=6, columns=6, seed=1)
    module = NodeNeighbors(windows=(1,), stride=1)
    module.fit([features[:40]])
    module.calibrate([features[40:50], features[50:59]])
    swapped = features[59:].clone()
    swapped[0, :, 1, 1], swapped[0, :, 4, 5] = features[59, :, 4, 5], features[59, :, 1, 1]
    top = module(swapped).flatten().topk(2).indices.tolist()
    assert sorted(top) == [1 * 6 + 1, 4 * 6 + 5]
    assert module(swapped).max() > module(features[59:]).max() + 3


def test_calibration_sums_standardised_windows_and_is_saved():
    features = draw(images=30)
    module = NodeNeighbors(windows=(1, 3), dimensions=4)
    module.fit([features[:20]])
    plain = module._scores(features[20:])
    assert torch.allclose(module(features[20:]).flatten(1), plain.sum(1))
    module.calibrate([features[20:24], features[24:]])
    maxima = plain.amax(2)
    expected = (plain - maxima.mean(0)[:, None]) / maxima.std(0, correction=0)[:, None]
    assert torch.allclose(module(features[20:]).flatten(1), expected.sum(1), atol=1e-4)
    other = NodeNeighbors(windows=(1, 3), dimensions=4)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(features), module(features))


def test_small_maps_few_images_and_constant_features():
    module = NodeNeighbors()
    module.fit([torch.ones(2, 3, 2, 2)])  # one node: there is no elsewhere
    assert torch.equal(module(torch.ones(1, 3, 2, 2)), torch.zeros(1, 1, 1))
    module = NodeNeighbors(k=50)
    module.fit([torch.ones(3, 4, 8, 8)])
    scores = module(torch.ones(2, 4, 8, 8))
    assert scores.shape == (2, 4, 4)
    assert scores.isfinite().all()


def test_node_scorer_by_name():
    assert make_node_scorer(None) is None
    for nodes in ("gaussian", {}, {"type": "gaussian"}):
        assert isinstance(make_node_scorer(nodes), NodeGaussian)
    assert make_node_scorer({"channels": 7}).channels == 7
    assert isinstance(make_node_scorer("neighbors"), NodeNeighbors)
    assert make_node_scorer({"type": "neighbors", "windows": [1, 3]}).windows == (1, 3)


def test_bad_values():
    for windows in ((2, 5), (2, 2), (4, 2), (0, 2), ()):
        with pytest.raises(ValueError, match="ascending by even steps"):
            NodeNeighbors(windows=windows)
    for name in ("stride", "dimensions", "k", "elsewhere"):
        with pytest.raises(ValueError, match="of at least 1"):
            NodeNeighbors(**{name: 0})
    with pytest.raises(ValueError, match="'shrinkage' of at least 0"):
        NodeNeighbors(shrinkage=-1)
    with pytest.raises(ValueError, match="at least 2 training images"):
        NodeNeighbors().fit([torch.zeros(1, 3, 4, 4)])
    for mirrored, mirrors in ((True, ()), (False, [[torch.zeros(2, 3, 4, 4)]])):
        with pytest.raises(ValueError, match=f"only there \\(got {len(mirrors)} lists\\)"):
            NodeNeighbors(mirrored=mirrored).fit([torch.zeros(2, 3, 4, 4)], mirrors)
    with pytest.raises(ValueError, match=r"only there \(got 1 lists\)"):
        NodeGaussian().fit([torch.zeros(2, 3, 4, 4)], [[torch.zeros(2, 3, 4, 4)]])
    with pytest.raises(ValueError, match="at least 2 training images"):
        NodeGaussian().fit([torch.zeros(1, 3, 4, 4)])
    for name in ("window", "stride", "channels"):
        with pytest.raises(ValueError, match="of at least 1"):
            NodeGaussian(**{name: 0})
    for scorer in (NodeGaussian(), NodeNeighbors()):
        with pytest.raises(ValueError, match="not fitted"):
            scorer(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"'gaussian' or 'neighbors' \(got 'knn'\)"):
        make_node_scorer("knn")
    with pytest.raises(ValueError, match="options of 'neighbors'"):
        make_node_scorer({"type": "neighbors", "window": 3})
