"""From a cell to its result, in its folder."""

import json
import platform
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pyg_viglad import __version__
from pyg_viglad._files import write_json, write_text
from pyg_viglad.benchmark._examples import write_examples
from pyg_viglad.benchmark.cell import Cell
from pyg_viglad.benchmark.detector import Scores
from pyg_viglad.benchmark.make_detector import make_detector
from pyg_viglad.benchmark.measure import measure

__all__ = ["ERROR", "RESULT", "Outcome", "attempt_cell", "run_cell"]

RESULT = "result.json"
ERROR = "error.txt"


class Outcome(NamedTuple):
    """What became of a cell: ``done``, ``failed`` or ``busy`` (another process has it), and why."""

    state: str
    message: str = ""


def attempt_cell(cell: Cell, folder: Path, device: str = "cpu") -> Outcome:
    """Run a cell unless it is done; a failure is written to ``error.txt`` and given back.

    Args:
        cell: The cell.
        folder: Its folder, which is made.
        device: A torch device.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _claim(folder) as claimed:
        if not claimed:
            return Outcome("busy", "another process is at it")
        if (folder / RESULT).is_file():
            return Outcome("done")
        try:
            run_cell(cell, folder, device)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            write_text(folder / ERROR, f"{reason}\n\n{traceback.format_exc()}")
            return Outcome("failed", reason)
        (folder / ERROR).unlink(missing_ok=True)
        return Outcome("done")


@contextmanager
def _claim(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock, which the system lets go of when the process ends in any way."""
    try:
        import fcntl
    except ImportError:  # not on Windows: there one grid at a time
        yield True
        return
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def run_cell(cell: Cell, folder: Path, device: str = "cpu") -> dict[str, Any]:
    """Fit the cell's detector, score the test images, and write scores.csv, examples.npz and result.json.

    ``result.json`` is written last, and whole: where it is, the cell is done.

    Args:
        cell: The cell.
        folder: Its folder, which exists.
        device: A torch device.

    Returns:
        What ``result.json`` holds.
    """
    from pyg_viglad.commands._data import open_data

    params = cell.params
    height, width = params["image_size"]
    options = dict(params["options"])
    if params["reseed"]:
        options["seed"] = cell.seed
    splits = open_data(params["root"], (height, width), options, params["dataset"])
    model = dict(params["model"])
    detector = make_detector(model.pop("type"), (height, width), cell.seed, device, **model)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    start = time.perf_counter()
    facts = detector.fit(splits.train, splits.validation, work)
    fitted = time.perf_counter()
    scores = detector.predict(splits.test)
    predicted = time.perf_counter()
    values = measure(scores, splits.test, params["metrics"])
    _write_scores(folder / "scores.csv", scores, splits.test)
    if params["examples"] and scores.maps is not None:
        validation = detector.predict(splits.validation).maps
        write_examples(folder / "examples.npz", scores, validation, splits.test)
    kinds = list(splits.test.kinds)
    result = {
        "data": cell.data,
        "category": cell.category,
        "model": cell.model,
        "seed": cell.seed,
        "key": cell.key,
        "metrics": values,
        "facts": facts,
        "seconds": {
            "fit": round(fitted - start, 3),
            "predict": round(predicted - fitted, 3),
        },
        "images": {
            "train": len(splits.train),
            "validation": len(splits.validation),
            **{kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        },
        "environment": _environment(device),
        "params": params,
    }
    write_json(folder / RESULT, result)
    if model.get("keep_model") and (work / "model").is_dir():
        shutil.move(str(work / "model"), str(folder / "model"))
    shutil.rmtree(work)
    return json.loads((folder / RESULT).read_text())  # type: ignore[no-any-return]


def _write_scores(path: Path, scores: Scores, dataset: Any) -> None:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "kind", "defect", *scores.images])
    labels = zip(dataset.names, dataset.kinds, dataset.defects, strict=True)
    for place, label in enumerate(labels):
        row = [f"{float(values[place]):.6g}" for values in scores.images.values()]
        writer.writerow([*label, *row])
    write_text(path, text.getvalue())


def _environment(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "pyg_viglad": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device.startswith("cuda"):
        found["device"] = torch.cuda.get_device_name(device)
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        found["node"] = ray.get_runtime_context().get_node_id()
    return found
