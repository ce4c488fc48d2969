"""Image AUROC of teacher features without training, plain and whitened.

The scores are A_n (Gaussian and neighbours), the Mahalanobis distance of the spatial mean (A_f with
feature="teacher") and, with --clusters, A_c of GraphComposition for several seeds of its k-means. A teacher
is its name or file, or the arguments of load_teacher as JSON.

    python -m benchmarks.studies.teachers --data real/four_screws --options '{"logical": ["missing"]}' \
        --clusters 8 16
    python -m benchmarks.studies.teachers --data real/transistor --options '{"logical": ["misplaced"]}' \
        --teachers mobilenetv1 '{"source": "timm:vgg16", "weights": "vgg16.safetensors", "scale": 1}'
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any, get_args

import pandas as pd
import torch
from torch import Tensor
from torch_geometric.loader import DataLoader

from benchmarks.grid import Scores, measure
from benchmarks.grid.results import format_value
from pyg_viglad.commands.data import DatasetName, Splits, open_data
from pyg_viglad.models import BackboneTeacher, load_teacher
from pyg_viglad.scoring import (
    ChannelNormalization,
    GraphComposition,
    Mahalanobis,
    Whitening,
    make_node_scorer,
)
from pyg_viglad.transforms import ImageNetNormalization

SCORES = ("A_n, Gaussian", "A_n, neighbours", "A_f")
SHRINKAGE = 0.02


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="digits", help="see pyg-viglad train --help")
    parser.add_argument("--dataset", choices=get_args(DatasetName), default="auto")
    parser.add_argument("--options", type=json.loads, default={}, help="of the data set, as JSON")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--every", type=int, default=1, help="take every n-th image of each split")
    parser.add_argument("--teachers", nargs="+", default=["mobilenetv1"])
    parser.add_argument(
        "--whiten", type=int, nargs="*", default=[64, 128, 256], help="besides no whitening"
    )
    parser.add_argument("--clusters", type=int, nargs="*", default=[], help="of A_c")
    parser.add_argument("--cluster-seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    size = (args.image_size, args.image_size)
    splits = open_data(args.data, size, args.options, args.dataset)
    splits = Splits(*(split[:: args.every] for split in splits))
    rows = []
    for text in args.teachers:
        options = json.loads(text) if text.startswith("{") else {"source": text}
        teacher = load_teacher(**options)
        label = options["source"]
        if isinstance(teacher, BackboneTeacher):
            strides = " and ".join(map(str, teacher.backbone.strides))
            label += f", strides {strides}, scale {teacher.scale}"
        start = time.perf_counter()
        outputs = [compute(teacher, split, args.precision == "bfloat16") for split in splits]
        seconds = (time.perf_counter() - start) / sum(map(len, splits))
        for width, features in whiten(outputs, args.whiten):
            found = score(features)
            if not width:
                found |= score_compositions(features, args.clusters, args.cluster_seeds)
            measured = measure(Scores(found, None), splits.test, ["image_auroc", "defect_auroc"])
            for name, metrics in measured.items():
                values = {**metrics["defect_auroc"], **metrics["image_auroc"]}
                kinds = [values[kind] for kind in ("logical", "structural") if kind in values]
                rows.append(
                    {
                        "teacher": label,
                        "whiten": width or "no",
                        "score": name,
                        **{kind: format_value(value) for kind, value in values.items()},
                        "mean": format_value(sum(kinds) / len(kinds)),
                        "seconds per image": f"{seconds:.2f}",
                    }
                )
    print(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


@torch.no_grad()
def compute(teacher: Any, images: Any, half: bool) -> list[Tensor]:
    """Computes batches of the teacher's output, kept in half precision: whole data sets are large."""
    normalize = ImageNetNormalization()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        return [teacher(normalize(batch.img)).half() for batch in DataLoader(images, 8)]


def whiten(outputs: list[list[Tensor]], widths: list[int]) -> Iterator[tuple[int, Splits]]:
    """Iterates over widths and the features of all splits: standardised (0), then whitened.

    The outputs are overwritten.
    """
    train = outputs[0]
    channels = train[0].size(1)
    widths = [width for width in widths if width <= channels]
    if widths:
        # The covariance takes longest: one plain PCA, of 64 images, serves all widths.
        pca = Whitening(channels, max(widths), shrinkage=torch.inf)
        pca.fit(train[:: max(1, len(train) // 8)])
        rotated = [[pca(batch) for batch in split] for split in outputs]
    normalization = ChannelNormalization(channels)
    normalization.fit(train)
    for split in outputs:
        for place, batch in enumerate(split):
            split[place] = normalization(batch).half()
    yield 0, Splits(*outputs)
    for width in widths:
        variances = sum(batch.square().sum((0, 2, 3)) for batch in rotated[0])
        scale = (variances + SHRINKAGE * variances[0]).rsqrt() * variances.mean().sqrt()
        parts = (
            [(batch * scale[:, None, None])[:, :width].half() for batch in split]
            for split in rotated
        )
        yield width, Splits(*parts)


@torch.no_grad()
def score(features: Splits) -> dict[str, Tensor]:
    """Fits the scores on training and validation features and computes them of the test features."""
    found = {}
    for name, kind in zip(SCORES, ("gaussian", "neighbors"), strict=False):
        scorer: Any = make_node_scorer(kind)
        scorer.fit(features.train)
        scorer.calibrate(features.validation)
        found[name] = torch.cat([scorer(batch).amax((1, 2)) for batch in features.test])
    means = [
        torch.cat([batch.float().mean((2, 3)) for batch in split])
        for split in (features.train, features.test)
    ]
    distance = Mahalanobis(means[0].size(1))
    distance.fit(means[0])
    found[SCORES[-1]] = distance(means[1])
    return found


def score_compositions(
    features: Splits, clusters: list[int], seeds: list[int]
) -> dict[str, Tensor]:
    """Fits A_c for every number of clusters and seed, and computes it of the test features."""
    found = {}
    for number, seed in itertools.product(clusters, seeds):
        composition = GraphComposition(number, seed=seed)
        composition.fit(features.train)
        scores = torch.cat([composition(batch) for batch in features.test])
        found[f"A_c, {number} clusters, seed {seed}"] = scores
    return found


if __name__ == "__main__":
    main()
