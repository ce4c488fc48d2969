"""How fast is the aggregation of ``MaxRelativeConv``, forward and backward?

Compares, in one process and on the same graph, the two paths of pyg_viglad with PyG's default max
aggregation of x_j - x_i and with the dense gather of the ViG reference, which stores the features
of nodes and neighbours as [N, C, k]. Prints medians and ratios, and checks that the values agree.

    python benchmarks/max_relative_conv.py --threads 1
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing

from pyg_viglad.nn import MaxRelativeConv, knn_graph


class DefaultMax(MessagePassing):  # type: ignore[misc]
    """PyG's own max aggregation of the differences."""

    def __init__(self) -> None:
        super().__init__(aggr="max")

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Aggregate."""
        return self.propagate(edge_index, x=x)  # type: ignore[no-any-return]

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        """Give the differences."""
        return x_j - x_i


def dense_gather(x: Tensor, edge_index: Tensor, k: int) -> Tensor:
    """Take the maximum of nodes and neighbours gathered as ``[1, C, N, k]``, as ViG does."""
    channels_first = x.t()[None]
    nodes = x.size(0)

    def gather(index: Tensor) -> Tensor:
        flat = channels_first.transpose(1, 2).contiguous().view(nodes, -1)[index]
        return flat.view(1, nodes, k, -1).permute(0, 3, 1, 2).contiguous()

    difference = gather(edge_index[0]) - gather(edge_index[1])
    return difference.max(dim=-1, keepdim=True).values[0, :, :, 0].t()


def median_times(
    functions: dict[str, Callable[[Tensor], Tensor]], x: Tensor, repeats: int
) -> dict[str, tuple[float, float]]:
    """Time forward, and forward with backward, of all functions in turns; milliseconds."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    gradient = torch.randn_like(x)
    for repeat in range(repeats + 2):
        for name, function in functions.items():
            source = x.clone().requires_grad_()
            start = time.perf_counter()
            out = function(source)
            middle = time.perf_counter()
            out.backward(gradient)  # type: ignore[no-untyped-call]
            end = time.perf_counter()
            if repeat > 1:  # the first rounds warm up
                times[name].append((1000 * (middle - start), 1000 * (end - start)))
    return {
        name: (statistics.median(t[0] for t in values), statistics.median(t[1] for t in values))
        for name, values in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3136)
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--k", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=41)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    x = torch.randn(args.nodes, args.channels)
    edge_index = knn_graph(x, args.k)
    conv = MaxRelativeConv(args.channels, args.channels, heads=1)
    default = DefaultMax()
    shuffled = edge_index[:, torch.randperm(edge_index.size(1))]
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "pyg_viglad": lambda x: conv.relative(x, edge_index)[1],
        "any edges": lambda x: conv.relative(x, shuffled)[1],
        "PyG default": lambda x: default(x, edge_index),
        "dense gather": lambda x: dense_gather(x, edge_index, args.k),
    }
    for name, function in functions.items():
        if not torch.equal(function(x), functions["pyg_viglad"](x)):
            raise RuntimeError(f"Expected equal values ('{name}' differs)")
    print(
        f"N={args.nodes} C={args.channels} k={args.k} threads={args.threads} "
        f"torch={torch.__version__}"
    )
    print(f"{'':14} {'forward':>11}   {'and backward':>12}")
    result = median_times(functions, x, args.repeats)
    for name, (forward, both) in result.items():
        ratio = both / result["pyg_viglad"][1]
        print(f"{name:14} {forward:8.2f} ms   {both:9.2f} ms   {ratio:5.1f}x")


if __name__ == "__main__":
    main()
