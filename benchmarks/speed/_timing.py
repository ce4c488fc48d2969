"""What the timed benchmarks share: threads, turns, medians, and their tables in Markdown."""

import argparse
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch_geometric
from threadpoolctl import threadpool_limits

__all__ = [
    "interleaved",
    "machine",
    "make_parser",
    "markdown_table",
    "median_times",
    "ratio_rows",
    "start",
    "turns",
]


def make_parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Make a parser with the options of all timed benchmarks."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=rounds, help="the median is taken over these")
    return parser


def start(args: argparse.Namespace) -> None:
    """Fix the threads and the random numbers, and print what the figures belong to."""
    torch.set_num_threads(args.threads)
    threadpool_limits(args.threads)  # of the libraries behind NumPy and scikit-learn
    torch.manual_seed(0)
    options = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in vars(args).items() if value != []
    )
    print(f"{machine()}\n\n{options}\n", flush=True)


def machine() -> str:
    """Name the processor and the versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{model}, {os.cpu_count()} cores, {capability}; Python {platform.python_version()}, "
        f"torch {torch.__version__}, PyG {torch_geometric.__version__}"
    )


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
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds + warmup):
            for name, function in functions.items():
                synchronize(device)
                begin = time.perf_counter()
                function()
                synchronize(device)
                if number >= warmup:
                    times[name].append(time.perf_counter() - begin)
    finally:
        gc.enable()
    return times


def turns(
    functions: dict[str, Callable[[], object]], rounds: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Give the milliseconds of :func:`interleaved`."""
    times = interleaved(functions, rounds, warmup)
    return {name: [1000 * value for value in values] for name, values in times.items()}


def median_times(
    functions: dict[str, Callable[[], object]], rounds: int, warmup: int = 1
) -> dict[str, float]:
    """Give the median of each function's :func:`turns`, in milliseconds."""
    return {
        name: statistics.median(values) for name, values in turns(functions, rounds, warmup).items()
    }


def ratio_rows(times: dict[str, float], own: str) -> list[list[str]]:
    """Give name, milliseconds, and the time as a multiple of our own, as cells of a table."""
    return [[name, f"{value:.2f}", f"{value / times[own]:.2f}x"] for name, value in times.items()]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draw a table.

    Example:
        >>> print(markdown_table(["what", "ms"], [["product", "1.00"]]))
        | what | ms |
        |---|---|
        | product | 1.00 |
    """
    lines = ["| " + " | ".join(cells) + " |" for cells in [header, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])
