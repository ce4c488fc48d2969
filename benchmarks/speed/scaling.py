"""How do time and memory of ``knn_graph`` and the aggregation grow with the number of nodes?

The exponents are those of the line through the sizes, in logarithms: from 784 nodes on for time, from
3136 on for memory, where what does not grow no longer counts. All pairs of nodes are compared, so time
grows with N^2; memory beyond the inputs should grow with N.

    python -m benchmarks.speed.scaling --threads 1
"""

import numpy as np
import pandas as pd
import torch

from benchmarks.speed.memory import peak_memory
from benchmarks.speed.rivals import aggregations, searches
from benchmarks.speed.timing import make_parser, markdown, start, time_in_turns
from pyg_viglad.nn import knn_graph

_TIMES = ["knn_graph ms", "aggregation ms (with backward)"]
_MEMORY = ["knn_graph MB", "aggregation MB"]


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument("--sides", type=int, nargs="+", default=[14, 28, 56, 112, 224])
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--k", type=int, default=9)
    parser.add_argument("--dilation", type=int, default=2)
    args = parser.parse_args(arguments)
    start(args)
    sizes = {"channels": args.channels, "k": args.k, "dilation": args.dilation}
    rows = {}
    for nodes in (side**2 for side in args.sides):
        times = times_of(nodes, args.rounds if nodes <= 12544 else 1, **sizes)
        peaks = [
            peak_memory(what, "pyg_viglad", args.threads, nodes=nodes, **sizes)
            for what in ("knn_graph", "aggregation")
        ]
        rows[nodes] = [*times, *peaks]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*_TIMES, *_MEMORY])
    print(markdown(table, "nodes"))
    time = exponent(table[_TIMES].sum(axis=1).loc[784:])
    memory = exponent(table[_MEMORY].max(axis=1).loc[3136:])
    print(f"\nGrowth: time with N^{time}, peak memory beyond the inputs with N^{memory}.")


def times_of(nodes: int, rounds: int, *, channels: int, k: int, dilation: int) -> list[float]:
    """Measures graph and aggregation, medians in milliseconds."""
    x = torch.randn(nodes, channels)
    leaf = x.clone().requires_grad_()
    gradient = torch.randn_like(x)
    search = searches(k, dilation)["pyg_viglad"]
    edges = knn_graph(x, k, loop=True, cosine=True)
    aggregate = aggregations(edges, k, channels)["pyg_viglad"]
    functions = {
        "graph": lambda: search(x),
        "aggregation": lambda: aggregate(leaf).backward(gradient),
    }
    return time_in_turns(functions, rounds).median().tolist()


def exponent(values: pd.Series) -> str:
    """Fits ``value = a * nodes ** exponent`` by least squares of the logarithms.

    Example:
        >>> exponent(pd.Series([3.0, 300.0, 30000.0], [10, 100, 1000]))
        '2.00'
    """
    if len(values) < 2 or values.isna().any():
        return "(not known)"
    logarithms = np.log(values.clip(lower=1e-3).to_numpy())
    return f"{np.polyfit(np.log(values.index.to_numpy(float)), logarithms, 1)[0]:.2f}"


if __name__ == "__main__":
    main()
