"""Digit Anatomy without training: which score of nodes, which window, which size of the images?

Prints the image AUROC of A_n alone, by kind of anomaly, over several seeds. Only the teacher runs.

    python -m benchmarks.node_scores --data mnist.npz --sizes 96 128 192 --threads 1
"""

import argparse
from typing import Any

import torch
from torch import Tensor

from pyg_viglad.benchmark import Scores, Summary, measure
from pyg_viglad.benchmark.tables import format_cell
from pyg_viglad.datasets import DigitAnatomy
from pyg_viglad.models import ViGLAD
from pyg_viglad.scoring import NodeNeighbors, make_node_scorer

SCORERS: dict[str, dict[str, Any]] = {
    "Gaussian, window 1": {"type": "gaussian", "window": 1},
    "Gaussian, window 4": {"type": "gaussian"},
    "Gaussian, window 4, all channels": {"type": "gaussian", "channels": 384},
    "neighbours, window 2": {"type": "neighbors", "windows": (2,)},
    "neighbours, window 4": {"type": "neighbors", "windows": (4,)},
    "neighbours, windows 2 and 4": {"type": "neighbors", "windows": (2, 4)},
    "neighbours, windows 2, 4 and 6": {"type": "neighbors"},
    "the same, 32 directions": {"type": "neighbors", "dimensions": 32},
    "the same, k = 1": {"type": "neighbors", "k": 1},
    "the same, k = 5": {"type": "neighbors", "k": 5},
    "the same, mirrored": {"type": "neighbors", "mirrored": True},
}
_KINDS = ("disorder", "flip", "missing", "novel", "logical", "structural", "mean")
_BATCH = 10


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="digits", help="digits, or an .npz file of MNIST")
    parser.add_argument("--altered", type=int, default=1, help="wrong cells of an anomalous image")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128], help="sides of the images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scorers", nargs="+", default=list(SCORERS), choices=list(SCORERS))
    parser.add_argument("--images", type=int, help="training images, fewer than usual")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    print(f"| image size | A_n | {' | '.join(_KINDS)} |")
    print("|" + "---|" * (2 + len(_KINDS)))
    for size in args.sizes:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in args.scorers}
        for seed in args.seeds:
            splits = {s: draw(args, s, size, seed) for s in ("train", "val", "test")}
            images = {name: split.images for name, split in splits.items()}
            images.update(across=images["train"].flip(3), upside_down=images["train"].flip(2))
            features = describe(images, size)
            for name in args.scorers:
                found[name].append(judge(name, features, splits["test"]))
        for name, rows in found.items():
            cells = [
                format_cell(
                    Summary.of(
                        {seed: row[kind] for seed, row in zip(args.seeds, rows, strict=True)}
                    ),
                    len(rows),
                )
                for kind in _KINDS
            ]
            print(f"| {size} | {name} | {' | '.join(cells)} |", flush=True)


def draw(args: argparse.Namespace, split: str, size: int, seed: int) -> DigitAnatomy:
    more = {"num_train": args.images} if args.images else {}
    return DigitAnatomy(split, args.data, size, altered=args.altered, seed=seed, **more)


@torch.no_grad()
def describe(images: dict[str, Tensor], size: int) -> dict[str, list[Tensor]]:
    """Give batches of the teacher's normalised features."""
    model = ViGLAD("small", size).eval()
    model.fit_teacher_statistics(images["train"])
    return {
        name: [model.teach(model.normalize(batch)) for batch in split.split(_BATCH)]
        for name, split in images.items()
    }


@torch.no_grad()
def judge(name: str, features: dict[str, list[Tensor]], test: DigitAnatomy) -> dict[str, float]:
    scorer = make_node_scorer(SCORERS[name])
    if scorer is None:
        raise ValueError(f"Expected a scorer of nodes (got {name!r})")
    if isinstance(scorer, NodeNeighbors) and scorer.mirrored:
        scorer.fit(features["train"], [features["across"], features["upside_down"]])
    else:
        scorer.fit(features["train"])
    scorer.calibrate(features["val"])
    scores = torch.cat([scorer(batch).amax((1, 2)) for batch in features["test"]])
    values = measure(Scores({"A_n": scores}, None), test, ["image_auroc", "defect_auroc"])["A_n"]
    return {**values["defect_auroc"], **values["image_auroc"]}


if __name__ == "__main__":
    main()
