"""Cells over the machines of a Ray cluster."""

import logging
import os
import socket
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from pyg_viglad._files import write_text
from pyg_viglad.benchmark.cell import Cell
from pyg_viglad.benchmark.run_cell import ERROR, RESULT, Outcome, attempt_cell

__all__ = ["run_on_ray"]

# What comes back from a machine that does not share the output folder; the result last.
_FILES = ("scores.csv", "examples.npz", ERROR, RESULT)


def run_on_ray(
    jobs: list[tuple[Cell, Path]],
    address: str,
    device: str,
    threads: int,
    report: Callable[[Cell, Outcome], None],
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
            task.remote(cell, str(folder.absolute()), device, threads): (cell, folder)
            for cell, folder in jobs
        }
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            cell, folder = running.pop(done)
            report(cell, _collect(ray, done, folder))
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


def _task(cell: Cell, folder: str, device: str, threads: int) -> tuple[Outcome, dict[str, bytes]]:
    import torch

    torch.set_num_threads(threads)
    outcome = attempt_cell(cell, Path(folder), device)
    files = {
        name: Path(folder, name).read_bytes() for name in _FILES if Path(folder, name).is_file()
    }
    return outcome, files


def _collect(ray: Any, reference: Any, folder: Path) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        outcome, files = ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        write_text(folder / ERROR, f"{reason}\n\n{error}\n")
        return Outcome("failed", reason)
    for name in _FILES:
        if name in files and not (folder / name).is_file():
            partial = folder / f"{name}.part"
            partial.write_bytes(files[name])
            partial.replace(folder / name)
    if outcome.state == "done":
        (folder / ERROR).unlink(missing_ok=True)
    found: Outcome = outcome
    return found
