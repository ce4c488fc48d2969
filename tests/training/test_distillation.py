import pytest
import timm
import torch
import torch.nn.functional as F
from lightning import Trainer
from torch.utils.data import DataLoader

from pyg_viglad import PDN
from pyg_viglad.training.backbone_features import BackboneFeatures
from pyg_viglad.training.distillation import Distillation, target_statistics

NAME = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("backbone") / "weights.pth"
    torch.save(timm.create_model(NAME, pretrained=False).state_dict(), path)
    return BackboneFeatures(NAME, path, channels=12)


def test_targets_are_pooled_maps_of_strides_8_and_16(features):
    images = torch.rand(2, 3, 64, 96)
    target = features(images)
    assert target.shape == (2, 12, 8, 12)
    normal = (images - features.mean) / features.std
    fine, coarse = features.net(normal)
    both = torch.cat([fine, F.interpolate(coarse, fine.shape[-2:], mode="bilinear")], 1)
    channels = both.size(1)
    for number in range(12):  # adaptive pooling, written out
        start, stop = number * channels // 12, -(-(number + 1) * channels // 12)
        expected = both[:, start:stop].mean(1)
        assert torch.allclose(target[:, number], expected, atol=1e-5)


def test_backbone_is_frozen(features):
    features.train()
    assert not any(module.training for module in features.modules())
    assert not any(p.requires_grad for p in features.parameters())


def test_target_statistics(features):
    batches = [torch.rand(2, 3, 64, 64), torch.rand(1, 3, 64, 64)]
    mean, std = target_statistics(features, batches)
    values = features(torch.cat(batches)).double().transpose(0, 1).flatten(1)
    assert torch.allclose(mean.double(), values.mean(1), atol=1e-5)
    assert torch.allclose(std.double(), values.std(1, correction=0), atol=1e-4)


def test_loss_falls_and_the_rate_decays(features, tmp_path):
    torch.manual_seed(0)
    images = F.interpolate(torch.rand(4, 3, 8, 8), (64, 64), mode="bilinear")
    mean, std = target_statistics(features, [images])
    module = Distillation(PDN("small", 12, padding=True), features, mean, std, lr=2e-3, decay=0.5)
    trainer = Trainer(
        max_steps=60,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, DataLoader(images, 4))
    with torch.no_grad():
        target = (features(images) - module.target_mean) / module.target_std
        small = F.interpolate(images, scale_factor=0.5, mode="area")
        last = F.mse_loss(module.teacher(module.normalize(small)), target)
    assert last < 0.9  # a network that gives the mean has 1
    assert trainer.optimizers[0].param_groups[0]["lr"] < 2e-4


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="backbone weights"):
        BackboneFeatures(NAME, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="timm model"):
        BackboneFeatures("no_such_model")
    torch.save({"conv_stem.weight": torch.zeros(1)}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="fit the backbone"):
        BackboneFeatures(NAME, tmp_path / "bad.pth")
