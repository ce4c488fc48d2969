"""Training that was killed ends as training that ran through."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from pyg_viglad.cli import main
from pyg_viglad.training import ViGLADModule

ARGUMENTS = ["train", "--model.size", "small", "--model.image_size", "96"]
ARGUMENTS += ["--trainer.accelerator", "cpu", "--trainer.checkpoint_every", "2"]
ARGUMENTS += ["--fit.batch_size", "2", "--model.losses", "efficientad", "--data_options"]
ARGUMENTS += ['{"num_train": 5, "num_val": 3, "num_test_good": 2, "num_test_anomalous": 4}']
CONV = ["--model.autoencoder", "conv"]  # with its dropout


def train(folder, steps, *more):
    main([*ARGUMENTS, "--trainer.max_steps", str(steps), "--output", str(folder), *more])
    return load_file(folder / "model" / "model.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def wait_for(path, process, seconds=240):
    end = time.monotonic() + seconds
    while not path.is_file():
        assert process.poll() is None, "training ended before its first checkpoint"
        assert time.monotonic() < end
        time.sleep(0.05)


def test_killed_and_resumed_is_the_same(tmp_path):
    """Killed for good (no chance to clean up), in the second of three rounds through the images."""
    whole = train(tmp_path / "whole", 8)
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "pyg_viglad", *ARGUMENTS, "--trainer.max_steps", "8"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen([*command, "--output", str(killed)], cwd=root)
    wait_for(killed / "checkpoints" / "last.ckpt", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "model").exists()
    assert not list(killed.glob("*.part"))
    assert same(train(killed, 8, "--resume", "true"), whole)


def test_seed_and_loading_processes_reach_the_training(tmp_path, monkeypatch):
    models, given = [], []

    def fit(model, *_, **options):
        models.append(dict(model.named_parameters()))
        given.append((options["seed"], options["num_workers"]))
        raise KeyboardInterrupt

    monkeypatch.setattr("pyg_viglad.training.fit", fit)
    for more in ([], [], ["--seed", "1", "--fit.num_workers", "2"]):
        with pytest.raises(SystemExit):
            train(tmp_path, 2, *CONV, *more)
    assert given == [(0, 0), (0, 0), (1, 2)]
    assert same(models[1], models[0])
    assert not same(models[2], models[0])


def test_nothing_to_resume(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train(tmp_path / "none", 2, "--resume", "true")
    assert "Expected a checkpoint to resume from" in capsys.readouterr().err


def interrupted(place, folder, steps, *more):
    """Trains with Ctrl-C in a method of ViGLAD; returns the exit code."""

    def stop(*_):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"pyg_viglad.ViGLAD.{place}", stop)
        with pytest.raises(SystemExit) as end:
            train(folder, steps, *CONV, "--trainer.checkpoint_every", "100", *more)
    return end.value.code


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of a training that ran through."""
    return train(tmp_path_factory.mktemp("whole"), 3, *CONV)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_and_resumed_is_the_same(tmp_path, monkeypatch, capsys, whole, number, code):
    before, step = signal.getsignal(signal.SIGINT), ViGLADModule.training_step

    def in_the_second_step(self, batch):
        if self.global_step == 1:
            os.kill(os.getpid(), number)
        return step(self, batch)

    monkeypatch.setattr(ViGLADModule, "training_step", in_the_second_step)
    with pytest.raises(SystemExit) as stop:
        train(tmp_path, 3, *CONV, "--trainer.checkpoint_every", "100")
    assert stop.value.code == code
    assert signal.getsignal(signal.SIGINT) is before
    if number == signal.SIGINT:
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("pyg-viglad: interrupted after step 2, kept in '")
    assert not (tmp_path / "model").exists()
    assert same(train(tmp_path, 3, *CONV, "--resume"), whole)
    assert "resume" not in yaml.safe_load((tmp_path / "config.yaml").read_text())


@pytest.mark.parametrize(
    ("place", "checkpoints"), [("teacher_outputs", False), ("fit_statistics", True)]
)
def test_interrupted_before_or_after_the_steps(tmp_path, whole, place, checkpoints):
    assert interrupted(place, tmp_path, 3) == 130
    assert (tmp_path / "checkpoints").is_dir() == checkpoints
    assert same(train(tmp_path, 3, *CONV, "--resume"), whole)


def test_the_rate_drops_by_the_new_number_of_steps(tmp_path, monkeypatch):
    rates, step = [], ViGLADModule.training_step

    def spy(self, batch):
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return step(self, batch)

    monkeypatch.setattr(ViGLADModule, "training_step", spy)
    train(tmp_path, 2, *CONV)
    assert rates == pytest.approx([1e-4, 1e-5])
    train(tmp_path, 6, *CONV, "--resume")
    assert rates[2:] == pytest.approx([1e-4, 1e-4, 1e-4, 1e-5])
    assert json.loads((tmp_path / "metrics.json").read_text())["iterations"] == 6


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of a training that was interrupted."""
    folder = tmp_path_factory.mktemp("begun")
    interrupted("teacher_outputs", folder, 2)
    return folder


@pytest.mark.parametrize(
    ("option", "value", "before"),
    [
        ("seed", "9", "0"),
        ("fit.lr", "0.05", "0.0001"),
        ("trainer.precision", "bf16-mixed", "'32-true'"),
        ("model.k", "9", "12"),
        ("penalty", "photographs", "None"),
        ("data_options", '{"num_train": 6}', "{'num_train': 5,"),
    ],
)
def test_options_that_would_change_the_result_are_refused(
    begun, tmp_path, monkeypatch, capsys, option, value, before
):
    (tmp_path / "photographs").mkdir()
    Image.new("RGB", (99, 99)).save(tmp_path / "photographs" / "a.png")
    monkeypatch.chdir(tmp_path)
    config = (begun / "config.yaml").read_text()
    with pytest.raises(SystemExit) as end:
        train(begun, 4, *CONV, "--resume", f"--{option}", value)
    assert end.value.code == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"Expected '{option}' as in '" in line
    assert before in line
    assert (begun / "config.yaml").read_text() == config


def test_a_new_training_forgets_the_checkpoint_of_another(tmp_path):
    """Or --resume would go on from it with the options of the new one."""
    train(tmp_path, 2, *CONV)
    assert interrupted("teacher_outputs", tmp_path, 2, "--seed", "1") == 130
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()
