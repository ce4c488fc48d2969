"""Pictures, maps and their scales, and where to start, for the page of a viewer."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pyg_viglad.graphs import SCORES
from pyg_viglad.models import Prediction
from pyg_viglad.scoring import peak
from pyg_viglad.visualization._inputs import as_maps, format_number

__all__ = ["data_url", "map_payload", "map_scales", "start_position", "verdict"]

Array = NDArray[Any]
Limits = tuple[float, float]
CALIBRATED = (0.0, 0.5)
GAUSSIAN = (0.0, 6.0)
LARGEST = 2048  # pixels of a picture's longer side that a page shows; it keeps its own axes
LARGEST_PNG = 1_500_000  # bytes


def start_position(
    node: int | tuple[float, float] | None,
    prediction: Prediction | None,
    number: int,
    scores: Mapping[str, Array],
    grid_size: tuple[int, int],
    size: tuple[int, int],
) -> tuple[float, float]:
    """Give the position (x, y) in the picture to start at.

    Raises:
        ValueError: If there is no such node, or the position lies outside.
    """
    (rows, columns), (height, width) = grid_size, size
    if node is None and prediction is not None:
        seen_h, seen_w = prediction.anomaly_map.shape[-2:]
        x, y = prediction.position[number].tolist()
        return x * width / seen_w, y * height / seen_h
    if node is None:
        best = next(
            (scores[key] for key in ("node_score", "combined_score") if key in scores), None
        )
        if best is None:
            return width / 2, height / 2
        node = int(peak(torch.as_tensor(best).view(1, rows, columns)))
    if np.ndim(node) == 0:
        node = int(node)  # type: ignore[arg-type]
        if not 0 <= node < rows * columns:
            raise ValueError(f"Expected node from 0 to {rows * columns - 1} (got {node})")
        row, column = divmod(node, columns)
        return (column + 0.5) * width / columns, (row + 0.5) * height / rows
    values = [float(n) for n in node]  # type: ignore[union-attr]
    if len(values) != 2:
        raise ValueError(f"Expected node as a number or a position (x, y) (got {node})")
    x, y = values
    if not (0 <= x <= width and 0 <= y <= height):
        raise ValueError(
            f"Expected node inside the image of {width} x {height} pixels (got x={x:g}, y={y:g})"
        )
    return x, y


def map_scales(
    threshold: float | None, quantiles: tuple[float, float]
) -> dict[str, dict[str, Any]]:
    """Say what the page needs to know of each score: its name, its map's scale, what to mark there."""
    low, high = (f"{100 * quantile:g} %" for quantile in quantiles)
    text = f"{low} of normal validation pixels lie below 0, {high} below 0.1"
    text += " (mark)." if threshold is None else f". Mark: the threshold, {threshold:g}."
    calibrated = {
        "unit": "",
        "limits": CALIBRATED,
        "mark": 0.1 if threshold is None else float(threshold),
        "markText": text,
    }
    gaussian = {
        "unit": " (\N{GREEK SMALL LETTER SIGMA})",
        "limits": GAUSSIAN,
        "mark": None,
        "markText": "Standard deviations above the mean of normal validation images at that place.",
    }
    scales: dict[str, dict[str, Any]] = {}
    for key in SCORES:
        name = key.removesuffix("_score")
        own = gaussian if name == "gaussian" else calibrated
        title = f"{name.capitalize()} map{'' if own is gaussian else ' (calibrated)'}"
        scales[key] = {"name": name, "title": title, **own}
    return scales


def verdict(prediction: Prediction | None, number: int, threshold: float | None) -> str:
    """Say the image's score and what it means."""
    if prediction is None:
        return ""
    score = format_number(float(prediction.score[number]), 2)
    limit = "" if threshold is None else f" (threshold {format_number(threshold, 2)})"
    word = "anomalous" if bool(prediction.is_anomalous[number]) else "normal"
    return f"Score {score}{limit}: {word}"


def map_payload(
    prediction: Prediction | None,
    number: int,
    grid_size: tuple[int, int],
    scores: Mapping[str, Array],
    limits: Mapping[str, Limits],
) -> dict[str, Array]:
    """Give each map in 256 steps over its scale, ``[h, w]``, by the name of its score.

    The maps of a prediction, or else the scores of the input graph's patches.
    """
    maps: dict[str, Array] = {}
    for key, field in SCORES.items():
        if prediction is None:
            values = scores[key].reshape(grid_size) if key in scores else None
        else:
            batch = getattr(prediction, field)
            values = (
                None if batch is None else as_maps([batch[number]], f"prediction.{field}", 1)[0]
            )
        if values is not None:
            low, high = limits[key]
            steps = np.clip((values - low) / (high - low), 0, 1) * 255
            maps[key] = np.rint(steps).astype(np.uint8)
    return maps


def data_url(picture: Array) -> str:
    """Encode a picture ``[H, W, 3]`` in [0, 1]: PNG, or JPEG where that is too large."""
    image = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    image.thumbnail((LARGEST, LARGEST))
    kind, stream = "png", io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    if stream.tell() > LARGEST_PNG:
        kind, stream = "jpeg", io.BytesIO()
        image.save(stream, "JPEG", quality=90)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
