import copy
import hashlib
import json
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub.errors import RepositoryNotFoundError
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GraphConv, MeanAggregation

from pyg_viglad import PDN, ViGLAD
from pyg_viglad.models import ConvAutoEncoder, Prediction, hard_mean
from pyg_viglad.models.viglad import _jitter_color
from pyg_viglad.nn import GRAPHS, WindowKNN, knn_graph, register_operator
from pyg_viglad.scoring import NodeNeighbors
from pyg_viglad.transforms import IMAGENET_MEAN, IMAGENET_STD, ImageToGraph
from tests.oracles import scoring as oracle


def normal_images(number, seed=0, size=96):
    """Smooth images that resemble each other."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(number, 3, 6, 6, generator=generator) * 0.3 + 0.3
    return nn.functional.interpolate(coarse, (size, size), mode="bilinear")


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    model = ViGLAD("small", 96, node_scorer={"channels": 10})
    model.fit_statistics(normal_images(16), normal_images(6, seed=1))
    return model.eval()


@torch.no_grad()
def outputs(model, images):
    """What the networks say of images, each called by itself, in float64."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    normal = (images - mean) / std
    small = nn.functional.interpolate(
        normal, [side - 32 for side in images.shape[2:]], mode="bilinear", antialias=True
    )
    seen = normal if isinstance(model.autoencoder, ConvAutoEncoder) else small
    student = model.student(normal)
    half = student.size(1) // 2
    found = {
        "teacher": model.teacher(normal),
        "first": student[:, :half],
        "second": student[:, half:],
        "autoencoder": model.autoencoder(seen),
    }
    return {name: value.double().numpy() for name, value in found.items()}


@pytest.mark.parametrize("losses", ["paper", "efficientad"])
def test_loss_is_that_of_equations_15_to_17(losses):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, PDN("small", 6), losses=losses, hard_quantile=0.9).eval()
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
    factors, kinds = torch.empty(2).uniform_(0.8, 1.2), torch.randint(3, (2,))
    draws = list(zip(factors.tolist(), kinds.tolist(), strict=True))
    seen = outputs(model, images)
    second = seen if losses == "paper" else outputs(model, oracle.jittered(images, draws))
    teacher = torch.from_numpy(oracle.normalized(seen["teacher"], seen["teacher"]))
    again = torch.from_numpy(oracle.normalized(second["teacher"], seen["teacher"]))
    first, zero = torch.from_numpy(seen["first"]), torch.zeros(1, 6, 16, 16)
    reconstruction = torch.from_numpy(second["autoencoder"])
    expected = {
        "student_teacher": oracle.mean_square(teacher, first)
        if losses == "paper"
        else oracle.hard_mean((teacher - first).square(), 0.9),
        "penalty": oracle.mean_square(torch.from_numpy(outputs(model, other)["first"]), zero),
        "autoencoder_teacher": oracle.mean_square(again, reconstruction),
        "student_autoencoder": oracle.mean_square(
            reconstruction, torch.from_numpy(second["second"])
        ),
    }
    for name, value in expected.items():
        assert float(parts[name].detach()) == pytest.approx(value, rel=1e-4), name
    assert "penalty" not in model.loss(images)
    known = next(iter(model.teacher_outputs(images)))[1]
    torch.manual_seed(3)
    cached = model.loss(images, other, known)
    assert {name: float(v.detach()) for name, v in cached.items()} == pytest.approx(
        {name: float(v.detach()) for name, v in parts.items()}, rel=1e-6
    )


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9, 0.999])
def test_hard_mean(quantile):
    values = torch.randn(2, 3, 4, 5).square().requires_grad_()
    found = hard_mean(values, quantile)
    assert float(found) == pytest.approx(oracle.hard_mean(values, quantile), rel=1e-5)
    found.backward()
    share = float((values.grad != 0).float().mean())
    assert share == pytest.approx(max(1 - quantile, 1 / 120), abs=0.01)
    with pytest.raises(ValueError, match="Expected 'quantile'"):
        hard_mean(values, 1.0)


def test_gradients_flow_into_both_sides_of_equation_17():
    torch.manual_seed(0)
    model = ViGLAD("small", 96, PDN("small", 6), "conv")
    images = normal_images(1)
    model.fit_teacher_statistics(images)
    model.loss(images)["student_autoencoder"].backward()
    head = model.student.conv4.weight.grad
    assert model.autoencoder.head[-1].weight.grad.abs().sum() > 0
    assert head[6:].abs().sum() > 0
    assert head[:6].abs().sum() == 0


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
    model = ViGLAD("small", 96, PDN("small", 16), "conv").train()
    images = normal_images(4)
    model.fit_teacher_statistics(images)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    values = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = torch.stack(list(model.loss(images).values())).sum()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.9 * values[0]


