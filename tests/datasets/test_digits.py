import gzip
import hashlib
import shutil
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from torch_geometric.loader import DataLoader

from pyg_viglad.datasets import DigitAnatomy, DigitSource

SPLITS = ("train", "val", "test")


def digest(dataset):
    return hashlib.sha256(dataset.images.numpy().tobytes()).hexdigest()


def small(split="test", **options):
    numbers = {"num_train": 12, "num_val": 5, "num_test_good": 4, "num_test_anomalous": 16}
    return DigitAnatomy(split, **{**numbers, **options})


def test_numbers_of_the_paper():
    assert [len(DigitAnatomy(split)) for split in SPLITS] == [360, 60, 230]
    test = DigitAnatomy("test")
    assert {kind: test.kinds.count(kind) for kind in set(test.kinds)} == {
        "good": 110,
        "logical": 60,
        "structural": 60,
    }
    assert [test.defects.count(d) for d in ("disorder", "flip", "missing", "novel")] == 4 * [30]


def test_same_seed_same_images():
    for split in SPLITS:
        first = small(split)
        torch.manual_seed(5)
        np.random.seed(5)
        assert digest(first) == digest(small(split))
        assert digest(first) != digest(small(split, seed=1))
    # The first images do not depend on how many there are.
    assert torch.equal(small("train", num_train=3).images, small("train").images[:3])


def test_no_digit_serves_two_splits():
    pools = DigitSource("digits").pools
    for digit in range(10):
        places = np.concatenate([pools[split][digit] for split in SPLITS])
        assert len(set(places)) == len(places)
    for split in SPLITS:
        for seed in (0, 1):
            drawn = small(split, seed=seed)
            for digits, sources in zip(drawn.digits.tolist(), drawn.sources.tolist(), strict=True):
                for digit, source in zip(digits, sources, strict=True):
                    assert digit == -1 or source in pools[split][digit]


def test_digits_are_in_order_and_of_their_class():
    source = DigitSource("digits")
    dataset = small("train")
    assert dataset.digits.tolist() == 12 * [list(range(1, 10))]
    assert source.labels[dataset.sources.numpy()].tolist() == dataset.digits.tolist()


@pytest.mark.parametrize("altered", [1, 2, 5, 9])
def test_defects_are_what_the_mask_says(altered):
    bad = small(num_wrong_cells=altered)
    before = DigitAnatomy("test", num_test_good=20, num_test_anomalous=0)
    assert bad[0].mask.sum() == 0
    for place in range(4, 20):
        item, good = bad[place], before[place].img
        changed = (item.img != good).any(1)
        assert not (changed & ~item.mask).any()  # nothing outside of the mask
        cells = item.mask[0].view(3, 32, 3, 32).transpose(1, 2).reshape(9, -1)
        assert (cells.all(1) == cells.any(1)).all()  # whole cells
        wrong = cells.all(1).nonzero().flatten().tolist()
        digits = bad.digits[place].tolist()
        expected = {"disorder": max(2, altered), "flip": min(7, altered)}.get(item.defect, altered)
        assert len(wrong) == expected
        new = item.img[0, 0].view(3, 32, 3, 32).transpose(1, 2).reshape(9, 32, 32)
        old = good[0, 0].view(3, 32, 3, 32).transpose(1, 2).reshape(9, 32, 32)
        for cell in wrong:
            if item.defect == "disorder":
                assert digits[cell] != cell + 1
            elif item.defect == "flip":
                assert cell + 1 not in (1, 8)
                sideways = torch.equal(new[cell], old[cell].flip(1))
                assert sideways or (cell != 2 and torch.equal(new[cell], old[cell].flip(0)))
            elif item.defect == "missing":
                assert new[cell].abs().sum() == 0
            else:
                assert digits[cell] == 0
        if item.defect == "disorder":
            assert sorted(digits) == list(range(1, 10))


def crops_along(path, axis):
    """Find start and length of every crop along an axis, from digits whose pixels count along it."""
    ramp = np.broadcast_to(9 * np.arange(28, dtype=np.uint8), (28, 28))
    x = np.stack(40 * [ramp if axis == 2 else ramp.T])
    y = np.arange(40) % 10
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    images = DigitAnatomy("train", path, num_train=100).images[:, 0] * (255 / 9)
    cells = images.view(-1, 3, 32, 3, 32).transpose(2, 3).reshape(-1, 32, 32)
    values = cells.mean(3 - axis)
    lengths = (values[:, 27] - values[:, 4]) * (32 / 23)
    starts = values[:, 15:17].mean(1) + 0.5 - lengths / 2
    assert (lengths - lengths.round()).abs().max() < 0.2
    assert (starts - starts.round()).abs().max() < 0.25
    return starts.round(), lengths.round()


