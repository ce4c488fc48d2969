"""From a cell to its result in a folder."""

import platform
import shutil
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from filelock import FileLock, Timeout

from benchmarks.grid.cell import Cell
from benchmarks.grid.detector import Detector, Scores, make_detector
from benchmarks.grid.examples import write_examples
from benchmarks.grid.measure import measure
from pyg_viglad import __version__
from pyg_viglad.commands.data import Splits, open_data
from pyg_viglad.files import write_json, write_text

__all__ = ["ERROR", "RESULT", "Job", "Outcome", "run_cells", "write_error"]

RESULT = "result.json"
ERROR = "error.txt"

Job = tuple[Cell, Path]


class Outcome(NamedTuple):
    """State of a cell, ``done``, ``failed`` or ``busy`` (locked by another process), and why."""

    state: str
    message: str = ""


def run_cells(jobs: list[Job], device: str = "cpu") -> list[Outcome]:
    """Runs the cells that are not done, with one fit for all; failures go to ``error.txt``.

    Args:
        jobs: Cells of one ``fit_key``, each with its folder. Unfinished work is in the first one's.
        device: A torch device.

    Returns:
        The outcome of each cell.
    """
    with ExitStack() as stack:
        try:
            for _, folder in jobs:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(folder / "lock", blocking=False))
        except Timeout:
            return [Outcome("busy", "locked by another process")] * len(jobs)
        fit = _Fit(jobs[0][1] / "work", device)
        outcomes = [_attempt(cell, folder, fit) for cell, folder in jobs]
        if all(outcome.state == "done" for outcome in outcomes):
            shutil.rmtree(fit.work, ignore_errors=True)
        return outcomes


def write_error(folder: Path, reason: str, details: str = "") -> Outcome:
    """Writes why a cell failed."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / ERROR, f"{reason}\n\n{details}".rstrip() + "\n")
    return Outcome("failed", reason)


def _attempt(cell: Cell, folder: Path, fit: "_Fit") -> Outcome:
    if not (folder / RESULT).is_file():
        try:
            _run_cell(cell, folder, fit)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            return write_error(folder, reason, traceback.format_exc())
        (folder / ERROR).unlink(missing_ok=True)
    return Outcome("done")


class _Fit:
    """A detector that is fitted on first use, or the error that its fit ended in."""

    def __init__(self, work: Path, device: str) -> None:
        self.work = work
        self.device = device
        self.facts: dict[str, Any] = {}
        self.seconds = 0.0
        self._detector: Detector | Exception | None = None
        self._validation: Scores | None = None

    def detector(self, cell: Cell, splits: Splits) -> Detector:
        """Returns the fitted detector, or raises what fitting raised."""
        if self._detector is None:
            try:
                options = dict(cell.params["model"])
                height, width = cell.params["image_size"]
                detector = make_detector(
                    options.pop("type"), (height, width), cell.seed, self.device, **options
                )
                self.work.mkdir(exist_ok=True)
                start = time.perf_counter()
                self.facts = detector.fit(splits.train, splits.validation, self.work)
                self.seconds = time.perf_counter() - start
                self._detector = detector
            except Exception as error:
                self._detector = error
        if isinstance(self._detector, Exception):
            raise self._detector
        return self._detector

    def validation(self, cell: Cell, splits: Splits) -> Scores:
        """Returns the scores of the validation images, computed once."""
        if self._validation is None:
            self._validation = self.detector(cell, splits).predict(splits.validation)
        return self._validation


def _run_cell(cell: Cell, folder: Path, fit: _Fit) -> None:
    """Scores the cell's test images; ``result.json`` is written last: where it is, the cell is done."""
    params = cell.params
    height, width = params["image_size"]
    options = dict(params["options"])
    if params["reseed"]:
        options["seed"] = cell.seed
    splits = open_data(params["root"], (height, width), options, params["dataset"])
    detector = fit.detector(cell, splits)
    start = time.perf_counter()
    scores = detector.predict(splits.test)
    seconds = time.perf_counter() - start
    test = splits.test
    labels = pd.DataFrame({"name": test.names, "kind": test.kinds, "defect": test.defects})
    values = pd.DataFrame({name: one.numpy() for name, one in scores.images.items()})
    csv = labels.join(values).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(folder / "scores.csv", csv)
    if params["examples"] and scores.maps is not None:
        maps = fit.validation(cell, splits).maps
        if maps is not None:
            write_examples(folder / "examples.npz", scores.maps, maps, test)
    kept = fit.work / "model"
    if params["model"].get("keep_model") and kept.is_dir():
        shutil.copytree(kept, folder / "model", dirs_exist_ok=True)
    result = {
        "data": cell.data,
        "category": cell.category,
        "model": cell.model,
        "seed": cell.seed,
        "key": cell.key,
        "fit_key": cell.fit_key,
        "metrics": measure(scores, test, params["metrics"]),
        "facts": fit.facts,
        "seconds": {"fit": round(fit.seconds, 3), "predict": round(seconds, 3)},
        "images": {
            "train": len(splits.train),
            "validation": len(splits.validation),
            **{kind: test.kinds.count(kind) for kind in dict.fromkeys(test.kinds)},
        },
        "environment": _environment(fit.device),
        "params": params,
    }
    write_json(folder / RESULT, result)


def _environment(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "pyg_viglad": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
    }
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        found["node"] = ray.get_runtime_context().get_node_id()
    return found
