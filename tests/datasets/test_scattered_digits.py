import hashlib
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from pyg_viglad.commands.data import open_data
from pyg_viglad.datasets import DigitSource, ScatteredDigits

SPLITS = ("train", "val", "test")
DEFECTS = ("missing", "twice", "exchanged", "blurred")


def small(split="test", **options):
    numbers = {"num_train": 6, "num_val": 4, "num_test_good": 4, "num_test_anomalous": 16}
    return ScatteredDigits(split, **{**numbers, **options})


def digest(dataset):
    return hashlib.sha256(dataset.images.numpy().tobytes()).hexdigest()


def solid(path, shade=255):
    """Writes a source whose digits are plain squares, which can be counted without knowing them."""
    x = np.full((40, 28, 28), shade, dtype=np.uint8)
    y = np.arange(40) % 10
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    return path


@pytest.mark.parametrize("number", [3, 8, 15, 20])
@pytest.mark.parametrize("options", [{}, {"image_size": 64}, {"digit_size": 18}])
def test_objects_counted_in_the_pixels(tmp_path, number, options):
    # Squares that overlapped or touched, also at a corner, would be one component.
    defects = ("missing", "twice", "exchanged")
    dataset = small(
        source=solid(tmp_path / "solid.npz"), num_objects=number, defects=defects, **options
    )
    size = options.get("digit_size") or round(dataset.image_size / 7)
    for item in dataset:
        components, found = label(item.img[0, 0].numpy() > 0, structure=np.ones((3, 3)))
        assert found == number + {"missing": -1, "twice": 1}.get(item.defect, 0)
        assert set(np.bincount(components.ravel())[1:]) == {size**2}


@pytest.mark.parametrize("number", [3, 11, 20])
def test_boxes_do_not_overlap_and_hold_all_that_is_drawn(number):
    dataset = small(num_objects=number)
    for image, boxes, digits in zip(dataset.images, dataset.boxes, dataset.digits, strict=True):
        there = boxes[digits >= 0].tolist()
        assert (boxes[digits < 0] == -1).all()
        for left, top, right, bottom in there:
            assert min(left, top) >= 0
            assert max(right, bottom) <= 96
            assert image[:, top:bottom, left:right].amax() > 0.2
            image[:, top:bottom, left:right] = 0
        assert image.amax() == 0
        for one, other in combinations(there, 2):
            apart = [max(a[i] - b[i + 2] for a, b in ((one, other), (other, one))) for i in (0, 1)]
            assert max(apart) >= 1


def test_scattered_and_not_in_a_lattice():
    boxes = ScatteredDigits("train", num_objects=20, num_train=100).boxes[:, :20].float()
    for place in (boxes[..., 0], boxes[..., 1]):
        # Each of the 83 possible columns or rows is used, and only the two at the border are preferred, ...
        counts = torch.bincount(place.flatten().long(), minlength=83)
        assert counts.min() > 0
        assert counts[1:-1].max() < 3 * 2000 / 83
        # ... no digit prefers a side (41 is the middle), ...
        assert (place.mean(0) - 41).abs().max() < 4 * place.std() / 100**0.5
        # ... and few squares of an image share a row or column, unlike in a lattice of five.
        assert np.mean([len(image.unique()) for image in place]) > 15


@pytest.mark.parametrize("number", [3, 9, 13])
def test_same_digits_in_every_good_image(number):
    wanted = Counter((list(range(1, 10)) * 3)[:number])
    for split in SPLITS:
        dataset = small(split, num_objects=number)
        for kind, digits in zip(dataset.kinds, dataset.digits.tolist(), strict=True):
            if kind == "good":
                assert Counter(d for d in digits if d >= 0) == wanted


@pytest.mark.parametrize("number", [3, 9, 13])
def test_defects(number):
    bad = small(num_objects=number, num_test_anomalous=40)
    before = small(num_objects=number, num_test_good=44, num_test_anomalous=0)
    assert [bad.defects.count(defect) for defect in DEFECTS] == [10] * 4
    assert [bad.kinds.count(kind) for kind in ("logical", "structural")] == [30, 10]
    wanted = Counter((list(range(1, 10)) * 3)[:number])
    for place in range(4, 44):
        item, good = bad[place], before[place]
        digits, boxes = bad.digits[place], bad.boxes[place].tolist()
        found = Counter(digits[digits >= 0].tolist())
        more, less = found - wanted, wanted - found
        changed = (item.img != good.img).any(1)[0]
        if item.defect == "missing":
            assert (more.total(), less.total()) == (0, 1)
            assert not item.mask.any()
            assert (item.img <= good.img).all()
            assert changed.any()
            continue
        expected = {"twice": (1, 0), "exchanged": (1, 1), "blurred": (0, 0)}[item.defect]
        assert (more.total(), less.total()) == expected
        if item.defect == "blurred":
            # One box, that in which pixels differ, with less contrast between its pixels.
            wrong = [b for b in boxes if changed[b[1] : b[3], b[0] : b[2]].any()]
            assert len(wrong) == 1
            left, top, right, bottom = wrong[0]
            contrast = [
                float(x.img[0, 0, top:bottom, left:right].diff(dim=1).abs().sum())
                for x in (item, good)
            ]
            assert contrast[0] < 0.8 * contrast[1]
        else:
            (new,) = more
            assert new in wanted  # no class that training has not seen
            wrong = [b for b, digit in zip(boxes, digits.tolist(), strict=True) if digit == new]
            assert len(wrong) == found[new] >= 2
            assert not (changed & ~item.mask[0]).any()
            assert changed.any()
        mask = torch.zeros(96, 96, dtype=torch.bool)
        for left, top, right, bottom in wrong:
            mask[top:bottom, left:right] = True
        assert torch.equal(item.mask[0], mask)


