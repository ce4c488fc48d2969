"""Cached teacher features against the teacher in every step."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pyg_viglad import ViGLAD
from pyg_viglad.training import Photographs, teacher_cache
from pyg_viglad.training.fit import fit
from pyg_viglad.training.teacher_cache import TeacherCache, open_cache
from tests.training.test_fit import Images, trainer


class Jittered(Images):
    """Images that are others each time."""

    def __getitem__(self, number):
        data = super().__getitem__(number)
        return data.__class__(img=torch.rand_like(data.img), num_nodes=0)


def train(monkeypatch, tmp_path, steps=4, losses="printed", precision="32-true", **options):
    """Train; give the losses of every step, the times the teacher ran in them, and the weights."""
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
    photographs = Photographs(size=96, length=steps, seed=0)
    run = trainer(tmp_path, steps, precision)
    fit(model, images, Images(2), run, penalty=photographs, **options)
    return torch.tensor(parts), len(calls), model.state_dict()


@pytest.mark.parametrize(("losses", "calls"), [("printed", (4, 0)), ("practice", (8, 4))])
def test_losses_are_those_without_it(monkeypatch, tmp_path, losses, calls):
    options = {"losses": losses, "batch_size": 2}
    plain, ran, weights = train(monkeypatch, tmp_path, cache_teacher=False, **options)
    assert ran == calls[0]
    assert torch.isfinite(plain).all()
    for more in ({}, {"cache_teacher": True, "cache_mb": 0}, {"cache_mb": 0.5}):
        cached, ran, ours = train(monkeypatch, tmp_path, cache_folder=tmp_path, **options, **more)
        assert ran == calls[1]
        assert torch.allclose(cached, plain, rtol=1e-5, atol=1e-5)
        for name in ("student.conv4.weight", "autoencoder.projection.weight"):
            assert torch.allclose(ours[name], weights[name], atol=1e-5)
        assert not list(tmp_path.iterdir()), "the file is gone"


def test_half_precision_is_kept_in_half_precision(monkeypatch, tmp_path):
    plain, _, _ = train(monkeypatch, tmp_path, precision="bf16-mixed", cache_teacher=False)
    made = []
    monkeypatch.setattr(
        teacher_cache,
        "TeacherCache",
        lambda *args, **kwargs: made.append(TeacherCache(*args, **kwargs)) or made[-1],
    )
    dtypes = []
    loss = ViGLAD.loss
    monkeypatch.setattr(
        ViGLAD, "loss", lambda self, *args: dtypes.append(args[2].dtype) or loss(self, *args)
    )
    cached, ran, _ = train(monkeypatch, tmp_path, precision="bf16-mixed")
    assert ran == 0
    assert len(made) == 1
    assert set(dtypes) == {torch.bfloat16}
    assert torch.allclose(cached[0], plain[0], rtol=1e-2)
    # Later steps build on rounded ones, and their smallest part, the penalty, on all of that.
    assert torch.allclose(cached.sum(1), plain.sum(1), rtol=2e-2)


def test_memory_is_bounded():
    whole = TeacherCache(5, (2, 3, 4), torch.float32)
    assert [len(part) for part in whole._parts] == [5]
    some = TeacherCache(5, (2, 3, 4), torch.float32, limit_mb=2.5 * 96 / 2**20)
    assert [len(part) for part in some._parts] == [2, 3]
    images, features = torch.rand(5, 3, 8, 8), torch.randn(5, 2, 3, 4)
    for cache in (whole, some):
        pairs = [(images[:3], features[:3]), (images[3:], features[3:])]
        kept = list(cache.keep(pairs))
        assert torch.equal(torch.cat(kept), features)
        for numbers in ([0], [4, 1], [2, 2, 3]):
            found = cache.lookup(torch.tensor(numbers), images[numbers])
            assert torch.equal(found, features[numbers])
        cache.close()
        assert cache.lookup(torch.tensor([0]), images[:1]) is None


def test_changed_images_are_noticed(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="Expected the same training images in every round"):
        train(monkeypatch, tmp_path, images=Jittered(3), cache_teacher=True)
    with pytest.warns(UserWarning, match="computed anew"):
        _, ran, _ = train(monkeypatch, tmp_path, images=Jittered(3))
    assert ran == 4
    images, features = torch.rand(1, 3, 8, 8), torch.zeros(1, 1, 1, 1)
    cache = TeacherCache(1, (1, 1, 1), torch.float32)
    list(cache.keep([(images, features)]))
    for other in (images.flip(3), images.roll(1, 2), images + 1e-5):
        with pytest.raises(ValueError, match="another image 0"):
            cache.lookup(torch.tensor([0]), other)
    assert cache.lookup(torch.tensor([0]), images) is not None


def test_where_it_applies(tmp_path):
    model, images, run = ViGLAD("small", 96), Images(2), trainer(tmp_path, 1)

    def made(dataset, wanted, run=run, limit=1.0):
        return open_cache(model, dataset, wanted, run, limit, tmp_path) is not None

    class Changed(Images):
        transform = nn.Identity()

    assert made(images, None)
    assert not made(images, False)
    for changed in (Changed(2), torch.utils.data.Subset(Changed(2), [1])):
        assert not made(changed, None)
        assert made(changed, True)
    with pytest.raises(ValueError, match="Expected 'cache_mb'"):
        made(images, None, limit=-1)


def test_a_full_disk(monkeypatch, tmp_path):
    full = SimpleNamespace(free=0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    model, run = ViGLAD("small", 96), trainer(tmp_path, 1)
    with pytest.raises(ValueError, match="MB of disk"):
        open_cache(model, Images(2), True, run, 0, tmp_path)
    with pytest.warns(UserWarning, match="not cached"):
        assert open_cache(model, Images(2), None, run, 0, tmp_path) is None
