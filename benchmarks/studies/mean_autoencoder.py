"""Digit Anatomy: does the autoencoder copy anomalies, and is that what the global map lacks?

The graph autoencoder beside one that cannot copy anything: it answers every image with the training
images' mean teacher features. The student learns from either alike. Prints the image AUROC of either
map's maximum and of the scores, by kind of anomaly.

    python -m benchmarks.studies.mean_autoencoder --data mnist.npz --penalty imagenet_sample --threads 1
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.grid.viglad_detector import ViGLADDetector
from benchmarks.studies.digits import auroc_by_kind, format_aurocs, make_parser, open_splits
from pyg_viglad.datasets import DigitAnatomy
from pyg_viglad.models import ViGLAD

_SCORES = ["A_r:local", "A_r:global", "A_r", "A_f", "A"]


class MeanAutoEncoder(nn.Module):
    """Returns the same features ``[1, C, h, w]`` for every image."""

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, images: Tensor) -> Tensor:
        """Returns features ``[B, C, h, w]``."""
        return self.mean.expand(len(images), -1, -1, -1)


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--penalty", help="folder of natural images for the penalty term")
    parser.add_argument("--autoencoders", nargs="+", default=["vig", "mean"])
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--precision", default="bf16-mixed")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    rows = pd.concat(run(args, name, seed) for name in args.autoencoders for seed in args.seeds)
    parts = [
        rows[(rows.autoencoder == a) & (rows.score == s)]
        for a in args.autoencoders
        for s in _SCORES
    ]
    print(format_aurocs(pd.concat(parts), ["autoencoder", "score"]))


def run(args: argparse.Namespace, autoencoder: str, seed: int) -> pd.DataFrame:
    """Trains, and returns the AUROC of every score and kind."""
    splits = open_splits(args, args.image_size, seed)
    detector = ViGLADDetector(
        (args.image_size, args.image_size),
        seed,
        size="small",
        autoencoder=fit_mean(splits["train"]) if autoencoder == "mean" else autoencoder,
        penalty=args.penalty,
        quantiles=(0.9, 0.999),
        iterations=args.iterations,
        batch_size=args.batch_size,
        lr=1e-3,
        precision=args.precision,
    )
    with tempfile.TemporaryDirectory() as folder:
        detector.fit(splits["train"], splits["val"], Path(folder))
    scores = detector.predict(splits["test"])
    return auroc_by_kind(scores, splits["test"], autoencoder=autoencoder, seed=seed)


@torch.no_grad()
def fit_mean(train: DigitAnatomy) -> MeanAutoEncoder:
    """Averages the teacher's normalised features over the training images."""
    model = ViGLAD("small", train.image_size).eval()
    model.fit_teacher_statistics(train.images)
    batches = train.images.split(8)
    sums = [model.teacher_features(model.normalize(batch)).sum(0) for batch in batches]
    return MeanAutoEncoder(torch.stack(sums).sum(0, keepdim=True) / len(train))


if __name__ == "__main__":
    main()
