"""All cells of a grid, in this process, in several, or over Ray."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pyg_viglad.benchmark.cell import Cell
from pyg_viglad.benchmark.run_cell import ERROR, RESULT, Outcome, attempt_cell

__all__ = ["CellState", "cell_folder", "grid_states", "run_grid"]

Job = tuple[Cell, Path]
Report = Callable[[Cell, Outcome], None]


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
    pending = list({s.cell.key: s.cell for s in states if s.state != "done"}.values())
    if not pending:
        return
    jobs = [(cell, cell_folder(output, cell)) for cell in pending]
    busy: list[Job] = []

    def note(cell: Cell, outcome: Outcome) -> None:
        if outcome.state == "busy":
            busy.append((cell, cell_folder(output, cell)))
        else:
            report(cell, outcome)

    _run(jobs, workers, ray, device, threads, note)
    if busy:  # another look at the end: who had them may have been killed just before
        _run(list(busy), workers, ray, device, threads, report)


def _run(
    jobs: list[Job],
    workers: int,
    ray: str | None,
    device: str,
    threads: int | None,
    report: Report,
) -> None:
    workers = min(workers, len(jobs))
    if ray is not None:
        from pyg_viglad.benchmark._ray import run_on_ray

        run_on_ray(jobs, ray, device, threads or 1, report)
    elif workers > 1:
        from pyg_viglad.benchmark._processes import run_in_processes

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        share = threads or max(1, (cores or 1) // workers)
        run_in_processes(jobs, workers, device, share, report)
    else:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        for cell, folder in jobs:
            report(cell, attempt_cell(cell, folder, device))