def test_scores_are_those_of_section_iii_d(fitted):
    images = normal_images(3, seed=2)
    images[1, :, 30:60, 30:60] = 1.0
    prediction = fitted(images)
    assert isinstance(prediction, Prediction)
    train, validation = normal_images(16), normal_images(6, seed=1)
    parts = [outputs(fitted, part) for part in (train, validation, images)]
    expected = oracle.viglad_scores(*parts, (0.9, 0.995), 0.99)
    local, global_, merged, reconstruction, feature, paper, _ = map(torch.tensor, expected)
    for name, value in (
        ("reconstruction_score", reconstruction),
        ("feature_score", feature),
        ("paper_score", paper),
    ):
        assert torch.allclose(getattr(prediction, name).double(), value, rtol=1e-3, atol=1e-3), name
    for name, value in (("local_map", local), ("global_map", global_), ("anomaly_map", merged)):
        placed = getattr(prediction, name).double()
        assert placed.shape == (3, 96, 96)
        # The centre of cell i is 16.5 + 4 i, that is pixel 16 + 4 i.
        assert torch.allclose(placed[:, 16:77:4, 16:77:4], value, rtol=1e-3, atol=1e-3), name
    assert prediction.is_anomalous.tolist() == (prediction.score > fitted.threshold).tolist()


@torch.no_grad()
def test_threshold_and_node_score():
    torch.manual_seed(0)
    train, validation = normal_images(8), normal_images(6, seed=1)
    plain = ViGLAD("small", 96, PDN("small", 6), "conv", threshold_quantile=0.7).eval()
    plain.fit_statistics(train, validation)
    parts = [outputs(plain, part) for part in (train, validation, validation)]
    threshold = oracle.viglad_scores(*parts, (0.9, 0.995), 0.7)[-1]
    assert float(plain.threshold) == pytest.approx(threshold, rel=1e-3)
    assert plain(validation).is_anomalous.sum() == 2
    assert torch.equal(plain(validation).score, plain(validation).paper_score)

    torch.manual_seed(0)
    model = ViGLAD("small", 96, PDN("small", 6), "conv", node_scorer={"channels": 4}).eval()
    model.fit_statistics(train, validation)
    prediction = model(validation)
    assert torch.allclose(prediction.paper_score, plain(validation).paper_score, atol=1e-4)
    nodes = prediction.node_score.double().numpy()
    assert nodes == pytest.approx(prediction.node_map.amax((1, 2)).double().numpy(), abs=0.5)
    total = prediction.paper_score.double().numpy() + oracle.standardized(nodes, nodes)
    assert prediction.score.numpy() == pytest.approx(total, rel=1e-3, abs=1e-3)


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


@torch.no_grad()
def test_options_of_the_score():
    train, validation = normal_images(8), normal_images(4, seed=1)
    for feature, half in (("student_first", 1), ("student_second", 2), ("teacher", 0)):
        model = ViGLAD("small", 96, PDN("small", 16), "conv", feature=feature, fusion="sum").eval()
        model.fit_statistics(train, validation)
        features = model.features(validation)
        vectors = [
            f.mean((2, 3)).double().numpy() for f in (model.features(train)[half], features[half])
        ]
        expected = oracle.mahalanobis(
            vectors[1], vectors[0].mean(0), oracle.ledoit_wolf(vectors[0])
        )
        prediction = model(validation)
        assert torch.allclose(prediction.feature_score.double(), expected.double(), rtol=1e-2)
        total = prediction.reconstruction_score + prediction.feature_score
        assert torch.allclose(prediction.score, total)
        assert prediction.node_map is None


@torch.no_grad()
def test_fusion_by_pseudo_anomalies(tmp_path, monkeypatch):
    monkeypatch.setattr("pyg_viglad.models.viglad._PSEUDO_ANOMALIES", 20)  # one per image and kind
    train, validation = normal_images(8), normal_images(5, seed=1)

    def make(fusion):
        torch.manual_seed(0)
        model = ViGLAD("small", 96, PDN("small", 6), "conv", fusion=fusion, node_scorer="gaussian")
        model.fit_statistics(train, validation)
        return model.eval()

    model, plain, images = make("pseudo"), make("standardized"), normal_images(3, seed=2)
    prediction = model(images)
    assert torch.equal(prediction.paper_score, plain(images).paper_score)
    assert torch.equal(model(images).score, make("pseudo")(images).score)  # no chance in it
    weights = model.fusion_weights
    assert list(weights) == ["A_r:local", "A_r:global", "A_f", "A_n"]
    assert min(weights.values()) >= 0
    assert sum(weights.values()) == pytest.approx(1)
    # The weighted sum of the parts, of which the validation images' means are 0.
    found = model._score(model._distances(model.features(validation)))
    parts = [found.local_map.amax((1, 2)), found.global_map.amax((1, 2)), found.feature, found.node]
    mean = torch.stack(parts).mean(1)
    assert torch.allclose(model.pseudo_fusion.mean, mean, rtol=1e-3, atol=1e-5)
    now = model._score(model._distances(model.features(images)))
    parts = [now.local_map.amax((1, 2)), now.global_map.amax((1, 2)), now.feature, now.node]
    total = sum(
        weight * (part - mean[place]) / model.pseudo_fusion.std[place]
        for place, (weight, part) in enumerate(zip(weights.values(), parts, strict=True))
    )
    assert torch.allclose(prediction.score, total, rtol=1e-3, atol=1e-3)
    model.save_pretrained(tmp_path / "model")
    loaded = ViGLAD.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded(images).score, prediction.score)
    assert loaded.fusion_weights == weights
    with pytest.raises(ValueError, match=r"fusion 'pseudo' \(got 'standardized'\)"):
        _ = plain.fusion_weights
    with pytest.raises(ValueError, match=r"'validation' to be .* \(got a generator\)"):
        model.fit_statistics(train, (part for part in validation.split(2)))


