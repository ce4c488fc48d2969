"""Training that was killed ends as training that ran through."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pyg_viglad.cli import main

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


@pytest.mark.parametrize("more", [[], ["--model.losses", "paper"]])
def test_killed_and_resumed_is_the_same(tmp_path, more):
    """Killed for good (no chance to clean up), in the second of three rounds through the images."""
    whole = train(tmp_path / "whole", 8, *more)
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "pyg_viglad", *ARGUMENTS, "--trainer.max_steps", "8", *more]
    root = Path(__file__).parents[2]
    process = subprocess.Popen([*command, "--output", str(killed)], cwd=root)
    wait_for(killed / "checkpoints" / "last.ckpt", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "model").exists()
    assert not list(killed.glob("*.part"))
    assert same(train(killed, 8, "--resume", "true", *more), whole)


def test_more_steps_than_asked_for_at_first(tmp_path):
    """The items go on where they were; only the drop of the learning rate is the new schedule's."""
    train(tmp_path / "part", 2, *CONV)
    train(tmp_path / "part", 6, *CONV, "--resume", "true")
    metrics = json.loads((tmp_path / "part" / "metrics.json").read_text())
    assert metrics["iterations"] == 6


def test_loading_processes_change_nothing(tmp_path):
    alone = train(tmp_path / "alone", 2, *CONV)
    assert same(train(tmp_path / "workers", 2, *CONV, "--fit.num_workers", "2"), alone)
    assert not same(train(tmp_path / "other", 2, *CONV, "--seed", "1"), alone)


def test_nothing_to_resume(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train(tmp_path / "none", 2, "--resume", "true")
    assert "Expected a checkpoint to resume from" in capsys.readouterr().err
