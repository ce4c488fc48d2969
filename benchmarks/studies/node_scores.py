"""Digit Anatomy without training: which score of nodes, which window, which size of the images?

Prints the image AUROC of A_n alone, by kind of anomaly, over several seeds. Only the teacher runs.

    python -m benchmarks.studies.node_scores --data mnist.npz --sizes 96 128 192 --threads 1
"""

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks.grid import Scores
from benchmarks.studies.digits import auroc_by_kind, format_aurocs, make_parser, open_splits
from pyg_viglad.models import ViGLAD
from pyg_viglad.scoring import make_node_scorer

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


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128], help="sides of the images")
    parser.add_argument("--scorers", nargs="+", default=list(SCORERS), choices=list(SCORERS))
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    parts = []
    for size in args.sizes:
        for seed in args.seeds:
            splits = open_splits(args, size, seed)
            images = {name: split.images for name, split in splits.items()}
            images.update(across=images["train"].flip(3), upside_down=images["train"].flip(2))
            features = describe(images, size)
            for name in args.scorers:
                scores = Scores({name: score(name, features)}, None)
                parts.append(auroc_by_kind(scores, splits["test"], size=size, seed=seed))
    rows = pd.concat(parts).rename(columns={"size": "image size", "score": "A_n"})
    print(format_aurocs(rows, ["image size", "A_n"]))


@torch.no_grad()
def describe(images: dict[str, Tensor], size: int) -> dict[str, list[Tensor]]:
    """Returns batches of the teacher's normalised features."""
    model = ViGLAD("small", size).eval()
    model.fit_teacher_statistics(images["train"])
    return {
        name: [model.teacher_features(model.normalize(batch)) for batch in split.split(10)]
        for name, split in images.items()
    }


@torch.no_grad()
def score(name: str, features: dict[str, list[Tensor]]) -> Tensor:
    """Fits a scorer of nodes and returns A_n of the test images."""
    scorer = make_node_scorer(SCORERS[name])
    mirrors = [features["across"], features["upside_down"]] if scorer.mirrored else []
    scorer.fit(features["train"], mirrors)
    scorer.calibrate(features["val"])
    return torch.cat([scorer(batch).amax((1, 2)) for batch in features["test"]])


if __name__ == "__main__":
    main()