@pytest.mark.parametrize("autoencoder", ["vig", "conv"])
def test_whitened_targets(tmp_path, autoencoder):
    torch.manual_seed(0)
    train, validation = normal_images(8), normal_images(4, seed=1)
    model = ViGLAD(
        "small", 96, PDN("small", 24), autoencoder, whiten=6, shrinkage=0.01, node_scorer="gaussian"
    )
    model.fit_teacher_statistics(train)
    assert (model.channels, model.student.out_channels, model.autoencoder.out_channels) == (
        6,
        12,
        6,
    )
    output = model.teacher(model.normalize(train))
    vectors = output.double().permute(0, 2, 3, 1).flatten(0, 2).numpy()
    expected = torch.from_numpy(oracle.whitened(vectors, 6, 0.01))
    features = model.eval().features(train)
    found = features.target.permute(0, 2, 3, 1).flatten(0, 2).double()
    assert torch.allclose(found, expected, atol=1e-2)
    assert features.teacher.size(1) == 24
    # The loss compares with the whitened features, whether or not the teacher's output is known.
    torch.manual_seed(0)
    loss = model.loss(train)
    torch.manual_seed(0)
    assert torch.allclose(
        model.loss(train, teacher=output)["student_teacher"], loss["student_teacher"]
    )
    expected = (features.target - features.student_first).square().mean()
    assert torch.allclose(loss["student_teacher"], expected, rtol=1e-4)
    model.fit_statistics(train, validation)
    assert model.node_scorer.selected.max() > 6  # nodes are judged by the features before whitening
    model.save_pretrained(tmp_path / "model")
    loaded = ViGLAD.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded(validation).score, model(validation).score)


def test_save_and_load(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    images = normal_images(2, seed=9)
    for folder in (tmp_path / "model", tmp_path):  # that of the model, and of a run
        loaded = ViGLAD.from_pretrained(folder)
        for ours, theirs in zip(fitted(images), loaded(images), strict=True):
            assert torch.equal(ours, theirs)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["size"] == "small"
    assert "| trained on | not stated |" in (tmp_path / "model" / "README.md").read_text()


def test_a_name_on_the_hub_is_downloaded(tmp_path, monkeypatch, fitted):
    fitted.save_pretrained(tmp_path / "hub")
    asked = []

    def download(repo_id, filename, **options):
        asked.append((repo_id, filename, options["revision"]))
        return str(tmp_path / "hub" / filename)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", download)
    monkeypatch.setattr("pyg_viglad.models.viglad.hf_hub_download", download)
    loaded = ViGLAD.from_pretrained("somebody/screws", revision="v1")
    assert asked == [
        ("somebody/screws", "config.json", "v1"),
        ("somebody/screws", "model.safetensors", "v1"),
    ]
    assert float(loaded.threshold) == float(fitted.threshold)


def test_push_to_hub(tmp_path, monkeypatch, fitted):
    asked = []

    class Repository:
        repo_id = "somebody/screws"

    def upload(self, repo_id, folder_path, **_):
        asked.append(repo_id)
        shutil.copytree(folder_path, tmp_path / "hub")
        return "commit"

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda *_, **__: Repository())
    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", upload)
    about = {"data": "boards with four screws", "scores": "image AUROC 100.0"}
    assert fitted.push_to_hub("screws", model_card_kwargs=about) == "commit"
    assert asked == ["somebody/screws"]
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "library_name: pyg_viglad" in card
    assert "| trained on | boards with four screws |\n| scores | image AUROC 100.0 |" in card
    assert ViGLAD.from_pretrained(tmp_path / "hub").fitted


def test_files_of_the_hub_that_were_altered(tmp_path, monkeypatch, fitted):
    fitted.save_pretrained(tmp_path)
    blob = tmp_path / hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    (tmp_path / "model.safetensors").rename(blob)
    (tmp_path / "model.safetensors").symlink_to(blob)  # as the hub's cache has it
    monkeypatch.setattr(
        "pyg_viglad.models.viglad.hf_hub_download", lambda _, name, **__: str(tmp_path / name)
    )
    assert ViGLAD.from_pretrained("somebody/screws").fitted
    blob.write_bytes(blob.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=rf"SHA-256 {blob.name} \(got "):
        ViGLAD.from_pretrained("somebody/screws")


