"""``pyg-viglad demo``: a detector trained on real digits, with its pictures, in minutes."""

import csv
from pathlib import Path
from typing import Any

from pyg_viglad.commands.data import open_data, open_split
from pyg_viglad.commands.report import format_table, median_images
from pyg_viglad.commands.train import train
from pyg_viglad.files import write_json

__all__ = ["demo"]

_IMAGE_SIZE = 128


def demo(
    output: str = "runs/demo",
    minutes: float = 4.5,
    iterations: int = 400,
    seed: int = 0,
    num_wrong_cells: int = 1,
    resume: bool = False,
) -> dict[str, Any]:
    """Train ViGLAD on handwritten digits in at most five minutes and show what it finds.

    Every image is a 3 x 3 arrangement of the digits 1 to 9 (Digit Anatomy), from scikit-learn's bundled
    digits: nothing is downloaded. The anomalous test images have one swapped, flipped, missing or novel cell.

    Args:
        output: Folder of the run.
        minutes: Stop training after so many minutes at the latest.
        iterations: Optimiser steps at most.
        seed: Seed of the images and of the training.
        num_wrong_cells: Number of wrong cells in each anomalous image, 1 to 9.
        resume: Resume from the last checkpoint in the output folder; seed and num_wrong_cells have to be
            the same.

    Returns:
        The metrics that metrics.json holds.
    """
    options = {"seed": seed, "num_wrong_cells": num_wrong_cells}
    baseline = _pixel_baseline(options)
    metrics = train(
        data="digits",
        output=output,
        data_options=options,
        model={
            "size": "small",
            "image_size": _IMAGE_SIZE,
            "node_scorer": {"type": "neighbors", "shrinkage": 0.0},  # there are images enough
            "quantiles": (0.9, 0.999),  # the paper's for Digit Anatomy
        },
        fit={"batch_size": 2, "lr": 1e-3},
        trainer={
            "max_steps": iterations,
            "max_minutes": minutes,
            "precision": "bf16-mixed" if _has_fast_bfloat16() else "32-true",
            "accelerator": "cpu",
            "devices": 1,
        },
        seed=seed,
        resume=resume,
    )
    name = "mean image, pixel distance"
    print(format_table({name: baseline}, header=False))
    folder = Path(output)
    metrics["image_auroc"][name] = baseline
    write_json(folder / "metrics.json", metrics)
    for picture in ("node_graphs.png", "anomaly_maps.png", "scores.png", "roc.png"):
        print(f"Picture: {folder / picture}")
    examples = _write_examples(folder, options)
    print(f"Next: pyg-viglad graph {examples[1]} --model {folder} --html --graphml")
    return metrics


def _pixel_baseline(options: dict[str, Any]) -> dict[str, float]:
    """Computes the image AUROCs of the distance to the mean training image, the simplest detector."""
    from pyg_viglad.metrics import image_auroc

    splits = open_data("digits", (96, 96), options)
    difference = splits.test.images - splits.train.images.mean(0)
    return image_auroc(difference.square().flatten(1).sum(1).sqrt(), splits.test.kinds)


def _write_examples(folder: Path, options: dict[str, Any]) -> list[Path]:
    """Writes the test images that the pictures show as files, to try the other commands on."""
    import torch
    from PIL import Image

    test = open_split("digits", "test", (_IMAGE_SIZE, _IMAGE_SIZE), options)
    with (folder / "scores.csv").open(encoding="utf-8") as lines:
        scores = [float(row["score"]) for row in csv.DictReader(lines)]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    files = []
    for number in median_images(test.defects, scores):
        pixels = (255 * test[number].img[0]).round().to(torch.uint8)
        files.append(folder / "images" / f"{test.defects[number] or 'good'}.png")
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(files[-1])
    return files


def _has_fast_bfloat16() -> bool:
    """Returns whether this processor computes in bfloat16; elsewhere it is emulated, slowly."""
    import torch

    return any(
        getattr(torch.cpu, name, bool)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
