import hashlib
import json
from importlib import resources

import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from torch import nn

from pyg_viglad import PDN, ViGLAD
from pyg_viglad.models import (
    BackboneFeatures,
    BackboneTeacher,
    load_teacher,
    make_teacher,
    save_teacher,
)
from pyg_viglad.scoring import ChannelNormalization, Whitening
from pyg_viglad.transforms import ImageNetNormalization
from tests.oracles.teachers import sample_cells

NAME = "mobilenetv3_small_050"
TINY = "test_efficientnet"
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


SWIN = {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 2, 2, 2)}
FAMILIES = {
    "vgg11": {"mlp_ratio": 0.01},  # a small head
    "test_convnext": {},
    "densenet121": {"growth_rate": 4, "block_config": (1, 1, 1, 1)},
    "swin_tiny_patch4_window7_224": SWIN,
    "test_mambaout": {},
    TINY: {},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_in_the_models_own_names(tmp_path, name):
    """A file of the whole classifier, or of what the maps need, gives the maps of the whole model."""
    torch.manual_seed(0)
    options = FAMILIES[name]
    model = timm.create_model(name, **options).eval()
    images = torch.rand(2, 3, 224, 224)
    maps = {}
    for info in model.feature_info:
        if info["reduction"] in (8, 16):
            layer = model.get_submodule(info["module"])
            layer.register_forward_hook(
                lambda _, __, output, stride=info["reduction"]: maps.update({stride: output})
            )
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pth")
    features = BackboneFeatures(name, tmp_path / "weights.pth", **options)
    model((images - features.mean) / features.std)
    found = features.maps(images)
    assert [one.size(2) for one in found] == [28, 14]
    for one, expected in zip(found, maps.values(), strict=True):
        if expected.size(1) != one.size(1):
            expected = expected.permute(0, 3, 1, 2)  # channels last
        assert torch.allclose(one, expected, atol=1e-5)
    assert features(images).shape == (2, 384, 28, 28)

    needed = features.net.model.state_dict()
    assert len(needed) < len(model.state_dict())
    safetensors.torch.save_file(
        {key: value.half() for key, value in needed.items()}, tmp_path / "needed.safetensors"
    )
    half = BackboneFeatures(name, tmp_path / "needed.safetensors", **options).net.model
    for key, value in half.state_dict().items():
        assert torch.equal(value, needed[key].half().to(value.dtype))

    lost = next(key for key in reversed(needed) if key.endswith("weight"))
    del needed[lost]
    torch.save(needed, tmp_path / "few.pth")
    with pytest.raises(ValueError, match=f"fit the backbone '{name}' .it lacks {lost}; its first"):
        BackboneFeatures(name, tmp_path / "few.pth", **options)


def test_windowed_transformers_take_any_size():
    name = "swin_tiny_patch4_window7_224"
    features = BackboneFeatures(name, pretrained=False, **SWIN)
    assert [list(one.shape) for one in features.maps(torch.rand(1, 3, 96, 160))] == [
        [1, 24, 12, 20],
        [1, 48, 6, 10],
    ]


def test_bad_backbones(tmp_path):
    with pytest.raises(FileNotFoundError, match="backbone weights"):
        BackboneFeatures(NAME, tmp_path / "none.pth")
    with pytest.raises(ValueError, match="timm model"):
        BackboneFeatures("no_such_model")
    torch.save({"conv_stem.weight": torch.zeros(1)}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="fit the backbone"):
        BackboneFeatures(NAME, tmp_path / "bad.pth")
    torch.save({"other.weight": torch.zeros(1)}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"and \d+ more; its first keys: other.weight"):
        BackboneFeatures(NAME, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"strides 3 and 16 \(got '.*' with 2, 4, 8, 16, 32\)"):
        BackboneFeatures(NAME, strides=(3, 16))
    for strides in ((), (16, 8), (8, 8)):
        with pytest.raises(ValueError, match="'strides' in ascending order"):
            BackboneFeatures(NAME, strides=strides)
    with pytest.raises(ValueError, match="options of the backbone 'mobilenetv3_small_050'"):
        BackboneFeatures(NAME, colour="red")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "weights.pth"
    torch.save(timm.create_model(TINY).state_dict(), path)
    return path


@pytest.mark.parametrize("strides", [(8, 16), (4, 8, 16), (16,)])
@pytest.mark.parametrize("scale", [1, 2, 1.5])
def test_maps_are_sampled_where_a_pdn_looks(weights, monkeypatch, strides, scale):
    teacher = BackboneTeacher(TINY, weights, strides, scale)
    height, width = 100, 132  # no multiples of the strides
    torch.manual_seed(0)
    maps = [
        torch.randn(2, 3, -(-int(height * scale) // stride), -(-int(width * scale) // stride))
        for stride in strides
    ]
    monkeypatch.setattr(teacher.backbone, "maps", lambda _: maps)
    found = teacher(torch.zeros(2, 3, height, width))
    for number, (features, stride) in enumerate(zip(maps, strides, strict=True)):
        for image in range(2):
            expected = sample_cells(features[image], stride, scale, height, width)
            mine = found[image, 3 * number : 3 * number + 3]
            assert torch.allclose(mine, expected, atol=1e-4)


@pytest.mark.parametrize("scale", [1, 2])
def test_positions_are_those_of_the_place_map(weights, monkeypatch, scale):
    """A map of the pixels at which its cells are centred is sampled to a PDN's 16.5, 20.5, ..."""
    teacher = BackboneTeacher(TINY, weights, (8,), scale)
    x = (torch.arange(16 * scale) + 0.5) * 8 / scale
    ramp = x.expand(1, 1, 12 * scale, 16 * scale)
    monkeypatch.setattr(teacher.backbone, "maps", lambda _: [ramp])
    expected = (4.0 * torch.arange(24) + 16.5).expand(1, 1, 16, 24)
    assert torch.allclose(teacher(torch.zeros(1, 3, 96, 128)), expected)


def test_backbone_sees_its_own_normalisation():
    teacher = BackboneTeacher("mobilenetv1_100", scale=1, pretrained=False)
    assert torch.allclose(teacher.backbone.mean, torch.tensor(0.5))
    seen = []
    teacher.backbone.net.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    images = torch.rand(1, 3, 96, 128)
    output = teacher(ImageNetNormalization()(images))
    assert torch.allclose(seen[0], 2 * images - 1, atol=1e-6)
    fine, _ = teacher.backbone.maps(images)
    channels = fine.size(1)
    expected = sample_cells(fine[0], 8, 1, 96, 128)
    assert torch.allclose(output[0, :channels], expected, atol=1e-4)
    assert output.shape == (1, teacher.out_channels, 16, 24)


def test_backbone_as_teacher(tmp_path, weights):
    """Frozen, with principal components as target, and saved whole: no weights are needed again."""
    torch.manual_seed(0)
    images = torch.rand(6, 3, 96, 128)
    options = {"losses": "efficientad", "node_scorer": "gaussian", "feature": "teacher"}
    model = ViGLAD(
        "small",
        (96, 128),
        teacher=f"timm:{TINY}",
        teacher_weights=weights,
        teacher_kwargs={"strides": [4, 8], "scale": 1},
        **options,
    )
    before = {key: value.clone() for key, value in model.teacher.state_dict().items()}
    assert model.channels == model.teacher.out_channels < 384
    assert isinstance(model.teacher_normalization, Whitening)
    model.fit_teacher_statistics(images)
    target = model.teacher_normalization(model.teacher(model.normalize(images)))
    covariance = torch.cov(target.transpose(0, 1).flatten(1), correction=0)
    variances = covariance.diagonal()
    assert torch.allclose(covariance, variances.diag(), atol=2e-3)  # uncorrelated,
    assert (variances.diff() <= 1e-5).all()  # in descending order,
    assert variances[0] > 2 * variances[-1]  # not whitened
    model.train()
    assert not any(module.training for module in model.teacher.modules())
    sum(model.loss(images[:2], images[2:4]).values()).backward()
    assert not any(p.requires_grad for p in model.teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.teacher.state_dict().items())
    model.fit_statistics(images[:4], images[4:])
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["teacher"] == {
        "name": f"timm:{TINY}",
        "strides": [4, 8],
        "scale": 1,
    }
    loaded = ViGLAD.from_pretrained(tmp_path)
    expected = model.predict(images)
    for one, other in zip(loaded.predict(images), expected, strict=True):
        assert torch.equal(one, other)


def test_backbone_in_bfloat16(weights):
    teacher = BackboneTeacher(TINY, weights)
    images = torch.rand(2, 3, 96, 96)
    with torch.autocast("cpu", torch.bfloat16):
        half = teacher(images)
    exact = teacher(images)
    assert half.dtype == torch.float32
    assert not torch.equal(half, exact)
    assert (half - exact).abs().mean() < 0.03 * exact.std()


def test_width_of_the_target(weights):
    teacher = BackboneTeacher(TINY, weights)
    model = ViGLAD("small", 96, teacher=teacher, whiten=5, autoencoder="conv")
    assert model.channels == 5
    many = BackboneTeacher("vgg11", pretrained=False, mlp_ratio=0.01)
    assert many.out_channels == 1024
    assert ViGLAD("small", 96, teacher=many, autoencoder="conv").channels == 384
    assert type(ViGLAD("small", 96).teacher_normalization) is ChannelNormalization


def test_bad_backbone_teachers(tmp_path, weights):
    with pytest.raises(ValueError, match="'scale' above 0"):
        BackboneTeacher(TINY, weights, scale=0)
    with pytest.raises(ValueError, match=r"teacher 'timm:NAME' with weights \(got 'mobilenetv1'"):
        load_teacher(weights=weights)
    with pytest.raises(ValueError, match=r"'timm:NAME' with scale \(got 'teacher.pth'"):
        ViGLAD(teacher="teacher.pth", teacher_kwargs={"scale": 1})
    with pytest.raises(ValueError, match=r"'timm:NAME' with 'teacher_weights' .*PDN"):
        ViGLAD(teacher=PDN("small"), teacher_weights=weights)
    with pytest.raises(FileNotFoundError, match="backbone weights"):
        ViGLAD(teacher=f"timm:{TINY}", teacher_weights=tmp_path / "none.pth")
    with pytest.raises(ValueError, match="timm model"):
        make_teacher("timm:no_such_model")


def test_downloads_that_were_altered(tmp_path, monkeypatch):
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda name, pretrained=False, **options: create(name, **options)
    )
    blob = tmp_path / hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(blob))
    blob.write_bytes(b"weights")
    BackboneFeatures(NAME)
    blob.write_bytes(b"altered")
    with pytest.raises(ValueError, match=rf"SHA-256 {blob.name} \(got "):
        BackboneFeatures(NAME)
