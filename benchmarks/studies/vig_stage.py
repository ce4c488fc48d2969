"""Scattered digits: do vision graph blocks serve as the head of a classifier?

A frozen timm backbone describes images of scattered digits, and a head has to tell whether all digits
are there, one is missing, one is there twice, or one is exchanged for another: a question about the whole
image. Compares ViGStage, with any graph, with residual convolutions of as many parameters in its place, and
with neither, all before the same pooling and linear layer. No digit of the test images is seen in training.
Prints accuracy and recalls.

    python -m benchmarks.studies.vig_stage --backbone-weights mobilenetv1.safetensors --data mnist.npz
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.seed import seed_everything

from benchmarks.grid.results import format_value
from pyg_viglad.datasets import DigitSource, ScatteredDigits
from pyg_viglad.models import BackboneFeatures, ViGStage

HEADS = ("pooling", "convolutions", "knn")
LABELS = ("good", "missing", "twice", "exchanged")


class ConvStage(nn.Sequential):
    """A 1 x 1 convolution and residual blocks of two 3 x 3 convolutions with about as many parameters.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        like: The stage that they replace; there are as many blocks as in it.
    """

    def __init__(self, in_channels: int, out_channels: int, like: ViGStage) -> None:
        budget = sum(p.numel() for p in like.blocks.parameters()) / len(like.blocks)
        # Two kernels, their biases and normalizations: 18 * width * channels and what is small beside it.
        hidden = round((budget - 3 * out_channels) / (18 * out_channels + 3))
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 1),
            *(_ConvBlock(out_channels, hidden) for _ in like.blocks),
        )


class _ConvBlock(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.BatchNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.layers(maps)  # type: ignore[no-any-return]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="mobilenetv1_100")
    parser.add_argument("--backbone-weights", help="file; by default timm downloads them")
    parser.add_argument("--pad-type", default="same", help="of the backbone")
    parser.add_argument("--stride", type=int, default=8, help="of the backbone's feature map")
    parser.add_argument("--data", default="digits", help="digits, or an .npz file of MNIST")
    parser.add_argument("--num-objects", type=int, default=8)
    parser.add_argument("--images", type=int, default=3000, help="for training")
    parser.add_argument("--test-images", type=int, default=1000)
    parser.add_argument(
        "--heads", nargs="+", default=HEADS, help="pooling, convolutions, or graphs of ViGStage"
    )
    parser.add_argument("--channels", type=int, default=64, help="width of the stages")
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--k", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    for head in args.heads:
        make_head(args, head, in_channels=8)  # an unknown graph is an error before minutes of work
    backbone = BackboneFeatures(
        args.backbone, args.backbone_weights, strides=[args.stride], pad_type=args.pad_type
    )
    rows = []
    for seed in args.seeds:
        train, test = (load_features(args, backbone, split, seed) for split in ("train", "test"))
        for head in args.heads:
            rows.append({"head": head, **run(args, head, train, test, seed)})
            print(f"# seed {seed}, {head}: {100 * rows[-1]['accuracy']:.1f}", flush=True)
    print(format_rows(pd.DataFrame(rows)))


def load_features(
    args: argparse.Namespace, backbone: BackboneFeatures, split: str, seed: int
) -> tuple[Tensor, Tensor]:
    """Returns the backbone's maps ``[N, C, H, W]`` of images with digits of the split, and labels ``[N]``."""
    number = args.images if split == "train" else args.test_images
    # Both are drawn as test images, which have the same places for the same seed.
    seed = 2 * seed + (split == "train")
    options = {
        "num_objects": args.num_objects,
        "num_test_good": number // 4,
        "num_test_anomalous": 3 * (number // 4),
        "defects": LABELS[1:],
        "seed": seed,
    }
    with tempfile.TemporaryDirectory() as folder:
        source = args.data
        if split == "train":
            source = write_swapped(source, Path(folder) / "swapped.npz")
        images = ScatteredDigits("test", source, **options)
    labels = [LABELS.index(defect or "good") for defect in images.defects]
    maps = [backbone.maps(batch)[0] for batch in images.images.split(50)]
    return torch.cat(maps), torch.tensor(labels)


def write_swapped(source: str, path: Path) -> Path:
    """Writes digits whose test digits are the training digits of the source, and the other way round.

    Anomalies are drawn with test digits only; so they are drawn with training digits.
    """
    digits = DigitSource(source)
    pools = {split: np.concatenate(digits.pools[split]) for split in ("train", "test")}
    swapped = {
        f"{name}_{to}": values[pools[split]]
        for split, to in (("test", "train"), ("train", "test"))
        for name, values in (("x", digits.images), ("y", digits.labels))
    }
    np.savez(path, **swapped)  # type: ignore[arg-type]
    return path


def make_head(args: argparse.Namespace, head: str, in_channels: int) -> nn.Sequential:
    """Builds a head from maps ``[B, C, H, W]`` to ``[B, 4]``."""
    width = args.channels
    graph = "knn" if head == "convolutions" else head  # of the stage that convolutions replace
    stage: nn.Module
    if head == "pooling":
        stage, width = nn.Identity(), in_channels
    else:
        stage = like = ViGStage(in_channels, width, args.depth, args.k, graph=graph)
        if head == "convolutions":
            stage = ConvStage(in_channels, width, like)
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        stage,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, len(LABELS)),
    )


def run(
    args: argparse.Namespace,
    head: str,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    seed: int,
) -> dict[str, float]:
    """Trains a head, and returns accuracy and recalls on the test images."""
    seed_everything(seed)
    model = make_head(args, head, train[0].size(1))
    optimizer = torch.optim.AdamW(model.parameters(), args.lr, weight_decay=0.05)
    steps = args.epochs * (len(train[0]) // args.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, steps)
    start = time.process_time()
    for _ in range(args.epochs):
        order = torch.randperm(len(train[0]))
        for chosen in order.split(args.batch_size):
            if len(chosen) < args.batch_size:
                continue
            optimizer.zero_grad()
            F.cross_entropy(model(train[0][chosen]), train[1][chosen]).backward()
            optimizer.step()
            schedule.step()
    seconds = time.process_time() - start
    correct = {
        name: predict(model, maps) == labels
        for name, (maps, labels) in (("train", train), ("test", test))
    }
    recalls = {name: correct["test"][test[1] == i] for i, name in enumerate(LABELS)}
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": seconds,
        "train": correct["train"].float().mean().item(),
        "accuracy": correct["test"].float().mean().item(),
        **{name: right.float().mean().item() for name, right in recalls.items()},
    }


@torch.no_grad()
def predict(model: nn.Module, maps: Tensor) -> Tensor:
    """Returns the most likely class of each image."""
    model.eval()
    return torch.cat([model(batch).argmax(1) for batch in maps.split(100)])


def format_rows(rows: pd.DataFrame) -> str:
    """Returns mean ± standard deviation over the seeds, shares in per cent, as Markdown."""
    shares = ["train", "accuracy", *LABELS]
    groups = rows.groupby("head", sort=False)
    table = groups[shares].agg(lambda one: format_value(one.mean(), one.std()))
    table.insert(0, "parameters", groups.parameters.first().map("{:,.0f}".format))
    table.insert(1, "training (CPU s)", groups.seconds.mean().map("{:.0f}".format))
    table.index = [one if one in HEADS[:2] else f"ViGStage, {one}" for one in table.index]
    return table.rename_axis("head").reset_index().to_markdown(index=False, disable_numparse=True)


if __name__ == "__main__":
    main()
