"""All cells of a grid: in this process, in several processes, or over a Ray cluster."""

import logging
import multiprocessing
import os
import socket
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

import torch
from threadpoolctl import threadpool_limits

from benchmarks.grid.cell import Cell
from benchmarks.grid.run_cell import ERROR, RESULT, Job, Outcome, run_cells, write_error
from pyg_viglad.files import write_bytes

__all__ = ["CellState", "cell_folder", "grid_states", "run_grid"]

GroupReport = Callable[[list[Job], list[Outcome]], None]

_BUSY = 75  # exit code of a process whose cells were locked
# What comes back from a machine that does not share the output folder; the result last.
_FILES = ("scores.csv", "examples.npz", ERROR, RESULT)


class CellState(NamedTuple):
    """A cell, whether it is ``done``, ``failed`` or ``missing``, and why it failed."""

    cell: Cell
    state: str
    message: str = ""


def cell_folder(output: Path, cell: Cell) -> Path:
    """Returns a cell's folder, found by its key whatever the names in tables were when it ran."""
    found = sorted((output / "cells").glob(f"*-{cell.key}"))
    return found[0] if found else output / "cells" / cell.name


def grid_states(cells: list[Cell], output: Path) -> list[CellState]:
    """Returns the state of every cell.

    Args:
        cells: The cells.
        output: Folder of the grid.
    """
    return [CellState(cell, *_state(cell_folder(output, cell))) for cell in cells]


def _state(folder: Path) -> Outcome:
    if (folder / RESULT).is_file():
        return Outcome("done")
    if (folder / ERROR).is_file():
        return Outcome("failed", (folder / ERROR).read_text(encoding="utf-8").split("\n")[0])
    return Outcome("missing")


