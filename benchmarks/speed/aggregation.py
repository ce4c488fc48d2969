"""Run time of the aggregation of ``MaxRelativeConv``, forward and backward.

Compares, in one process and on the same graph, pyg_viglad's two ways (for the edges of ``knn_graph``, and
for the same in any order) with PyG's default max aggregation of x_j - x_i, with torch-scatter's segments
(where installed), with plain indexing, and with the dense gather of the ViG reference, which stores the
features of nodes and neighbours as [N, C, k]. The values are checked to agree. The floor copies as many
bytes as must be read and written at least: each neighbour, each result, and for the gradient each
value's rank and origin.

    python -m benchmarks.speed.aggregation --threads 1
"""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.speed.rivals import aggregations
from benchmarks.speed.timing import make_parser, markdown, of_ours, start, time_in_turns
from pyg_viglad.nn import knn_graph


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=41)
    parser.add_argument("--nodes", type=int, default=3136)
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--k", type=int, default=9)
    args = parser.parse_args(arguments)
    start(args)
    x = torch.randn(args.nodes, args.channels)
    gradient = torch.randn_like(x)
    edges = knn_graph(x, args.k, loop=True, cosine=True)
    ways = aggregations(edges, args.k, args.channels)
    for name, way in ways.items():
        if not torch.equal(way(x), ways["pyg_viglad"](x)):
            raise RuntimeError(f"Expected equal values ('{name}' differs)")
    read, both = least_bytes(x, args.k)
    floor = f"floor: {read / 1e6:.1f} and {both / 1e6:.1f} MB"
    x.requires_grad_()
    forward = {name: lambda way=way: way(x) for name, way in ways.items()}
    backward = {
        name: lambda way=way: torch.autograd.grad(way(x), x, gradient) for name, way in ways.items()
    }
    parts = [
        of_ours(time_in_turns({**some, floor: copying(size)}, args.rounds, warmup=2), label=label)
        for some, size, label in ((forward, read, "forward "), (backward, both, "with backward "))
    ]
    print(markdown(parts[0].join(parts[1]), "aggregation"))


def least_bytes(x: Tensor, k: int) -> tuple[int, int]:
    """Returns how many bytes are read and written at least, forward and with the backward pass."""
    read = x.numel() * x.element_size() * (k + 2) + x.size(0) * k * 8
    return read, read + x.numel() * (2 * x.element_size() + 1)


def copying(size: int, device: str = "cpu") -> Callable[[], Tensor]:
    """Returns a function that reads and writes ``size`` bytes in total."""
    source, target = (torch.zeros(size // 2, dtype=torch.uint8, device=device) for _ in range(2))
    return lambda: target.copy_(source)


if __name__ == "__main__":
    main()
