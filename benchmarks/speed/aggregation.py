"""How fast is the aggregation of ``MaxRelativeConv``, forward and backward?

Compares, in one process and on the same graph, pyg_viglad's two ways (for the edges of ``knn_graph``, and
for the same in any order) with PyG's default max aggregation of x_j - x_i, with torch-scatter's segments
(where installed), with plain indexing, and with the dense gather of the ViG reference, which stores the
features of nodes and neighbours as [N, C, k]. The values are checked to agree. The floor copies as many
bytes as must be read and written at least: each neighbour, each result, and for the gradient each
value's rank and origin.

    python -m benchmarks.speed.aggregation --threads 1
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from benchmarks.speed._rivals import aggregations
from benchmarks.speed._timing import make_parser, markdown_table, median_times, start
from pyg_viglad.nn import knn_graph


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=41)
    parser.add_argument("--nodes", type=int, default=3136)
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--k", type=int, default=9)
    args = parser.parse_args(arguments)
    start(args)
    x = torch.randn(args.nodes, args.channels)
    ways = aggregations(knn_graph(x, args.k, loop=True, cosine=True), args.k, args.channels)
    for name, way in ways.items():
        if not torch.equal(way(x), ways["pyg_viglad"](x)):
            raise RuntimeError(f"Expected equal values ('{name}' differs)")
    times = forward_and_both(ways, x, args.rounds)
    values = x.numel()
    forward = values * x.element_size() * (args.k + 2) + args.nodes * args.k * 8
    both = forward + values * (2 * x.element_size() + 1)
    floors = median_times(
        {"forward": copying(forward), "both": copying(both)}, args.rounds, warmup=2
    )
    name = f"floor: {forward / 1e6:.1f} and {both / 1e6:.1f} MB"
    own = times["pyg_viglad"]
    rows = [
        [name, f"{one:.2f}", f"{one / own[0]:.2f}x", f"{two:.2f}", f"{two / own[1]:.2f}x"]
        for name, (one, two) in {**times, name: (floors["forward"], floors["both"])}.items()
    ]
    header = ["aggregation", "forward ms", "of ours", "and backward ms", "of ours"]
    print(markdown_table(header, rows))


def forward_and_both(
    ways: dict[str, Callable[[Tensor], Tensor]], x: Tensor, rounds: int
) -> dict[str, tuple[float, float]]:
    """Time forward, and forward with backward, of all in turns; medians in milliseconds."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    gradient = torch.randn_like(x)
    for number in range(rounds + 2):
        for name, way in ways.items():
            source = x.clone().requires_grad_()
            begin = time.perf_counter()
            out = way(source)
            middle = time.perf_counter()
            out.backward(gradient)  # type: ignore[no-untyped-call]
            end = time.perf_counter()
            if number > 1:  # the first rounds warm up
                times[name].append((1000 * (middle - begin), 1000 * (end - begin)))
    return {
        name: (median(one for one, _ in values), median(two for _, two in values))
        for name, values in times.items()
    }


def copying(size: int) -> Callable[[], object]:
    """Read and write so many bytes together."""
    source, target = (torch.zeros(size // 2, dtype=torch.uint8) for _ in range(2))
    return lambda: target.copy_(source)


if __name__ == "__main__":
    main()