def run_grid(
    cells: list[Cell],
    output: Path,
    workers: int = 1,
    ray: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    report: Callable[[Cell, Outcome], None] = lambda cell, outcome: None,
) -> None:
    """Runs the cells that are not done; a failed one does not stop the others.

    Cells that differ only in their test images run together, with one fit.

    Args:
        cells: The cells; cells of one key run once.
        output: Folder of the grid, with a folder per cell in ``cells``.
        workers: Processes on this machine; with 1 cells run in this one (default: 1).
        ray: Address of a Ray cluster, ``auto`` (the one of this machine) or ``local`` (a new one).
        device: A torch device; ``cuda`` is divided among the workers.
        threads: Threads of a worker (default: all cores divided by the workers, over Ray one).
        report: Called with a cell and its outcome, as they end.

    Raises:
        ValueError: If ``workers`` or ``threads`` is below 1, or Ray is not installed.
    """
    if workers < 1 or (threads is not None and threads < 1):
        raise ValueError(
            f"Expected 'workers' and 'threads' of at least 1 (got {workers}, {threads})"
        )
    pending = {s.cell.key for s in grid_states(cells, output) if s.state != "done"}
    groups: dict[str, dict[str, Job]] = {}
    for cell in cells:
        group = groups.setdefault(cell.fit_key, {})
        group.setdefault(cell.key, (cell, cell_folder(output, cell)))
    jobs = [list(group.values()) for group in groups.values() if pending & set(group)]
    locked: list[list[Job]] = []

    def tell(group: list[Job], outcomes: list[Outcome]) -> None:
        for (cell, _), outcome in zip(group, outcomes, strict=True):
            if cell.key in pending:
                report(cell, outcome)

    def tell_unless_locked(group: list[Job], outcomes: list[Outcome]) -> None:
        if any(outcome.state == "busy" for outcome in outcomes):
            locked.append(group)
        else:
            tell(group, outcomes)

    # Locked cells are tried again at the end: the process that held them may have been killed.
    for chosen, note in ((jobs, tell_unless_locked), (locked, tell)):
        count = min(workers, len(chosen))
        if not chosen:
            continue
        if ray is not None:
            _run_on_ray(list(chosen), ray, device, threads or 1, note)
        elif count > 1:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
            share = max(1, (cores or os.cpu_count() or 1) // count)
            _run_in_processes(list(chosen), count, device, threads or share, note)
        else:
            if threads is not None:
                torch.set_num_threads(threads)
            for group in list(chosen):
                note(group, run_cells(group, device))


def _run_in_processes(
    jobs: list[list[Job]], workers: int, device: str, threads: int, report: GroupReport
) -> None:
    """Runs every group in its own process, ``workers`` at a time; a crash fails only that group."""
    context = multiprocessing.get_context("spawn")
    gpus = torch.cuda.device_count() if device == "cuda" else 0
    free = [f"cuda:{number % gpus}" if gpus else device for number in range(workers)]
    waiting = list(reversed(jobs))
    running: dict[Any, tuple[Any, list[Job], str]] = {}
    try:
        while waiting or running:
            while waiting and free:
                group, place = waiting.pop(), free.pop()
                process = context.Process(target=_work, args=(group, place, threads))
                process.start()
                running[process.sentinel] = process, group, place
            for sentinel in wait(list(running)):
                process, group, place = running.pop(sentinel)
                process.join()
                free.append(place)
                report(group, [_outcome(folder, process.exitcode) for _, folder in group])
    finally:
        for process, *_ in running.values():
            process.terminate()
            process.join()


def _work(jobs: list[Job], device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    try:
        outcome = run_cells(jobs, device)[0]
    except KeyboardInterrupt:  # told by the process that waits for this one
        raise SystemExit(130) from None
    if outcome.state == "busy":
        raise SystemExit(_BUSY)


def _outcome(folder: Path, code: int | None) -> Outcome:
    """Returns what a process left of a cell."""
    state = _state(folder)
    if code == 0 or state.state == "done":
        return state
    if code == _BUSY:
        return Outcome("busy", "locked by another process")
    return write_error(folder, f"the process died (exit code {code})")


def _run_on_ray(
    jobs: list[list[Job]], address: str, device: str, threads: int, report: GroupReport
) -> None:
    """Runs groups as Ray tasks, spread over all nodes.

    This repository, data and weights have to be at the same paths on every node. The output folder need
    not be shared: results, scores and examples come back and are written here; kept models do not.
    """
    # A task without a GPU keeps the GPUs it can see.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise ValueError(
            "Expected the extra 'benchmarks' for 'ray': pip install 'pyg-viglad[benchmarks]' "
            f"(got: {error})"
        ) from error
    own = not ray.is_initialized()
    if own:
        try:
            host, _, port = address.rpartition(":")
            if port.isdigit() and "/" not in host:  # Ray itself would wait for minutes
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, OSError, OverflowError) as error:
            raise ValueError(f"Expected a Ray cluster at {address!r} ({_reason(error)})") from error
    try:
        task = ray.remote(_task).options(
            num_cpus=threads,
            num_gpus=1 if device.startswith("cuda") else 0,
            scheduling_strategy="SPREAD",
            max_retries=2,  # where a node is lost
        )
        running = {}
        for group in jobs:
            absolute = [(cell, folder.absolute()) for cell, folder in group]
            running[task.remote(absolute, device, threads)] = group
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            group = running.pop(done)
            try:
                outcomes, files = ray.get(done)
            except ray.exceptions.RayError as error:
                outcomes = [write_error(f, _reason(error), str(error)) for _, f in group]
                files = [{}] * len(group)
            for (_, folder), outcome, contents in zip(group, outcomes, files, strict=True):
                folder.mkdir(parents=True, exist_ok=True)
                for name, content in contents.items():
                    if not (folder / name).is_file():
                        write_bytes(folder / name, content)
                if outcome.state == "done":
                    (folder / ERROR).unlink(missing_ok=True)
            report(group, outcomes)
    finally:
        if own:
            ray.shutdown()


def _task(
    jobs: list[Job], device: str, threads: int
) -> tuple[list[Outcome], list[dict[str, bytes]]]:
    torch.set_num_threads(threads)
    outcomes = run_cells(jobs, device)
    files = [
        {name: (folder / name).read_bytes() for name in _FILES if (folder / name).is_file()}
        for _, folder in jobs
    ]
    return outcomes, files


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
