import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from pyg_viglad import PDN, ViGLAD
from pyg_viglad.scoring import ChannelNormalization
from pyg_viglad.training import DistillationModule, ViGLADModule
from tests.training.helpers import Images, trainer


def test_learning_rate_drops_once(tmp_path):
    module = ViGLADModule(ViGLAD("small", 96, autoencoder="conv"), lr=1e-3, drop_at=0.5)
    module.model.fit_teacher_statistics([item.img for item in Images(2)])
    batches = [{"images": item} for item in Images(4)]
    run = trainer(tmp_path, 4)
    run.fit(module, DataLoader(batches, None))
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4)
    assert run.optimizers[0].param_groups[0]["weight_decay"] == 1e-5


def test_a_loss_that_is_not_finite_is_named():
    module = ViGLADModule(ViGLAD("small", 96, autoencoder="conv"))
    module.model.fit_teacher_statistics(Images(2)[0].img)
    with torch.no_grad():
        module.model.student.conv1.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="Expected a finite loss"):
        module.training_step({"images": Images(2)[0]})


class Features(nn.Module):
    """Stands in for a backbone: the image at stride 8, in 12 channels."""

    def forward(self, images):
        small = F.avg_pool2d(images, 8)
        return torch.cat([small, small.square(), small.sin(), 1 - small], 1)


def test_distillation_approaches_its_target_and_the_rate_decays(tmp_path):
    torch.manual_seed(0)
    images = F.interpolate(torch.rand(4, 3, 8, 8), (64, 64), mode="bilinear")
    features, normalization = Features(), ChannelNormalization(12)
    normalization.fit([features(images)])
    teacher = PDN("small", 12, padding=True)
    module = DistillationModule(teacher, features, normalization, lr=2e-3, decay=0.5)
    run = trainer(tmp_path, 60)
    run.fit(module, DataLoader(images, 4))
    with torch.no_grad():
        small = F.interpolate(images, scale_factor=0.5, mode="area")
        last = F.mse_loss(teacher(module.normalize(small)), normalization(features(images)))
    assert last < 0.9  # a network that returns the mean has 1
    assert module.smooth_loss > last
    assert run.optimizers[0].param_groups[0]["lr"] < 2e-4
