"""A grid that is run, interrupted, and run again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.grid import grid_states, read_grid, run_cells, run_grid
from benchmarks.grid.cell import Cell
from benchmarks.grid.run_grid import cell_folder
from tests.benchmarks.grid.grids import MEAN, padim, tiny, write_config


def results(folder):
    return {path.parent.name: path for path in (folder / "cells").glob("*/result.json")}


def file_of(output, cell):
    return cell_folder(output, cell) / "result.json"


def stamps(folder):
    return {name: path.stat().st_mtime_ns for name, path in results(folder).items()}


def test_cells_run_once_and_leave_their_files(tmp_path):
    grid = read_grid(write_config(tmp_path, tiny()))
    seen = []
    run_grid(grid.cells, tmp_path / "out", report=lambda cell, outcome: seen.append(outcome))
    assert [outcome.state for outcome in seen] == ["done"] * 4
    first = stamps(tmp_path / "out")
    assert len(first) == 4
    for cell in grid.cells:
        folder = cell_folder(tmp_path / "out", cell)
        assert folder.name == cell.name
        names = {path.name for path in folder.iterdir()}
        assert names == {"result.json", "scores.csv", "examples.npz", "lock"}
        result = json.loads((folder / "result.json").read_text())
        assert result["images"] == {
            "train": 6,
            "validation": 3,
            "good": 3,
            "logical": 2,
            "structural": 2,
        }
        assert set(result["metrics"]) == {"score", "peak", "map"}
        scores = result["metrics"]["score"]
        assert set(scores["image_auroc"]) == {"logical", "structural", "mean", "pooled"}
        assert set(scores["defect_auroc"]) == {"disorder", "flip", "missing", "novel"}
        assert 0 <= result["metrics"]["map"]["pixel_auroc"]["pooled"] <= 1
        assert len((folder / "scores.csv").read_text().splitlines()) == 8
    run_grid(grid.cells, tmp_path / "out", report=lambda cell, outcome: seen.append(outcome))
    assert len(seen) == 4
    assert stamps(tmp_path / "out") == first


def test_names_in_tables_do_not_make_a_new_cell(tmp_path):
    config = tiny(seeds=[0])
    first = read_grid(write_config(tmp_path, config)).cells
    config["data"]["Other name"] = config["data"].pop("Digits")
    second = read_grid(write_config(tmp_path, config)).cells
    assert [c.key for c in first] == [c.key for c in second]
    run_grid(first[:1], tmp_path / "out")
    assert [s.state for s in grid_states(second, tmp_path / "out")] == ["done", "missing"]
    config["models"]["Mean"]["end"] = "error"
    third = read_grid(write_config(tmp_path, config)).cells
    assert third[0].key != first[0].key
    assert third[1].key == first[1].key


def test_a_cell_is_known_by_the_content_of_its_files(weights, tmp_path):
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    one, two = (
        Cell("d", "c", "m", 0, {"model": {"weights": str(path)}}) for path in (weights, moved)
    )
    assert one.key == two.key
    moved.write_bytes(weights.read_bytes()[:-1] + b"?")
    three = Cell("d", "c", "m", 0, {"model": {"weights": str(moved)}})
    assert three.key != one.key
    for seed, params in ((1, {"weights": str(weights)}), (0, {"weights": str(weights), "k": 3})):
        assert Cell("d", "c", "m", seed, {"model": params}).key != one.key


def test_a_failing_cell_is_isolated_and_tried_again(weights, tmp_path):
    broken = tmp_path / "weights.safetensors"
    broken.write_bytes(b"no weights")
    models = {"PaDiM": padim(broken), "Mean": {"type": MEAN}}
    path = write_config(tmp_path, tiny(models, seeds=[0]))
    cells = read_grid(path).cells
    run_grid(cells, tmp_path / "out")
    states = grid_states(cells, tmp_path / "out")
    assert [s.state for s in states] == ["failed", "done"]
    error = (cell_folder(tmp_path / "out", cells[0]) / "error.txt").read_text()
    assert error.splitlines()[0] == states[0].message != ""
    assert "Traceback" in error
    before = stamps(tmp_path / "out")
    log = []
    run_grid(cells, tmp_path / "out", report=lambda cell, outcome: log.append(cell.model))
    assert log == ["PaDiM"]
    # With weights that can be read it is another cell, as they decide the result.
    broken.write_bytes(weights.read_bytes())
    cells = read_grid(path).cells
    assert [s.state for s in grid_states(cells, tmp_path / "out")] == ["missing", "done"]
    run_grid(cells, tmp_path / "out")
    assert [s.state for s in grid_states(cells, tmp_path / "out")] == ["done", "done"]
    after = stamps(tmp_path / "out")
    assert {name: after[name] for name in before} == before


def test_cells_with_other_test_images_share_a_fit(tmp_path):
    log = tmp_path / "log"
    config = tiny({"Mean": {"type": MEAN, "log": str(log)}})
    severities = {f"{n} altered": {"num_wrong_cells": n} for n in (1, 3, 9)}
    config["data"]["Digits"]["categories"] = {**severities, "other": {"num_train": 5}}
    cells = read_grid(write_config(tmp_path, config)).cells
    assert len(cells) == len({c.key for c in cells}) == 8
    assert len({c.fit_key for c in cells}) == 4
    ended = []
    run_grid(cells, tmp_path / "out", report=lambda cell, outcome: ended.append(cell.name))
    assert log.read_text().split() == ["0", "1", "0", "1"]
    assert sorted(ended) == sorted(c.name for c in cells)
    together = {c.name: json.loads(file_of(tmp_path / "out", c).read_text()) for c in cells}
    assert not list((tmp_path / "out").rglob("work"))
    # One that is missing is made up for alone, and equals what it was with the others.
    lost = cells[2]
    file_of(tmp_path / "out", lost).unlink()
    ended.clear()
    run_grid(cells, tmp_path / "out", report=lambda cell, outcome: ended.append(cell.name))
    assert ended == [lost.name]
    again = json.loads(file_of(tmp_path / "out", lost).read_text())
    assert again["metrics"] == together[lost.name]["metrics"]
    # And each is what it would be by itself.
    for cell in cells[2:4]:
        run_grid([cell], tmp_path / "alone")
        alone = json.loads(file_of(tmp_path / "alone", cell).read_text())
        assert alone["metrics"] == together[cell.name]["metrics"]


def test_a_fit_that_fails_fails_all_its_cells(tmp_path):
    config = tiny({"Mean": {"type": MEAN, "end": "error"}}, seeds=[0])
    config["data"]["Digits"]["categories"] = {
        "one": {"num_wrong_cells": 1},
        "nine": {"num_wrong_cells": 9},
    }
    cells = read_grid(write_config(tmp_path, config)).cells
    run_grid(cells, tmp_path / "out")
    states = grid_states(cells, tmp_path / "out")
    assert [(s.state, s.message) for s in states] == [("failed", "Expected another end")] * 2


def test_an_error_goes_when_the_cell_is_done(tmp_path):
    cells = read_grid(write_config(tmp_path, tiny(seeds=[0]))).cells
    folder = cell_folder(tmp_path / "out", cells[0])
    folder.mkdir(parents=True)
    (folder / "error.txt").write_text("out of memory\n")
    assert grid_states(cells, tmp_path / "out")[0].message == "out of memory"
    run_grid(cells, tmp_path / "out")
    assert not (folder / "error.txt").exists()


def test_only_one_process_has_a_cell(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    grid = read_grid(write_config(tmp_path, tiny(seeds=[0])))
    folder = tmp_path / "cell"
    folder.mkdir()
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run_cells([(grid.cells[0], folder)])[0].state == "busy"
    assert not (folder / "result.json").exists()
    assert run_cells([(grid.cells[0], folder)])[0].state == "done"


def test_killed_in_the_middle_and_started_again(tmp_path):
    log = tmp_path / "log"
    models = {"Mean": {"type": MEAN, "log": str(log), "wait": 0.5}}
    path = write_config(tmp_path, tiny(models, seeds=list(range(4))))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "benchmarks.grid", str(path), "--output", str(out)]
    command += ["--device", "cpu", "--workers", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    deadline = time.monotonic() + 600
    while not results(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)  # with its workers, in the middle of their cells
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    kept = stamps(out)
    assert 1 <= len(kept) <= 3
    cells = read_grid(path).cells
    run_grid(cells, out)
    assert [s.state for s in grid_states(cells, out)] == ["done"] * 4
    after = stamps(out)
    assert len(after) == 4
    assert {name: after[name] for name in kept} == kept
    fits = log.read_text().split()
    finished = {str(cell.seed) for cell in cells if cell.name in kept}
    assert all(fits.count(seed) == 1 for seed in finished)
    assert set(fits) == {str(seed) for seed in range(4)}
    assert len(fits) <= 4 + 2  # the workers were at two more


def test_a_process_that_dies_costs_one_cell(tmp_path):
    models = {"Deadly": {"type": MEAN, "end": "death"}, "Mean": {"type": MEAN}}
    deadly, _, *good = read_grid(write_config(tmp_path, tiny(models))).cells
    cells = [deadly, *good]
    seen = []
    run_grid(
        cells,
        tmp_path / "out",
        workers=2,
        threads=1,
        report=lambda cell, outcome: seen.append((cell.model, cell.seed, outcome.state)),
    )
    assert sorted(seen) == [
        ("Deadly", 0, "failed"),
        ("Mean", 0, "done"),
        ("Mean", 1, "done"),
    ]
    assert grid_states(cells, tmp_path / "out")[0].message == "the process died (exit code 9)"
    for path in results(tmp_path / "out").values():
        assert json.loads(path.read_text())["environment"]["threads"] == 1


def test_workers_and_threads_are_checked(tmp_path):
    with pytest.raises(ValueError, match="'workers' and 'threads'"):
        run_grid([], tmp_path, workers=0)
