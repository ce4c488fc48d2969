import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GraphConv

from pyg_viglad import PDN, ViGLAD
from pyg_viglad.models import Prediction
from pyg_viglad.models._loss import jitter_color
from tests.oracles import scoring as oracle


def normal_images(number, seed=0, size=96):
    """Smooth images that resemble each other."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(number, 3, 6, 6, generator=generator) * 0.3 + 0.3
    return nn.functional.interpolate(coarse, (size, size), mode="bilinear")


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    model = ViGLAD("small", 96, nodes={"channels": 10})
    model.fit_statistics(normal_images(16), normal_images(6, seed=1))
    return model.eval()


@pytest.mark.parametrize("losses", ["printed", "practice"])
def test_loss_parts(losses):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, losses=losses, hard_quantile=0.9).eval()
    images, other = normal_images(2), normal_images(1, seed=5)
    model.fit_teacher_statistics(images)
    torch.manual_seed(3)
    parts = model.loss(images, other)
    assert list(parts) == [
        "student_teacher",
        "penalty",
        "autoencoder_teacher",
        "student_autoencoder",
    ]
    torch.manual_seed(3)
    features = model.features(images)
    changed = model.features(jitter_color(images)) if losses == "practice" else features
    difference = (features.teacher - features.student_first).square()
    quantile = 0.9 if losses == "practice" else 0.0
    expected = {
        "student_teacher": oracle.hard_mean(difference, quantile),
        "penalty": float(model.features(other).student_first.square().mean()),
        "autoencoder_teacher": oracle.mean_square(changed.autoencoder.detach(), changed.teacher),
        "student_autoencoder": oracle.mean_square(
            changed.autoencoder.detach(), changed.student_second.detach()
        ),
    }
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(value, rel=1e-3), name
    assert "penalty" not in model.loss(images)


def test_training_moves_student_and_autoencoder_alone():
    torch.manual_seed(0)
    model = ViGLAD("small", 96).train()
    images = normal_images(2)
    model.fit_teacher_statistics(images)
    assert not model.teacher.training
    assert model.student.training
    sum(model.loss(images, normal_images(1)).values()).backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    for part in (model.student, model.autoencoder):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    model = ViGLAD("small", 96, losses="printed").train()
    images = normal_images(4)
    model.fit_teacher_statistics(images)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    values = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = torch.stack(list(model.loss(images).values())).sum()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.8 * values[0]


def test_scores_are_what_the_parts_say(fitted):
    images = normal_images(3, seed=2)
    images[1, :, 30:60, 30:60] = 1.0
    prediction = fitted(images)
    assert isinstance(prediction, Prediction)
    features = fitted.features(images)
    local = oracle.mean_squared_map(features.teacher[:1], features.student_first[:1])
    scorer = fitted.scorer
    calibrated = 0.1 * (local - scorer.local.q_start) / (scorer.local.q_end - scorer.local.q_start)
    raw_local, raw_global, combined = scorer.maps(scorer.raw(features))
    assert torch.allclose(raw_local[:1].double(), calibrated, atol=1e-3)
    assert torch.allclose(combined, (raw_local + raw_global) / 2)
    assert torch.allclose(prediction.reconstruction_score, combined.flatten(1).max(1).values)
    standardized = (prediction.reconstruction_score - scorer.reconstruction_scale.mean) / (
        scorer.reconstruction_scale.std
    ) + (prediction.feature_score - scorer.feature_scale.mean) / scorer.feature_scale.std
    assert torch.allclose(prediction.paper_score, standardized)
    nodes = (prediction.node_score - scorer.node_scale.mean) / scorer.node_scale.std
    assert torch.allclose(prediction.score, standardized + nodes)
    assert prediction.anomaly_map.shape == prediction.node_map.shape == (3, 96, 96)
    assert prediction.is_anomalous.tolist() == (prediction.score > scorer.threshold.value).tolist()


def test_an_odd_patch_is_found_where_it_is(fitted):
    images = normal_images(8, seed=3)
    odd = images[:1].clone()
    odd[0, :, 56:72, 24:40] = torch.rand(3, 16, 16)
    prediction = fitted(torch.cat([odd, images]))
    assert prediction.score.argmax() == 0
    x, y = prediction.position[0].tolist()
    assert 12 < x < 52
    assert 44 < y < 84


def test_statistics_come_from_normal_images_alone_and_in_any_form():
    train, validation = normal_images(8), normal_images(4, seed=1)

    def scores(source, held_out):
        torch.manual_seed(0)
        model = ViGLAD("small", 96).eval()
        model.fit_statistics(source, held_out)
        return model(normal_images(2, seed=7)).score

    items = [Data(img=image[None], num_nodes=0) for image in train]
    batches = [Batch.from_data_list(items[:5]), Batch.from_data_list(items[5:])]
    expected = scores(train, validation)
    assert torch.allclose(scores(batches, validation), expected, rtol=1e-3, atol=1e-3)
    assert torch.allclose(scores(batches, [validation]), expected, rtol=1e-3, atol=1e-3)


def test_options_of_the_score():
    train, validation = normal_images(8), normal_images(4, seed=1)
    for feature, half in (("student_first", 1), ("student_second", 2), ("teacher", 0)):
        model = ViGLAD("small", 96, feature=feature, fusion="sum").eval()
        model.fit_statistics(train, validation)
        features = model.features(validation)
        expected = features[half].mean((2, 3))
        assert torch.allclose(model.scorer.vector(features), expected, atol=1e-5)
        prediction = model(validation)
        total = prediction.reconstruction_score + prediction.feature_score
        assert torch.allclose(prediction.score, total)
        assert prediction.node_map is None


def test_save_and_load(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    loaded = ViGLAD.from_pretrained(tmp_path / "model")
    images = normal_images(2, seed=9)
    for ours, theirs in zip(fitted(images), loaded(images), strict=True):
        assert torch.equal(ours, theirs)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["size"] == "small"


def test_own_operators_and_autoencoders_are_asked_for(tmp_path):
    model = ViGLAD("small", 96, operator=GraphConv)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Expected 'operator='"):
        ViGLAD.from_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path, operator=GraphConv)
    assert loaded.state_dict().keys() == model.state_dict().keys()


def test_own_autoencoder():
    own = nn.Conv2d(3, 384, 4, stride=4)
    model = ViGLAD("small", 96, autoencoder=own).eval()
    model.fit_statistics(normal_images(4), normal_images(2, seed=1))
    assert model(normal_images(1)).score.isfinite().all()
    with pytest.raises(ValueError, match="ViGAutoEncoder to give graphs"):
        model.graphs(normal_images(1))


def test_conv_autoencoder_and_medium_student():
    model = ViGLAD("medium", 96, autoencoder="conv").eval()
    features = model.fit_teacher_statistics(normal_images(2)) or model.features(normal_images(2))
    assert {tuple(f.shape) for f in features} == {(2, 384, 16, 16)}
    assert model.student.size == "medium"


def test_non_square_and_other_sizes():
    model = ViGLAD("small", (96, 128)).eval()
    model.fit_statistics(normal_images(4), normal_images(2, seed=1))
    prediction = model(normal_images(2, size=80))
    assert prediction.anomaly_map.shape == (2, 96, 128)
    assert prediction.score.isfinite().all()


def test_constant_images_stay_finite():
    model = ViGLAD("small", 96, nodes=True).eval()
    model.fit_statistics(torch.full((4, 3, 96, 96), 0.5), torch.full((2, 3, 96, 96), 0.5))
    prediction = model(torch.cat([torch.full((1, 3, 96, 96), 0.5), normal_images(1)]))
    assert all(value.isfinite().all() for value in prediction)


def test_mirror_images_are_fitted_where_they_are_elsewhere():
    images, held_out = normal_images(6), normal_images(2, seed=1)
    options = {"type": "neighbors", "windows": (2,), "dimensions": 3, "elsewhere": 10_000}
    model = ViGLAD("small", 96, nodes={**options, "mirrored": True}).eval()
    model.fit_statistics(images, held_out)
    nodes = model.scorer.nodes
    across, down = (model.teach(model.normalize(images.flip(dim))) for dim in (3, 2))
    z = [nodes._describe(view, 2) for view in (across, down)]
    z = (torch.cat(z).flatten(0, 1) - nodes.shift[0]) @ nodes.projection[0]
    found = nodes.reflections[0]
    assert found.shape == z.shape
    assert torch.allclose(found.sort(0).values, z.sort(0).values, atol=1e-3)
    plain = ViGLAD("small", 96, nodes=options).eval()
    plain.fit_statistics(images, held_out)
    assert plain.scorer.nodes.reflections.numel() == 0


def test_predict_takes_what_people_have(fitted, tmp_path):
    array = (normal_images(1, size=50)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(array).save(path)
    results = [
        fitted.predict(value)
        for value in (
            path,
            str(path),
            Image.open(path),
            array,
            torch.from_numpy(array).permute(2, 0, 1) / 255,
        )
    ]
    for result in results:
        assert torch.allclose(result.score, results[0].score, atol=1e-2)
    assert fitted.predict([path, array]).score.shape == (2,)
    with pytest.raises(FileNotFoundError):
        fitted.predict(tmp_path / "none.png")


def test_graphs_of_figure_5(fitted):
    graphs = fitted.graphs(normal_images(2))
    assert list(graphs) == ["input", "encoder", "decoder"]
    assert graphs["input"].num_graphs == 2
    assert graphs["input"].img_size.tolist() == [[64, 64], [64, 64]]
    assert not graphs["input"].x.requires_grad


def test_errors(tmp_path, fitted):
    with pytest.raises(ValueError, match="fit_statistics"):
        ViGLAD("small", 96)(normal_images(1))
    with pytest.raises(ValueError, match="not fitted"):
        ViGLAD("small", 96).loss(normal_images(1))
    for size in (92, 98, (96, 90)):
        with pytest.raises(ValueError, match="Expected 'image_size'"):
            ViGLAD("small", size)
    with pytest.raises(ValueError, match=r"values in \[0, 1\]"):
        fitted(normal_images(1) * 255)
    with pytest.raises(ValueError, match=r"values in \[0, 1\]"):
        fitted(normal_images(1) * float("nan"))
    with pytest.raises(ValueError, match="floating-point"):
        fitted(torch.zeros(1, 3, 96, 96, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"Expected images \[B, 3, H, W\]"):
        fitted(torch.zeros(3, 96, 96))
    for option in ("losses", "feature", "fusion", "autoencoder", "operator"):
        with pytest.raises(ValueError, match="Expected"):
            ViGLAD("small", 96, **{option: "other"})
    with pytest.raises(FileNotFoundError, match=r"config.json"):
        ViGLAD.from_pretrained(tmp_path)
    fitted.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="Expected JSON"):
        ViGLAD.from_pretrained(tmp_path)


def test_teacher_by_instance():
    teacher = PDN("medium", 32)
    model = ViGLAD("small", 96, teacher)
    assert model.student.out_channels == 64
    assert model.autoencoder.out_channels == 32


def test_jitter_is_one_of_three_changes():
    torch.manual_seed(0)
    images = normal_images(1).expand(40, -1, -1, -1)
    changed = jitter_color(images)
    assert changed.min() >= 0
    assert changed.max() <= 1
    ratios = changed.mean((1, 2, 3)) / images.mean((1, 2, 3))
    assert ratios.min() > 0.79
    assert ratios.max() < 1.21
    # Contrast and saturation keep the mean, brightness does not.
    assert 5 < int(((ratios - 1).abs() > 0.01).sum()) < 25


@pytest.mark.parametrize(("precision", "limit"), [("float16", 1e-2), ("bfloat16", 5e-2)])
@pytest.mark.parametrize("autoencoder", ["vig", "conv"])
def test_half_precision(precision, limit, autoencoder):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, autoencoder=autoencoder, nodes={"channels": 10})
    model.fit_statistics(normal_images(16), normal_images(6, seed=1))
    images = normal_images(6, seed=2)
    images[0, :, 30:60, 30:60] = 1.0
    whole, half = model.predict(images), model.predict(images, precision=precision)
    for name in ("score", "paper_score", "reconstruction_score", "feature_score", "node_score"):
        ours, expected = getattr(half, name), getattr(whole, name)
        assert ours.dtype == torch.float32
        assert not torch.equal(ours, expected), "it was computed in that precision"
        assert float((ours - expected).abs().max() / expected.std()) < limit, name
    assert half.anomaly_map.dtype == torch.float32
    with pytest.raises(ValueError, match="Expected 'precision' among float32"):
        model.predict(images, precision="bf16")


def test_statistics_run_no_network_in_vain():
    torch.manual_seed(0)
    model = ViGLAD("small", 96)
    model.fit_teacher_statistics(normal_images(4))
    seen = []
    for name in ("teacher", "student", "autoencoder"):
        network = model.get_submodule(name)
        network.register_forward_hook(lambda _, inputs, out, n=name: seen.append((n, len(out))))
    model.fit_statistics(normal_images(4), normal_images(2, seed=1))
    assert sorted(seen) == [
        ("autoencoder", 2),
        ("student", 2),
        ("student", 4),
        ("teacher", 2),
    ]
    vectors = model.features(normal_images(4)).student_second.mean((2, 3))
    assert torch.allclose(vectors.mean(0), model.scorer.gaussian.mean, atol=1e-5)
