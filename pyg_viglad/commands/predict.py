"""``pyg-viglad predict``: a trained detector on unlabelled images."""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from pyg_viglad.commands.report import SCORES, apply, csv_text, plot_images, score_columns
from pyg_viglad.commands.run import open_model, open_run
from pyg_viglad.files import write_json, write_text
from pyg_viglad.models import ViGLAD

__all__ = ["predict"]

_SCORES, _STAMP = "scores.csv", "model.sha256"


def predict(
    model: str,
    images: list[str],
    output: str = "runs/predict",
    pictures: int = 16,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16", "float16"] | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Score images: scores.csv, metrics.json, and pictures of the most anomalous ones.

    Each image's scores are written at once, and only scores and names are kept in memory.

    Args:
        model: Folder of a run or of a trained model.
        images: Image files, and folders that are searched for images.
        output: Folder of the run.
        pictures: Number of images to draw, the highest scores first.
        device: A torch device, such as cpu, cuda.
        precision: Type in which the networks compute; 16 bits are faster where the hardware has them
            (default: that in which the statistics were fitted).
        resume: Resume after the last image in the output folder's scores.csv.

    Returns:
        The counts that metrics.json holds.
    """
    config = dict(locals())
    from torch import Tensor
    from tqdm import tqdm

    from pyg_viglad.datasets import list_images
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

    scores, stamp = Path(output) / _SCORES, Path(output) / _STAMP
    fingerprint = _fingerprint(detector, precision or detector.precision)
    found, end = _read_scores(scores, stamp, fingerprint, paths) if resume else ([], 0)
    folder = open_run(output, "predict", config)
    (folder / "metrics.json").unlink(missing_ok=True)
    if not resume:
        scores.unlink(missing_ok=True)  # else it could stand beside another model's stamp
        write_text(stamp, fingerprint)
    with scores.open("r+b" if end else "wb") as file, tqdm(paths, "Scoring", len(paths)) as bar:
        bar.update(len(found))
        file.seek(end)
        file.truncate()
        for path in paths[len(found) :]:
            columns = score_columns(detector.predict(path, precision=precision))
            row = {"name": _shown(path), **{name: one for name, (one,) in columns.items()}}
            file.write(csv_text([row], header=file.tell() == 0).encode())
            file.flush()
            found.append((row["score"], row["is_anomalous"]))
            bar.update()
    result = {"images": len(paths), "anomalous": sum(anomalous for _, anomalous in found)}
    write_json(folder / "metrics.json", result)
    # Recomputes the maps of the drawn images: those of all would take a megabyte each.
    chosen = sorted(range(len(found)), key=lambda place: -found[place][0])[:pictures]
    if chosen:
        files = [paths[place] for place in chosen]
        pixels = torch.cat([to_batch(to_image(file)[None], detector.image_size) for file in files])
        shown = apply(detector.predict(files, precision=precision), Tensor.cpu)
        plot_images(folder, detector, pixels, shown, [file.name for file in files])
    print(f"{result['anomalous']} of {result['images']} images above the threshold; see {folder}")
    return result


def _shown(path: Path) -> str:
    """Formats a path for a file in UTF-8, which some names are not."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _fingerprint(model: ViGLAD, precision: str) -> str:
    """Returns a SHA-256 of all that scores depend on beside the image."""
    found = hashlib.sha256(repr((precision, list(SCORES), model.config)).encode())
    for name, value in model.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def _read_scores(
    scores: Path, stamp: Path, fingerprint: str, paths: Sequence[Path]
) -> tuple[list[tuple[float, int]], int]:
    """Reads the whole rows of an interrupted run.

    Returns:
        Score and ``is_anomalous`` of each image that has a whole row, and the position after the last.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If its model was another, or its images are not the first of ``paths``.
    """
    if not stamp.is_file():
        raise FileNotFoundError(f"Expected a run to resume in '{stamp.parent}' (got no '{_STAMP}')")
    if stamp.read_text() != fingerprint:
        raise ValueError(
            f"Expected the model and precision with which '{scores}' was begun, to resume it"
        )
    found, end = [], 0
    for number, (row, position) in enumerate(_whole_rows(scores)):
        if number:
            name = _shown(paths[number - 1]) if number <= len(paths) else "no image"
            if row["name"] != name:
                raise ValueError(
                    f"Expected the images with which '{scores}' was begun, to resume it "
                    f"(got '{name}' in the place of '{row['name']}')"
                )
            found.append((float(row["score"]), int(row["is_anomalous"])))
        end = position
    return found, end


def _whole_rows(path: Path) -> Iterator[tuple[dict[str, str], int]]:
    """Iterates over the whole rows of a CSV file, the header first, each with the position after it."""
    if not path.is_file():
        return
    position = 0
    with path.open("rb") as file:

        def lines() -> Iterator[str]:
            nonlocal position
            for line in file:
                if line.endswith(b"\n"):
                    position += len(line)
                    yield line.decode("utf-8", "replace")

        header: list[str] = []
        try:
            for row in csv.reader(lines(), strict=True):
                header = header or row
                yield dict(zip(header, row, strict=True)), position
        except (csv.Error, ValueError):  # torn in the middle of a name with a line break
            return
