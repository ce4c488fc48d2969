"""From cells to their results, each in its folder."""

import platform
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.grid._examples import write_examples
from benchmarks.grid.cell import Cell
from benchmarks.grid.detector import Detector, Scores
from benchmarks.grid.make_detector import make_detector
from benchmarks.grid.measure import measure
from pyg_viglad import __version__
from pyg_viglad.commands._data import Splits, open_data
from pyg_viglad.files import write_json, write_text

__all__ = ["ERROR", "RESULT", "Job", "Outcome", "attempt_cells"]

RESULT = "result.json"
ERROR = "error.txt"

Job = tuple[Cell, Path]


class Outcome(NamedTuple):
    """What became of a cell: ``done``, ``failed`` or ``busy`` (another process has it), and why."""

    state: str
    message: str = ""


def attempt_cells(jobs: list[Job], device: str = "cpu") -> list[Outcome]:
    """Run the cells that are not done, with one fit for all; failures go to ``error.txt``.

    Args:
        jobs: Cells of one ``fit_key``, each with its folder, which is made. Unfinished work lies in
            the first one's.
        device: A torch device.

    Returns:
        What became of each cell.
    """
    with ExitStack() as stack:
        for _, folder in jobs:
            folder.mkdir(parents=True, exist_ok=True)
        # Whoever holds the first folder has the fit.
        claimed = [stack.enter_context(_claim(folder)) for _, folder in jobs]
        if not all(claimed):
            return [Outcome("busy", "another process is at it")] * len(jobs)
        outcomes = []
        fitted = _Fit(jobs[0][1] / "work", device)
        for cell, folder in jobs:
            if (folder / RESULT).is_file():
                outcomes.append(Outcome("done"))
                continue
            try:
                _run_cell(cell, folder, fitted)
            except Exception as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                write_text(folder / ERROR, f"{reason}\n\n{traceback.format_exc()}")
                outcomes.append(Outcome("failed", reason))
                continue
            (folder / ERROR).unlink(missing_ok=True)
            outcomes.append(Outcome("done"))
        if all(outcome.state == "done" for outcome in outcomes):
            shutil.rmtree(jobs[0][1] / "work", ignore_errors=True)
        return outcomes


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


class _Fit:
    """A detector that is fitted when it is first asked for, or the error that it ended in."""

    def __init__(self, work: Path, device: str) -> None:
        self.work = work
        self.device = device
        self.facts: dict[str, Any] = {}
        self.seconds = 0.0
        self._detector: Detector | None = None
        self._validation_maps: Tensor | None = None
        self._error: Exception | None = None

    def detector(self, cell: Cell, splits: Splits) -> Detector:
        """Fit, or raise what fitting raised."""
        if self._error is not None:
            raise self._error
        if self._detector is None:
            model = dict(cell.params["model"])
            height, width = cell.params["image_size"]
            try:
                detector = make_detector(
                    model.pop("type"), (height, width), cell.seed, self.device, **model
                )
                self.work.mkdir(exist_ok=True)
                start = time.perf_counter()
                self.facts = detector.fit(splits.train, splits.validation, self.work)
                self.seconds = time.perf_counter() - start
            except Exception as error:
                self._error = error
                raise
            self._detector = detector
        return self._detector

    def validation_maps(self, cell: Cell, splits: Splits) -> Tensor | None:
        """Score the validation images, once."""
        if self._validation_maps is None:
            self._validation_maps = self.detector(cell, splits).predict(splits.validation).maps
        return self._validation_maps


def _run_cell(cell: Cell, folder: Path, fit: _Fit) -> None:
    """Score the cell's test images, and write scores.csv, examples.npz and result.json.

    ``result.json`` is written last, and whole: where it is, the cell is done.
    """
    params = cell.params
    height, width = params["image_size"]
    options = dict(params["options"])
    if params["reseed"]:
        options["seed"] = cell.seed
    splits = open_data(params["root"], (height, width), options, params["dataset"])
    detector = fit.detector(cell, splits)
    start = time.perf_counter()
    scores = detector.predict(splits.test)
    predicted = time.perf_counter()
    values = measure(scores, splits.test, params["metrics"])
    _write_scores(folder / "scores.csv", scores, splits.test)
    if params["examples"] and scores.maps is not None:
        validation = fit.validation_maps(cell, splits)
        write_examples(folder / "examples.npz", scores, validation, splits.test)
    kinds = list(splits.test.kinds)
    result = {
        "data": cell.data,
        "category": cell.category,
        "model": cell.model,
        "seed": cell.seed,
        "key": cell.key,
        "fit_key": cell.fit_key,
        "metrics": values,
        "facts": fit.facts,
        "seconds": {
            "fit": round(fit.seconds, 3),
            "predict": round(predicted - start, 3),
        },
        "images": {
            "train": len(splits.train),
            "validation": len(splits.validation),
            **{kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        },
        "environment": _environment(fit.device),
        "params": params,
    }
    kept = fit.work / "model"
    if params["model"].get("keep_model") and kept.is_dir():
        shutil.copytree(kept, folder / "model", dirs_exist_ok=True)
    write_json(folder / RESULT, result)


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
