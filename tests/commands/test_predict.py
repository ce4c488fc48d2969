"""Scores of many images: written one by one, resumed after an interruption, in constant memory."""

import csv
import os

import pytest
import torch
from filelock import FileLock
from PIL import Image

from benchmarks.faults.many_images import constant_scores, measure_growth
from pyg_viglad import ViGLAD
from pyg_viglad.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of a model and five images, of which one has a line break and a quote in its name."""
    folder = tmp_path_factory.mktemp("many")
    torch.manual_seed(0)
    model = ViGLAD("small", 96, autoencoder="conv")
    model.fit_statistics(torch.rand(4, 3, 96, 96), torch.rand(3, 3, 96, 96))
    model.save_pretrained(folder / "model")
    (folder / "images").mkdir()
    for number, name in enumerate(["a", 'b\n"c', "d, e", "f", "g"]):
        image = Image.new("RGB", (96, 96), (40 * number, 90, 20))
        image.save(folder / "images" / f"{name}.png")
    return folder


def predict(folder, output, *more, images=None):
    arguments = ["predict", "--model", str(folder / "model")]
    arguments += ["--images", str(images or folder / "images")]
    main([*arguments, "--pictures", "0", "--output", str(output), *more])
    return (output / "scores.csv").read_bytes()


@pytest.fixture
def interrupt(monkeypatch):
    """Returns a function that lets Ctrl-C come at the n-th image."""
    judge = ViGLAD.predict

    def at(number):
        left = [number]

        def stop(*args, **options):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            return judge(*args, **options)

        monkeypatch.setattr(ViGLAD, "predict", stop)

    return at


@pytest.mark.parametrize(
    ("number", "cut", "torn"),
    [(1, 0, b"torn"), (2, 3, b""), (3, 0, b""), (3, 0, b'"torn\n'), (3, 0, b'"torn\n", 1')],
)
def test_goes_on_after_the_last_whole_row(folder, tmp_path, interrupt, number, cut, torn):
    whole = predict(folder, tmp_path / "whole")
    assert len(list(csv.reader(whole.decode().splitlines(keepends=True)))) == 6
    output = tmp_path / "part"
    interrupt(number)
    with pytest.raises(SystemExit) as stop:
        predict(folder, output)
    assert stop.value.code == 130
    written = (output / "scores.csv").read_bytes()
    assert whole.startswith(written)
    assert bool(written) == (number > 1)
    assert not (output / "metrics.json").exists()
    (output / "scores.csv").write_bytes(written[: len(written) - cut] + torn)
    interrupt(7 - number + (cut > 0))  # no image with a whole row is judged twice
    assert predict(folder, output, "--resume") == whole
    assert (output / "metrics.json").read_bytes() == (
        tmp_path / "whole" / "metrics.json"
    ).read_bytes()
    assert predict(folder, output, "--resume") == whole  # there is nothing left to do


def test_refuses_what_does_not_fit(folder, tmp_path, interrupt, capsys):
    output = tmp_path / "part"

    def refused(*more, **images):
        with pytest.raises(SystemExit):
            predict(folder, output, "--resume", *more, **images)
        return capsys.readouterr().err

    assert "Expected a run to resume" in refused()
    interrupt(4)
    with pytest.raises(SystemExit):
        predict(folder, output)
    before = (output / "scores.csv").read_bytes()
    assert "Expected the images" in refused(images=folder / "images" / "f.png")
    assert "model and precision" in refused("--precision", "bfloat16")
    other = ViGLAD.from_pretrained(folder / "model")
    other.threshold += 1
    other.save_pretrained(tmp_path / "other")
    assert "model and precision" in refused("--model", str(tmp_path / "other"))
    assert (output / "scores.csv").read_bytes() == before


def test_old_results_go(folder, tmp_path):
    first = predict(folder, tmp_path, "--pictures", "1")
    assert (tmp_path / "anomaly_maps.png").is_file()
    second = predict(folder, tmp_path, images=folder / "images" / "a.png")
    assert second.splitlines() == first.splitlines()[:2]
    assert not (tmp_path / "anomaly_maps.png").exists()


def test_one_run_at_a_time(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pyg_viglad.commands.run._PATIENCE", 0)
    whole = predict(folder, tmp_path)
    with FileLock(tmp_path / "lock"), pytest.raises(SystemExit) as stop:
        predict(folder, tmp_path)
    assert stop.value.code == 1
    assert "locked by another process" in capsys.readouterr().err
    assert predict(folder, tmp_path) == whole


def test_memory_does_not_grow(tmp_path):
    with constant_scores():
        assert measure_growth(tmp_path, 600) < 8


def test_names_that_are_not_utf8(folder, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    images = tmp_path / "images"
    images.mkdir()
    (images / name).write_bytes((folder / "images" / "a.png").read_bytes())
    rows = predict(folder, tmp_path / "out", "--pictures", "1", images=images)
    assert b"caf\\udce9.png" in rows
    assert (tmp_path / "out" / "anomaly_maps.png").is_file()
