"""Small image files."""

import numpy as np
from PIL import Image

SIZE = (20, 34)  # height and width: not square, not of the size asked for


def write_images(folder, number, suffix=".png", digits=3, first=0):
    """Write ``number`` images of noise, no two alike, and give their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{place:0{digits}d}{suffix}" for place in range(first, first + number)]
    for path in paths:
        seed = [*path.parent.as_posix()[-40:].encode(), int(path.stem)]
        pixels = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return paths


def mask(value, top=0, bottom=SIZE[0], left=0, right=SIZE[1], size=SIZE):
    """Returns an array with ``value`` in a rectangle."""
    pixels = np.zeros(size, np.uint8)
    pixels[top:bottom, left:right] = value
    return pixels


def write_mask(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def touch(folder, number, suffix=".png", digits=3, first=0):
    """Make empty files in the place of images."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(first, first + number):
        (folder / f"{place:0{digits}d}{suffix}").touch()
