"""Times of functions that are called in turns, and their ratios as tables in Markdown."""

import argparse
import gc
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

__all__ = ["compare_precisions", "make_parser", "markdown", "of_ours", "start", "time_in_turns"]


def make_parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Returns a parser with the options of all scripts."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=rounds, help="medians are over these")
    return parser


def start(args: argparse.Namespace) -> None:
    """Fixes threads and seed, and prints processor, versions and options."""
    torch.set_num_threads(args.threads)
    threadpool_limits(args.threads)  # of the libraries behind NumPy and scikit-learn
    torch.manual_seed(0)
    device = getattr(args, "device", "cpu")
    model = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    versions = [f"Python {platform.python_version()}"]
    for package in ("torch", "torch_geometric", "anomalib"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    options = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in vars(args).items() if v != [])
    print(f"{model}; {', '.join(versions)}\n\n{options}\n", flush=True)


def _processor() -> str:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return f"{name}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"


def time_in_turns(
    functions: dict[str, Callable[[], object]], rounds: int, warmup: int = 1, device: str = "cpu"
) -> pd.DataFrame:
    """Measures the time of every call in milliseconds, a row per round, a column per function.

    The functions take turns, so that a busy machine slows all of them.

    Args:
        functions: What is timed, by name.
        rounds: Number of timed calls of each.
        warmup: Number of rounds before that are not counted (default: 1).
        device: A torch device that is waited for before the clock stops (default: ``"cpu"``).
    """

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    rows = []
    gc.collect()
    gc.disable()
    try:
        for number in range(warmup + rounds):
            row = {}
            for name, function in functions.items():
                wait()
                begin = time.perf_counter()
                function()
                wait()
                row[name] = 1000 * (time.perf_counter() - begin)
            if number >= warmup:
                rows.append(row)
    finally:
        gc.enable()
    return pd.DataFrame(rows, columns=list(functions))


def of_ours(times: pd.DataFrame, own: str = "pyg_viglad", label: str = "") -> pd.DataFrame:
    """Returns median times, and how many times as long as ours each takes, a row per function.

    The ratio is the median of those within each round.

    Args:
        times: Milliseconds, see :func:`time_in_turns`.
        own: The column that the others are compared with.
        label: What precedes the headers.
    """
    ratios = times.div(times[own], axis=0).median()
    return pd.DataFrame(
        {f"{label}ms": times.median(), f"{label}of ours": ratios.map("{:.2f}x".format)}
    )


def compare_precisions(
    functions: dict[str, dict[str, Callable[[], object]]],
    rounds: int,
    warmup: int,
    device: str = "cpu",
) -> pd.DataFrame:
    """Times functions in several precisions, and compares them with the first one in the same precision.

    Args:
        functions: For each precision, what is timed by name.
        rounds: Number of timed calls of each.
        warmup: Number of rounds before that are not counted.
        device: A torch device.

    Returns:
        A row per function of the first precision, and for each precision its median in milliseconds and
        how many times faster than the first function it is (the median of the ratios within each round).
    """
    named = {
        f"{precision}/{name}": function
        for precision, some in functions.items()
        for name, function in some.items()
    }
    times = time_in_turns(named, rounds, warmup, device)
    columns = {}
    for precision, some in functions.items():
        part = times[[f"{precision}/{name}" for name in some]].set_axis(list(some), axis=1)
        faster = part.rdiv(part.iloc[:, 0], axis=0).median()
        columns[f"{precision} ms"] = part.median()
        columns[f"{precision} times faster"] = faster.map("{:.2f}x".format)
    return pd.DataFrame(columns, index=list(next(iter(functions.values()))))


def markdown(table: pd.DataFrame, name: str) -> str:
    """Returns a table with its index as the first column, and a dash where a value is missing.

    Example:
        >>> print(markdown(pd.DataFrame({"ms": [1.0]}, ["product"]), "what"))
        | what    |   ms |
        |:--------|-----:|
        | product | 1.00 |
    """
    columns = table.columns
    texts = table.map(lambda value: f"{value:.2f}" if isinstance(value, float) else str(value))
    return (
        texts.replace("nan", "-")
        .rename_axis(name)
        .reset_index()
        .to_markdown(
            index=False, disable_numparse=True, colalign=["left", *["right"] * len(columns)]
        )
    )
