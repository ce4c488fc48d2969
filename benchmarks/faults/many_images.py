"""The command ``predict`` on a folder of 100,000 images, a few of them under many names."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.faults import Outcome
from pyg_viglad import ViGLAD
from pyg_viglad.commands import predict
from pyg_viglad.models import Prediction

__all__ = ["check", "constant_scores", "measure_growth"]

_LIMIT = 64  # MB, of which the names and scores of 100,000 images take 30


def check(repeats: int = 200) -> Iterator[Outcome]:
    """Judges 500 images for each repeat; the networks, whose memory does not depend on it, are left out."""
    number = 500 * repeats
    with tempfile.TemporaryDirectory() as folder, constant_scores():
        grown = measure_growth(Path(folder), number)
        rows = (Path(folder) / "out" / "scores.csv").read_text().count("\n") - 1
    happened = f"{rows:,} scores; memory grew by {grown:.0f} MB after the first tenth"
    yield Outcome(
        f"a folder of {number:,} images", 1, happened, int(grown > _LIMIT or rows != number)
    )


@contextmanager
def constant_scores() -> Iterator[None]:
    """Replaces the networks by the mean colour; reading, maps and writing stay as they are."""

    def forward(self: ViGLAD, images: Tensor, precision: object = None) -> Prediction:
        maps = images.mean(1)
        score = maps.mean((1, 2))
        return Prediction(
            score, score > 0.5, maps, maps.clone(), maps.clone(), score, score, score, None, None
        )

    before = ViGLAD.forward
    ViGLAD.forward = forward
    try:
        yield
    finally:
        ViGLAD.forward = before


def measure_growth(folder: Path, number: int) -> float:
    """Judges so many images; returns by how many MB memory grew after the first tenth of them."""
    images = folder / "images"
    images.mkdir()
    for place in range(8):
        pixels = np.random.default_rng(place).integers(0, 255, (120, 160, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    for place in range(number):
        os.link(folder / f"{place % 8}.png", images / f"{place:06d}.png")
    model = ViGLAD("small", 96, autoencoder="conv")
    model.threshold = torch.tensor(0.5)
    model.save_pretrained(folder / "model")
    sizes = []
    judge = ViGLAD.predict

    def watch(self: ViGLAD, *given: object, **options: object) -> Prediction:
        sizes.append(_resident())
        return judge(self, *given, **options)

    ViGLAD.predict = watch
    try:
        predict(str(folder / "model"), [str(images)], str(folder / "out"), pictures=4)
    finally:
        ViGLAD.predict = judge
    return max(sizes) - sizes[len(sizes) // 10]


def _resident() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
