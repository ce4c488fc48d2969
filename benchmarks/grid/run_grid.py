"""All cells of a grid, in this process, in several, or over Ray."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.grid.cell import Cell
from benchmarks.grid.run_cell import ERROR, RESULT, Job, Outcome, attempt_cells

__all__ = ["CellState", "cell_folder", "grid_states", "run_grid"]

Report = Callable[[Cell, Outcome], None]
GroupReport = Callable[[list[Job], list[Outcome]], None]


class CellState(NamedTuple):
    """A cell, whether it is ``done``, ``failed`` or ``missing``, and why it failed."""

    cell: Cell
    state: str
    message: str = ""


def cell_folder(output: Path, cell: Cell) -> Path:
    """Find a cell's folder by its key, whatever the names in tables were when it ran."""
    found = sorted((output / "cells").glob(f"*-{cell.key}"))
    return found[0] if found else output / "cells" / cell.name


def grid_states(cells: list[Cell], output: Path) -> list[CellState]:
    """Tell of every cell whether it is done.

    Args:
        cells: The cells.
        output: Folder of the grid.
    """
    states = []
    for cell in cells:
        folder = cell_folder(output, cell)
        if (folder / RESULT).is_file():
            states.append(CellState(cell, "done"))
        elif (folder / ERROR).is_file():
            reason, *_ = (folder / ERROR).read_text(encoding="utf-8").split("\n", 1)
            states.append(CellState(cell, "failed", reason))
        else:
            states.append(CellState(cell, "missing"))
    return states


def run_grid(
    cells: list[Cell],
    output: Path,
    workers: int = 1,
    ray: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    report: Report = lambda cell, outcome: None,
) -> None:
    """Run the cells that are not done; a failed one does not stop the others.

    Cells that differ in their test images alone run together, with one fit.

    Args:
        cells: The cells; cells of one key run once.
        output: Folder of the grid, with a folder a cell in ``cells``.
        workers: Processes on this machine; 1 runs in this one.
        ray: Address of a Ray cluster, ``auto`` (the one of this machine) or ``local`` (a new one).
        device: A torch device; ``cuda`` is divided among the workers.
        threads: Threads of a worker; by default all cores divided by the workers, over Ray one.
        report: Called with a cell and its outcome, as they end.

    Raises:
        ValueError: If ``workers`` or ``threads`` is below 1, or Ray is not installed.
    """
    if workers < 1 or (threads is not None and threads < 1):
        raise ValueError(
            f"Expected 'workers' and 'threads' of at least 1 (got {workers}, {threads})"
        )
    states = grid_states(cells, output)
    pending = {s.cell.key for s in states if s.state != "done"}
    groups: dict[str, dict[str, Job]] = {}
    for cell in cells:
        group = groups.setdefault(cell.fit_key, {})
        group.setdefault(cell.key, (cell, cell_folder(output, cell)))
    jobs = [list(group.values()) for group in groups.values() if pending & set(group)]
    if not jobs:
        return
    busy: list[list[Job]] = []

    def tell(group: list[Job], outcomes: list[Outcome]) -> None:
        for (cell, _), outcome in zip(group, outcomes, strict=True):
            if cell.key in pending:
                report(cell, outcome)

    def note(group: list[Job], outcomes: list[Outcome]) -> None:
        if any(outcome.state == "busy" for outcome in outcomes):
            busy.append(group)
        else:
            tell(group, outcomes)

    _run(jobs, workers, ray, device, threads, note)
    if busy:  # another look at the end: who had them may have been killed just before
        _run(list(busy), workers, ray, device, threads, tell)


def _run(
    jobs: list[list[Job]],
    workers: int,
    ray: str | None,
    device: str,
    threads: int | None,
    report: GroupReport,
) -> None:
    workers = min(workers, len(jobs))
    if ray is not None:
        from benchmarks.grid._ray import run_on_ray

        run_on_ray(jobs, ray, device, threads or 1, report)
    elif workers > 1:
        from benchmarks.grid._processes import run_in_processes

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        share = threads or max(1, (cores or 1) // workers)
        run_in_processes(jobs, workers, device, share, report)
    else:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        for group in jobs:
            report(group, attempt_cells(group, device))
