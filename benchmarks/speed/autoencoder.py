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
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.speed.rivals import DefaultMax, Search, dense_formula, torch_cluster_search
from benchmarks.speed.timing import make_parser, markdown, of_ours, start, time_in_turns
from pyg_viglad import ViGAutoEncoder
from pyg_viglad.nn import MaxRelativeConv, ViGBlock


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
    networks: dict[str, nn.Module] = {"pyg_viglad": model}
    if args.compile:
        networks["pyg_viglad, compiled"] = torch.compile(copy.deepcopy(model), fullgraph=True)
    ways = {"dense formula (ViG)": dense_formula}
    if importlib.util.find_spec("torch_cluster"):
        ways["torch-cluster"] = torch_cluster_search
    for name, search in ways.items():
        networks[f"PyG default, {name}"] = Rival(copy.deepcopy(model), search)
    outputs = {name: infer(network, images) for name, network in networks.items()}
    parts = [
        of_ours(
            time_in_turns(
                {n: partial(run, net, images) for n, net in networks.items()}, args.rounds
            ),
            label=label,
        )
        for run, label in ((infer, "forward "), (train, "with backward "))
    ]
    table = parts[0].join(parts[1])
    own = outputs["pyg_viglad"]
    table["% difference"] = [
        f"{100 * float((out - own).norm() / own.norm()):.3f}" for out in outputs.values()
    ]
    print(markdown(table, "autoencoder"))


class Rival(nn.Module):
    """The same network with graphs by another search, and PyG's own aggregation."""

    def __init__(self, model: ViGAutoEncoder, search: Search) -> None:
        super().__init__()
        self.model = model
        default = DefaultMax()
        for conv in model.modules():
            if isinstance(conv, MaxRelativeConv):
                conv.relative = lambda x, edge_index, *_, **__: (x, default(x, edge_index))
        for part in (model.constructor, *(b for b in model.modules() if isinstance(b, ViGBlock))):
            part.graph = partial(_edges, search, part.k, part.dilation)

    def forward(self, images: Tensor) -> Tensor:
        """Computes the features of the images."""
        return self.model(images)


def _edges(
    search: Search, k: int, dilation: int, x: Tensor, batch_size: int, grid_size: object
) -> Tensor:
    """Builds a graph by another search."""
    graphs = x.view(batch_size, -1, x.size(1))
    nodes = graphs.size(1)
    k = min(k, nodes)
    neighbors = search(graphs, k, max(1, min(dilation, nodes // k)))
    neighbors = neighbors + torch.arange(batch_size, device=x.device).view(-1, 1, 1) * nodes
    centres = torch.arange(batch_size * nodes, device=x.device).repeat_interleave(k)
    return torch.stack([neighbors.flatten(), centres])


@torch.no_grad()
def infer(network: nn.Module, images: Tensor) -> Tensor:
    return network.eval()(images)


def train(network: nn.Module, images: Tensor) -> None:
    network.train()(images).square().mean().backward()


if __name__ == "__main__":
    main()
