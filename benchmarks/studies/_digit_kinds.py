"""Image AUROC on Digit Anatomy by kind of anomaly, over seeds, as a table."""

import argparse
from collections.abc import Mapping, Sequence

from benchmarks.grid import Scores, Summary, measure
from benchmarks.grid.tables import format_cell
from pyg_viglad.datasets import DigitAnatomy

__all__ = ["draw", "judge", "make_parser", "print_header", "print_row"]

_KINDS = ("disorder", "flip", "missing", "novel", "logical", "structural", "mean")


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser of what says which images: ``data``, ``altered``, ``seeds`` and ``images``."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--data", default="digits", help="digits, or an .npz file of MNIST")
    parser.add_argument("--altered", type=int, default=1, help="wrong cells of an anomalous image")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=360, help="training images")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def draw(args: argparse.Namespace, size: int, seed: int) -> dict[str, DigitAnatomy]:
    """Draw the images of each split."""
    return {
        split: DigitAnatomy(
            split, args.data, size, num_wrong_cells=args.altered, num_train=args.images, seed=seed
        )
        for split in ("train", "val", "test")
    }


def judge(scores: Scores, test: DigitAnatomy) -> dict[str, dict[str, float]]:
    """Give the AUROC of every score by kind."""
    values = measure(scores, test, ["image_auroc", "defect_auroc"])
    return {
        name: {**values[name]["defect_auroc"], **values[name]["image_auroc"]}
        for name in scores.images
    }


def print_header(labels: Sequence[str]) -> None:
    """Print the head of a table whose rows begin with labels."""
    print(f"| {' | '.join((*labels, *_KINDS))} |")
    print("|" + "---|" * (len(labels) + len(_KINDS)))


def print_row(labels: Sequence[object], runs: Mapping[int, Mapping[str, float]]) -> None:
    """Print means and deviations of what each seed gave."""
    cells = [
        format_cell(Summary.of({seed: run[kind] for seed, run in runs.items()}), len(runs))
        for kind in _KINDS
    ]
    print(f"| {' | '.join([*map(str, labels), *cells])} |", flush=True)
