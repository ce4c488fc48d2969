"""Peak memory of one way to graphs or aggregations, beyond its inputs, in a process of its own.

Reads what Linux says of the process; elsewhere there is no figure.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed._rivals import aggregations, searches
from pyg_viglad.nn import knn_graph

__all__ = ["peak_memory"]

_RESET = Path("/proc/self/clear_refs")


def peak_memory(what: str, name: str, *, threads: int, **sizes: int) -> float | None:
    """Measure in a new process.

    Args:
        what: ``"knn_graph"``, or ``"aggregation"`` for its forward and backward pass.
        name: A key of the ways that ``_rivals`` gives.
        threads: Number of threads.
        **sizes: ``nodes``, ``channels``, ``k``, ``dilation`` and ``max_memory`` (0: the default).

    Returns:
        MB beyond the inputs (features, and edges for the aggregation), or ``None`` where it cannot
        be read.
    """
    if not _RESET.exists():
        return None
    request = json.dumps({"what": what, "name": name, "threads": threads, **sizes})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed._memory", request],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    return float(done.stdout.split()[-1])


def _measure(request: dict[str, Any]) -> float:
    torch.set_num_threads(request["threads"])
    small = _prepare(request, min(request["nodes"], 2048))
    small()  # libraries load their buffers
    run = _prepare(request, request["nodes"])
    ctypes.CDLL(None).malloc_trim(0)
    _RESET.write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _prepare(request: dict[str, Any], nodes: int) -> Callable[[], object]:
    torch.manual_seed(0)
    k, dilation, channels = request["k"], request["dilation"], request["channels"]
    x = torch.randn(nodes, channels)
    if request["what"] == "aggregation":
        way = aggregations(knn_graph(x, k, loop=True, cosine=True), k, channels)[request["name"]]
        x.requires_grad_()
        gradient = torch.randn(nodes, channels)
        return lambda: way(x).backward(gradient)  # type: ignore[no-untyped-call]
    bound = request.get("max_memory", 0)
    if bound:
        return lambda: knn_graph(x, k, loop=True, cosine=True, dilation=dilation, max_memory=bound)
    search = searches(k, dilation)[request["name"]]
    return lambda: search(x)


def _status(name: str) -> float:
    """Read a line of the process's status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


if __name__ == "__main__":
    print(_measure(json.loads(sys.argv[1])))
