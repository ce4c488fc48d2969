"""How fast is Pyramid ViG, and how much memory does it take?

Compares, in one process, on the same weights and images and in the same precision, ``PyramidViG`` with the
dense formula of the ViG reference: maps with the channels first, 1 x 1 convolutions, in every block the
matrix of all distances between nodes and candidates plus the stored table of relative positions, its
k * dilation smallest in each row, and the features of centres and neighbours gathered as [B, C, N, k].
Memory is the highest resident memory of a process of its own beyond weights and images, as Linux reports it.
The difference of the logits, relative to their norm, is that of one image in double precision: in single
precision rounding lets graphs choose another of two equally near nodes.

    python -m benchmarks.speed.pyramid --threads 1
"""

import json
import sys
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed.memory import measure_apart, peak_beyond
from benchmarks.speed.timing import make_parser, markdown, of_ours, start, time_in_turns
from pyg_viglad.models import PyramidViG
from pyg_viglad.nn import ConvViG, position_codes


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__, rounds=11)
    parser.add_argument("--variant", default="ti")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    args = parser.parse_args(arguments)
    start(args)
    networks = both(args.variant)
    parts = []
    for batch_size in args.batch_sizes:
        images = random_images(batch_size)
        functions = {name: partial(infer, net, images) for name, net in networks.items()}
        label = f"batch {batch_size}: "
        table = of_ours(time_in_turns(functions, args.rounds), label=label)
        table[f"{label}MiB"] = [
            peak_memory(name, args.threads, args.variant, batch_size) for name in networks
        ]
        parts.append(table)
    table = parts[0].join(parts[1:])
    images = random_images(1).double()
    outputs = [infer(network, images) for network in both(args.variant, torch.float64).values()]
    table["difference"] = [
        f"{float((out - outputs[0]).norm() / outputs[0].norm()):.0e}" for out in outputs
    ]
    print(markdown(table, f"PyramidViG({args.variant})"))


def random_images(number: int) -> Tensor:
    return 2 * torch.rand(number, 3, 224, 224) - 1


def both(variant: Any, dtype: torch.dtype = torch.float32) -> dict[str, nn.Module]:
    """Returns the network in both forms, its running statistics those of random images."""
    torch.manual_seed(0)
    model = PyramidViG(variant).to(dtype)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.momentum = None  # averages over batches
    with torch.no_grad():
        model(random_images(2).to(dtype))
    return {"pyg_viglad": model.eval(), "dense formula (ViG)": DensePyramidViG(model).eval()}


class DensePyramidViG(nn.Module):
    """The same network as the ViG reference computes it."""

    def __init__(self, model: PyramidViG) -> None:
        super().__init__()
        self.stem = model.constructor.stem
        self.position = model.constructor.position
        layers: list[nn.Module] = []
        for stage, blocks in enumerate(model.encoder):
            if stage:
                down: Any = model.downsamples[stage - 1]
                layers.append(nn.Sequential(down.conv, _norm(down.norm)))
            layers += [DenseBlock(block) for block in blocks]
        self.layers = nn.Sequential(*layers)
        self.head = model.head

    def forward(self, images: Tensor) -> Tensor:
        """Computes the logits."""
        maps = self.layers(self.stem(images) + self.position)
        return self.head(F.adaptive_avg_pool2d(maps, 1).flatten(1))


class DenseBlock(nn.Module):
    """A block on maps ``[B, C, H, W]``."""

    def __init__(self, block: ConvViG) -> None:
        super().__init__()
        self.k, self.dilation, self.reduce_ratio = block.k, block.dilation, block.reduce_ratio
        self.fc_in = nn.Sequential(_conv(block.fc_in[0]), _norm(block.fc_in[1]))
        operator: Any = block.conv
        weight = operator.lin.weight.detach().transpose(1, 2).flatten(0, 1)
        conv = nn.Conv2d(
            2 * block.channels,
            2 * block.channels,
            1,
            groups=operator.heads,
            dtype=weight.dtype,
        )
        conv.load_state_dict({"weight": weight[:, :, None, None], "bias": operator.lin.bias})
        self.conv = nn.Sequential(conv, _norm(operator.norm), nn.GELU())
        self.fc_out = nn.Sequential(_conv(block.fc_out[0]), _norm(block.fc_out[1]))
        first, first_norm, act, second, second_norm = block.ffn
        self.ffn = nn.Sequential(
            _conv(first), _norm(first_norm), act, _conv(second), _norm(second_norm)
        )
        side: Any = block.relative_position
        own, others = position_codes(
            block.channels, side, block.reduce_ratio, dtype=operator.lin.bias.dtype
        )
        self.table: Tensor
        self.register_buffer("table", -2 * (own @ others.t())[None])

    def forward(self, maps: Tensor) -> Tensor:
        """Returns the maps that leave the block."""
        x = self.fc_in(maps)
        y = F.avg_pool2d(x, self.reduce_ratio) if self.reduce_ratio > 1 else x
        x, y = (part.flatten(2)[..., None] for part in (x, y))
        neighbors = self.search(x, y)
        centres = torch.arange(x.size(2))[:, None].expand_as(neighbors)
        largest = (_gather(y, neighbors) - _gather(x, centres)).amax(dim=3, keepdim=True)
        joined = torch.stack([x, largest], dim=2).flatten(1, 2)
        maps = maps + self.fc_out(self.conv(joined)).view_as(maps)
        return maps + self.ffn(maps)

    @torch.no_grad()
    def search(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes the neighbours ``[B, N, k]`` by the matrix of all distances."""
        x, y = (F.normalize(part, dim=1).transpose(1, 2)[..., 0] for part in (x, y))
        squares = [part.square().sum(dim=2, keepdim=True) for part in (x, y)]
        distance = squares[0] - 2 * torch.matmul(x, y.mT) + squares[1].mT + self.table
        return (-distance).topk(self.k * self.dilation).indices[:, :, :: self.dilation]


def _conv(linear: Any) -> nn.Conv2d:
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1, dtype=linear.weight.dtype)
    conv.load_state_dict({"weight": linear.weight[:, :, None, None], "bias": linear.bias})
    return conv


def _norm(norm: Any) -> nn.BatchNorm2d:
    maps = nn.BatchNorm2d(norm.num_features, dtype=norm.weight.dtype)
    maps.load_state_dict(norm.state_dict())
    return maps


def _gather(x: Tensor, index: Tensor) -> Tensor:
    """Gathers rows of ``[B, C, N, 1]`` as ``[B, C, N, k]``."""
    graphs, channels, nodes, _ = x.shape
    rows = x.transpose(1, 2).contiguous().view(graphs * nodes, channels)
    index = index + torch.arange(graphs).view(-1, 1, 1) * nodes
    return rows[index].permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def infer(network: nn.Module, images: Tensor) -> Tensor:
    return network(images)


def peak_memory(name: str, threads: int, *request: Any) -> float:
    """Measures one forward pass in a new process, in MiB; NaN where it cannot be read."""
    return measure_apart("pyramid", [name, threads, *request], threads)


def _measure(name: str, threads: int, variant: str, batch_size: int) -> float:
    torch.set_num_threads(threads)
    network = both(variant)[name]
    images = random_images(batch_size)
    infer(network, images[:1])  # libraries load their buffers
    return peak_beyond(partial(infer, network, images))


if __name__ == "__main__":
    if "--request" in sys.argv:
        print(_measure(*json.loads(sys.argv[-1])))
    else:
        main()
