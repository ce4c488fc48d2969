"""Quantile calibration of anomaly maps."""

import numpy as np
import torch
from torch import Tensor

from pyg_viglad.scoring._fitted import Fitted

__all__ = ["MapCalibration"]


class MapCalibration(Fitted):
    r"""Maps two quantiles of the validation maps to 0 and 0.1 (Section IV-C of the paper).

    .. math::
        m' = 0.1 \, \frac{m - q_{start}}{q_{end} - q_{start}}

    with the quantiles taken over all pixels of all maps of normal validation images, exactly and at
    any number of pixels. Where the two are equal (constant maps) the denominator is 1e-6 at least.

    Args:
        start: Quantile that becomes 0.
        end: Quantile that becomes 0.1 (the paper: 0.995, for Digit Anatomy 0.999).

    Raises:
        ValueError: Unless ``0 <= start < end <= 1``.

    Example:
        >>> import torch
        >>> calibrate = MapCalibration(0.5, 1.0)
        >>> calibrate.fit(torch.arange(5.).view(1, 1, 5))
        >>> calibrate(torch.tensor([2., 4., 6.]))
        tensor([0.0000, 0.1000, 0.2000])
    """

    q_start: Tensor
    q_end: Tensor
    _estimates = ("q_start", "q_end")

    def __init__(self, start: float = 0.9, end: float = 0.995) -> None:
        super().__init__()
        if not 0 <= start < end <= 1:
            raise ValueError(f"Expected 0 <= start < end <= 1 (got {start} and {end})")
        self.start = start
        self.end = end

    def fit(self, maps: Tensor) -> None:
        """Take the quantiles of maps ``[B, H, W]``.

        Raises:
            ValueError: If the maps are empty or not finite.
        """
        if not maps.numel() or not torch.isfinite(maps).all():
            raise ValueError(f"Expected finite validation maps (got {list(maps.shape)})")
        # torch.quantile stops at 2^24 values; NumPy does not.
        values = np.quantile(maps.detach().double().cpu().numpy(), [self.start, self.end])
        self._store(q_start=torch.tensor(values[0]), q_end=torch.tensor(values[1]))

    def forward(self, maps: Tensor) -> Tensor:
        """Calibrate maps of any shape."""
        self._require_fit()
        return 0.1 * (maps - self.q_start) / (self.q_end - self.q_start).clamp(min=1e-6)
