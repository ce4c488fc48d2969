"""Every detector behind the one interface, on images with a block that no normal image has."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from benchmarks.grid import DETECTORS, detector_options, make_detector
from pyg_viglad.models import GPDN, PDN, ViGLAD, save_teacher
from pyg_viglad.training import ViGLADModule
from tests.benchmarks.grid.grids import BACKBONE
from tests.benchmarks.grid.images import SIDE, anomalous, normal

VIGLAD = {"size": "small", "iterations": 2, "batch_size": 2, "lr": 1e-3}
FLOW = {"iterations": 25, "train_batch_size": 3, "flow_steps": 2, "strides": [8, 16]}
MODELS = {
    "viglad": {
        **VIGLAD,
        "iterations": 6,
        "node_scorer": {"channels": 10},
        "also_features": ["teacher"],
    },
    "efficientad-ours": {
        **VIGLAD,
        "iterations": 6,
        "autoencoder": "conv",
        "losses": "efficientad",
    },
    "patchcore": {"coreset_ratio": 0.2},
    "padim": {"num_features": 20},
    "fastflow": FLOW,
    "efficientad": {"size": "small", "iterations": 1},
}
NAMES = {"efficientad-ours": "viglad"}


@pytest.fixture(scope="module")
def backbone(weights):
    """A small backbone with its weights as a file."""
    return {**BACKBONE, "weights": str(weights)}


@pytest.fixture(scope="module", params=MODELS)
def fitted(request, backbone, tmp_path_factory):
    """A detector after fit, what it returned, and what it says of good and of bad images."""
    name = NAMES.get(request.param, request.param)
    options = dict(MODELS[request.param])
    if "backbone" in detector_options(name):
        options.update(backbone)
    detector = make_detector(name, (SIDE, SIDE), seed=1, **options)
    # anomalib's EfficientAD works at 256 pixels at least: fewer images.
    train, validation, test = (2, 1, 2) if request.param == "efficientad" else (6, 3, 4)
    folder = tmp_path_factory.mktemp("work")
    facts = detector.fit(normal(train), normal(validation, 5), folder)
    good, bad = detector.predict(normal(test, 7)), detector.predict(anomalous(test))
    return request.param, detector, facts, good, bad


def test_scores_and_maps(fitted):
    name, _, facts, good, bad = fitted
    number = 2 if name == "efficientad" else 4
    for scores in (good, bad):
        for value in scores.images.values():
            assert value.shape == (number,)
            assert torch.isfinite(value).all()
        assert scores.maps.shape == (number, SIDE, SIDE)
        assert torch.isfinite(scores.maps).all()
        assert not scores.maps.requires_grad
    assert facts
    first = next(iter(good.images))
    assert first == ("A" if "viglad" in (name, NAMES.get(name)) else "score")
    # Every score but parts of A of ten steps of training, which nobody promises anything of.
    for key in good.images:
        if key.startswith(("A_f", "A_r:")):
            continue
        assert bad.images[key].min() > good.images[key].max(), key


def test_maps_point_at_the_block(fitted):
    maps = fitted[4].maps
    inside = maps[:, 30:62, 30:62].mean((1, 2))
    outside = torch.cat([maps[:, :16], maps[:, -16:]], 1).mean((1, 2))
    assert (inside > outside).all()


def test_predictions_repeat(fitted):
    _, detector, _, _, bad = fitted
    again = detector.predict(anomalous(len(bad.maps))[:1])
    for key, value in again.images.items():
        assert torch.allclose(value, bad.images[key][:1], rtol=1e-3, atol=1e-4), key
    assert torch.allclose(again.maps, bad.maps[:1], rtol=1e-2, atol=1e-3)


def test_viglad_gives_all_scores_of_one_training(fitted):
    name, _, facts, good, _ = fitted
    if name != "viglad":
        return
    scores = good.images
    maps = {"A_r:local", "A_r:global"}
    assert set(scores) == {"A", "A_r", "A_f", "A_n", "A+A_n", "A:teacher", "A_f:teacher", *maps}
    # The combined map is their mean: its maximum lies between the two.
    both = torch.stack([scores[name] for name in sorted(maps)])
    assert (scores["A_r"] <= both.amax(0) + 0.1).all()
    assert not torch.allclose(scores["A_r:local"], scores["A_r:global"])
    assert not torch.allclose(scores["A_f"], scores["A_f:teacher"])
    assert facts["iterations"] == 6


@pytest.fixture(scope="module")
def narrow():
    """Options of a ViGLAD of few channels."""
    torch.manual_seed(0)
    return {**VIGLAD, "autoencoder": "conv", "teacher": PDN("small", 8)}


def test_further_features_are_what_a_model_of_that_feature_gives(tmp_path, narrow):
    scores = {}
    for feature, also in (("student_second", ["student_first"]), ("student_first", [])):
        options = {**narrow, "feature": feature, "also_features": also}
        detector = make_detector("viglad", (SIDE, SIDE), seed=1, **options)
        folder = tmp_path / feature
        folder.mkdir()
        detector.fit(normal(4), normal(3, 5), folder)
        scores[feature] = detector.predict(normal(2, 7)).images
    for name in ("A", "A_f"):
        one, other = (
            scores["student_second"][f"{name}:student_first"],
            scores["student_first"][name],
        )
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)
    assert torch.allclose(
        scores["student_second"]["A_r"], scores["student_first"]["A_r"], atol=1e-4
    )


def test_training_goes_on_where_it_was(tmp_path, narrow, monkeypatch):
    weights, steps, step = [], [], ViGLADModule.training_step

    def interrupt(model, *_):
        weights.append({name: value.clone() for name, value in model.named_parameters()})
        raise KeyboardInterrupt

    def spy(module, batch):
        steps.append(module.global_step)
        return step(module, batch)

    monkeypatch.setattr(ViGLADModule, "training_step", spy)
    options = {**narrow, "iterations": 3, "checkpoint_every": 1}
    cut, again = (make_detector("viglad", (SIDE, SIDE), **options) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(ViGLAD, "fit_statistics", interrupt)  # long after the first checkpoint
        with pytest.raises(KeyboardInterrupt):
            cut.fit(normal(2), normal(2, 5), tmp_path)
    facts = again.fit(normal(2), normal(2, 5), tmp_path)
    assert facts["resumed"]
    assert facts["iterations"] == 3
    assert steps == [0, 1, 2]
    assert all(torch.equal(weights[0][k], value) for k, value in again.model.named_parameters())


@pytest.mark.parametrize("name", ["fastflow", "patchcore"])
def test_same_seed_same_scores(backbone, tmp_path, name):
    options = {"fastflow": {**FLOW, "iterations": 2}, "patchcore": {"coreset_ratio": 0.2}}
    scores = []
    for seed in (3, 3, 4):
        detector = make_detector(name, (SIDE, SIDE), seed=seed, **backbone, **options[name])
        detector.fit(normal(6), normal(3, 5), tmp_path)
        scores.append(detector.predict(anomalous(2)).images["score"])
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])


def test_adapters_use_the_weights_of_the_file(backbone, tmp_path):
    torch.manual_seed(1)
    other = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=0)
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    scores = []
    for path in (backbone["weights"], str(tmp_path / "other.safetensors")):
        options = {**backbone, "weights": path}
        detector = make_detector("patchcore", (SIDE, SIDE), coreset_ratio=0.2, **options)
        detector.fit(normal(4), normal(2, 5), tmp_path)
        state = detector.model.feature_extractor.features.net.model.state_dict()
        assert torch.equal(
            state["conv_stem.weight"],
            (other if path.endswith("other.safetensors") else _of(backbone)).state_dict()[
                "conv_stem.weight"
            ],
        )
        scores.append(detector.predict(anomalous(2)).images["score"])
    assert not torch.equal(*scores)


def _of(backbone):
    torch.manual_seed(0)
    return timm.create_model("mobilenetv1_100", pretrained=False, num_classes=0)


def test_efficientad_takes_our_teacher(tmp_path):
    torch.manual_seed(0)
    teacher = PDN("small")
    save_teacher(teacher, tmp_path / "teacher.safetensors", {})
    detector = make_detector(
        "efficientad",
        (SIDE, SIDE),
        size="small",
        iterations=1,
        teacher=str(tmp_path / "teacher.safetensors"),
    )
    detector.model = detector._build()
    detector._fit_teacher_statistics(normal(2))
    images = torch.rand(1, 3, 96, 96)
    ours = teacher(_normalised(images))
    assert torch.allclose(detector.model.teacher(images), ours, atol=2e-3)  # kept in float16
    features = torch.cat(list(detector._images(normal(2))))
    with torch.no_grad():
        features = detector.model.teacher(features)
    mean = features.mean((0, 2, 3))
    std = features.std((0, 2, 3), correction=0)
    assert torch.allclose(detector.model.mean_std["mean"].flatten(), mean, atol=1e-4)
    assert torch.allclose(detector.model.mean_std["std"].flatten(), std, rtol=1e-3, atol=1e-5)


def test_efficientad_takes_no_teacher_with_a_graph_block(tmp_path):
    path = tmp_path / "teacher.safetensors"
    save_teacher(GPDN("small", 16), path, {})
    detector = make_detector("efficientad", (SIDE, SIDE), size="small", teacher=str(path))
    with pytest.raises(ValueError, match="Expected a PDN as 'teacher'"):
        detector._build()


def _normalised(images):
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    return (images - mean) / std


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {}, "Expected a model of the type 'viglad'.*got 'resnet'"),
        ("tests.benchmarks.grid:None", {}, "Expected a detector at 'tests.benchmarks.grid:None'"),
        ("patchcore", {"k": 3}, "Expected options of patchcore among .*backbone.*got 'k'"),
        ("viglad", {"kk": 3}, "Expected options of viglad among .*got 'kk'"),
        ("viglad", {"iterations": 0}, "'iterations'"),
        ("viglad", {"also_features": ["pixel"]}, "'also_features'.*'pixel'"),
        ("patchcore", {"coreset_ratio": 0}, "'coreset_ratio'"),
        ("padim", {"strides": [8, 4]}, "'strides'"),
        ("fastflow", {"iterations": 0}, "'iterations'"),
        ("efficientad", {"input_size": 128}, "'input_size' of at least 256"),
        ("efficientad", {"size": "large"}, "'size'"),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_detector(name, (SIDE, SIDE), **options)


def test_predict_needs_fit():
    for name in DETECTORS:
        with pytest.raises(ValueError, match="Expected fit"):
            make_detector(name, (SIDE, SIDE)).predict(normal(1))
