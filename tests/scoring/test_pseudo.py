import warnings
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from pyg_viglad.scoring import PseudoFusion, PseudoKind, pseudo_anomaly

KINDS = get_args(PseudoKind)


def draw_image(height=48, width=60, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def make(image, kind, seed):
    return pseudo_anomaly(image, kind, torch.Generator().manual_seed(seed))


def boxes(mask):
    """Rectangles of a mask, as (top, left, rows, columns): of two, each has the same size."""
    rows = [np.flatnonzero(row) for row in mask.numpy()]
    runs = {}
    for y, columns in enumerate(rows):
        if len(columns):
            for run in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1):
                runs.setdefault((run[0], run[-1]), []).append(y)
    return [(ys[0], xs[0], len(ys), xs[1] - xs[0] + 1) for xs, ys in runs.items()]


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_mask_changes_and_the_seed_decides(kind):
    image = draw_image()
    found = set()
    for seed in range(20):
        changed, mask = make(image, kind, seed)
        assert changed.shape == image.shape
        assert (mask.shape, mask.dtype) == ((48, 60), torch.bool)
        assert torch.equal(changed[:, ~mask], image[:, ~mask])
        assert (changed != image)[:, mask].float().mean() > 0.9
        assert changed.min() >= 0
        assert changed.max() <= 1
        again, same = make(image, kind, seed)
        assert torch.equal(again, changed)
        assert torch.equal(same, mask)
        area = int(mask.sum())
        patches = 2 if kind == "swap" else 1
        assert patches * 6 * 8 <= area <= patches * 16 * 20
        found.add(area)
    assert len(found) > 5
    assert torch.equal(image, draw_image())  # the image itself is as it was