def test_names_on_the_hub_that_are_no_model(tmp_path, monkeypatch):
    def download(repo_id, filename, **options):
        if repo_id.startswith("nobody"):
            response = SimpleNamespace(headers={}, request=None)
            raise RepositoryNotFoundError("no such repository", response=response)
        (tmp_path / filename).write_text('{"architectures": ["ViTModel"]}')
        return str(tmp_path / filename)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pyg_viglad.models.viglad.hf_hub_download", download)
    with pytest.raises(FileNotFoundError, match=r"nobody/screws.*no such repository"):
        ViGLAD.from_pretrained("nobody/screws")
    with pytest.raises(ValueError, match="Expected the config of a ViGLAD"):
        ViGLAD.from_pretrained("google/vit")


def test_saving_that_fails_leaves_the_files_whole(tmp_path, monkeypatch, fitted):
    fitted.save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()

    def write(path, data):
        path.open("wb").write(data[: len(data) // 2])
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", write)
    with pytest.raises(OSError, match="disk full"):
        fitted.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    assert ViGLAD.from_pretrained(tmp_path).fitted


def test_unfitted_models_stay_so(tmp_path):
    model = ViGLAD("small", (96, 100), PDN("small", 6), "conv", node_scorer="neighbors")
    model.fit_teacher_statistics(normal_images(2))
    model.save_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path)
    assert not loaded.fitted
    assert loaded.threshold.isnan()
    assert loaded.teacher_normalization.fitted
    assert loaded.image_size == (96, 100)
    assert isinstance(loaded.node_scorer, NodeNeighbors)


def test_operator_kwargs_are_passed_and_saved(tmp_path):
    options = {"operator": "GraphConv", "operator_kwargs": {"aggr": "mean"}}
    model = ViGLAD("small", 96, PDN("small", 6), **options)
    operator = next(m for m in model.modules() if isinstance(m, GraphConv))
    assert operator.aggr == "mean"
    model.save_pretrained(tmp_path)
    again = ViGLAD.from_pretrained(tmp_path)
    assert again.config["operator_kwargs"] == {"aggr": "mean"}
    options["operator_kwargs"] = {"aggr": MeanAggregation()}  # which JSON cannot hold
    ViGLAD("small", 96, PDN("small", 6), **options).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="pass `operator=`"):
        ViGLAD.from_pretrained(tmp_path)


def test_edge_features_are_saved(tmp_path):
    options = {"edge_features": ("distance", "position")}
    model = ViGLAD("small", 96, PDN("small", 6), operator="gatv2", operator_kwargs=options).eval()
    model.save_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path)
    assert loaded.config["operator_kwargs"] == {"edge_features": ["distance", "position"]}
    images = normal_images(2, size=64)
    assert torch.equal(loaded.autoencoder(images), model.autoencoder(images))


def test_registered_operators_load_where_they_are_registered(tmp_path, monkeypatch):
    monkeypatch.setattr("pyg_viglad.nn.operators._REGISTERED", {})
    register_operator("mean_graph")(lambda i, o: GraphConv(i, o, aggr="mean"))
    ViGLAD("small", 96, PDN("small", 6), operator="mean_graph").save_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path)
    assert loaded.autoencoder.encoder[0][0].conv.conv.aggr == "mean"
    monkeypatch.setattr("pyg_viglad.nn.operators._REGISTERED", {})
    with pytest.raises(ValueError, match=r"'operator' to be one of .*got 'mean_graph'"):
        ViGLAD.from_pretrained(tmp_path)


def test_graphs_are_saved(tmp_path):
    options = {"graph": "window", "graph_kwargs": {"size": 5}}
    model = ViGLAD("small", 96, PDN("small", 6), **options).eval()
    model.save_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path)
    assert (loaded.config["graph"], loaded.config["graph_kwargs"]) == ("window", {"size": 5})
    assert str(loaded) == str(model)
    assert loaded.autoencoder.encoder[0][1].graph == WindowKNN(12, size=5, number=1)
    images = normal_images(2, size=64)
    assert torch.equal(loaded.autoencoder(images), model.autoencoder(images))
    with pytest.raises(ValueError, match="'graph' to be one of"):
        ViGLAD.from_pretrained(tmp_path, graph="magic")


def test_an_iterable_dataset_holds_batches():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(normal_images(6).split(3))

    one, other = (ViGLAD("small", 96, PDN("small", 6), "conv").eval() for _ in range(2))
    other.load_state_dict(one.state_dict())
    one.fit_statistics(Stream(), Stream())
    other.fit_statistics(normal_images(6), normal_images(6))
    assert torch.allclose(one.threshold, other.threshold, atol=1e-4)


