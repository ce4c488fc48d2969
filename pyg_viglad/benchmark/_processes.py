"""Cells in several processes of one machine."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from pyg_viglad._files import write_text
from pyg_viglad.benchmark.cell import Cell
from pyg_viglad.benchmark.run_cell import ERROR, Outcome, attempt_cell

__all__ = ["run_in_processes"]

Job = tuple[Cell, Path]

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class _Worker:
    """A process that takes one cell after the other.

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
        self.job: Job | None = None

    def send(self, job: Job) -> None:
        self.job = job
        self.connection.send(job)

    def receive(self) -> Outcome:
        """Give the outcome; a process that died has failed."""
        try:
            outcome: Outcome = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            return Outcome("died", f"the process died (exit code {self.process.exitcode})")
        return outcome

    def close(self, now: bool = False) -> None:
        self.connection.close()
        if now:
            self.process.terminate()
        self.process.join()


def run_in_processes(
    jobs: list[Job],
    workers: int,
    device: str,
    threads: int,
    report: Callable[[Cell, Outcome], None],
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
        while any(worker.job for worker in team):
            busy: dict[Any, _Worker] = {w.connection: w for w in team if w.job}
            for connection in wait(list(busy)):
                worker = busy[connection]
                outcome = worker.receive()
                cell, folder = worker.job or jobs[0]
                worker.job = None
                if outcome.state == "died":
                    write_text(folder / ERROR, outcome.message + "\n")
                    outcome = Outcome("failed", outcome.message)
                    if waiting:
                        place = team.index(worker)
                        worker.close()
                        worker = team[place] = _Worker(devices[place], threads)
                report(cell, outcome)
                if waiting:
                    worker.send(waiting.pop())
        finished = True
    finally:
        for worker in team:
            worker.close(now=not finished)


def _work(connection: Connection, device: str, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    while True:
        try:
            cell, folder = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            outcome = attempt_cell(cell, folder, device)
        except KeyboardInterrupt:
            return
        try:
            connection.send(outcome)
        except OSError:  # the parent is gone; what was computed stays
            return
