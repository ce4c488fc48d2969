"""Very many values, kept as they are in a few large arrays."""

import numpy as np

__all__ = ["Blocks"]

_LENGTH = 1 << 26  # the system hands out the memory of a block only as it is filled


class Blocks:
    """Values of pixels in arrays of up to 2^26.

    One array a map would leave holes in the memory when the maps are many; a single one that grows
    would at times be there twice.
    """

    def __init__(self) -> None:
        self.count = 0
        self._full: list[np.ndarray] = []
        self._is_sorted: list[bool] = []
        self._open = np.empty(0, np.float32)
        self._filled = 0

    @property
    def nbytes(self) -> int:
        """Bytes that the values take."""
        return self.count * self._open.itemsize

    def append(self, values: np.ndarray) -> None:
        """Copy ``values`` ``[n]`` behind those that are there; float64 makes all of them so."""
        if values.dtype.itemsize > self._open.itemsize:
            self._widen(values.dtype)
        self.count += len(values)
        while len(values):
            if self._filled == len(self._open):
                self._seal()
                self._open = np.empty(_LENGTH, self._open.dtype)
            part = values[: len(self._open) - self._filled]
            self._open[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            values = values[len(part) :]

    def arrays(self) -> list[np.ndarray]:
        """Give the arrays themselves."""
        self._seal()
        return self._full

    def sorted_arrays(self) -> list[np.ndarray]:
        """Give the arrays themselves, each of them sorted upwards."""
        self._seal()
        for place, array in enumerate(self._full):
            if not self._is_sorted[place]:
                array.sort()  # in place: there is no room for a second copy
                self._is_sorted[place] = True
        return self._full

    def share(self, other: "Blocks") -> None:
        """Take in the other's values without copying them."""
        dtype = np.promote_types(self._open.dtype, other._open.dtype)
        self._widen(dtype)
        self._full += [array.astype(dtype, copy=False) for array in other.arrays()]
        self._is_sorted += other._is_sorted
        self.count += other.count

    def _seal(self) -> None:
        """Close the array being filled, so that nobody who shares it sees it change its length."""
        if self._filled:
            array = self._open[: self._filled]
            self._full.append(array.copy() if 8 * self._filled < len(self._open) else array)
            self._is_sorted.append(False)
        self._open = np.empty(0, self._open.dtype)
        self._filled = 0

    def _widen(self, dtype: np.dtype) -> None:
        self._seal()
        self._open = self._open.astype(dtype)
        for place, array in enumerate(self._full):
            self._full[place] = array.astype(dtype, copy=False)
