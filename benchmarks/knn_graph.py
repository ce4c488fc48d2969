"""How fast is ``knn_graph``, and how much memory does it take?

Compares, in one process and on the same features, pyg_viglad's ``knn_graph`` with torch-cluster's
(where installed) and with the dense formula of the ViG reference: all squared distances as
|x|^2 - 2 <x, y> + |y|^2, then the k * dilation smallest of each row. Prints medians and ratios.

    python benchmarks/knn_graph.py --threads 1
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_viglad.nn import knn_graph

MEMORY_SCRIPT = """
import torch
from pathlib import Path
from pyg_viglad.nn import knn_graph
def memory(name):  # in MB
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
torch.set_num_threads({threads})
x = torch.randn({nodes}, {channels})
knn_graph(x[:2048], {k}, dilation={dilation})  # libraries load their buffers
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = memory("VmRSS")
knn_graph(x, {k}, dilation={dilation})
print(memory("VmHWM") - before)
"""


def dense_formula(x: Tensor, k: int, dilation: int) -> Tensor:
    """Give the neighbours as the ViG reference computes them, ``[1, N, k]``."""
    unit = F.normalize(x)[None]
    square = unit.square().sum(dim=2, keepdim=True)
    distance = square - 2 * torch.matmul(unit, unit.transpose(1, 2)) + square.transpose(1, 2)
    return (-distance).topk(k * dilation).indices[:, :, ::dilation]


def rivals(args: argparse.Namespace, x: Tensor) -> dict[str, Callable[[], object]]:
    functions: dict[str, Callable[[], object]] = {
        "pyg_viglad": lambda: knn_graph(x, args.k, dilation=args.dilation),
        "dense formula": lambda: dense_formula(x, args.k, args.dilation),
    }
    try:
        import torch_cluster
    except ImportError:
        return functions
    count = args.k * args.dilation

    def cluster() -> Tensor:
        edges = torch_cluster.knn_graph(F.normalize(x), count, loop=True)
        return edges.view(2, -1, count)[:, :, :: args.dilation]

    functions["torch-cluster"] = cluster
    return functions


def medians(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Time all functions in turns, so that a busy machine hits each alike; milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if repeat:  # the first round warms up
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3136)
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--k", type=int, default=9)
    parser.add_argument("--dilation", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--memory-nodes", type=int, default=12544)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    x = torch.randn(args.nodes, args.channels)
    print(
        f"N={args.nodes} C={args.channels} k={args.k} dilation={args.dilation} "
        f"threads={args.threads} torch={torch.__version__}"
    )
    result = medians(rivals(args, x), args.repeats)
    for name, value in result.items():
        print(f"{name:14} {value:8.1f} ms   {value / result['pyg_viglad']:5.1f}x")
    if not Path("/proc/self/clear_refs").exists():
        print("peak memory can be read on Linux only")
        return
    script = MEMORY_SCRIPT.format(
        threads=args.threads,
        nodes=args.memory_nodes,
        channels=args.channels,
        k=args.k,
        dilation=args.dilation,
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    print(f"memory beyond the input at N={args.memory_nodes}: {float(done.stdout):.0f} MB")


if __name__ == "__main__":
    main()