def test_crops_are_squares_within_the_digits_image(tmp_path):
    (left, width), (top, height) = (crops_along(tmp_path / "ramp.npz", axis) for axis in (2, 1))
    assert torch.equal(width, height)
    assert set(width.tolist()) == set(range(22, 29))  # 60 to 100 % of 28 x 28, to whole pixels
    assert float((width * height / 28**2).mean()) == pytest.approx(0.8, abs=0.02)
    for start in (left, top):
        assert start.min() == 0
        assert (start + width).max() == 28
    assert not torch.equal(left, top)


def test_drawing_leaves_the_global_generators_alone():
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    small("train")
    assert torch.equal(torch.rand(3), wanted)


def test_items_and_batches():
    dataset = small()
    item = dataset[4]
    assert item.img.shape == (1, 3, 96, 96)
    assert item.mask.shape == (1, 96, 96)
    assert (int(item.y), item.kind, item.defect) == (1, "logical", "disorder")
    assert 0 <= item.img.min() < item.img.max() <= 1
    batch = next(iter(DataLoader(dataset, batch_size=20)))
    assert batch.img.shape == (20, 3, 96, 96)
    assert batch.y.tolist() == [int(kind != "good") for kind in dataset.kinds]
    part = dataset[4:8]
    assert part.defects == 4 * ["disorder"]
    assert torch.equal(part.images, dataset.images[4:8])


def test_enlarged():
    large, plain = small(image_size=128), small()
    assert large[4].img.shape == (1, 3, 128, 128)
    assert large.images.mean() == pytest.approx(float(plain.images.mean()), rel=0.02)
    share = large[4].mask.float().mean()
    assert float(share) == pytest.approx(2 / 9, abs=0.01)


def mnist_arrays(number=40):
    generator = np.random.default_rng(0)
    labels = np.arange(number) % 10
    return generator.integers(0, 255, (number, 28, 28), dtype=np.uint8), labels.astype(np.uint8)


def test_mnist_from_every_form_is_the_same(tmp_path):
    x_train, y_train = mnist_arrays(60)
    x_test, y_test = mnist_arrays(40)
    np.savez(tmp_path / "m.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    idx = tmp_path / "idx"
    idx.mkdir()
    for prefix, images, labels in (("train", x_train, y_train), ("t10k", x_test, y_test)):
        head = struct.pack(">4i", 2051, *images.shape)
        (idx / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
        head = struct.pack(">2i", 2049, len(labels))
        (idx / f"{prefix}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    folder = tmp_path / "folder"
    for name, images, labels in (("train", x_train, y_train), ("test", x_test, y_test)):
        for place, (image, label) in enumerate(zip(images, labels, strict=True)):
            (folder / name / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / name / str(label) / f"{place:03d}.png")
    datasets = [small("train", source=path) for path in (tmp_path / "m.npz", idx, folder)]
    shutil.copytree(idx, tmp_path / "root" / "MNIST" / "raw")
    datasets.append(small("train", source="mnist", root=tmp_path / "root"))
    assert digest(datasets[0]) == digest(datasets[1]) == digest(datasets[3])
    assert len(datasets[2]) == 12
    test = small("test", source=tmp_path / "m.npz")
    assert test.sources[test.sources >= 0].min() >= 60  # MNIST's own test digits


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        small(source=tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="download=True"):
        small(source="mnist", root=tmp_path)
    np.savez(tmp_path / "m.npz", x_train=np.zeros(3))
    with pytest.raises(ValueError, match=r"m\.npz"):
        small(source=tmp_path / "m.npz")
    idx = tmp_path / "idx"
    idx.mkdir()
    with pytest.raises(ValueError, match=r"sub-folders '0' to '9' of '.*idx'"):
        small(source=idx)
    (idx / "train-images-idx3-ubyte").write_bytes(b"nothing")
    with pytest.raises(FileNotFoundError, match=r"'train-labels' beside the others in '.*idx'"):
        small(source=idx)
    for name in ("train-labels-idx1-ubyte", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"):
        (idx / name).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"IDX file of unsigned bytes \(got '.*train-images"):
        small(source=idx)
    for options in (
        {"split": "other"},
        {"image_size": 90},
        {"image_size": 98},
        {"num_wrong_cells": 0},
        {"num_wrong_cells": 10},
        {"num_test_good": -1},
        {"defects": ("scratch",)},
        {"seed": -1},
        {"scale": (0.6, 1.3)},
        {"scale": (0.0, 1.0)},
    ):
        with pytest.raises(ValueError, match="Expected"):
            small(**options)


def test_downloads_that_were_altered(tmp_path, monkeypatch):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"altered")
    monkeypatch.setattr("torchvision.datasets.MNIST", lambda *_, **__: None)
    with pytest.raises(
        ValueError, match=r"t10k-labels-idx1-ubyte\.gz' as it was published.*SHA-256"
    ):
        small(source="mnist", root=tmp_path, download=True)