def test_digits_fill_their_squares_and_are_of_their_class(tmp_path):
    x = np.zeros((40, 28, 28), dtype=np.uint8)
    y = np.arange(40) % 10
    x[:, 3:13, 9:14] = 20 * (y[:, None, None] + 1)  # off centre, twice as high as wide
    np.savez(tmp_path / "bars.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    dataset = small("train", source=tmp_path / "bars.npz", num_objects=9, digit_size=14)
    for image, boxes in zip(dataset.images, dataset.boxes[:, :9].tolist(), strict=True):
        for digit, (left, top, right, bottom) in enumerate(boxes, 1):
            square = (255 * image[0, top:bottom, left:right]).round()
            assert (square[:, 4:10] == 20 * (digit + 1)).all()
            assert square[:, :3].sum() == square[:, 11:].sum() == 0


def test_no_digit_serves_two_splits():
    source = DigitSource("digits")
    for split in SPLITS:
        dataset = small(split, num_objects=20, seed=3)
        digits, sources = dataset.digits.numpy(), dataset.sources.numpy()
        there = digits >= 0
        assert ((sources >= 0) == there).all()
        assert (source.labels[sources[there]] == digits[there]).all()
        for digit in range(1, 10):
            drawn = sources[digits == digit]
            assert np.isin(drawn, source.pools[split][digit]).all()
            assert len(set(drawn.tolist())) > 5


def test_same_seed_same_images():
    for split in SPLITS:
        first = small(split)
        torch.manual_seed(5)
        np.random.seed(5)
        state = torch.get_rng_state()
        assert digest(first) == digest(small(split))
        assert torch.equal(torch.get_rng_state(), state)
        assert digest(first) != digest(small(split, seed=1))
    # The first images do not depend on how many there are.
    assert torch.equal(small("train", num_train=3).images, small("train").images[:3])
    # No two images of a data set, or of two splits, are the same.
    images = torch.cat([small(split).images for split in SPLITS])
    assert len(images.unique(dim=0)) == len(images)


def test_items_and_subsets():
    dataset = small(image_size=128)
    item = dataset[4]
    assert item.img.shape == (1, 3, 128, 128)
    assert item.mask.shape == (1, 128, 128)
    assert (int(item.y), item.kind, item.defect) == (1, "logical", "missing")
    assert 0 <= item.img.min() < item.img.max() <= 1
    part = dataset[8:12]
    assert part.defects == 4 * ["twice"]
    assert torch.equal(part.images, torch.cat([dataset[i].img for i in range(8, 12)]))
    assert torch.equal(part.digits, dataset.digits[8:12])
    assert torch.equal(part.boxes, dataset.boxes[8:12])


def test_opened_by_name():
    options = {"num_objects": 4, "num_train": 2, "num_val": 2, "num_test_good": 1}
    splits = open_data("digits", (64, 64), options, "scattered_digits")
    assert [type(split).__name__ for split in splits] == 3 * ["ScatteredDigits"]
    assert splits.train[0].img.shape == (1, 3, 64, 64)
    with pytest.raises(ValueError, match="square"):
        open_data("digits", (64, 96), options, "scattered_digits")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_objects": 2}, r"'num_objects' from 3 to 20 \(got 2\)"),
        ({"num_objects": 21}, r"'num_objects' from 3 to 20 \(got 21\)"),
        ({"image_size": 28}, r"'image_size' of at least 32 .* \(got 28\)"),
        ({"image_size": 98}, r"'image_size' .*divisible by 4 \(got 98\)"),
        ({"digit_size": 7}, r"'digit_size' from 8 to 31, for 8 digits .*96 pixels \(got 7\)"),
        ({"digit_size": 19, "num_objects": 20}, r"'digit_size' from 8 to 18, .* \(got 19\)"),
        ({"image_size": 32}, r"'digit_size' from 8 to 9, .* \(got 5\)"),
        ({"defects": ("flip",)}, "'defects' among .*'missing', 'twice', 'exchanged', 'blurred'"),
        ({"defects": ("twice", "twice")}, "each once"),
        ({"num_train": -1}, "'num_train' of at least 0"),
        ({"seed": -1}, "'seed' of at least 0"),
        ({"split": "other"}, "'split'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_largest_digits_that_fit():
    for number in range(3, 21):
        largest = 96 // int(np.ceil(np.sqrt(number + 1))) - 1
        boxes = small("train", num_objects=number, digit_size=largest).boxes
        assert (boxes[:, :number] >= 0).all()
        with pytest.raises(ValueError, match="'digit_size'"):
            small("train", num_objects=number, digit_size=largest + 1)
