"""The commands, run as a user runs them, on little data."""

import csv
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.image import imread
from PIL import Image
from torch_geometric.nn import GATConv

from pyg_viglad import ViGLAD
from pyg_viglad.cli import _COMMANDS, CommandParser, main
from pyg_viglad.commands import predict, train
from pyg_viglad.datasets import DigitAnatomy
from pyg_viglad.models import load_teacher, save_teacher
from pyg_viglad.nn import WindowKNN, register_operator
from pyg_viglad.training import PenaltyImages, make_trainer
from pyg_viglad.visualization import plot_score_histogram, save_figure
from tests.datasets.trees.full import write_full

FEW = '{"num_train": 8, "num_val": 4, "num_test_good": 3, "num_test_anomalous": 4}'
SMALL = ["--model.size", "small", "--model.image_size", "96", "--fit.batch_size", "2"]
SMALL += ["--trainer.accelerator", "cpu", "--trainer.max_steps"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained model, by the command line."""
    folder = tmp_path_factory.mktemp("run") / "train"
    arguments = ["train", "--output", str(folder), "--data_options", FEW, *SMALL, "2"]
    main([*arguments, "--trainer.checkpoint_every", "1", "--model.node_scorer", "gaussian"])
    return folder


def test_train_leaves_everything(run):
    names = {path.name for path in run.iterdir()}
    assert {"config.yaml", "metrics.json", "scores.csv", "model", "checkpoints"} <= names
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["iterations"] == 2
    assert metrics["images"] == {"good": 3, "logical": 2, "structural": 2}
    assert set(metrics["image_auroc"]) == {
        "score",
        "paper_score",
        "reconstruction_score",
        "feature_score",
        "node_score",
    }
    assert metrics["seed"] == 0
    rows = list(csv.DictReader((run / "scores.csv").open()))
    assert len(rows) == 7
    assert [row["kind"] for row in rows].count("logical") == 2
    assert all(np.isfinite(float(row["score"])) for row in rows)
    for name in ("node_graphs.png", "anomaly_maps.png", "scores.png"):
        assert imread(run / name).std() > 0.05
    card = (run / "model" / "README.md").read_text()
    value = metrics["image_auroc"]["score"]["logical"]
    assert f"| scores | image AUROC in per cent: logical {100 * value:.1f}, " in card
    assert "images of digits |" in card
    assert "| teacher | the shipped one (MIT), distilled from MobileNet-V1 (Apache-2.0) |" in card
    assert f"| threshold | {metrics['threshold']:.4g} |" in card
    assert not list(run.rglob("*.part"))


def test_graph_blocks_in_teacher_and_student(tmp_path):
    """Figure 4's GPDN-AE, from a teacher file."""
    from pyg_viglad import ViGLAD
    from pyg_viglad.models import GPDN, save_teacher

    teacher, folder = tmp_path / "teacher.safetensors", tmp_path / "run"
    save_teacher(GPDN("small", 16), teacher, {})
    arguments = ["train", "--output", str(folder), "--data_options", FEW, *SMALL, "1"]
    arguments += ["--model.autoencoder", "conv", "--model.student", "gpdn"]
    main([*arguments, "--model.teacher", str(teacher)])
    model = ViGLAD.from_pretrained(folder / "model")
    assert {type(model.teacher), type(model.student)} == {GPDN}
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["student"] == "gpdn"


def test_backbone_as_teacher(tmp_path):
    """Its weights are in the saved model: the file may go. The teacher's features are cached."""
    import timm
    import torch

    from pyg_viglad import ViGLAD

    weights, folder = tmp_path / "backbone.pth", tmp_path / "run"
    torch.save(timm.create_model("test_efficientnet").state_dict(), weights)
    arguments = ["train", "--output", str(folder), "--data_options", FEW, *SMALL, "1"]
    arguments += ["--model.autoencoder", "conv", "--model.teacher", "timm:test_efficientnet"]
    arguments += ["--model.teacher_weights", str(weights), "--model.teacher_kwargs.scale", "1"]
    main([*arguments, "--fit.cache_teacher", "true", "--trainer.precision", "bf16-mixed"])
    weights.unlink()
    model = ViGLAD.from_pretrained(folder / "model")
    assert str(model.teacher) == "BackboneTeacher(test_efficientnet, strides 8 and 16, scale 1)"
    options = yaml.safe_load((folder / "config.yaml").read_text())["model"]
    assert options["teacher"] == "timm:test_efficientnet"
    assert options["teacher_weights"] == str(weights)


def test_operators_with_arguments(tmp_path, monkeypatch):
    monkeypatch.setattr("pyg_viglad.nn.operators._REGISTERED", {})
    register_operator("my_conv")(lambda i, o, **kwargs: GATConv(i, o, **kwargs))
    model = {"size": "small", "image_size": 96, "operator": "my_conv"}
    model["operator_kwargs"] = {"edge_dim": 2, "edge_features": ["position"]}
    (tmp_path / "options.yaml").write_text(yaml.safe_dump({"model": model}))
    parser = CommandParser()
    parser.add_commands({"train": train})
    as_yaml = ["train", "--config", str(tmp_path / "options.yaml")]
    as_options = ["train", *SMALL[:4], "--model.operator", "my_conv", "--model.operator_kwargs"]
    for arguments in (as_yaml, [*as_options, json.dumps(model["operator_kwargs"])]):
        detector = ViGLAD(**parser.parse_args(arguments).as_dict()["train"]["model"])
        conv = detector.autoencoder.encoder[0][0].conv
        assert (type(conv.conv), conv.edge_features) == (GATConv, ("position",))


def test_graphs_with_arguments(tmp_path):
    model = {"size": "small", "image_size": 96, "graph": "window", "graph_kwargs": {"size": 5}}
    (tmp_path / "options.yaml").write_text(yaml.safe_dump({"model": model}))
    parser = CommandParser()
    parser.add_commands({"train": train})
    as_yaml = ["train", "--config", str(tmp_path / "options.yaml")]
    as_options = ["train", *SMALL[:4], "--model.graph", "window", "--model.graph_kwargs"]
    for arguments in (as_yaml, [*as_options, '{"size": 5}']):
        detector = ViGLAD(**parser.parse_args(arguments).as_dict()["train"]["model"])
        assert detector.autoencoder.encoder[0][1].graph == WindowKNN(12, size=5, number=1)


def test_train_and_draw_on_irregular_graphs(tmp_path):
    folder = tmp_path / "run"
    arguments = ["train", "--output", str(folder), "--data_options", FEW, *SMALL, "1"]
    main([*arguments, "--model.graph", "adaptive"])
    config = json.loads((folder / "model" / "config.json").read_text())
    assert config["graph"] == "adaptive"
    picture = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)).save(picture)
    output = tmp_path / "graph"
    extras = ["--html", "true", "--graphml", "true", "--json", "true"]
    main(
        ["graph", str(picture), "--model", str(folder / "model"), "--output", str(output), *extras]
    )
    assert {"node_graphs.png", "viewer.html", "node_scores.csv", "input.graphml"} <= {
        path.name for path in output.iterdir()
    }


