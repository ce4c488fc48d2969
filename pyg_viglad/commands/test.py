"""``pyg-viglad test``: a trained detector on labelled images."""

from typing import Any

from pyg_viglad.commands.data import DatasetName, open_split
from pyg_viglad.commands.report import format_table, write_report
from pyg_viglad.commands.run import open_model, open_run

__all__ = ["test"]


def test(
    model: str,
    data: str = "digits",
    output: str = "runs/test",
    dataset: DatasetName = "auto",
    data_options: dict[str, Any] | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Score the test images of a data set: metrics.json, scores.csv and pictures.

    Args:
        model: Folder of a run or of a trained model.
        data: digits (scikit-learn's), mnist, an .npz file or a folder of MNIST, or a folder of images.
        output: Folder of the run.
        dataset: Data set to open; auto takes digits, mnist and .npz files as digit_anatomy, all else as
            image_folder.
        data_options: Further arguments of the data set, such as {"num_wrong_cells": 3}.
        device: A torch device, such as cpu, cuda.

    Returns:
        The metrics that metrics.json holds.
    """
    config = dict(locals())
    detector = open_model(model, device)
    images = open_split(data, "test", detector.image_size, data_options, dataset)
    if len(images) == 0:
        raise ValueError(f"Expected test images in '{data}' (got none)")
    folder = open_run(output, "test", config)
    metrics = write_report(folder, detector, images)
    print(format_table(metrics["image_auroc"]))
    print(f"Scores and pictures: {folder}")
    return metrics
