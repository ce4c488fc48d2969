"""Digit Anatomy: does the autoencoder copy anomalies, and is that what the global map lacks?

The graph autoencoder beside one that cannot copy anything: it answers every image with the training
images' mean teacher features. The student learns from either alike. Prints the image AUROC of either
map's maximum and of the scores, by kind of anomaly.

    python -m benchmarks.mean_autoencoder --data mnist.npz --photographs imagenet_sample --threads 1
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from pyg_viglad.benchmark import Summary, measure
from pyg_viglad.benchmark.tables import format_cell
from pyg_viglad.benchmark.viglad_detector import ViGLADDetector
from pyg_viglad.datasets import DigitAnatomy
from pyg_viglad.models import ViGLAD

_KINDS = ("disorder", "flip", "missing", "novel", "logical", "structural", "mean")
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="digits", help="digits, or an .npz file of MNIST")
    parser.add_argument("--photographs", help="folder of photographs for the penalty")
    parser.add_argument("--autoencoders", nargs="+", default=["vig", "mean"])
    parser.add_argument("--altered", type=int, default=1, help="wrong cells of an anomalous image")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=360, help="training images")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    print(f"| autoencoder | score | {' | '.join(_KINDS)} |")
    print("|" + "---|" * (2 + len(_KINDS)))
    for autoencoder in args.autoencoders:
        runs = {seed: judge(args, autoencoder, seed) for seed in args.seeds}
        for score in _SCORES:
            cells = [
                format_cell(Summary.of({s: run[score][kind] for s, run in runs.items()}), len(runs))
                for kind in _KINDS
            ]
            print(f"| {autoencoder} | {score} | {' | '.join(cells)} |", flush=True)


def judge(args: argparse.Namespace, autoencoder: str, seed: int) -> dict[str, dict[str, float]]:
    """Train and give the AUROC of every score and kind."""
    train, validation, test = draw(args, seed)
    size = (args.image_size, args.image_size)
    detector = ViGLADDetector(
        size,
        seed,
        size="small",
        autoencoder=mean_of(train) if autoencoder == "mean" else autoencoder,
        penalty=args.photographs,
        quantiles=(0.9, 0.999),
        iterations=args.iterations,
        batch_size=args.batch_size,
        lr=1e-3,
        precision=args.precision,
    )
    with tempfile.TemporaryDirectory() as folder:
        detector.fit(train, validation, Path(folder))
    values = measure(detector.predict(test), test, ["image_auroc", "defect_auroc"])
    return {
        score: {**values[score]["image_auroc"], **values[score]["defect_auroc"]}
        for score in _SCORES
    }


def draw(args: argparse.Namespace, seed: int) -> Iterator[DigitAnatomy]:
    """Give the training, validation and test images."""
    for split in ("train", "val", "test"):
        yield DigitAnatomy(
            split,
            args.data,
            args.image_size,
            altered=args.altered,
            num_train=args.images,
            seed=seed,
        )


@torch.no_grad()
def mean_of(train: DigitAnatomy) -> MeanAutoEncoder:
    """Average the teacher's normalised features over the training images."""
    model = ViGLAD("small", train.image_size).eval()
    model.fit_teacher_statistics(train.images)
    sums = [model.teach(model.normalize(batch)).sum(0) for batch in train.images.split(8)]
    return MeanAutoEncoder(torch.stack(sums).sum(0, keepdim=True) / len(train))


if __name__ == "__main__":
    main()
