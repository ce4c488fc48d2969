"""Whole models in turns, on any device, and a table of how many times faster each is."""

import statistics
import time
from collections.abc import Callable

import torch

from benchmarks._timing import machine

__all__ = ["hardware", "interleaved", "markdown", "synchronize"]


def synchronize(device: str = "cpu") -> None:
    """Wait until a device has done what it was asked for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def interleaved(
    functions: dict[str, Callable[[], object]], rounds: int, warmup: int = 1, device: str = "cpu"
) -> dict[str, list[float]]:
    """Time all functions in turns, so that a busy machine hits each alike.

    Args:
        functions: What is timed, by name.
        rounds: Times that each is timed.
        warmup: Rounds before, that do not count.
        device: A torch device that must be done before the clock stops.

    Returns:
        The seconds of every round.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(warmup + rounds):
        for name, function in functions.items():
            synchronize(device)
            start = time.perf_counter()
            function()
            synchronize(device)
            if number >= warmup:
                times[name].append(time.perf_counter() - start)
    return times


def hardware(threads: int, device: str = "cpu") -> str:
    """Name the processor, the threads and the versions behind a measurement."""
    from importlib.metadata import PackageNotFoundError, version

    name = machine()
    if device.startswith("cuda"):
        name = f"{torch.cuda.get_device_name(device)}, {name}"
    versions = []
    for package in ("anomalib",):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join([name, *versions, f"{threads} thread{'s' * (threads != 1)}"])


def markdown(
    times: dict[str, list[float]],
    baseline: str,
    columns: dict[str, dict[str, str]] | None = None,
    average: Callable[[list[float]], float] = statistics.median,
) -> str:
    """Show times in milliseconds and how many times faster than the baseline each is.

    The ratio is the median of the ratios within each round, whose parts a busy machine hits alike.

    Args:
        times: Seconds of every round, by name.
        baseline: Name of what the others are compared with.
        columns: Further columns: a text for each name, by header.
        average: What is shown of the times.
    """
    columns = columns or {}
    header = ["", "ms", "times faster", *columns]
    lines = [" | ".join(header), " | ".join(["---"] * len(header))]
    for name, values in times.items():
        ratios = [base / value for base, value in zip(times[baseline], values, strict=True)]
        cells = [name, f"{1000 * average(values):.1f}", f"{statistics.median(ratios):.2f}"]
        lines.append(" | ".join(cells + [column.get(name, "") for column in columns.values()]))
    return "\n".join(f"| {line} |" for line in lines)
