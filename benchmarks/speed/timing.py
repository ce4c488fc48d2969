"""Times of functions that are called in turns, and their ratios as tables in Markdown.

pandas and threadpoolctl are imported where they are used: :func:`measure` and :func:`describe` need neither.
"""

import argparse
import gc
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "compare_precisions",
    "describe",
    "make_parser",
    "markdown",
    "measure",
    "of_ours",
    "start",
    "time_in_turns",
]


def make_parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Returns a parser with the options of all scripts."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=rounds, help="medians are over these")
    return parser


def start(args: argparse.Namespace) -> None:
    """Fixes threads and seed, and prints processor, versions and options."""
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(args.threads)
    threadpool_limits(args.threads)  # of the libraries behind NumPy and scikit-learn
    torch.manual_seed(0)
    options = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in vars(args).items() if v != [])
    print(f"{describe(getattr(args, 'device', 'cpu'))}\n\n{options}\n", flush=True)


def describe(device: str) -> str:
    """Returns names and versions of a device, its driver, and what runs on it."""
    model = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    versions = [f"Python {platform.python_version()}"]
    for package in ("pyg_viglad", "torch", "torch_geometric", "anomalib"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    if device.startswith("cuda"):
        versions.append(f"CUDA {torch.version.cuda}")
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        if shutil.which(query[0]):
            found = subprocess.run(query, stdout=subprocess.PIPE, text=True).stdout.split()
            versions.append(f"driver {found[0] if found else 'unknown'}")
    return f"{model}; {', '.join(versions)}"


def _processor() -> str:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return f"{name}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"


def measure(
    functions: dict[str, Callable[[], object]], rounds: int, warmup: int = 1, device: str = "cpu"
) -> dict[str, list[float]]:
    """Measures the time of every call in milliseconds, by function.

    The functions take turns, so that a busy machine slows all of them.

    Args:
        functions: What is timed, by name.
        rounds: Number of timed calls of each.
        warmup: Number of rounds before that are not counted (default: 1).
        device: A torch device (default: ``"cpu"``). A GPU has nothing else to do when a call begins, and
            its own events give the time until it has finished.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    clock = _time_on_gpu if device.startswith("cuda") else _time_on_cpu
    gc.collect()
    gc.disable()
    try:
        for number in range(warmup + rounds):
            for name, function in functions.items():
                spent = clock(function, device)
                if number >= warmup:
                    times[name].append(spent)
    finally:
        gc.enable()
    return times


def _time_on_cpu(function: Callable[[], object], device: str) -> float:
    begin = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - begin)


def _time_on_gpu(function: Callable[[], object], device: str) -> float:
    with torch.cuda.device(device):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        function()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end)


def time_in_turns(
    functions: dict[str, Callable[[], object]], rounds: int, warmup: int = 1, device: str = "cpu"
) -> "pd.DataFrame":
    """Returns what :func:`measure` measures, a row per round, a column per function."""
    import pandas as pd

    return pd.DataFrame(measure(functions, rounds, warmup, device))


def of_ours(times: "pd.DataFrame", own: str = "pyg_viglad", label: str = "") -> "pd.DataFrame":
    """Returns median times and their ratios to ours (2.00x is twice as long), a row per function.

    The ratio is the median of those within each round.

    Args:
        times: Milliseconds, see :func:`time_in_turns`.
        own: The column that the others are compared with.
        label: What precedes the headers.
    """
    import pandas as pd

    ratios = times.div(times[own], axis=0).median()
    return pd.DataFrame(
        {f"{label}ms": times.median(), f"{label}of ours": ratios.map("{:.2f}x".format)}
    )


def compare_precisions(
    functions: dict[str, dict[str, Callable[[], object]]],
    rounds: int,
    warmup: int,
    device: str = "cpu",
) -> "pd.DataFrame":
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
    import pandas as pd

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


def markdown(table: "pd.DataFrame", name: str) -> str:
    """Returns a table with its index as the first column, and a dash where a value is missing.

    Example:
        >>> import pandas as pd
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
