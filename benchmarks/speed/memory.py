"""How much memory do ``knn_graph`` and the aggregation take beyond their inputs?

Every figure is the highest resident memory of a process of its own, less what it held before the call.
The output counts: it is 16 bytes an edge for graphs, and one gradient for aggregations. A bound on
``knn_graph`` is the argument ``max_memory``, in MB.

    python -m benchmarks.speed.memory --threads 1
"""

import torch

from benchmarks.speed._memory import peak_memory
from benchmarks.speed._rivals import aggregations, searches
from benchmarks.speed._timing import make_parser, markdown_table, start


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--nodes", type=int, nargs="+", default=[3136, 12544])
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--k", type=int, default=9)
    parser.add_argument("--dilation", type=int, default=2)
    parser.add_argument("--bounds", type=int, nargs="*", default=[1, 64], help="in MB")
    args = parser.parse_args(arguments)
    start(args)
    sizes = {"channels": args.channels, "k": args.k, "dilation": args.dilation}
    cases = [("knn_graph", name, 0) for name in searches(1, 1)]
    cases[1:1] = [("knn_graph", "pyg_viglad", bound) for bound in args.bounds]
    edge_index = torch.zeros(2, 1, dtype=torch.int64)
    cases += [("aggregation", name, 0) for name in aggregations(edge_index, 1, 1)]
    rows = []
    for what, name, bound in cases:
        cells = [what, f"{name}, bound {bound} MB" if bound else name]
        for nodes in args.nodes:
            values = [
                peak_memory(
                    what, name, threads=args.threads, nodes=nodes, max_memory=bound * 2**20, **sizes
                )
                for _ in range(args.rounds)
            ]
            known = [value for value in values if value is not None]
            cells.append(f"{max(known):.1f}" if known else "not known")
        rows.append(cells)
    header = ["what", "by", *[f"MB at N = {nodes:,}" for nodes in args.nodes]]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