def test_patches_come_from_the_image_itself(monkeypatch):
    monkeypatch.setattr("pyg_viglad.scoring.pseudo._PLACES", 1)  # near ones too
    # Every pixel has a colour of its own, so that its origin can be read off.
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(60.0), indexing="ij")
    image = torch.stack([rows / 64, columns / 64, torch.zeros(60, 60)])
    flips = set()
    for seed in range(10):
        changed, mask = make(image, "mirror", seed)
        ((top, left, height, width),) = boxes(mask)
        # Inside, where the new patch is not blended with the old one.
        inside = (
            slice(top + height // 8, top + height - height // 8),
            slice(left + width // 8, left + width - width // 8),
        )
        ys, xs = (64 * changed[:2, inside[0], inside[1]]).round().long()
        was_ys, was_xs = (64 * image[:2, inside[0], inside[1]]).round().long()
        across = torch.equal(ys, was_ys) and torch.equal(xs, 2 * left + width - 1 - was_xs)
        down = torch.equal(xs, was_xs) and torch.equal(ys, 2 * top + height - 1 - was_ys)
        assert across != down
        flips.add(across)

        changed, mask = make(image, "copy", seed)
        ((top, left, height, width),) = boxes(mask)
        center = (top + height // 2, left + width // 2)
        y, x = (64 * changed[:2, center[0], center[1]]).round().long() - torch.tensor(center)
        assert abs(int(y)) >= height or abs(int(x)) >= width  # the patch came from beside it
        inside = (slice(top + height // 4, top + height // 2), slice(center[1], center[1] + 2))
        shift = torch.tensor([int(y), int(x), 0]).view(3, 1, 1) / 64
        assert torch.allclose(
            changed[:, inside[0], inside[1]], image[:, inside[0], inside[1]] + shift, atol=1e-6
        )
    assert flips == {True, False}


def test_patches_are_blended_in():
    image = draw_image(160, 160)
    for seed in range(3):
        changed, mask = make(image, "mirror", seed)
        ((top, left, *sides),) = boxes(mask)
        rows, columns = (
            torch.tensor([min(1.0, (1 + min(i, side - 1 - i)) / (side // 8)) for i in range(side)])
            for side in sides
        )
        place = (slice(None), slice(top, top + sides[0]), slice(left, left + sides[1]))
        was, share = image[place], (rows[:, None] * columns).float()
        expected = [torch.lerp(was, was.flip(axis), share) for axis in (1, 2)]
        assert any(torch.allclose(changed[place], one, atol=1e-6) for one in expected)


def test_swapped_patches_change_places():
    image = torch.full((3, 64, 64), 0.5)
    image[:, 8:40, 8:40] = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    for seed in range(10):
        changed, mask = make(image, "swap", seed)
        places = boxes(mask)
        if len(places) != 2:  # they adjoin
            continue
        (y, x, rows, columns), (other_y, other_x, *size) = places
        assert [rows, columns] == size
        for down in range(rows // 8, rows - rows // 8):
            for right in range(columns // 8, columns - columns // 8):
                pixels = (slice(None), y + down, x + right)
                others = (slice(None), other_y + down, other_x + right)
                assert torch.equal(changed[pixels], image[others])
                assert torch.equal(changed[others], image[pixels])


def test_an_erased_patch_has_the_median_colour_around_it():
    image = draw_image()
    for seed in range(5):
        changed, mask = make(image, "erase", seed)
        ((top, left, rows, columns),) = boxes(mask)
        down, across = rows // 4, columns // 4
        around = [
            image[:, y, x]
            for y in range(max(0, top - down), min(48, top + rows + down))
            for x in range(max(0, left - across), min(60, left + columns + across))
            if not mask[y, x]
        ]
        expected = torch.stack(around).median(0).values
        inside = changed[:, top + rows // 8 : top + rows - rows // 8, left + columns // 2]
        assert torch.allclose(inside, expected[:, None], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_and_smallest_images(kind):
    image = torch.full((3, 16, 16), 0.5)
    changed, mask = make(image, kind, 0)
    assert torch.allclose(changed, image)
    assert mask.any()


def test_bad_images():
    generator = torch.Generator()
    with pytest.raises(ValueError, match=r"'kind' among swap, erase, copy, mirror \(got 'paint'\)"):
        pseudo_anomaly(draw_image(), "paint", generator)
    for image in (draw_image()[None], draw_image()[:1], draw_image(15, 60)):
        with pytest.raises(ValueError, match="at least 16 x 16"):
            pseudo_anomaly(image, "swap", generator)


def draw_scores(normal=30, pseudo=80, seed=0):
    """One part that tells pseudo-anomalies, one of noise, one that is lower on them."""
    generator = torch.Generator().manual_seed(seed)

    def scores(number, shift):
        noise = torch.randn(3, number, generator=generator)
        return {"A": 5 + 2 * (noise[0] + shift), "B": noise[1], "C": noise[2] - shift}

    return scores(normal, 0.0), scores(pseudo, 1.5)


def test_weights_against_a_minimiser_with_bounds():
    normal, pseudo = draw_scores()
    pseudo["B"] += 0.8
    fusion = PseudoFusion(["A", "B", "C"], regularization=0.7)
    fusion.fit(normal, pseudo)
    groups = [
        np.stack([scores[name].double().numpy() for name in "ABC"], axis=1)
        for scores in (normal, pseudo)
    ]
    mean = groups[0].mean(0)
    std = np.sqrt(sum(((group - mean) ** 2).mean(0) for group in groups) / 2)
    assert np.allclose(fusion.mean, mean, rtol=1e-5)
    assert np.allclose(fusion.std, std, rtol=1e-5)
    number = sum(len(group) for group in groups)

    def loss(values):
        total = (values[:3] ** 2).sum() / 2
        for sign, group in zip((-1, 1), groups, strict=True):
            logits = (group - mean) / std @ values[:3] + values[3]
            each = number / (2 * len(group))  # both groups weigh the same
            total += 0.7 * each * np.logaddexp(0, -sign * logits).sum()
        return total

    bounds = [(0, None)] * 3 + [(None, None)]
    expected = minimize(loss, np.ones(4), bounds=bounds, tol=1e-12).x[:3]
    assert expected[2] == 0
    assert np.allclose(fusion.weights, expected / expected.sum(), atol=1e-3)
    weights = fusion.as_dict()
    assert list(weights) == ["A", "B", "C"]
    assert weights["C"] == 0
    assert weights["A"] > 0.7


def test_the_sum_is_standardised_weighed_and_saved():
    normal, pseudo = draw_scores()
    fusion = PseudoFusion(["A", "B"])
    fusion.fit(normal, pseudo)
    total = sum(
        weight * (pseudo[name] - fusion.mean[place]) / fusion.std[place]
        for place, (name, weight) in enumerate(fusion.as_dict().items())
    )
    assert torch.allclose(fusion(pseudo), total, atol=1e-5)
    assert sum(fusion.as_dict().values()) == pytest.approx(1)
    other = PseudoFusion(["A", "B"])
    other.load_state_dict(fusion.state_dict())
    assert torch.equal(other(pseudo), fusion(pseudo))
    assert repr(fusion) == f"PseudoFusion(A={fusion.weights[0]:.2f}, B={fusion.weights[1]:.2f})"


def test_scale_and_offset_of_a_part_do_not_matter():
    normal, pseudo = draw_scores()
    other_normal, other_pseudo = (
        {**scores, "A": 1e4 * scores["A"] - 3e3} for scores in (normal, pseudo)
    )
    fusion, other = PseudoFusion(["A", "B"]), PseudoFusion(["A", "B"])
    fusion.fit(normal, pseudo)
    other.fit(other_normal, other_pseudo)
    assert torch.allclose(other(other_pseudo), fusion(pseudo), atol=1e-3)


def test_no_part_tells_pseudo_anomalies():
    normal, pseudo = ({**scores, "D": torch.zeros(len(scores["C"]))} for scores in draw_scores())
    fusion = PseudoFusion(["C", "D"])
    with pytest.warns(UserWarning, match=r"got none of C, D"):
        fusion.fit(normal, pseudo)
    assert fusion.as_dict() == {"C": 0.5, "D": 0.5}


def test_one_image_and_constant_parts_stay_finite():
    fusion = PseudoFusion(["A", "B"])
    with pytest.warns(UserWarning, match=r"only scores of 3\): their scale is taken as 1"):
        fusion.fit(
            {"A": torch.tensor([1.0]), "B": torch.tensor([3.0])},
            {"A": torch.tensor([2.0, 3.0]), "B": torch.tensor([3.0, 3.0])},
        )
    assert fusion.as_dict()["A"] == pytest.approx(1)
    total = fusion({"A": torch.tensor([1.0, 4.0]), "B": torch.tensor([3.0, 5.0])})
    assert total[0] == 0
    assert 0 < total[1] < 10


@pytest.mark.parametrize("number", [19, 20])
def test_few_images_are_warned_of(number):
    normal, pseudo = torch.rand(number), 2 + torch.rand(50)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        PseudoFusion(["A"]).fit({"A": normal}, {"A": pseudo})
    assert len(found) == (number < 20)


def test_bad_scores():
    with pytest.raises(ValueError, match="at least one name"):
        PseudoFusion([])
    with pytest.raises(ValueError, match="'regularization' above 0"):
        PseudoFusion(["A"], 0)
    fusion = PseudoFusion(["A", "D"])
    with pytest.raises(ValueError, match="not fitted"):
        fusion(draw_scores()[0])
    with pytest.raises(ValueError, match=r"scores named D \(got \['A', 'B', 'C'\]\)"):
        fusion.fit(*draw_scores())
    normal = {"A": torch.ones(3)}
    for scores in (torch.zeros(0), torch.tensor([float("nan")])):
        with pytest.raises(ValueError, match="Expected finite scores"):
            PseudoFusion(["A"]).fit(normal, {"A": scores})
