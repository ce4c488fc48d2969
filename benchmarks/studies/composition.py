"""Compositions without training: what the numbers of nodes and components of each kind tell.

Prints the image AUROC by kind of anomaly of A_c, for several numbers of clusters and seeds of k-means, beside
those of A_n (Gaussian and neighbours) and of the Mahalanobis distance of the spatial mean. A teacher is its
name or file, or the arguments of load_teacher as JSON.

    python -m benchmarks.studies.composition --data real/four_screws --options '{"logical": ["missing"]}'
    python -m benchmarks.studies.composition --data mnist.npz --dataset scattered_digits --image-size 96
"""

import argparse
import json
from typing import get_args

import pandas as pd
import torch

from benchmarks.grid import Scores, measure
from benchmarks.grid.results import format_value
from benchmarks.studies.teachers import compute, score, whiten
from pyg_viglad.commands.data import DatasetName, open_data
from pyg_viglad.models import load_teacher
from pyg_viglad.scoring import GraphComposition


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="digits", help="see pyg-viglad train --help")
    parser.add_argument("--dataset", choices=get_args(DatasetName), default="auto")
    parser.add_argument("--options", type=json.loads, default={}, help="of the data set, as JSON")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--teacher", default="mobilenetv1")
    parser.add_argument("--kinds", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of k-means")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    size = (args.image_size, args.image_size)
    splits = open_data(args.data, size, args.options, args.dataset)
    text = args.teacher
    teacher = load_teacher(**(json.loads(text) if text.startswith("{") else {"source": text}))
    outputs = [compute(teacher, split, args.precision == "bfloat16") for split in splits]
    _, features = next(whiten(outputs, []))
    found = score(features)
    for kinds in args.kinds:
        for seed in args.seeds:
            composition = GraphComposition(kinds, seed=seed)
            composition.fit(features.train)
            scores = torch.cat([composition(batch) for batch in features.test])
            found[f"A_c, {kinds} clusters, seed {seed}"] = scores
    rows = []
    measured = measure(Scores(found, None), splits.test, ["image_auroc", "defect_auroc"])
    for name, metrics in measured.items():
        values = {**metrics["defect_auroc"], **metrics["image_auroc"]}
        rows.append({"score": name, **{kind: format_value(v) for kind, v in values.items()}})
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()
