"""``pyg-viglad predict``: a trained detector on unlabelled images."""

from pathlib import Path
from typing import Any, Literal

from pyg_viglad.commands.report import apply, plot_images, write_scores
from pyg_viglad.commands.run import open_model, open_run
from pyg_viglad.files import write_json

__all__ = ["predict"]


def predict(
    model: str,
    images: list[str],
    output: str = "runs/predict",
    pictures: int = 16,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
) -> dict[str, Any]:
    """Score images: scores.csv, metrics.json, and pictures of the most anomalous ones.

    Args:
        model: Folder of a run or of a trained model.
        images: Image files, and folders that are searched for images.
        output: Folder of the run.
        pictures: Number of images to draw, the highest scores first.
        device: A torch device, such as cpu, cuda.
        precision: Type in which the networks compute; 16 bits are faster where the hardware has them.

    Returns:
        The counts that metrics.json holds.
    """
    config = dict(locals())
    import torch
    from torch import Tensor
    from tqdm import tqdm

    from pyg_viglad.datasets import list_images
    from pyg_viglad.models import Prediction
    from pyg_viglad.transforms import to_batch, to_image

    if pictures < 0:
        raise ValueError(f"Expected 'pictures' of at least 0 (got {pictures})")
    detector = open_model(model, device)
    paths: list[Path] = []
    for name in images:
        paths += list_images(name) if Path(name).is_dir() else [Path(name)]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"Expected an image file or a folder (got '{missing[0]}')")

    def scores_alone(values: Tensor) -> Tensor:
        # The maps of an image take a megabyte; those to draw are computed again.
        return values.cpu() if values.dim() == 1 else torch.empty(0)

    with tqdm(paths, desc="Scoring") as bar:  # so that an error has a line of its own
        parts = [apply(detector.predict(path, precision=precision), scores_alone) for path in bar]
    folder = open_run(output, "predict", config)
    prediction = Prediction.cat(parts)
    write_scores(folder / "scores.csv", prediction, [str(path) for path in paths])
    result = {"images": len(paths), "anomalous": int(prediction.is_anomalous.sum())}
    write_json(folder / "metrics.json", result)
    chosen = prediction.score.argsort(descending=True)[:pictures].tolist()
    if chosen:
        files = [paths[place] for place in chosen]
        pixels = torch.cat([to_batch(to_image(file)[None], detector.image_size) for file in files])
        shown = apply(detector.predict(files, precision=precision), Tensor.cpu)
        plot_images(folder, detector, pixels, shown, [file.name for file in files])
    print(f"{result['anomalous']} of {result['images']} images above the threshold; see {folder}")
    return result
