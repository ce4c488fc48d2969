"""How do time and memory of ``knn_graph`` and the aggregation grow with the number of nodes?

The exponents are those of the line through the sizes, in logarithms: from 784 nodes on for time, from
3136 on for memory, where what does not grow no longer counts. All pairs of nodes are compared, so time
grows with N^2; memory beyond the inputs should grow with N.

    python -m benchmarks.speed.scaling --threads 1
"""

import numpy as np
import torch

from benchmarks.speed._memory import peak_memory
from benchmarks.speed._rivals import aggregations
from benchmarks.speed._timing import make_parser, markdown_table, median_times, start
from pyg_viglad.nn import knn_graph


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument(
        "--sides", type=int, nargs="+", default=[14, 28, 56, 112, 224], help="of square grids"
    )
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--k", type=int, default=9)
    parser.add_argument("--dilation", type=int, default=2)
    args = parser.parse_args(arguments)
    start(args)
    sizes = {"channels": args.channels, "k": args.k, "dilation": args.dilation}
    rows = []
    figures = []
    for side in args.sides:
        nodes = side**2
        times = times_of(nodes, args.rounds if nodes <= 12544 else 1, **sizes)
        memory = [
            peak_memory(what, "pyg_viglad", threads=args.threads, nodes=nodes, **sizes)
            for what in ("knn_graph", "aggregation")
        ]
        known = [value for value in memory if value is not None]
        figures.append((nodes, sum(times), max(known, default=float("nan"))))
        rows.append(
            [f"{nodes:,}", *[f"{value:.2f}" for value in times]]
            + [f"{value:.1f}" if value is not None else "not known" for value in memory]
        )
    header = ["nodes", "knn_graph ms", "aggregation ms (with backward)"]
    header += ["knn_graph MB", "aggregation MB"]
    print(markdown_table(header, rows))
    time = exponent([(nodes, spent) for nodes, spent, _ in figures if nodes >= 784])
    memory = exponent([(nodes, peak) for nodes, _, peak in figures if nodes >= 3136])
    print(f"\nGrowth: time with N^{time}, peak memory beyond the inputs with N^{memory}.")


def times_of(
    nodes: int, rounds: int, *, channels: int, k: int, dilation: int
) -> tuple[float, float]:
    """Time graph and aggregation, in milliseconds."""
    x = torch.randn(nodes, channels, requires_grad=True)
    gradient = torch.randn(nodes, channels)
    aggregate = aggregations(knn_graph(x, k, loop=True, cosine=True), k, channels)["pyg_viglad"]
    medians = median_times(
        {
            "graph": lambda: knn_graph(x, k, loop=True, cosine=True, dilation=dilation),
            "aggregation": lambda: aggregate(x).backward(gradient),  # type: ignore[no-untyped-call]
        },
        rounds,
    )
    return medians["graph"], medians["aggregation"]


def exponent(figures: list[tuple[int, float]]) -> str:
    """Fit ``value = a * nodes ** exponent`` by least squares of the logarithms.

    Example:
        >>> exponent([(10, 3.0), (100, 300.0), (1000, 30000.0)])
        '2.00'
    """
    if len(figures) < 2 or not np.isfinite(figures).all():
        return "(not known)"
    nodes, values = np.log(np.maximum(np.array(figures), 1e-3)).T
    return f"{np.polyfit(nodes, values, 1)[0]:.2f}"


if __name__ == "__main__":
    main()
