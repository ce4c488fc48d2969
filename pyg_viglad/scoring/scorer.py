"""All that turns feature maps into scores, fitted on normal images alone."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pyg_viglad.scoring._fitted import Fitted
from pyg_viglad.scoring.anomaly_map import anomaly_map
from pyg_viglad.scoring.mahalanobis import Mahalanobis
from pyg_viglad.scoring.map_calibration import MapCalibration
from pyg_viglad.scoring.node_scorer import NodeScorer
from pyg_viglad.scoring.standardization import Standardization

__all__ = ["Feature", "Features", "Fusion", "RawScores", "Scorer", "Threshold", "spatial_mean"]

Feature = Literal["student_second", "student_first", "teacher"]
Fusion = Literal["standardized", "sum"]


class Features(NamedTuple):
    """The networks' outputs for B images, each ``[B, C, h, w]``; the teacher's is normalised."""

    teacher: Tensor
    student_first: Tensor
    student_second: Tensor
    autoencoder: Tensor


class RawScores(NamedTuple):
    """Maps ``[B, h, w]`` as they leave the networks, and vectors ``[B, C]`` for A_f."""

    local_map: Tensor
    global_map: Tensor
    vector: Tensor
    node_map: Tensor | None


def spatial_mean(maps: Tensor) -> Tensor:
    """Average maps ``[B, C, h, w]`` over their places, ``[B, C]`` in float32."""
    return maps.float().mean((2, 3))


class Threshold(Fitted):
    """A quantile of the validation scores, above which an image counts as anomalous."""

    value: Tensor
    _estimates = ("value",)

    def __init__(self, quantile: float = 0.99) -> None:
        super().__init__()
        if not 0 <= quantile <= 1:
            raise ValueError(f"Expected 'threshold_quantile' in [0, 1] (got {quantile})")
        self.quantile = quantile

    def fit(self, scores: Tensor) -> None:
        """Take the quantile of scores ``[n]``."""
        self._store(value=torch.quantile(scores.double(), self.quantile))

    def forward(self, scores: Tensor) -> Tensor:
        """Say which scores exceed the threshold."""
        self._require_fit()
        return scores > self.value


class Scorer(nn.Module):
    r"""Maps, calibration and fusion: :math:`A = A_r + A_f` (Section III-D), and A_n where asked for.

    Args:
        feature: Whose spatial mean A_f judges (Table 5 of the paper).
        fusion: ``"standardized"`` brings A_r and A_f to the validation images' mean 0 and standard
            deviation 1 before adding (PUAD); ``"sum"`` adds them as printed.
        quantiles: Quantiles of the validation maps that become 0 and 0.1.
        threshold_quantile: Quantile of the validation scores that becomes the threshold.
        nodes: What scores nodes, or None.
    """

    def __init__(
        self,
        feature: Feature = "student_second",
        fusion: Fusion = "standardized",
        quantiles: tuple[float, float] = (0.9, 0.995),
        threshold_quantile: float = 0.99,
        nodes: NodeScorer | None = None,
    ) -> None:
        super().__init__()
        if feature not in ("student_second", "student_first", "teacher"):
            raise ValueError(
                "Expected 'feature' to be 'student_second', 'student_first' or 'teacher' "
                f"(got {feature!r})"
            )
        if fusion not in ("standardized", "sum"):
            raise ValueError(f"Expected 'fusion' to be 'standardized' or 'sum' (got {fusion!r})")
        self.feature = feature
        self.fusion = fusion
        self.local = MapCalibration(*quantiles)
        self.global_ = MapCalibration(*quantiles)
        self.gaussian = Mahalanobis()
        self.nodes = nodes
        self.reconstruction_scale = Standardization()
        self.feature_scale = Standardization()
        self.node_scale = Standardization() if nodes is not None else None
        self.threshold = Threshold(threshold_quantile)

    @property
    def fitted(self) -> bool:
        """Whether scores can be given."""
        return self.threshold.fitted

    def vector(self, features: Features) -> Tensor:
        """Give the spatial mean ``[B, C]`` that A_f judges."""
        return spatial_mean(getattr(features, self.feature))

    def raw(self, features: Features) -> RawScores:
        """Give what calibration is fitted on; needs the Gaussians."""
        return RawScores(
            anomaly_map(features.teacher, features.student_first),
            anomaly_map(features.autoencoder, features.student_second),
            self.vector(features),
            None if self.nodes is None else self.nodes(features.teacher),
        )

    def maps(self, raw: RawScores) -> tuple[Tensor, Tensor, Tensor]:
        """Give the calibrated local, global and combined maps ``[B, h, w]``."""
        local, global_ = self.local(raw.local_map), self.global_(raw.global_map)
        return local, global_, (local + global_) / 2

    def fuse(self, reconstruction: Tensor, feature: Tensor) -> Tensor:
        """Give the paper's A of A_r and A_f, each ``[B]``."""
        if self.fusion == "sum":
            return reconstruction + feature
        scaled: Tensor = self.reconstruction_scale(reconstruction) + self.feature_scale(feature)
        return scaled

    def total(self, paper: Tensor, nodes: Tensor | None) -> Tensor:
        """Add the standardised A_n, where there is one."""
        if nodes is None or self.node_scale is None:
            return paper
        return paper + self.node_scale(nodes)  # type: ignore[no-any-return]

    def calibrate(self, raw: RawScores) -> None:
        """Fit quantiles, scales and threshold on validation images; the Gaussians are fitted before."""
        self.local.fit(raw.local_map)
        self.global_.fit(raw.global_map)
        reconstruction = self.maps(raw)[2].amax((1, 2))
        feature = self.gaussian(raw.vector)
        self.reconstruction_scale.fit(reconstruction)
        self.feature_scale.fit(feature)
        nodes = None
        if raw.node_map is not None and self.node_scale is not None:
            nodes = raw.node_map.amax((1, 2))
            self.node_scale.fit(nodes)
        self.threshold.fit(self.total(self.fuse(reconstruction, feature), nodes))
