"""Peak memory of ``knn_graph`` and the aggregation beyond their inputs.

Every figure is the highest resident memory of a process of its own, less what it held before the call,
as Linux reports it; elsewhere there is no figure. The output counts: it is 16 bytes an edge for graphs,
and one gradient for aggregations. A bound on ``knn_graph`` is the argument ``max_memory``, in MiB.

    python -m benchmarks.speed.memory --threads 1
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.speed.rivals import aggregations, searches
from benchmarks.speed.timing import make_parser, markdown, start
from pyg_viglad.nn import knn_graph

_RESET = Path("/proc/self/clear_refs")


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--nodes", type=int, nargs="+", default=[3136, 12544])
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--k", type=int, default=9)
    parser.add_argument("--dilation", type=int, default=2)
    parser.add_argument("--bounds", type=int, nargs="*", default=[1, 64], help="in MiB")
    args = parser.parse_args(arguments)
    start(args)
    sizes = {"channels": args.channels, "k": args.k, "dilation": args.dilation}
    cases = [("knn_graph", name, 0) for name in searches(1, 1)]
    cases[1:1] = [("knn_graph", "pyg_viglad", bound) for bound in args.bounds]
    edge_index = torch.zeros(2, 1, dtype=torch.int64)
    cases += [("aggregation", name, 0) for name in aggregations(edge_index, 1, 1)]
    rows = []
    for what, name, bound in cases:
        row = {"what": what, "by": f"{name}, bound {bound} MiB" if bound else name}
        for nodes in args.nodes:
            values = [
                peak_memory(
                    what, name, args.threads, nodes=nodes, max_memory=bound * 2**20, **sizes
                )
                for _ in range(args.rounds)
            ]
            row[f"MiB at N = {nodes:,}"] = f"{max(values):.1f}"
        rows.append(row)
    print(markdown(pd.DataFrame(rows).set_index("what"), "what"))


def peak_memory(what: str, name: str, threads: int, **sizes: int) -> float:
    """Measures in a new process.

    Args:
        what: ``"knn_graph"``, or ``"aggregation"`` for its forward and backward pass.
        name: A key of :func:`~benchmarks.speed.rivals.searches` or ``aggregations``.
        threads: Number of threads.
        **sizes: ``nodes``, ``channels``, ``k``, ``dilation`` and ``max_memory`` (0: the default).

    Returns:
        MiB beyond the inputs (features, and edges for the aggregation), or NaN where it cannot be read.
    """
    request = {"what": what, "name": name, "threads": threads, **sizes}
    return measure_apart("memory", request, threads)


def measure_apart(module: str, request: Any, threads: int) -> float:
    """Returns what ``benchmarks.speed.MODULE --request`` prints in a new process, NaN where unknown."""
    if not _RESET.exists():
        return float("nan")
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.speed.{module}", "--request", json.dumps(request)],
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
    return peak_beyond(_prepare(request, request["nodes"]))


def peak_beyond(run: Callable[[], object]) -> float:
    """Returns the MiB that a call takes at its peak beyond what the process held, NaN if unknown."""
    if not _RESET.exists():
        return float("nan")
    ctypes.CDLL(None).malloc_trim(0)
    _RESET.write_text("5")  # resets the peak
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _prepare(request: dict[str, Any], nodes: int) -> Callable[[], object]:
    torch.manual_seed(0)
    k, dilation, channels = request["k"], request["dilation"], request["channels"]
    x = torch.randn(nodes, channels)
    if request["what"] == "aggregation":
        edges = knn_graph(x, k, loop=True, cosine=True)
        way = aggregations(edges, k, channels)[request["name"]]
        x.requires_grad_()
        gradient = torch.randn(nodes, channels)
        return lambda: way(x).backward(gradient)
    bound = request.get("max_memory") or None
    search = searches(k, dilation, max_memory=bound)[request["name"]]
    return lambda: search(x)


def _status(name: str) -> float:
    """Reads a line of the process's status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


if __name__ == "__main__":
    if "--request" in sys.argv:
        print(_measure(json.loads(sys.argv[-1])))
    else:
        main()
