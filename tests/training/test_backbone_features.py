import pytest
import timm
import torch
import torch.nn.functional as F

from pyg_viglad.training.backbone_features import BackboneFeatures

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


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="backbone weights"):
        BackboneFeatures(NAME, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="timm model"):
        BackboneFeatures("no_such_model")
    torch.save({"conv_stem.weight": torch.zeros(1)}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="fit the backbone"):
        BackboneFeatures(NAME, tmp_path / "bad.pth")
