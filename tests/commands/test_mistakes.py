"""Mistakes of the user: one clear line each, and nothing left behind."""

import os

import pytest
import torch
from PIL import Image

from pyg_viglad import ViGLAD
from pyg_viglad.cli import CommandParser, main
from pyg_viglad.commands import train
from pyg_viglad.training import make_trainer

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
    for name in ("text.png", "text.npz", "broken/3.png", "run/checkpoints/last.ckpt"):
        (folder / name).write_text("not what it says")
    weights = {f"model.{k}": v for k, v in ViGLAD("medium", 96).named_parameters()}
    torch.save({"state_dict": weights}, folder / "other/checkpoints/last.ckpt")
    model = ViGLAD("small", 96, autoencoder="conv")
    model.fit_statistics(torch.rand(3, 3, 96, 96), torch.rand(2, 3, 96, 96))
    model.save_pretrained(folder / "model")
    (folder / "trained").mkdir()
    (folder / "trained" / "config.yaml").write_text("# pyg-viglad train --config config.yaml\n")
    model.student.conv1.weight.data.fill_(torch.nan)
    model.save_pretrained(folder / "nan")
    return folder


def contents(folder):
    """All files but those of runs that began and could not go on."""
    began = {"config.yaml", "lock", "model.sha256", "scores.csv"}
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in began]
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
        (["train", *TINY, "--trainer.devices", "foo"], "trainer that this machine can run"),
        (["train", *TINY, "--trainer.devices", "-1"], "trainer that this machine can run"),
        (["train", *TINY, "--trainer.accelerator", "tpu"], "torch_xla"),
        (["train", *TINY, "--trainer.precision", "8"], "Precision '8' is invalid"),
        (["train", *TINY, "--trainer.checkpoint_every=-5"], "'checkpoint_every' to be at least 1"),
        (["train", *TINY, "--trainer.max_minutes", "-1"], "'max_minutes' above 0"),
        (["train", *TINY, "--data_options", '{"image_size": 3}'], "other than 'image_size'"),
        (["train", *TINY, "--data", "../text.npz"], "Expected an .npz archive"),
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
        (["train", "--penalty", "../broken", *TINY], "broken/3.png"),
        (["distill", "--images", "../broken"], "broken/3.png"),
        (["predict", "--model", "../model", "--images", "../text.png"], "readable image file"),
        (["predict", "--model", "../model", "--images", "../tiny/0.png"], "(got 1 x 1)"),
        (["predict", "--model", "../model", "--images", "nowhere"], "nowhere"),
        (
            ["predict", "--model", "../model", "--images", "x", "--device", "meta"],
            "a device of this",
        ),
        (["predict", "--model", "../model", "--images", "x", "--pictures", "-1"], "'pictures'"),
        (["predict", "--model", "../nan", "--images", "x"], "got nan in 'student.conv1.weight'"),
        (["test", "--model", "nowhere"], "Expected a model folder"),
        (["distill", "--images", "nowhere"], "Expected a folder of images"),
        (["distill", "--images", "../tiny", "--backbone", "nothing"], "timm model"),
        (
            ["distill", "--images", "../tiny", "--backbone", "resnet18.none"],
            "'resnet18.none' (Invalid",
        ),
        (
            ["data", "check", "../tiny", "--dataset", "mvtec_loco"],
            "'data_options' that fit the data",
        ),
        (["test", "--model", "../model", "--output", "../trained"], "with a run of 'train'"),
        (["distill", "--images", "x", "--decay", "7"], "'decay' in [0, 1]"),
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
        (["predict", "--model", "", "--images", "a.png"], "a value of 'model'"),
        (["predict", "--model", "a", "--images", ""], "a value of 'images'"),
        (["nothing"], "nothing"),
        (["trian", "--data", "data"], "trian"),
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"trainer: 5", "Expected options in 'trainer' (got 5)"),
        (b"data: null", "Expected a value of 'data' (got None)"),
        (b"model: {k: null}", "Expected a value of 'model.k'"),
        (b"model: [small", "Problems parsing config"),
        (b"- model", "Unexpected config"),
        (b"model: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        (b"model: " + 3000 * b"[" + 3000 * b"]", "recursion"),
        (b"\xff\xfe\x00", "Expected a file of options in UTF-8"),
    ],
)
def test_files_of_options_that_do_not_fit_end_in_one_line(text, message, tmp_path, capsys):
    (tmp_path / "options.yaml").write_bytes(text)
    with pytest.raises(SystemExit) as stop:
        main(["train", "--config", str(tmp_path / "options.yaml")])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("pyg-viglad: error: ")
    assert message in line


