"""What the studies share: images of Digit Anatomy, and tables of image AUROC by kind of digit."""

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmarks.grid import Scores, measure
from benchmarks.grid.results import format_value
from pyg_viglad.datasets import DigitAnatomy

__all__ = ["auroc_by_kind", "format_aurocs", "make_parser", "open_splits"]

_KINDS = ["disorder", "flip", "missing", "novel", "logical", "structural", "mean"]


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser of what decides the images."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--data", default="digits", help="digits, or an .npz file of MNIST")
    parser.add_argument("--num-wrong-cells", type=int, default=1, help="of an anomalous image")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=360, help="training images")
    parser.add_argument("--good", type=int, default=110, help="good test images")
    parser.add_argument("--anomalous", type=int, default=120, help="anomalous test images")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def open_splits(args: argparse.Namespace, size: int, seed: int) -> dict[str, DigitAnatomy]:
    """Returns the splits ``train``, ``val`` and ``test``, images of ``size`` pixels."""
    options = {
        "num_wrong_cells": args.num_wrong_cells,
        "num_train": args.images,
        "num_val": min(60, args.images),
        "num_test_good": args.good,
        "num_test_anomalous": args.anomalous,
        "seed": seed,
    }
    return {
        name: DigitAnatomy(name, args.data, size, **options) for name in ("train", "val", "test")
    }


def auroc_by_kind(scores: Scores, test: DigitAnatomy, **labels: Any) -> pd.DataFrame:
    """Computes the AUROC of every score by kind, one row per value, beside columns of labels."""
    values = measure(scores, test, ["image_auroc", "defect_auroc"])
    rows = [
        {**labels, "score": name, "kind": kind, "value": value}
        for name in scores.images
        for metric in values[name].values()
        for kind, value in metric.items()
    ]
    return pd.DataFrame(rows)


def format_aurocs(rows: pd.DataFrame, labels: list[str], kinds: Sequence[str] = _KINDS) -> str:
    """Returns mean ± standard deviation over the seeds in per cent, as Markdown.

    Args:
        rows: Values of :func:`auroc_by_kind`, with ``seed`` among their labels.
        labels: Columns that tell the rows of the table apart.
        kinds: The columns (default: those of Digit Anatomy).
    """
    values = rows.groupby([*labels, "kind"], sort=False).value
    texts = values.agg(lambda one: format_value(one.mean(), one.std())).unstack("kind")
    table = rows[labels].drop_duplicates().merge(texts.reset_index(), how="left")
    return table[[*labels, *kinds]].to_markdown(index=False, disable_numparse=True)