def test_a_plain_pca_is_saved(tmp_path):
    model = ViGLAD("small", 96, PDN("small", 6), "conv", whiten=3, shrinkage=torch.inf)
    model.fit_statistics(normal_images(4), normal_images(4, seed=1))
    model.save_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path)
    assert loaded.config["shrinkage"] == torch.inf
    images = normal_images(2, seed=2)
    assert torch.equal(loaded.predict(images).score, model.predict(images).score)


def test_the_card_of_a_loaded_model_is_that_of_the_saved_one(tmp_path):
    model = ViGLAD("small", 96, autoencoder="conv")
    about = {"data": "4 images of noise", "scores": "image AUROC 50"}
    model.save_pretrained(tmp_path, model_card_kwargs={**about, "other": object()})
    kept = json.loads((tmp_path / "config.json").read_text())["about"]
    assert kept == {"teacher": "mobilenetv1", **about}
    card = (tmp_path / "README.md").read_text()
    for fact in ("the shipped one (MIT)", *about.values()):
        assert f"| {fact}" in card
    assert str(ViGLAD.from_pretrained(tmp_path).generate_model_card()) == card


@pytest.mark.parametrize("upsampling", ["transposed3", "bilinear"])
def test_upsampling_is_saved(upsampling, tmp_path):
    model = ViGLAD("small", 96, PDN("small", 6), upsampling=upsampling).eval()
    model.save_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path)
    assert loaded.config["upsampling"] == upsampling
    assert {layer.mode for layer in loaded.autoencoder.upsamples} == {upsampling}
    images = normal_images(2, size=64)
    assert torch.equal(loaded.autoencoder(images), model.autoencoder(images))


@pytest.mark.parametrize("graph", [WindowKNN, WindowKNN(3), lambda x, b, g: knn_graph(x, 2)])
def test_own_graphs_are_asked_for(tmp_path, graph):
    ViGLAD("small", 96, PDN("small", 6), graph=graph).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="custom graph: pass `graph=`"):
        ViGLAD.from_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path, graph=graph)
    assert loaded.config["graph"] is None
    if isinstance(graph, WindowKNN):
        assert loaded.autoencoder.constructor.graph is graph


def test_registered_graphs_load_where_they_are_registered(tmp_path, monkeypatch):
    monkeypatch.setitem(GRAPHS, "windows_of_two", lambda k, dilation: WindowKNN(k, size=2))
    ViGLAD("small", 96, PDN("small", 6), graph="windows_of_two").save_pretrained(tmp_path)
    assert ViGLAD.from_pretrained(tmp_path).autoencoder.constructor.graph == WindowKNN(12, size=2)
    monkeypatch.delitem(GRAPHS, "windows_of_two")
    with pytest.raises(ValueError, match=r"'graph' to be one of .*got 'windows_of_two'"):
        ViGLAD.from_pretrained(tmp_path)


def test_own_operators_and_autoencoders_are_asked_for(tmp_path):
    model = ViGLAD("small", 96, operator=GraphConv)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="custom operator: pass `operator=`"):
        ViGLAD.from_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path, operator=GraphConv)
    assert loaded.state_dict().keys() == model.state_dict().keys()


def test_numbers_of_numpy(tmp_path):
    options = {"k": np.int64(5), "hard_quantile": np.float32(0.5)}
    for size in (np.int64(96), (np.int32(96), 96), np.array([96, 96]), [96, 96]):
        model = ViGLAD("small", size, PDN("small", 6), "conv", **options)
        assert model.image_size == (96, 96)
    model.save_pretrained(tmp_path)
    assert ViGLAD.from_pretrained(tmp_path).config == model.config


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
    model = ViGLAD("small", 96, node_scorer="gaussian").eval()
    model.fit_statistics(torch.full((4, 3, 96, 96), 0.5), torch.full((2, 3, 96, 96), 0.5))
    prediction = model(torch.cat([torch.full((1, 3, 96, 96), 0.5), normal_images(1)]))
    assert all(value.isfinite().all() for value in prediction)


@pytest.mark.parametrize("held_out", ["one", "copies", "black"])
@pytest.mark.parametrize(
    ("fusion", "nodes"),
    [("standardized", "gaussian"), ("sum", "neighbors"), ("pseudo", "gaussian")],
)
def test_validation_images_that_tell_no_scale(held_out, fusion, nodes, monkeypatch):
    monkeypatch.setattr("pyg_viglad.models.viglad._PSEUDO_ANOMALIES", 4)
    torch.manual_seed(0)
    model = ViGLAD("small", 96, PDN("small", 6), "conv", node_scorer=nodes, fusion=fusion)
    one = normal_images(1, seed=1)
    images = {"one": one, "copies": one.repeat(4, 1, 1, 1), "black": torch.zeros(4, 3, 96, 96)}
    with pytest.warns(UserWarning, match="scale is taken as 1") as warned:
        model.fit_statistics(normal_images(9), images[held_out])
    said = " ".join(str(warning.message) for warning in warned)
    assert ("whose maps differ" in said) == (held_out == "black")
    scales = [model.reconstruction_scale, model.feature_scale, model.node_scale]
    assert [float(scale.std) for scale in scales] == [1, 1, 1]
    found = model.predict(normal_images(3, seed=2))
    assert torch.stack([found.reconstruction_score, found.node_score]).abs().max() < 100
    assert not model.predict(images[held_out]).is_anomalous.any()


