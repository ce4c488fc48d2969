"""What ViGLAD says of a batch of images."""

from typing import NamedTuple

import torch
from torch import Tensor

from pyg_viglad.scoring.anomaly_map import peak

__all__ = ["Prediction"]


class Prediction(NamedTuple):
    """Scores and maps of B images; every map lies on the image's own pixels.

    Attributes:
        score: ``[B]``, the score that decides: ``paper_score``, plus the standardised node score where
            the model has one.
        is_anomalous: ``[B]`` bool, whether ``score`` exceeds the model's threshold.
        anomaly_map: ``[B, H, W]``, mean of the calibrated local and global maps.
        local_map: ``[B, H, W]``, teacher against the first half of the student, calibrated: 0 and 0.1
            at the validation maps' quantiles 0.9 and 0.995.
        global_map: ``[B, H, W]``, graph autoencoder against the second half of the student, likewise.
        reconstruction_score: ``[B]``, A_r, the maximum of the combined map at the networks' resolution.
        feature_score: ``[B]``, A_f, the Mahalanobis distance of Eq. 18.
        paper_score: ``[B]``, A, the paper's score: A_r and A_f fused.
        node_map: ``[B, H, W]``, A_n of every node (ours), or None.
        node_score: ``[B]``, the maximum of A_n over the nodes, or None.
    """

    score: Tensor
    is_anomalous: Tensor
    anomaly_map: Tensor
    local_map: Tensor
    global_map: Tensor
    reconstruction_score: Tensor
    feature_score: Tensor
    paper_score: Tensor
    node_map: Tensor | None
    node_score: Tensor | None

    @property
    def position(self) -> Tensor:
        """The most anomalous pixel's centre ``[B, 2]`` (x, y), by the node map where there is one."""
        maps = self.anomaly_map if self.node_map is None else self.node_map
        place = peak(maps)
        width = maps.size(2)
        return torch.stack([place % width + 0.5, place // width + 0.5], dim=1)

    @staticmethod
    def cat(predictions: "list[Prediction]") -> "Prediction":
        """Join the predictions of several batches."""
        if not predictions:
            raise ValueError("Expected at least one prediction (got none)")
        columns = zip(*predictions, strict=True)
        return Prediction(*(None if c[0] is None else torch.cat(c) for c in columns))  # type: ignore[arg-type]
