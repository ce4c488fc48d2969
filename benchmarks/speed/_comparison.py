"""Whole models beside each other, on any device: a table of how many times faster each is."""

import statistics
from collections.abc import Callable
from contextlib import suppress

import torch

from benchmarks.speed._timing import machine

__all__ = ["hardware", "markdown"]


def hardware(threads: int, device: str = "cpu") -> str:
    """Name the processor, the threads and the versions behind a measurement."""
    from importlib.metadata import PackageNotFoundError, version

    name = machine()
    if device.startswith("cuda"):
        name = f"{torch.cuda.get_device_name(device)}, {name}"
    with suppress(PackageNotFoundError):
        name = f"{name}, anomalib {version('anomalib')}"
    return f"{name}, {threads} thread{'s' * (threads != 1)}"


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
