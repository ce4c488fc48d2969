"""How fast is the whole graph autoencoder, forward and with its backward pass?

Compares, in one process, on the same weights and images, ``ViGAutoEncoder`` as it is, compiled, and with
what it would be built of otherwise: PyG's default max aggregation of x_j - x_i in all blocks, and graphs
by torch-cluster (where installed) or by the dense formula of the ViG reference. The difference of the
outputs is that of their norms; rounding lets graphs choose another of two equally near nodes.

    python -m benchmarks.speed.autoencoder --threads 1
"""

import argparse
import copy
import importlib.util
from collections.abc import Callable
from functools import partial
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.speed._rivals import DefaultMax, dense_formula, torch_cluster_search
from benchmarks.speed._timing import make_parser, markdown_table, median_times, start
from pyg_viglad import ViGAutoEncoder
from pyg_viglad.models import graph_constructor
from pyg_viglad.nn import MaxRelativeConv, vig_block

Search = Callable[[Tensor, int, int], Tensor]


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=7)
    parser.add_argument("--variant", default="ti")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--k", type=int, default=12)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args(arguments)
    start(args)
    model = ViGAutoEncoder(variant=args.variant, image_size=args.image_size, k=args.k)
    images = torch.rand(args.batch_size, 3, args.image_size, args.image_size)
    networks: dict[str, Callable[[Tensor], Tensor]] = {"pyg_viglad": model}
    if args.compile:
        networks["pyg_viglad, compiled"] = torch.compile(copy.deepcopy(model), fullgraph=True)
    ways: dict[str, Search] = {"dense formula (ViG)": dense_formula}
    if importlib.util.find_spec("torch_cluster"):
        ways["torch-cluster"] = torch_cluster_search
    for name, search in ways.items():
        networks[f"PyG default, {name}"] = Rival(copy.deepcopy(model), search)
    difference = differences(networks, images)
    forward = median_times(
        {name: partial(infer, network, images) for name, network in networks.items()}, args.rounds
    )
    both = median_times(
        {name: partial(train, network, images) for name, network in networks.items()}, args.rounds
    )
    rows = [
        [
            name,
            f"{forward[name]:.1f}",
            f"{forward[name] / forward['pyg_viglad']:.2f}x",
            f"{both[name]:.1f}",
            f"{both[name] / both['pyg_viglad']:.2f}x",
            f"{100 * difference[name]:.3f}",
        ]
        for name in networks
    ]
    header = ["autoencoder", "forward ms", "of ours", "with backward ms", "of ours", "% difference"]
    print(markdown_table(header, rows))


class Rival(nn.Module):
    """The same network with graphs by another search, and PyG's own aggregation."""

    def __init__(self, model: ViGAutoEncoder, search: Search) -> None:
        super().__init__()
        self.model = model
        default = DefaultMax()
        for conv in model.modules():
            if isinstance(conv, MaxRelativeConv):
                conv.relative = partial(_by_default, default)
        self.search = partial(_by_search, search)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct the features of the images."""
        with (
            mock.patch.object(vig_block, "knn_graph", self.search),
            mock.patch.object(graph_constructor, "knn_graph", self.search),
        ):
            return self.model(images)  # type: ignore[no-any-return]


def _by_default(
    default: DefaultMax, x: Tensor, edge_index: Tensor, size: object = None, *, k: int | None = None
) -> tuple[Tensor, Tensor]:
    return x, default(x, edge_index)


def _by_search(
    search: Search, x: Tensor, k: int, *, batch_size: int = 1, dilation: int = 1, **_: object
) -> Tensor:
    graphs = x.view(batch_size, -1, x.size(1))
    nodes = graphs.size(1)
    neighbors = search(graphs, k, max(1, min(dilation, nodes // k)))
    neighbors = neighbors + torch.arange(batch_size).view(-1, 1, 1) * nodes
    centres = torch.arange(batch_size * nodes).repeat_interleave(k)
    return torch.stack([neighbors.flatten(), centres])


@torch.no_grad()
def differences(
    networks: dict[str, Callable[[Tensor], Tensor]], images: Tensor
) -> dict[str, float]:
    """Give each output's distance from ours, relative to its length."""
    outputs = {name: _mode(network, False)(images) for name, network in networks.items()}
    own = outputs["pyg_viglad"]
    return {name: float((out - own).norm() / own.norm()) for name, out in outputs.items()}


@torch.no_grad()
def infer(network: Callable[[Tensor], Tensor], images: Tensor) -> None:
    _mode(network, False)(images)


def train(network: Callable[[Tensor], Tensor], images: Tensor) -> None:
    _mode(network, True)(images).square().mean().backward()


def _mode(network: Callable[[Tensor], Tensor], training: bool) -> Callable[[Tensor], Tensor]:
    if isinstance(network, nn.Module) and network.training != training:
        network.train(training)
    return network


if __name__ == "__main__":
    main()
