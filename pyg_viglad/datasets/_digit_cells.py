"""One digit in one cell, and what may go wrong with the nine cells."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

__all__ = ["CELL", "DEFECTS", "Cells", "alter", "render_cell"]

CELL = 32

# The kind of anomaly that each defect is in the paper.
DEFECTS = {
    "disorder": "logical",
    "flip": "logical",
    "missing": "structural",
    "novel": "structural",
}
# A flipped 1 or 8 still looks like itself; a 3 does so upside down.
_FLIPPABLE = (2, 3, 4, 5, 6, 7, 9)
_MISSING = -1


class Cells:
    """The nine cells of an image, row by row.

    Args:
        pictures: ``[9, 32, 32]``, uint8.
        digits: The digit of each cell, ``[9]``; -1 where there is none.
        sources: The place in the source of each digit's image, ``[9]``; -1 where there is none.
    """

    def __init__(self, pictures: np.ndarray, digits: np.ndarray, sources: np.ndarray) -> None:
        self.pictures = pictures
        self.digits = digits
        self.sources = sources
        self.wrong = np.zeros(9, dtype=bool)

    def picture(self) -> np.ndarray:
        """Join the cells, ``[96, 96]``."""
        return self.pictures.reshape(3, 3, CELL, CELL).swapaxes(1, 2).reshape(3 * CELL, 3 * CELL)


def render_cell(
    image: np.ndarray, rng: np.random.Generator, scale: tuple[float, float]
) -> np.ndarray:
    """Cut a random square out of a digit's image and resize it to a cell.

    The square's area is that of the image times a number from ``scale``. A smaller one lies
    within the image, a larger one contains it, with black around.

    Args:
        image: ``[28, 28]``, uint8.
        rng: Where the randomness comes from: three numbers.
        scale: Smallest and largest area.

    Returns:
        ``[32, 32]``, uint8.
    """
    size = len(image)
    margin = max(0, math.ceil(size * (math.sqrt(scale[1]) - 1)))
    side = size * math.sqrt(rng.uniform(*scale))
    left, top = margin + (size - side) * rng.random(2)
    padded = Image.fromarray(np.pad(image, margin))
    cell = padded.resize(
        (CELL, CELL), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    return np.asarray(cell)


def alter(
    cells: Cells,
    defect: str,
    number: int,
    rng: np.random.Generator,
    draw_zero: Callable[[], tuple[np.ndarray, int]],
) -> None:
    """Put a defect into ``number`` cells, in place, and mark them as wrong.

    Args:
        cells: The cells of a good image.
        defect: One of ``DEFECTS``.
        number: How many cells to alter.
        rng: Where the randomness comes from.
        draw_zero: Gives a cell with a 0 and the place of its image.
    """
    order = rng.permutation(9)
    if defect == "flip":
        order = order[np.isin(cells.digits[order], _FLIPPABLE)]
    chosen = order[: max(number, 2) if defect == "disorder" else number]
    if defect == "disorder":
        # Each chosen cell takes the place of the next, so that none stays where it was.
        moved = np.roll(chosen, 1)
        for values in (cells.pictures, cells.digits, cells.sources):
            values[chosen] = values[moved]
    for cell in chosen:
        if defect == "flip":
            upside_down = cells.digits[cell] != 3 and rng.random() < 0.5
            cells.pictures[cell] = np.flip(cells.pictures[cell], 0 if upside_down else 1)
        elif defect == "missing":
            cells.pictures[cell] = 0
            cells.digits[cell] = cells.sources[cell] = _MISSING
        elif defect == "novel":
            cells.pictures[cell], cells.sources[cell] = draw_zero()
            cells.digits[cell] = 0
    cells.wrong[chosen] = True
