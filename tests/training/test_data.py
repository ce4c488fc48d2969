"""The order of images, penalty images, and the cache of teacher features."""

import numpy as np
import pytest
import torch
from PIL import Image

from pyg_viglad.scoring import Shards
from pyg_viglad.training import PenaltyImages
from pyg_viglad.training.data import StepSampler, TeacherCache, step_seed


def test_every_round_holds_every_item_once():
    items = list(StepSampler(5, 2, steps=10, seed=3))
    assert len(items) == len(StepSampler(5, 2, steps=10, seed=3)) == 20
    rounds = [items[first : first + 5] for first in range(0, 20, 5)]
    assert all(sorted(part) == [0, 1, 2, 3, 4] for part in rounds)
    assert len({tuple(part) for part in rounds}) > 1
    assert items != list(StepSampler(5, 2, steps=10, seed=4))


@pytest.mark.parametrize("shuffle", [True, False])
def test_starts_at_any_step(shuffle):
    whole = list(StepSampler(5, 3, 7, seed=0, shuffle=shuffle))
    for step in range(8):
        assert list(StepSampler(5, 3, 7, 0, lambda step=step: step, shuffle)) == whole[3 * step :]
    if not shuffle:
        assert whole[:7] == [0, 1, 2, 3, 4, 0, 1]


def test_processes_divide_every_step():
    whole = list(StepSampler(5, 4, steps=3, seed=0))
    parts = [StepSampler(5, 4, 3, 0, shards=lambda rank=rank: Shards(rank, 2)) for rank in (0, 1)]
    assert [len(part) for part in parts] == [6, 6]
    assert [list(part) for part in parts] == [whole[::2], whole[1::2]]
    later = StepSampler(5, 4, 3, 0, lambda: 1, shards=lambda: Shards(1, 2))
    assert list(later) == whole[5::2]


def test_seeds_differ():
    assert len({step_seed(seed, step) for seed in range(20) for step in range(20)}) == 400
    assert len({step_seed(0, step, rank) for step in range(20) for rank in range(3)}) == 60


def test_sampler_errors():
    with pytest.raises(ValueError, match="at least one training image"):
        StepSampler(0, 1, 1, 0)
    with pytest.raises(ValueError, match="'max_steps' to be at least 1"):
        StepSampler(1, 1, -1, 0)


def test_bundled_penalty_images():
    torch.manual_seed(0)
    images = PenaltyImages(size=64, length=5, seed=None)
    assert len(images) == 5
    items = torch.stack([images[number] for number in range(5)])
    assert items.shape == (5, 3, 64, 64)
    assert items.min() >= 0
    assert items.max() <= 1
    assert not torch.equal(items[0], items[2])  # another crop of the same image
    with pytest.raises(IndexError):
        images[5]


def test_an_item_depends_on_seed_and_number_alone():
    images = PenaltyImages(size=32, length=40, seed=1)
    backwards = [images[n] for n in reversed(range(40))]
    again = PenaltyImages(size=32, seed=1)
    assert len(again) == 100_000
    assert all((again[n] == backwards[39 - n]).all() for n in range(40))
    assert (PenaltyImages(size=32, seed=2)[0] != images[0]).any()


def test_folder_without_augmentation(tmp_path):
    (tmp_path / "deep").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "deep" / "a.png")
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "b.png")
    images = PenaltyImages(tmp_path, 60, augment=False, grayscale=0, seed=None)
    assert len(images) == 2
    gray, colour = images[0], images[1]
    assert torch.equal(gray[0], gray[1])
    assert torch.allclose(colour, torch.from_numpy(pixels[:, 10:70]).permute(2, 0, 1) / 255)


def test_penalty_image_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder of images"):
        PenaltyImages(tmp_path / "none")
    with pytest.raises(ValueError, match="Expected images in"):
        PenaltyImages(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png"):
        PenaltyImages(tmp_path)[0]


def test_cache_finds_features_by_their_image(tmp_path):
    cache = TeacherCache(5, (2, 3, 4), torch.float32, tmp_path)
    images, features = torch.rand(5, 3, 8, 8), torch.randn(5, 2, 3, 4)
    images[4] = images[1]  # twice in the data set
    features[4] = features[1]
    cache.add(images[:3], features[:3])
    cache.add(images[3:], features[3:])
    for numbers in ([0], [4, 1], [2, 2, 3]):
        assert torch.equal(cache.find(images[numbers]), features[numbers])
    assert not list(tmp_path.iterdir()), "the file has no name"
    for other in (images.flip(3), images.roll(1, 2), images + 1e-5):
        with pytest.raises(ValueError, match="same training images in every round"):
            cache.find(other[:2])
    cache.strict = False
    with pytest.warns(UserWarning, match="computed again"):
        assert cache.find(images.flip(3)[:1]) is None