def test_resolved_config_runs_again(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["size"] == "small"
    assert config["model"]["k"] == 12
    assert config["fit"]["lr"] == 1e-4
    again = tmp_path / "again"
    main(["train", "--config", str(run / "config.yaml"), "--output", str(again)])
    options = yaml.safe_load((again / "config.yaml").read_text())
    assert {**options, "output": str(run)} == config
    first, second = (
        json.loads((folder / "metrics.json").read_text())["image_auroc"] for folder in (run, again)
    )
    assert first == second


def test_test_command_gives_the_same_scores(run, tmp_path):
    output = str(tmp_path / "test")
    main(["test", "--model", str(run / "model"), "--data_options", FEW, "--output", output])
    assert (tmp_path / "test" / "scores.csv").read_text() == (run / "scores.csv").read_text()


def test_predict_files_and_folders(run, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (50, 60, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    arguments = ["predict", "--model", str(run / "model")]
    arguments += ["--images", str(folder), str(folder / "0.png")]
    main([*arguments, "--output", str(tmp_path / "out")])
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert [row["name"] for row in rows] == [str(folder / n) for n in ("0.png", "1.png", "0.png")]
    assert rows[0]["score"] == rows[2]["score"]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["images"] == 3
    assert (tmp_path / "out" / "node_graphs.png").is_file()
    main([*arguments, "--output", str(tmp_path / "half"), "--precision", "bfloat16"])
    half = list(csv.DictReader((tmp_path / "half" / "scores.csv").open()))
    assert [row["name"] for row in half] == [row["name"] for row in rows]
    assert [row["score"] for row in half] != [row["score"] for row in rows]


def test_home_folder_and_images_given_twice(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(run)
    for name in "ab":
        Image.new("RGB", (96, 96), "gray").save(tmp_path / f"{name}.png")
    (tmp_path / "own.yaml").write_text(
        "model: ~/run\nimages: [~/a.png]\noutput: ~/first\npictures: 0\n"
    )
    main(["predict", "--config", "~/own.yaml"])
    main(
        [
            "predict",
            "--config",
            "own.yaml",
            "--images=~/b.png",
            "--images=~/a.png",
            "--output=~/last",
        ]
    )
    found = [
        [Path(row["name"]).name for row in csv.DictReader((tmp_path / run / "scores.csv").open())]
        for run in ("first", "last")
    ]
    assert found == [["a.png"], ["b.png", "a.png"]]
    assert not (tmp_path / "~").exists()


def test_home_folder_from_python(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(run)
    Image.new("RGB", (96, 96), "gray").save(tmp_path / "a.png")
    model = ViGLAD.from_pretrained("~/run/model")
    model.predict("~/a.png")
    model.save_pretrained("~/saved")
    save_teacher(model.teacher, "~/teacher.safetensors", {})
    load_teacher("~/teacher.safetensors")
    save_figure(plot_score_histogram([0.1, 4.0], ["good", "logical"]), "~/scores")
    make_trainer("~/trainer", 1)
    assert len(PenaltyImages("~/run", 96).sources) > 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"saved", "teacher.safetensors", "teacher.json", "scores.png", "scores.pdf"}
    assert "~" not in names


def test_predict_keeps_the_maps_of_drawn_images_alone(run, tmp_path, monkeypatch):
    images = [str(tmp_path / f"{number}.png") for number in range(3)]
    for number, image in enumerate(images):
        pixels = np.random.default_rng(number).integers(0, 255, (50, 60, 3), np.uint8)
        Image.fromarray(pixels).save(image)
    drawn = []
    monkeypatch.setitem(predict.__globals__, "plot_images", lambda *given: drawn.extend(given))
    arguments = [
        "predict",
        "--model",
        str(run),
        "--output",
        str(tmp_path / "out"),
        "--pictures",
        "1",
    ]
    main([*arguments, "--images", *images])
    _, _, pixels, prediction, titles = drawn
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    highest = max(rows, key=lambda row: float(row["score"]))
    assert [highest["name"]] == [str(tmp_path / title) for title in titles]
    assert float(prediction.score) == pytest.approx(float(highest["score"]), rel=1e-4)
    assert prediction.anomaly_map.shape == pixels[:, 0].shape == (1, 96, 96)


def test_train_on_own_images(tmp_path):
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 50), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    arguments = ["train", "--data", str(tmp_path), "--output", str(tmp_path / "run"), *SMALL, "1"]
    main([*arguments, "--model.autoencoder", "conv"])
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_demo(tmp_path, monkeypatch, capsys):
    sizes = {"num_train": 90, "num_val": 20, "num_test_good": 30, "num_test_anomalous": 40}
    few = functools.partial(DigitAnatomy, **sizes)  # minutes with as many images as the user gets
    monkeypatch.setattr("pyg_viglad.datasets.DigitAnatomy", few)
    main(["demo", "--output", str(tmp_path), "--iterations", "1"])
    shown = capsys.readouterr().out
    assert "mean image, pixel distance" in shown
    assert "A, the paper's score" in shown
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["images"] == {"good": 30, "logical": 20, "structural": 20}
    baseline = metrics["image_auroc"]["mean image, pixel distance"]["mean"]
    # Nodes' Gaussians need no training: even one step must beat the mean image.
    assert metrics["image_auroc"]["node_score"]["mean"] > baseline + 0.05
    assert (tmp_path / "node_graphs.png").is_file()
    assert f"graph {tmp_path / 'images' / 'disorder.png'}" in shown
    assert imread(tmp_path / "images" / "missing.png").shape[:2] == (128, 128)


@pytest.mark.parametrize("network", ["pdn", "gpdn"])
def test_distill(tmp_path, network):
    """A teacher from a real timm backbone, with weights from a file, twice: straight and resumed."""
    import timm
    import torch

    from pyg_viglad.models import load_teacher

    images = tmp_path / "images"
    images.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (140, 150, 3), np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.jpg")
    weights = tmp_path / "backbone.pth"
    torch.save(timm.create_model("mobilenetv3_small_050", pretrained=False).state_dict(), weights)
    arguments = ["distill", "--images", str(images), "--output", str(tmp_path / "teacher")]
    arguments += ["--backbone", "mobilenetv3_small_050", "--backbone_weights", str(weights)]
    arguments += ["--image_size", "64", "--batch_size", "2", "--trainer.checkpoint_every", "1"]
    arguments += ["--network", network, "--min_scale", "0.5"]
    main([*arguments, "--trainer.max_steps", "2"])
    main([*arguments, "--trainer.max_steps", "3", "--resume", "true", "--decay", "0.5"])
    teacher = load_teacher(tmp_path / "teacher" / "teacher.safetensors")
    assert str(teacher).startswith(f"{network.upper()}(small, 384")
    card = json.loads((tmp_path / "teacher" / "teacher.json").read_text())
    assert card["steps"] == 3
    assert card["seed"] == 0
    assert card["architecture"].startswith(network.upper())
    assert str(tmp_path) not in json.dumps(card)


def test_data_compare_takes_its_arguments_by_place(tmp_path, capsys):
    write_full(tmp_path, "cad_sd")
    main(["data", "compare", "cad_sd", str(tmp_path)])
    assert "as expected" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["data", "compare", "visa", str(tmp_path)])
    assert "pyg-viglad: error: Expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        [name, *part]
        for name, command in _COMMANDS.items()
        for part in ([[key] for key in command] if isinstance(command, dict) else [[]])
    ],
    ids=" ".join,
)
def test_help_of_every_command(command, capsys, recwarn):
    with pytest.raises(SystemExit) as end:
        main([*command, "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr()
    assert "--config" in shown.out
    assert "<pyg_viglad" not in shown.out  # targets of links
    assert shown.err == ""
    assert not recwarn.list
