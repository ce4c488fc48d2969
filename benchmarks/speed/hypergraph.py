"""How fast is ``fuzzy_c_means``, and how much memory does it take?

Compares, in one process, on the same points, first memberships and number of rounds, pyg_viglad's
``fuzzy_c_means`` with loops over images and clusters, and with the same formula on the array of all
differences [B, N, K, C]. The values are checked to agree. Memory is the highest resident memory of a
process of its own beyond points and first memberships, as Linux reports it.

    python -m benchmarks.speed.hypergraph --threads 1
"""

import json
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.speed.memory import measure_apart, peak_beyond
from benchmarks.speed.timing import make_parser, markdown, of_ours, start, time_in_turns
from pyg_viglad.nn import fuzzy_c_means

ROUNDS = 15  # of the clustering


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=11)
    parser.add_argument("--nodes", type=int, default=3136)
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--clusters", type=int, default=25)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    args = parser.parse_args(arguments)
    start(args)
    parts = []
    for batch_size in args.batch_sizes:
        sizes = (batch_size, args.nodes, args.channels, args.clusters)
        x, first = random_points(*sizes)
        functions = {name: partial(way, x, first) for name, way in WAYS.items()}
        expected = functions["pyg_viglad"]()
        for name, function in functions.items():
            if not torch.allclose(function(), expected, atol=1e-3):
                raise RuntimeError(f"Expected equal memberships ('{name}' differs)")
        label = f"batch {batch_size}: "
        table = of_ours(time_in_turns(functions, args.rounds), label=label)
        table[f"{label}MB"] = [peak_memory(name, args.threads, *sizes) for name in WAYS]
        parts.append(table)
    print(markdown(parts[0].join(parts[1:]), "fuzzy_c_means"))


def random_points(images: int, nodes: int, channels: int, clusters: int) -> tuple[Tensor, Tensor]:
    """Returns points around as many centres as there are clusters, and first memberships."""
    centers = 3 * torch.randn(clusters, channels)
    x = centers[torch.randint(clusters, (images, nodes))] + torch.randn(images, nodes, channels)
    first = torch.rand(images, nodes, clusters)
    return x, first / first.sum(dim=2, keepdim=True)


def ours(x: Tensor, first: Tensor) -> Tensor:
    return fuzzy_c_means(x, first.size(2), iterations=ROUNDS, tol=0, start=first)


@torch.no_grad()
def loops(x: Tensor, first: Tensor) -> Tensor:
    """One image and one cluster after the other."""
    memberships = first
    for _ in range(ROUNDS):
        inverse = torch.empty_like(memberships)
        for image in range(x.size(0)):
            for cluster in range(memberships.size(2)):
                weight = memberships[image, :, cluster].square()
                center = (weight[:, None] * x[image]).sum(dim=0) / weight.sum()
                distance = (x[image] - center).square().sum(dim=1)
                inverse[image, :, cluster] = 1 / distance.clamp_min(1e-10)
        memberships = inverse / inverse.sum(dim=2, keepdim=True)
    return memberships


@torch.no_grad()
def differences(x: Tensor, first: Tensor) -> Tensor:
    """All images and clusters at once, by the array of all differences."""
    memberships = first
    for _ in range(ROUNDS):
        weights = memberships.square()
        centers = weights.mT @ x / weights.sum(dim=1)[:, :, None]
        distance = (x[:, :, None] - centers[:, None]).square().sum(dim=3)
        inverse = 1 / distance.clamp_min(1e-10)
        memberships = inverse / inverse.sum(dim=2, keepdim=True)
    return memberships


WAYS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pyg_viglad": ours,
    "loops over images and clusters": loops,
    "all differences at once": differences,
}


def peak_memory(name: str, threads: int, *sizes: int) -> float:
    """Measures one call in a new process, in MB; NaN where it cannot be read."""
    return measure_apart("hypergraph", [name, threads, *sizes], threads)


def _measure(name: str, threads: int, *sizes: int) -> float:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x, first = random_points(*sizes)
    WAYS[name](x[:1, :64], first[:1, :64])  # libraries load their buffers
    return peak_beyond(partial(WAYS[name], x, first))


if __name__ == "__main__":
    if "--request" in sys.argv:
        print(_measure(*json.loads(sys.argv[-1])))
    else:
        main()
