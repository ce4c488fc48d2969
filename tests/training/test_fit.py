"""The fit of ViGLAD, with and without cached teacher features."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pyg_viglad import PDN, ViGLAD
from pyg_viglad.training import PenaltyImages, ViGLADModule, fit, make_trainer
from tests.training.helpers import Images, trainer


class Jittered(Images):
    """Images that are others each time."""

    def __getitem__(self, number):
        data = super().__getitem__(number)
        return data.__class__(img=torch.rand_like(data.img), num_nodes=0)


class Transformed(Images):
    transform = nn.Identity()


@pytest.fixture
def caches(monkeypatch):
    """Collects the cache of every fit."""
    found = []
    start = ViGLADModule.__init__

    def spy(self, *args, cache=None, **options):
        found.append(cache)
        start(self, *args, cache=cache, **options)

    monkeypatch.setattr(ViGLADModule, "__init__", spy)
    return found


def train(monkeypatch, tmp_path, steps=2, losses="paper", precision="32-true", **options):
    """Trains; returns the losses of every step, how often the teacher ran in them, and the weights."""
    torch.manual_seed(0)
    model = ViGLAD("small", 96, losses=losses)
    parts, calls = [], []
    loss = model.loss

    def spy(*args):
        hook = model.teacher.register_forward_hook(lambda *_: calls.append(1))
        found = loss(*args)
        hook.remove()
        parts.append([float(value) for value in found.values()])
        return found

    monkeypatch.setattr(model, "loss", spy)
    images = options.pop("images", Images(3))
    penalty = PenaltyImages(size=96)
    run = trainer(tmp_path, steps, precision)
    fit(model, images, Images(2), run, penalty=penalty, cache_folder=tmp_path, **options)
    return torch.tensor(parts), len(calls), model.state_dict()


def test_fit_trains_and_calibrates(tmp_path):
    torch.manual_seed(0)
    model = ViGLAD("small", 96)
    before = model.student.conv1.weight.clone()
    run = make_trainer(tmp_path, 2, accelerator="cpu", checkpoint_every=1, progress=False)
    fit(model, Images(4), Images(2), run, batch_size=2, penalty=PenaltyImages(size=96))
    assert not torch.equal(before, model.student.conv1.weight)
    assert model(Images(2)[0].img).score.isfinite().all()
    assert not model.training
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize(("losses", "calls"), [("paper", (2, 0)), ("efficientad", (4, 2))])
def test_cached_features_change_nothing(monkeypatch, tmp_path, losses, calls):
    options = {"losses": losses, "batch_size": 2}
    plain, ran, weights = train(monkeypatch, tmp_path, cache_teacher=False, **options)
    assert ran == calls[0]
    assert torch.isfinite(plain).all()
    cached, ran, ours = train(monkeypatch, tmp_path, **options)
    assert ran == calls[1]
    assert torch.allclose(cached, plain, rtol=1e-5, atol=1e-5)
    for name in ("student.conv4.weight", "autoencoder.projection.weight"):
        assert torch.allclose(ours[name], weights[name], atol=1e-5)
    assert not list(tmp_path.iterdir()), "the file is gone"


def test_half_precision_is_cached_in_half_precision(monkeypatch, tmp_path, caches):
    plain, _, _ = train(monkeypatch, tmp_path, precision="bf16-mixed", cache_teacher=False)
    cached, ran, _ = train(monkeypatch, tmp_path, precision="bf16-mixed")
    assert ran == 0
    assert caches[1].find(Images(3)[0].img).dtype == torch.bfloat16
    assert torch.allclose(cached[0], plain[0], rtol=1e-2)
    # Later steps build on rounded ones, and their smallest part, the penalty, on all of that.
    assert torch.allclose(cached.sum(1), plain.sum(1), rtol=2e-2)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_models_trained_in_any_precision_are_loaded_as_they_are(tmp_path, precision):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, PDN("small", 6), "conv")
    run = trainer(tmp_path, 1, precision)
    fit(model, Images(3), Images(2), run, penalty=PenaltyImages(size=96), cache_teacher=True)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    model.save_pretrained(tmp_path / "model")
    images = torch.cat([item.img for item in Images(4)])
    expected = model.predict(images).score
    assert torch.equal(ViGLAD.from_pretrained(tmp_path / "model").predict(images).score, expected)


def test_changed_images_are_noticed(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="Expected the same training images in every round"):
        train(monkeypatch, tmp_path, images=Jittered(3), cache_teacher=True)
    with pytest.warns(UserWarning, match="computed again"):
        _, ran, _ = train(monkeypatch, tmp_path, images=Jittered(3))
    assert ran == 2


@pytest.mark.parametrize(
    ("images", "wanted", "cached"),
    [
        (Images(2), None, True),
        (Images(2), False, False),
        (Transformed(2), None, False),
        (torch.utils.data.Subset(Transformed(2), [0, 1]), None, False),
        (Transformed(2), True, True),
    ],
)
def test_when_features_are_cached(tmp_path, caches, images, wanted, cached):
    model = ViGLAD("small", 96, autoencoder="conv")
    fit(model, images, Images(2), trainer(tmp_path, 1), cache_teacher=wanted)
    assert [cache is not None for cache in caches] == [cached]


@pytest.mark.parametrize("fitted", [False, True])
def test_the_teacher_sees_a_training_image_once(tmp_path, fitted):
    model = ViGLAD("small", 96, autoencoder="conv")
    if fitted:
        model.fit_teacher_statistics(Images(3))
    calls = []
    model.teacher.register_forward_hook(lambda *_: calls.append(1))
    fit(model, Images(3), Images(2), trainer(tmp_path, 2))
    assert len(calls) == 3 + 2  # and the validation images, for the statistics


def test_a_full_disk(monkeypatch, tmp_path, caches):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    arguments = ViGLAD("small", 96, autoencoder="conv"), Images(2), Images(2), trainer(tmp_path, 1)
    with pytest.raises(ValueError, match="MB of disk"):
        fit(*arguments, cache_teacher=True)
    with pytest.warns(UserWarning, match="not cached"):
        fit(*arguments)
    assert caches == [None]


def test_errors(tmp_path):
    model, images, run = ViGLAD("small", 96, autoencoder="conv"), Images(2), trainer(tmp_path, 1)
    with pytest.raises(ValueError, match="'batch_size' to be at least 1"):
        fit(model, images, images, run, batch_size=0)
    for train, validation in ((Images(1), images), (images, Images(0))):
        with pytest.raises(ValueError, match="two training images and one validation image"):
            fit(model, train, validation, run)
    with pytest.raises(ValueError, match="'max_steps' to be at least 1"):
        make_trainer(tmp_path, 0)
    with pytest.raises(ValueError, match="'max_minutes' above 0"):
        make_trainer(tmp_path, 1, max_minutes=0)
    with pytest.raises(ValueError, match="trainer that this machine can run"):
        make_trainer(tmp_path, 1, accelerator="cpu", devices=0)
    assert make_trainer(tmp_path, 1, accelerator="cpu", devices=1).num_devices == 1
    with pytest.raises(ValueError, match="'max_steps' to be at least 1"):
        fit(model, images, images, trainer(tmp_path, -1))