def test_mirror_images_are_fitted_where_they_are_elsewhere():
    images, held_out = normal_images(6), normal_images(2, seed=1)
    options = {"type": "neighbors", "windows": (2,), "dimensions": 3, "elsewhere": 10_000}
    model = ViGLAD("small", 96, node_scorer={**options, "mirrored": True}).eval()
    model.fit_statistics(images, held_out)
    nodes = model.node_scorer
    across, down = (model.teacher_features(model.normalize(images.flip(dim))) for dim in (3, 2))
    z = [nodes._vectors(view, 2) for view in (across, down)]
    z = (torch.cat(z).flatten(0, 1) - nodes.shift[0]) @ nodes.projection[0]
    found = nodes.reflections[0]
    assert found.shape == z.shape
    assert torch.allclose(found.sort(0).values, z.sort(0).values, atol=1e-3)
    plain = ViGLAD("small", 96, node_scorer=options).eval()
    plain.fit_statistics(images, held_out)
    assert plain.node_scorer.reflections.numel() == 0


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
            Data(img=torch.from_numpy(array).permute(2, 0, 1)[None]),
        )
    ]
    for result in results:
        assert torch.allclose(result.score, results[0].score, atol=1e-2)
    assert fitted.predict([path, array]).score.shape == (2,)
    items = [Data(img=image[None], num_nodes=0) for image in normal_images(3)]
    expected = fitted.predict(normal_images(3)).score
    for several in (items, Batch.from_data_list(items), Subset(items, range(3))):
        assert torch.allclose(fitted.predict(several).score, expected, atol=1e-4)
    pair = Data(img=normal_images(3)[:2])
    for several in (pair, [pair], [pair.img], iter(pair.img), DataLoader(pair.img, 2)):
        assert torch.allclose(fitted.predict(several).score, expected[:2], atol=1e-4)
    sizes = [ImageToGraph(4, 3)(normal_images(1, size=side)[0]) for side in (96, 80)]
    assert fitted.predict(Batch.from_data_list(sizes)).score.shape == (2,)
    with pytest.raises(FileNotFoundError):
        fitted.predict(tmp_path / "none.png")
    assert torch.allclose(fitted(pair.img.double()).score, expected[:2], atol=1e-4)
    with pytest.raises(ValueError, match=r"'batch_size' to be at least 1 \(got 0\)"):
        fitted.predict(pair, batch_size=0)
    with pytest.raises(ValueError, match=r"Expected a path.*got tuple"):  # is the second a label?
        fitted.predict(TensorDataset(pair.img, torch.zeros(2)))


def test_images_are_read_batch_by_batch(fitted):
    """A list of large images takes no more memory than one batch of them."""
    read, alive = [], weakref.WeakSet()

    class Large(Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, number):
            assert len(alive) < 2
            read.append(number)
            alive.add(image := torch.rand(3, 200, 300))
            return image

    seen = []
    hook = fitted.student.register_forward_hook(lambda *_: seen.append(len(read)))
    prediction = fitted.predict(Large(), batch_size=2)
    hook.remove()
    assert seen == [2, 4, 5]
    assert prediction.score.shape == (5,)


def test_no_images():
    none = torch.empty(0, 3, 96, 96)
    model = ViGLAD("small", 96)
    model.fit_statistics(normal_images(4), normal_images(2, seed=1))
    for call in (
        model,
        model.predict,
        model.loss,
        model.graphs,
        model.feature_graphs,
        model.fit_teacher_statistics,
        lambda images: model.fit_statistics(images, normal_images(2)),
        lambda images: model.fit_statistics(normal_images(4), images),
    ):
        for images in (none, Data(img=none)):
            with pytest.raises(ValueError, match=r"Expected at least one .*got none"):
                call(images)


BROKEN = [
    "teacher.conv1.weight",
    "teacher_normalization.std",
    "student.conv4.bias",
    "autoencoder.encoder.0.weight",
    "local_calibration.q_start",
    "gaussian.precision",
    "reconstruction_scale.mean",
    "node_scorer.here",
    "node_scale.std",
]


@pytest.fixture(scope="module")
def unbroken():
    torch.manual_seed(0)
    model = ViGLAD("small", 96, PDN("small", 6), "conv", node_scorer="neighbors")
    model.fit_statistics(normal_images(4), normal_images(3, seed=1))
    return model


@pytest.fixture
def whole(unbroken):
    return copy.deepcopy(unbroken)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_not_finite_is_named(whole, name, tmp_path):
    whole.state_dict()[name].fill_(torch.nan)
    images = normal_images(2)
    message = rf"got nan in '{name}'\)"
    with pytest.raises(ValueError, match=message):
        whole.predict(images)
    assert whole(images).is_anomalous.all()  # does not raise, and says nothing is normal
    if name.startswith(("teacher", "student", "autoencoder")):
        with pytest.raises(ValueError, match=message):
            whole.fit_statistics(normal_images(4), images)
    whole.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"Expected finite weights.*{message}"):
        ViGLAD.from_pretrained(tmp_path)


