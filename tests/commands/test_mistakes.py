"""Mistakes of the user: one clear line each, and nothing left behind."""

import pytest
import torch
from PIL import Image

from pyg_viglad import ViGLAD
from pyg_viglad.cli import main

SMALL = ["--model.size", "small"]
TINY = [*SMALL, "--model.image_size", "96", "--trainer.accelerator", "cpu"]
TINY += ["--trainer.max_steps", "1"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files that are not what they say, around the folder in which commands run."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("here", "empty", "tiny", "broken", "run/checkpoints", "other/checkpoints"):
        (folder / name).mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (1, 1)).save(folder / "tiny" / f"{number}.png")
        Image.new("RGB", (32, 32)).save(folder / "broken" / f"{number}.png")
    for name in ("text.png", "broken/3.png", "run/checkpoints/last.ckpt"):
        (folder / name).write_text("not what it says")
    weights = {f"model.{k}": v for k, v in ViGLAD("medium", 96).named_parameters()}
    torch.save({"state_dict": weights}, folder / "other/checkpoints/last.ckpt")
    model = ViGLAD("small", 96, autoencoder="conv")
    model.fit_statistics(torch.rand(3, 3, 96, 96), torch.rand(2, 3, 96, 96))
    model.save_pretrained(folder / "model")
    return folder


def contents(folder):
    """All files but the configs of runs that began and could not go on."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "config.yaml"]
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "nowhere"], "Expected"),
        (["train", "--model.image_size", "50"], "image_size"),
        (["train", "--model.teacher", "nothing.pth", *SMALL], "Expected a teacher file"),
        (["train", "--model.operator", "magic", *SMALL], "operator"),
        (["train", "--model.graph", "magic", *SMALL], "graph"),
        (["train", "--data_options", '{"alterd": 1}', *SMALL], "data_options"),
        (["train", "--trainer.max_steps", "0"], "max_steps"),
        (["train", "--trainer.max_minutes", "0"], "max_minutes"),
        (["train", *TINY, "--trainer.devices", "0"], "trainer that this machine can run"),
        (["train", *TINY, "--output", "../text.png/run"], "Not a directory"),
        (["train", *TINY, "--data_options", '{"num_val": 0}'], "one validation image"),
        (["train", *TINY, "--data_options", '{"num_test_good": 0}'], "a good image among the test"),
        (["train", *TINY, "--fit.batch_size", "0"], "batch_size"),
        (["train", *SMALL, "--model.k", "0"], "'k' to be at least 1"),
        (["train", "--data", "../empty", *SMALL], "Expected images in"),
        (["train", "--model.teacher", "../text.png", *SMALL], "plain teacher weights"),
        (["train", "--data", "../tiny", *TINY], "tiny/0.png' (got 1 x 1)"),
        (["train", "--data", "../broken", *TINY], "broken/3.png"),
        (["train", "--output", "../run", "--resume", *TINY], "Expected a checkpoint of training"),
        (["train", "--output", "../other", "--resume", *TINY], "made with other options?"),
        (["predict", "--model", "../model", "--images", "../text.png"], "readable image file"),
        (["predict", "--model", "../model", "--images", "../tiny/0.png"], "(got 1 x 1)"),
        (["predict", "--model", "../model", "--images", "nowhere"], "nowhere"),
        (["predict", "--model", "../model", "--images", "x", "--pictures", "-1"], "'pictures'"),
        (["test", "--model", "nowhere"], "Expected a model folder"),
        (["distill", "--images", "nowhere", "--backbone", "nothing"], "timm model"),
        (["distill", "--images", "x", "--image_size", "50"], "image_size"),
    ],
)
def test_mistakes_end_in_one_line(arguments, message, files, monkeypatch, capsys):
    here = files / "here"
    monkeypatch.chdir(here)
    kept = contents(files)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("pyg-viglad: error: ")
    assert message in lines[-1]
    assert contents(files) == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--model.k", "many"], "model.k"),
        (["train", "--model.autoencoder", "cnn"], "'vig', 'conv'"),
        (["train", "--size", "small"], "--size"),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["predict", "--images", "a.png"], "model"),
        (["data", "check", "visa"], "root"),
        (["nothing"], "nothing"),
        ([], "predict"),
    ],
)
def test_options_that_do_not_fit_end_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("pyg-viglad: error: ")
    assert message in line
    assert not list(tmp_path.iterdir())


def test_interrupted(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyg_viglad.commands.run.ViGLAD.from_pretrained", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["test", "--model", "."])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "pyg-viglad: interrupted\n"


def test_resuming_with_other_options_keeps_the_config(files):
    config = files / "other" / "config.yaml"
    config.write_text("model: {size: medium}\n")
    with pytest.raises(SystemExit):
        main(["train", "--output", str(files / "other"), "--resume", *TINY])
    assert config.read_text() == "model: {size: medium}\n"
