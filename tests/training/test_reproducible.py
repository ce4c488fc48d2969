"""Same seed, same weights; and scores that do not depend on order and size of batches."""

import pytest
import torch

from pyg_viglad import ViGLAD
from pyg_viglad.datasets import DigitAnatomy
from pyg_viglad.training import PenaltyImages, fit
from tests.training.helpers import Images, trainer


def weights(folder, student, num_workers=0, seed=0):
    torch.manual_seed(0)
    autoencoder = "vig" if student == "gpdn" else "conv"  # the latter has dropout
    model = ViGLAD("small", 96, autoencoder=autoencoder, student=student, losses="efficientad")
    torch.seed()  # what is drawn elsewhere must not matter
    options = {"penalty": PenaltyImages(size=96), "num_workers": num_workers, "seed": seed}
    fit(model, Images(3), Images(2), trainer(folder, 2), batch_size=2, **options)
    return model.state_dict()


@pytest.mark.parametrize(("student", "num_workers"), [("pdn", 2), ("gpdn", 0)])
def test_same_seed_same_weights(tmp_path, student, num_workers):
    first = weights(tmp_path, student)
    again = weights(tmp_path, student, num_workers)
    assert all(torch.equal(again[name], value) for name, value in first.items())
    other = weights(tmp_path, student, seed=1)
    assert not torch.equal(other["student.conv1.weight"], first["student.conv1.weight"])


@pytest.fixture(scope="module", params=["gaussian", "neighbors"])
def model(request):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, student="gpdn", node_scorer=request.param, whiten=32)
    train, validation = (
        DigitAnatomy(split, image_size=96, num_train=6, num_val=4).images
        for split in ("train", "val")
    )
    model.fit_statistics(train, validation)
    return model


def test_scores_do_not_depend_on_the_batch(model):
    images = DigitAnatomy("test", image_size=96, num_test_good=3, num_test_anomalous=4).images
    images = torch.cat([images, torch.zeros(1, 3, 96, 96), torch.rand(3, 3, 96, 96)])
    expected = model.predict(images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    for batch_size, places in ((1, torch.arange(len(images))), (3, order), (11, order)):
        found = model.predict(images[places], batch_size=batch_size)
        for name, values in expected._asdict().items():
            ours = getattr(found, name)
            # Rounding decides between neighbours that are all but equally near.
            assert torch.allclose(ours, values[places], rtol=1e-3, atol=1e-3), name


@torch.no_grad()
def test_features_do_not_depend_on_the_batch():
    """In float64, where no neighbours are all but equally near but those that are equally near."""
    torch.manual_seed(0)
    model = ViGLAD("small", 96, student="gpdn").double().eval()
    images = torch.rand(2, 3, 96, 96, dtype=torch.float64)
    images = torch.cat([images, torch.zeros(1, 3, 96, 96), images[:1] * 0.5])
    model.fit_teacher_statistics(images)
    whole = model.features(images)
    for place, image in enumerate(images):
        for one, together in zip(model.features(image[None]), whole, strict=True):
            assert torch.allclose(one[0], together[place], atol=1e-12)


def test_statistics_do_not_depend_on_the_order():
    torch.manual_seed(0)
    model = ViGLAD("small", 96, autoencoder="conv", node_scorer="gaussian")
    train, validation = torch.rand(6, 3, 96, 96), torch.rand(5, 3, 96, 96)
    model.fit_statistics(train, validation)
    first = model.predict(train)
    model.teacher_normalization.fitted = False
    model.fit_statistics(train.flip(0).split([1, 3, 2]), validation.flip(0).split([4, 1]))
    second = model.predict(train)
    for name, values in first._asdict().items():
        assert torch.allclose(getattr(second, name), values, rtol=1e-3, atol=1e-3), name