def test_thresholds_and_statistics_must_be_finite(whole, tmp_path):
    images = normal_images(2)
    for value, message in (
        (torch.inf, "got inf in 'threshold'"),
        (torch.nan, "got nan in 'threshold'"),
    ):
        whole.threshold.fill_(value)
        with pytest.raises(ValueError, match=message):
            whole.predict(images)
        assert whole(images).is_anomalous.all()
        whole.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=message):
            ViGLAD.from_pretrained(tmp_path).predict(images)


def test_a_refit_that_fails_judges_no_image(whole):
    images = normal_images(2)
    with pytest.raises(ValueError, match="at least one validation image"):
        whole.fit_statistics(normal_images(4, seed=5), [])
    with pytest.raises(ValueError, match="got nan in 'threshold'"):
        whole.predict(images)
    whole.fit_statistics(normal_images(4, seed=5), images)
    assert whole.predict(images).score.isfinite().all()


def test_overflow_names_the_network(whole):
    images, broken = normal_images(2), copy.deepcopy(whole)
    for layer in (broken.student.conv3, broken.student.conv4):
        layer.weight.data *= 1e25
    with pytest.raises(ValueError, match=r"got -?(inf|nan) in 'student_first'"):
        broken.predict(images)
    for layer in (whole.teacher.conv3, whole.teacher.conv4):
        layer.weight.data *= 1e4
    assert whole.predict(images).score.isfinite().all()
    with pytest.raises(ValueError, match=r"got -?(inf|nan) in 'teacher'"):
        whole.predict(images, precision="float16")


@pytest.mark.parametrize(
    ("dtype", "autoencoder"), [(torch.bfloat16, "vig"), (torch.float16, "conv")]
)
def test_models_of_half_precision(dtype, autoencoder, tmp_path):
    torch.manual_seed(0)
    train, validation = normal_images(4), normal_images(3, seed=1)
    options = {"node_scorer": {"channels": 10}, "whiten": 9}
    model = ViGLAD("small", 96, PDN("small", 16), autoencoder, **options)
    model.fit_statistics(train, validation)
    images = normal_images(2, seed=2, size=100)
    expected = model.predict(images)
    statistics = {k: v for k, v in model.state_dict().items() if "scale" in k or "gaussian" in k}
    model.to(dtype).save_pretrained(tmp_path)
    assert model.student.conv1.weight.dtype == dtype
    assert all(torch.equal(model.state_dict()[k], v) for k, v in statistics.items())
    loaded = ViGLAD.from_pretrained(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    limit = 0.05 if dtype == torch.float16 else 0.5
    for half in (model, loaded):
        found = half.predict(images)
        assert found.score.dtype == torch.float32
        for name in ("reconstruction_score", "feature_score", "node_score"):
            value = getattr(expected, name)
            assert torch.allclose(getattr(found, name), value, rtol=limit, atol=limit), name
    model.train().fit_statistics(train[:2], validation[:2])
    assert model.predict(images[:1]).score.isfinite().all()
    loss = sum(model.loss(train[:1].to(dtype), train[1:2]).values())
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_modes_are_kept():
    model = ViGLAD("small", 96, PDN("small", 6), "conv")
    images = normal_images(4)
    model.fit_statistics(images, normal_images(2, seed=1))
    assert not any(part.training for part in model.modules())  # ready for use
    model.train().student.eval()
    model.teacher.conv1.train()
    modes = [part.training for part in model.modules()]
    model.student.register_forward_pre_hook(lambda *_: seen.append(model.autoencoder.training))
    for call in (model, model.predict, model.feature_graphs):
        seen = []
        call(images)
        assert seen == [False]
        assert [part.training for part in model.modules()] == modes, call

    def fail(*_):
        raise RuntimeError("out of memory")

    model.autoencoder.register_forward_hook(fail)
    for call in (model, model.predict, lambda images: model.fit_statistics(images, images)):
        with pytest.raises(RuntimeError, match="out of memory"):
            call(images)
        assert [part.training for part in model.modules()] == modes, call


@pytest.mark.parametrize("autoencoder", ["vig", "conv"])
def test_threads_judge_at_once(autoencoder):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, PDN("small", 6), autoencoder)
    model.fit_statistics(normal_images(4), normal_images(2, seed=1))
    image = normal_images(1, seed=2)
    expected = model.predict(image).score
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit((model, model.predict)[number % 2], image) for number in range(12)]
    assert all(torch.equal(call.result().score.detach(), expected) for call in calls)
    assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())
    assert model.autoencoder.training