def test_files_of_options_before_the_command_and_of_single_values(files, tmp_path, monkeypatch):
    monkeypatch.chdir(files)
    Image.new("RGB", (96, 96), "gray").save(tmp_path / "one.png")
    text = f"model: model\nimages: {tmp_path}/one.png\npictures: 0\noutput: {tmp_path}/out\n"
    (tmp_path / "options.yaml").write_text(text)
    main(["--config", str(tmp_path / "options.yaml"), "predict"])
    assert "one.png" in (tmp_path / "out" / "scores.csv").read_text()
    text = "data: nowhere\ntrainer: {devices: 1, precision: 32, accelerator: cpu}\n"
    (tmp_path / "options.yaml").write_text(text)
    options = CommandParser()
    options.add_commands({"train": train})
    given = options.parse_args(["train", "--config", str(tmp_path / "options.yaml")]).train
    assert make_trainer(tmp_path, **given.trainer.as_dict()).precision == "32-true"


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("alloc_cpu: can't allocate memory: you tried 9 bytes")]
)
def test_no_memory(error, monkeypatch, capsys):
    def full(*_, **__):
        raise error

    monkeypatch.setattr("pyg_viglad.commands.run.ViGLAD.from_pretrained", full)
    with pytest.raises(SystemExit) as stop:
        main(["test", "--model", "."])
    assert stop.value.code == 1
    assert "error: Expected smaller images or batches: out of memory" in capsys.readouterr().err


def test_an_error_of_a_loading_process_is_one_line(monkeypatch, capsys):
    """As torch reports it: the whole traceback of the other process in the message."""

    class Broken(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, place):
            raise ValueError("Expected a readable image file (got 'x.png')")

    def load(*_, **__):
        list(torch.utils.data.DataLoader(Broken(), num_workers=1))

    monkeypatch.setattr("pyg_viglad.commands.run.ViGLAD.from_pretrained", load)
    with pytest.raises(SystemExit):
        main(["test", "--model", "."])
    expected = "pyg-viglad: error: Expected a readable image file (got 'x.png')\n"
    assert capsys.readouterr().err == expected


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


def test_all_that_can_be_read_is_read_before_the_first_step(tmp_path, monkeypatch, capsys):
    for folder in ("train", "val", "test/good", "test/bad"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (40, 40), (80, 80, 70 * number)).save(
                tmp_path / folder / f"{number}.png"
            )
    (tmp_path / "test/good/1.png").write_bytes(b"")
    (tmp_path / "val/2.png").write_text("no image")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["train", "--data", ".", "--output", "run", *TINY])
    assert stop.value.code == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "val/2.png" in line
    assert line.endswith("(and 1 more: 'pyg-viglad data check' with the same options lists all)")
    assert not (tmp_path / "run").exists()


def test_names_that_are_not_utf_8(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"a\xff.png")
    Image.new("RGB", (96, 96), "gray").save(name)
    for pictures in ("1", "0"):
        main(["predict", "--model", str(files / "model"), "--images", name, "--pictures", pictures])
        folder = tmp_path / "runs" / "predict"
        assert "\na\\udcff.png," in (folder / "scores.csv").read_text(encoding="utf-8")
        # Pictures of an earlier run go.
        assert (folder / "anomaly_maps.png").exists() == (pictures == "1")
