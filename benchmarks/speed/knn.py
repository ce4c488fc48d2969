"""Run time of ``knn_graph`` against other searches.

Compares, in one process and on the same features, pyg_viglad's ``knn_graph`` with torch-cluster's and
faiss's flat index (where installed), with scikit-learn's brute force, and with the dense formula of the
ViG reference: all squared distances as |x|^2 - 2 <x, y> + |y|^2, then the k * dilation smallest of each
row. The floor is the product <x, y> alone, in tiles that fit a cache, without choosing anything.

    python -m benchmarks.speed.knn --threads 1
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.rivals import searches
from benchmarks.speed.timing import make_parser, markdown, of_ours, start, time_in_turns


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=11)
    parser.add_argument("--nodes", type=int, default=3136)
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--k", type=int, default=9)
    parser.add_argument("--dilation", type=int, default=2)
    args = parser.parse_args(arguments)
    start(args)
    x = torch.randn(args.nodes, args.channels)
    ways = searches(args.k, args.dilation)
    expected = ways["pyg_viglad"](x)
    functions = {name: lambda way=way: way(x) for name, way in ways.items()}
    functions["floor: the product alone"] = lambda: products(F.normalize(x))
    table = of_ours(time_in_turns(functions, args.rounds))
    table["% same neighbours"] = ""
    for name, way in ways.items():
        same = (way(x) == expected).float().mean()
        table.loc[name, "% same neighbours"] = f"{100 * same:.1f}"
    print(markdown(table, "knn_graph"))


def products(x: Tensor, tile: int = 2**19) -> None:
    """Multiplies all pairs, one tile after the other in the same memory."""
    rows = min(x.size(0), max(1, tile // x.size(0)))
    buffer = torch.empty(rows, x.size(0))
    for part in x.split(rows):
        torch.mm(part, x.t(), out=buffer[: part.size(0)])


if __name__ == "__main__":
    main()
