"""Cells in several processes of one machine."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from benchmarks.grid.run_cell import ERROR, RESULT, Job, Outcome, attempt_cells
from pyg_viglad.files import write_text

__all__ = ["run_in_processes"]

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class _Worker:
    """A process that takes one group of cells after the other.

    When the parent dies, however it does, the pipe closes: the worker ends its cell and then itself.
    """

    def __init__(self, device: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        # Not daemonic: those may not have loading processes of their own.
        self.process = context.Process(target=_work, args=(other, device, threads))
        kept = {name: os.environ.get(name) for name in _VARIABLES}
        os.environ.update(dict.fromkeys(_VARIABLES, str(threads)))
        try:
            self.process.start()
        finally:
            for name, value in kept.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
        other.close()
        self.jobs: list[Job] = []

    def send(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.connection.send(jobs)

    def receive(self) -> list[Outcome] | None:
        """Give the outcomes, or None where the process died."""
        try:
            outcomes: list[Outcome] = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return None
        return outcomes

    def close(self, now: bool = False) -> None:
        self.connection.close()
        if now:
            self.process.terminate()
        self.process.join()


def run_in_processes(
    jobs: list[list[Job]],
    workers: int,
    device: str,
    threads: int,
    report: Callable[[list[Job], list[Outcome]], None],
) -> None:
    """Run cells in several processes, each with its share of the threads and GPUs."""
    import torch

    gpus = torch.cuda.device_count() if device == "cuda" else 0
    devices = [f"cuda:{n % gpus}" if gpus else device for n in range(workers)]
    waiting = list(reversed(jobs))
    team = [_Worker(name, threads) for name in devices]
    finished = False
    try:
        for worker in team:
            worker.send(waiting.pop())
        while any(worker.jobs for worker in team):
            busy: dict[Any, _Worker] = {w.connection: w for w in team if w.jobs}
            for connection in wait(list(busy)):
                worker = busy[connection]
                outcomes = worker.receive()
                group, worker.jobs = worker.jobs, []
                if outcomes is None:
                    outcomes = _died(group, worker.process.exitcode)
                    if waiting:
                        place = team.index(worker)
                        worker.close()
                        worker = team[place] = _Worker(devices[place], threads)
                report(group, outcomes)
                if waiting:
                    worker.send(waiting.pop())
        finished = True
    finally:
        for worker in team:
            worker.close(now=not finished)


def _died(jobs: list[Job], code: int | None) -> list[Outcome]:
    """Note the death of a process with every cell that it left without a result."""
    outcomes = []
    for _, folder in jobs:
        if (folder / RESULT).is_file():
            outcomes.append(Outcome("done"))
            continue
        message = f"the process died (exit code {code})"
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / ERROR, message + "\n")
        outcomes.append(Outcome("failed", message))
    return outcomes


def _work(connection: Connection, device: str, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    while True:
        try:
            jobs = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            outcomes = attempt_cells(jobs, device)
        except KeyboardInterrupt:
            return
        try:
            connection.send(outcomes)
        except OSError:  # the parent is gone; what was computed stays
            return
