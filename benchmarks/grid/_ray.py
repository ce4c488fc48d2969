"""Cells over the machines of a Ray cluster."""

import logging
import os
import socket
from collections.abc import Callable
from importlib import import_module
from typing import Any

from benchmarks.grid.run_cell import ERROR, RESULT, Job, Outcome, attempt_cells
from pyg_viglad.files import write_bytes, write_text

__all__ = ["run_on_ray"]

# What comes back from a machine that does not share the output folder; the result last.
_FILES = ("scores.csv", "examples.npz", ERROR, RESULT)


def run_on_ray(
    jobs: list[list[Job]],
    address: str,
    device: str,
    threads: int,
    report: Callable[[list[Job], list[Outcome]], None],
) -> None:
    """Run cells as Ray tasks, spread over all nodes.

    Data and weights have to lie at the same paths on every node. The output folder need not be shared:
    what a cell leaves comes back with its outcome and is written here.

    Raises:
        ValueError: If Ray is not installed or no cluster answers.
    """
    ray = _import_ray()
    own = not ray.is_initialized()
    if own:
        _check_address(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"Expected a Ray cluster at {address!r} ({reason})") from error
    try:
        task = ray.remote(_task).options(
            num_cpus=threads,
            num_gpus=1 if device.startswith("cuda") else 0,
            scheduling_strategy="SPREAD",
            max_retries=2,  # where a node is lost
        )
        running = {
            task.remote(
                [(cell, folder.absolute()) for cell, folder in group], device, threads
            ): group
            for group in jobs
        }
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            group = running.pop(done)
            report(group, _collect(ray, done, group))
    finally:
        if own:
            ray.shutdown()


def _check_address(address: str) -> None:
    """Try a host and port: Ray itself would wait for minutes, and warn all the while."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"Expected a Ray cluster at {address!r} ({error})") from error


def _import_ray() -> Any:
    # A task without a GPU keeps the GPUs it can see, as Ray is about to have it anyway.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        return import_module("ray")
    except ImportError as error:
        raise ValueError(
            "Expected the extra 'benchmarks' for 'ray': pip install 'pyg-viglad[benchmarks]' "
            f"(got: {error})"
        ) from error


def _task(
    jobs: list[Job], device: str, threads: int
) -> tuple[list[Outcome], list[dict[str, bytes]]]:
    import torch

    torch.set_num_threads(threads)
    outcomes = attempt_cells(jobs, device)
    files = [
        {name: (folder / name).read_bytes() for name in _FILES if (folder / name).is_file()}
        for _, folder in jobs
    ]
    return outcomes, files


def _collect(ray: Any, reference: Any, jobs: list[Job]) -> list[Outcome]:
    for _, folder in jobs:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        outcomes, files = ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        for _, folder in jobs:
            write_text(folder / ERROR, f"{reason}\n\n{error}\n")
        return [Outcome("failed", reason)] * len(jobs)
    for (_, folder), outcome, contents in zip(jobs, outcomes, files, strict=True):
        for name in _FILES:
            if name in contents and not (folder / name).is_file():
                write_bytes(folder / name, contents[name])
        if outcome.state == "done":
            (folder / ERROR).unlink(missing_ok=True)
    found: list[Outcome] = outcomes
    return found
