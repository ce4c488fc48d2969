"""Digit Anatomy: does the autoencoder copy anomalies, and is that what the global map lacks?

The graph autoencoder beside one that cannot copy anything: it answers every image with the training
images' mean teacher features. The student learns from either alike. Prints the image AUROC of either
map's maximum and of the scores, by kind of anomaly.

    python -m benchmarks.studies.mean_autoencoder --data mnist.npz --photographs imagenet_sample --threads 1
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.grid.viglad_detector import ViGLADDetector
from benchmarks.studies._digit_kinds import draw, judge, make_parser, print_header, print_row
from pyg_viglad.datasets import DigitAnatomy
from pyg_viglad.models import ViGLAD

_SCORES = ("A_r:local", "A_r:global", "A_r", "A_f", "A")


class MeanAutoEncoder(nn.Module):
    """Answers every image with the same features ``[1, C, h, w]``."""

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, images: Tensor) -> Tensor:
        """Give features ``[B, C, h, w]``."""
        return self.mean.expand(len(images), -1, -1, -1)


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--photographs", help="folder of photographs for the penalty")
    parser.add_argument("--autoencoders", nargs="+", default=["vig", "mean"])
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--precision", default="bf16-mixed")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    print_header(("autoencoder", "score"))
    for autoencoder in args.autoencoders:
        runs = {seed: run(args, autoencoder, seed) for seed in args.seeds}
        for score in _SCORES:
            print_row((autoencoder, score), {seed: found[score] for seed, found in runs.items()})


def run(args: argparse.Namespace, autoencoder: str, seed: int) -> dict[str, dict[str, float]]:
    """Train and give the AUROC of every score and kind."""
    splits = draw(args, args.image_size, seed)
    detector = ViGLADDetector(
        (args.image_size, args.image_size),
        seed,
        size="small",
        autoencoder=mean_of(splits["train"]) if autoencoder == "mean" else autoencoder,
        penalty=args.photographs,
        quantiles=(0.9, 0.999),
        iterations=args.iterations,
        batch_size=args.batch_size,
        lr=1e-3,
        precision=args.precision,
    )
    with tempfile.TemporaryDirectory() as folder:
        detector.fit(splits["train"], splits["val"], Path(folder))
    return judge(detector.predict(splits["test"]), splits["test"])


@torch.no_grad()
def mean_of(train: DigitAnatomy) -> MeanAutoEncoder:
    """Average the teacher's normalised features over the training images."""
    model = ViGLAD("small", train.image_size).eval()
    model.fit_teacher_statistics(train.images)
    sums = [
        model.teacher_features(model.normalize(batch)).sum(0) for batch in train.images.split(8)
    ]
    return MeanAutoEncoder(torch.stack(sums).sum(0, keepdim=True) / len(train))


if __name__ == "__main__":
    main()
