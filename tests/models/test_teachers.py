import json
from importlib import resources

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from pyg_viglad import PDN
from pyg_viglad.models import BackboneFeatures, load_teacher, save_teacher

NAME = "mobilenetv3_small_050"
SEQUENTIAL = {"small": (0, 3, 6, 8), "medium": (0, 3, 6, 8, 10, 12)}


def test_shipped_teacher():
    weights = resources.files("pyg_viglad.models") / "weights"
    file = weights / "pdn_small_mobilenetv1.safetensors"
    assert len(file.read_bytes()) < 6_000_000
    card = json.loads((weights / "pdn_small_mobilenetv1.json").read_text())
    assert card["command"].startswith("pyg-viglad distill")
    assert {"seed", "final_loss", "licence", "backbone", "steps"} <= card.keys()
    teacher = load_teacher()
    assert (teacher.size, teacher.out_channels, teacher.training) == ("small", 384, False)
    assert not any(p.requires_grad for p in teacher.parameters())


def test_shipped_teacher_has_learned_to_see():
    """Photographs give features that differ across places, far more than a fresh network's do."""
    from sklearn.datasets import load_sample_images

    from pyg_viglad.transforms import ImageNetNormalization

    image = torch.from_numpy(load_sample_images().images[0].copy()).permute(2, 0, 1)[None] / 255
    image = ImageNetNormalization()(image[..., :256, :256])
    torch.manual_seed(0)
    trained, fresh = load_teacher()(image), PDN("small")(image)
    # The targets have unit variance: a trained teacher must explain a good part of it.
    assert trained.std((2, 3)).mean() > 0.25
    assert fresh.std((2, 3)).mean() < 0.1


@pytest.mark.parametrize("size", ["small", "medium"])
@pytest.mark.parametrize("prefix", ["", "teacher.", "model.teacher."])
@pytest.mark.parametrize("layout", ["named", "sequential"])
def test_layouts(tmp_path, size, prefix, layout):
    torch.manual_seed(0)
    model = PDN(size, 384)
    numbers = SEQUENTIAL[size]
    state = {}
    for key, value in model.state_dict().items():
        conv, kind = key.split(".")
        place = int(conv.removeprefix("conv"))
        name = conv if layout == "named" else str(numbers[place - 1])
        state[f"{prefix}{name}.{kind}"] = value
    if prefix:
        state["student.conv1.weight"] = torch.zeros(1)
    path = tmp_path / "teacher.pth"
    torch.save({"state_dict": state} if prefix else state, path)
    loaded = load_teacher(path)
    images = torch.rand(1, 3, 64, 64)
    assert loaded.size == size
    assert torch.allclose(loaded(images), model(images))


def test_save_and_load(tmp_path):
    model = PDN("small", 384)
    save_teacher(model, tmp_path / "deep" / "teacher.safetensors", {"seed": 3})
    loaded = load_teacher(tmp_path / "deep" / "teacher.safetensors")
    for name, value in model.state_dict().items():
        assert torch.allclose(loaded.state_dict()[name], value, atol=1e-3)
    assert json.loads((tmp_path / "deep" / "teacher.json").read_text()) == {"seed": 3}
    assert sorted(p.suffix for p in (tmp_path / "deep").iterdir()) == [".json", ".safetensors"]


def test_weights_are_written_to_safetensors_only(tmp_path):
    for name in ("teacher.pth", "teacher.json"):
        with pytest.raises(ValueError, match=rf"ends in '.safetensors' \(got '.*{name}'\)"):
            save_teacher(PDN("small"), tmp_path / name, {})
    assert not list(tmp_path.iterdir())


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected a teacher file"):
        load_teacher(tmp_path / "nothing.pth")
    whole = tmp_path / "whole.pth"
    torch.save(nn.Sequential(nn.Conv2d(3, 8, 4)), whole)
    with pytest.raises(ValueError, match="plain teacher weights"):
        load_teacher(whole)
    few = tmp_path / "few.pth"
    torch.save({"conv1.weight": torch.zeros(128, 3, 4, 4), "conv1.bias": torch.zeros(128)}, few)
    with pytest.raises(ValueError, match=r"4 \(small\) or 6 \(medium\) convolutions"):
        load_teacher(few)
    odd = {k: torch.zeros(3) if k == "conv2.bias" else v for k, v in PDN().state_dict().items()}
    torch.save(odd, few)
    with pytest.raises(ValueError, match="shapes of a small PDN"):
        load_teacher(few)
    text = tmp_path / "text.safetensors"
    text.write_text("no weights")
    with pytest.raises(ValueError, match="plain teacher weights"):
        load_teacher(text)


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


def test_bad_backbones(tmp_path):
    with pytest.raises(FileNotFoundError, match="backbone weights"):
        BackboneFeatures(NAME, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="timm model"):
        BackboneFeatures("no_such_model")
    torch.save({"conv_stem.weight": torch.zeros(1)}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="fit the backbone"):
        BackboneFeatures(NAME, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="at strides 3 and 16"):
        BackboneFeatures(NAME, strides=(3, 16))