def test_training_images_that_can_be_read_once_only():
    model = ViGLAD("small", 96, PDN("small", 6), "conv")
    images, held_out = normal_images(4), normal_images(2, seed=1)
    with pytest.raises(ValueError, match=r"read twice \(got a generator\)"):
        model.fit_statistics((part for part in images.split(2)), held_out)
    model.fit_teacher_statistics(part for part in images.split(2))
    model.fit_statistics((part for part in images.split(2)), held_out)
    assert model.fitted


def test_datasets_of_more_than_images():
    model = ViGLAD("small", 96, PDN("small", 6), "conv")
    pairs = TensorDataset(normal_images(2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"batches of images \(got a list\)"):
        model.fit_statistics(pairs, normal_images(2))
    with pytest.raises(ValueError, match=r"batches of images \(got a Data\)"):
        model.fit_statistics([Data(x=torch.zeros(2, 3))], normal_images(2))


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
    for size in (92, 98, (96, 90), 96.0, "96", (96,), None):
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
    with pytest.raises(ValueError, match=r"teacher without padding \(got PDN\(small, 6, padding"):
        ViGLAD("small", 96, PDN("small", 6, padding=True))
    for option in ("losses", "feature", "fusion", "autoencoder", "operator", "graph"):
        with pytest.raises(ValueError, match="Expected"):
            ViGLAD("small", 96, **{option: "other"})
    with pytest.raises(FileNotFoundError, match=r"config.json"):
        ViGLAD.from_pretrained(tmp_path)
    fitted.save_pretrained(tmp_path)
    for text in ("{", "[" * 10**5):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match="Expected JSON"):
            ViGLAD.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="config of a ViGLAD"):
        ViGLAD.from_pretrained(tmp_path)
    fitted.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "size": "medium"}))
    with pytest.raises(ValueError, match=r"weights that fit the config in '.*' \(.*student"):
        ViGLAD.from_pretrained(tmp_path)


def test_teacher_by_instance():
    teacher = PDN("medium", 32)
    model = ViGLAD("small", 96, teacher)
    assert model.student.out_channels == 64
    assert model.autoencoder.out_channels == 32


def test_jitter_is_one_of_three_changes():
    torch.manual_seed(0)
    images = normal_images(1).expand(40, -1, -1, -1)
    changed = _jitter_color(images)
    assert changed.min() >= 0
    assert changed.max() <= 1
    ratios = changed.mean((1, 2, 3)) / images.mean((1, 2, 3))
    assert ratios.min() > 0.79
    assert ratios.max() < 1.21
    # Contrast and saturation keep the mean, brightness does not.
    assert 5 < int(((ratios - 1).abs() > 0.01).sum()) < 25


@pytest.mark.parametrize(
    ("precision", "limit", "autoencoder"), [("float16", 1e-2, "vig"), ("bfloat16", 5e-2, "conv")]
)
def test_half_precision(precision, limit, autoencoder):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, autoencoder=autoencoder, node_scorer={"channels": 10})
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


def test_statistics_of_another_precision(tmp_path):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, node_scorer={"channels": 10})
    train, validation = normal_images(8), normal_images(6, seed=1)
    model.fit_statistics(train, validation)
    assert model.precision == "float32"
    with pytest.raises(ValueError, match="Expected 'precision' among float32"):
        model.fit_statistics(train, validation, precision="half")
    model.fit_statistics(train, validation, precision="bfloat16")
    found = model.predict(validation)
    # Rounding is contained: scores of normal images are as standardised as in float32.
    for score, scale in (
        (found.reconstruction_score, model.reconstruction_scale),
        (found.feature_score, model.feature_scale),
        (found.node_score, model.node_scale),
    ):
        standardized = scale(score)
        assert float(standardized.mean().abs()) < 1e-4
        assert abs(float(standardized.std(correction=0)) - 1) < 1e-4
    with torch.no_grad():
        assert torch.equal(model(validation).score, found.score)
    whole = model.predict(validation, precision="float32").score
    assert not torch.equal(whole, found.score)
    model.save_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path)
    assert loaded.precision == "bfloat16"
    assert torch.equal(loaded.predict(validation).score, found.score)
    edges = loaded.edges(validation)
    graphs = loaded.graphs(validation, blocks=True)
    assert all(torch.equal(graphs[name].edge_index, edges[name]) for name in graphs)
    assert graphs["decoder"].x.dtype == torch.float32

    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "precision": "half"}))
    with pytest.raises(ValueError, match="Expected 'precision' among float32"):
        ViGLAD.from_pretrained(tmp_path)


def test_statistics_are_fitted_without_autocast():
    thresholds = []
    for enabled in (False, True):
        torch.manual_seed(0)
        model = ViGLAD("small", 96, PDN("small", 6), "conv")
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            model.fit_statistics(normal_images(4), normal_images(3, seed=1))
        thresholds.append(float(model.threshold))
    assert thresholds[0] == thresholds[1]


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
    assert torch.allclose(vectors.mean(0), model.gaussian.mean, atol=1e-5)
