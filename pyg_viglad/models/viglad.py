"""ViGLAD: teacher, student and vision graph autoencoder, from images to scores."""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torch_geometric.data import Batch, Data

from pyg_viglad.files import check_download, write_json, write_tensors, write_text
from pyg_viglad.models.conv_autoencoder import ConvAutoEncoder
from pyg_viglad.models.export import export_program
from pyg_viglad.models.gpdn import Network, make_network
from pyg_viglad.models.graph_constructor import grid_graphs
from pyg_viglad.models.pdn import PDN, PDNSize
from pyg_viglad.models.pyramid_vig import Variant
from pyg_viglad.models.teachers import (
    SHIPPED_TEACHER,
    BackboneTeacher,
    load_teacher,
    make_teacher,
)
from pyg_viglad.models.vig_autoencoder import EncoderWeights, ViGAutoEncoder, evaluation_mode
from pyg_viglad.nn import (
    Graph,
    KeepTypes,
    Operator,
    Upsampling,
    edge_distances,
    keep_running_statistics,
    knn_graph,
    to_nodes,
)
from pyg_viglad.scoring import (
    ALONE,
    ChannelNormalization,
    Mahalanobis,
    MapCalibration,
    NodeScorerName,
    PseudoFusion,
    PseudoKind,
    Shards,
    Standardization,
    Statistics,
    Whitening,
    anomaly_map,
    make_node_scorer,
    peak,
    place_map,
    pseudo_anomaly,
    upper_quantile,
)
from pyg_viglad.transforms import (
    ImageLike,
    ImageNetNormalization,
    as_size,
    check_image_size,
    to_batch,
    to_image,
)

__all__ = [
    "Feature",
    "Features",
    "Fusion",
    "ImageSource",
    "Losses",
    "Precision",
    "Prediction",
    "ViGLAD",
    "hard_mean",
]

Feature = Literal["student_second", "student_first", "teacher"]
Fusion = Literal["standardized", "sum", "pseudo"]
Losses = Literal["paper", "efficientad"]
Precision = Literal["float32", "bfloat16", "float16"]
ImageSource = Tensor | Dataset[Any] | Iterable[Any]

_BATCH_SIZE = 8  # images per batch while statistics are fitted
_COMPONENTS = 384  # principal components of a backbone's features, without whitening
_PSEUDO_ANOMALIES = 240  # for fusion="pseudo"; at least one and at most eight per image and kind
# Parts before the scores computed from them: the first non-finite one is reported.
_CAUSES = ("local_map", "global_map", "feature_score", "node_map", "paper_score")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download")
_MODEL_CARD = """---
{{ card_data }}
---

# An anomaly detector

ViGLAD (vision graph networks for logical anomaly detection, Zoghlami et al., IEEE Access 2024), saved with
its calibration by pyg_viglad.

| | |
|---|---|
{% for name, value in facts.items() %}| {{ name }} | {{ value }} |
{% endfor %}
```python
from pyg_viglad import ViGLAD

model = ViGLAD.from_pretrained("...")  # this folder or repository
prediction = model.predict("image.png")
```
"""


class Features(NamedTuple):
    """Feature maps of B images, each ``[B, C, h, w]``.

    Attributes:
        teacher: The teacher's features, standardised per channel.
        student_first: First half of the student's output, which imitates the target.
        student_second: Second half, which imitates the autoencoder.
        autoencoder: The autoencoder's features, which imitate the target.
        target: The teacher's features, whitened where the model has ``whiten``, otherwise ``teacher``.
    """

    teacher: Tensor
    student_first: Tensor
    student_second: Tensor
    autoencoder: Tensor
    target: Tensor


class Prediction(NamedTuple):
    """Scores of B images, and maps at the image's resolution.

    Attributes:
        score: ``[B]``, the final score: ``paper_score``, plus the standardised node score if the model has
            a node scorer; with ``fusion="pseudo"`` the weighted sum of all parts.
        is_anomalous: ``[B]`` bool, whether ``score`` exceeds the model's threshold, or one of the two is not
            finite.
        anomaly_map: ``[B, H, W]``, mean of the calibrated local and global maps.
        local_map: ``[B, H, W]``, teacher against the first half of the student, calibrated: 0 and 0.1 at
            the model's two ``quantiles`` of the validation maps.
        global_map: ``[B, H, W]``, graph autoencoder against the second half of the student, likewise.
        reconstruction_score: ``[B]``, A_r, the maximum of the merged map at the networks' resolution.
        feature_score: ``[B]``, A_f, the Mahalanobis distance of Eq. 18.
        paper_score: ``[B]``, A, the paper's score: A_r and A_f fused.
        node_map: ``[B, H, W]``, A_n of every node (beyond the paper), or None.
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
        """Centre (x, y) of the most anomalous pixel, ``[B, 2]``, by the node map if there is one."""
        maps = self.anomaly_map if self.node_map is None else self.node_map
        pixel = peak(maps)
        width = maps.size(2)
        return torch.stack([pixel % width + 0.5, pixel // width + 0.5], dim=1)

    @staticmethod
    def cat(predictions: "list[Prediction]") -> "Prediction":
        """Concatenates the predictions of several batches."""
        if not predictions:
            raise ValueError("Expected at least one prediction (got none)")
        return Prediction(*_cat(predictions))


class _Distances(NamedTuple):
    """Anomaly maps ``[B, h, w]`` before calibration, and the features of A_f ``[B, C]`` and A_n."""

    local_map: Tensor
    global_map: Tensor
    vector: Tensor
    teacher: Tensor | None


class _Scores(NamedTuple):
    """Maps ``[B, h, w]`` and scores ``[B]`` before they are fused."""

    local_map: Tensor
    global_map: Tensor
    merged_map: Tensor
    reconstruction: Tensor
    feature: Tensor
    node_map: Tensor | None
    node: Tensor | None


class ViGLAD(
    KeepTypes,
    PyTorchModelHubMixin,
    library_name="pyg_viglad",
    tags=["anomaly-detection"],
    model_card_template=_MODEL_CARD,
):
    r"""Vision graph networks for logical anomaly detection (Zoghlami et al., IEEE Access 2024).

    A frozen teacher :math:`T` and a student :math:`S` describe every 33 x 33 patch; the vision graph
    autoencoder :math:`A_g` describes the same positions from the whole image. Trained on normal images
    with :math:`L = L_{ST} + L_{A_gT} + L_{SA_g}` (Eq. 15-17), they disagree on anomalous ones: T and S
    where a patch is unusual (local map), A_g and S where patches do not belong together (global map). The
    score is :math:`A = A_r + A_f`, the maximum of the merged maps and a Mahalanobis distance (Eq. 18).

    :meth:`save_pretrained` writes ``model.safetensors`` and ``config.json`` with weights, teacher,
    calibration and threshold; ``push_to_hub(name)`` uploads them (:class:`huggingface_hub.ModelHubMixin`).

    Args:
        size: Layers of the student, ``"small"`` or ``"medium"`` (the paper's; default).
        image_size: Side or ``(height, width)`` in pixels, divisible by 4 and at least 96 (default: 256);
            other images are resized. The graph branch sees the image 32 pixels smaller, so that all maps
            have one size.
        teacher: ``"mobilenetv1"`` (small, ships with the package; default), a file (see
            :func:`~pyg_viglad.models.load_teacher`), a :class:`~pyg_viglad.PDN` or a
            :class:`~pyg_viglad.models.GPDN`; or, as it is, the timm backbone ``"timm:NAME"`` or a
            :class:`~pyg_viglad.models.BackboneTeacher`.
        autoencoder: ``"vig"`` (default), ``"conv"`` (EfficientAD's) or a module from images ``[B, 3, H - 32,
            W - 32]`` to features ``[B, model.channels, (H - 32) / 4, (W - 32) / 4]``.
        student: ``"pdn"`` (default) or, with a vision graph block (Figure 4), ``"gpdn"``.
        variant: Widths of the graph autoencoder, ``"ti"`` (default), ``"s"``, ``"m"`` or ``"b"``.
        k: Number of neighbours in its graphs (default: 12).
        operator: Its graph operator: a name or a factory ``(in_channels, out_channels) -> MessagePassing``
            (default: ``"max_relative"``).
        operator_kwargs: Further arguments of the operator.
        graph: Its graph builder: a name, class or instance, see :func:`~pyg_viglad.nn.make_graph`
            (default: ``"knn"``).
        graph_kwargs: Further arguments of the graph builder.
        dynamic: Whether its graphs are rebuilt in every block (default: True).
        encoder_weights: Weights of a Pyramid ViG from which its encoder starts, see
            :meth:`~pyg_viglad.ViGAutoEncoder.load_encoder`: the file that ``pyg-viglad convert`` writes,
            a published checkpoint or a :class:`~pyg_viglad.models.PyramidViG` (default: random weights).
            A saved model does not need it again.
        upsampling: How its decoder doubles its grids, ``"nearest"`` (default), ``"bilinear"``,
            ``"transposed3"`` or ``"transposed4"``, see :class:`~pyg_viglad.nn.Upsample`.
        losses: ``"paper"``: plain means, one image for all branches (default); ``"efficientad"``:
            hard-feature mining in Eq. 15 and a colour-jittered image for Eq. 16-17.
        hard_quantile: Quantile of the mining, in [0, 1) (default: 0.999).
        feature: Features whose spatial mean enters the Mahalanobis distance: ``"student_second"``
            (default), ``"student_first"`` or ``"teacher"`` (Table 5).
        fusion: ``"standardized"`` standardises A_r and A_f over the validation images before adding them
            (PUAD; default); ``"sum"`` adds them as printed. ``"pseudo"`` leaves ``paper_score`` as it is by
            default, and adds the maxima of both maps, A_f and A_n to the final score with the weights that
            tell the validation images from pseudo-anomalies made of them, see
            :func:`~pyg_viglad.scoring.pseudo_anomaly` and :class:`~pyg_viglad.scoring.PseudoFusion`; with
            fewer than 20 of them, the weights are unreliable.
        whiten: Number of directions to which the teacher's features are whitened before losses and maps,
            see :class:`~pyg_viglad.scoring.Whitening`; student and autoencoder then answer in so many
            channels. The node scorer, and ``feature="teacher"``, take the features before it. By default
            there is no whitening: the channels are standardised (the paper).
            Of a backbone as teacher, 384 principal components of the standardised channels are kept.
        shrinkage: Shrinkage of the whitening (default: 0.02).
        teacher_weights: File of the weights of ``"timm:NAME"`` (default: timm downloads them by name). A
            saved model does not need it again.
        teacher_kwargs: Further arguments of its :class:`~pyg_viglad.models.BackboneTeacher`, such as
            ``{"scale": 1}``.
        node_scorer: Scorer of single nodes, beyond the paper: None (default), ``"gaussian"``,
            ``"neighbors"`` or a dictionary, see :func:`~pyg_viglad.scoring.make_node_scorer`.
        quantiles: Quantiles of the validation maps that become 0 and 0.1 (default: 0.9 and 0.995).
        threshold_quantile: Quantile of the validation scores above which an image is anomalous
            (default: 0.99), see :func:`~pyg_viglad.scoring.upper_quantile` for few images. Pseudo-anomalies
            do not enter it: their strength is arbitrary, the false-alarm rate on normal images is not.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` in [0, 1], or a ``Batch`` with ``img``.
        - **output:** a :class:`~pyg_viglad.models.Prediction`.

    Attributes:
        channels: Width of the features that student and autoencoder imitate: the teacher's, or ``whiten``.
        fitted: Whether the model has scores, that is whether :meth:`fit_statistics` was called. It is known
            without a look at the device.
        precision: Precision of the networks in which the statistics are fitted, ``"float32"`` before.
        threshold: Score above which an image is anomalous, a buffer ``[]``; NaN before fitting.

    Raises:
        ValueError: If an argument is out of range.
        FileNotFoundError: If the teacher's file, or ``teacher_weights``, does not exist.

    Example:
        >>> import torch
        >>> model = ViGLAD("small", image_size=96)
        >>> normal = torch.rand(12, 3, 96, 96)
        >>> model.fit_statistics(normal[:8], normal[8:])
        >>> model(normal[:2]).anomaly_map.shape
        torch.Size([2, 96, 96])
    """

    threshold: Tensor
    # Stops the mixin from building its own config, which fails on a dataclass among the arguments.
    _hub_mixin_config = {}  # noqa: RUF012

    def __init__(
        self,
        size: PDNSize = "medium",
        image_size: int | tuple[int, int] = 256,
        teacher: str | os.PathLike[str] | PDN | BackboneTeacher = SHIPPED_TEACHER,
        autoencoder: Literal["vig", "conv"] | nn.Module = "vig",
        *,
        student: Network = "pdn",
        variant: Variant = "ti",
        k: int = 12,
        operator: Operator = "max_relative",
        operator_kwargs: dict[str, Any] | None = None,
        graph: Graph = "knn",
        graph_kwargs: dict[str, Any] | None = None,
        dynamic: bool = True,
        encoder_weights: EncoderWeights | None = None,
        upsampling: Upsampling = "nearest",
        losses: Losses = "paper",
        hard_quantile: float = 0.999,
        feature: Feature = "student_second",
        fusion: Fusion = "standardized",
        whiten: int | None = None,
        shrinkage: float = 0.02,
        teacher_weights: str | os.PathLike[str] | None = None,
        teacher_kwargs: dict[str, Any] | None = None,
        node_scorer: NodeScorerName | dict[str, Any] | None = None,
        quantiles: tuple[float, float] = (0.9, 0.995),
        threshold_quantile: float = 0.99,
    ) -> None:
        super().__init__()
        height, width = as_size(image_size)
        if min(height, width) < 96 or height % 4 or width % 4:
            raise ValueError(
                f"Expected 'image_size' of at least 96, divisible by 4 (got {height} x {width})"
            )
        for name, value, known in (
            ("losses", losses, get_args(Losses)),
            ("feature", feature, get_args(Feature)),
            ("fusion", fusion, get_args(Fusion)),
        ):
            if value not in known:
                raise ValueError(f"Expected {name!r} among {', '.join(known)} (got {value!r})")
        if not 0 <= hard_quantile < 1:
            raise ValueError(f"Expected 'hard_quantile' in [0, 1) (got {hard_quantile})")
        if not 0 <= threshold_quantile <= 1:
            raise ValueError(f"Expected 'threshold_quantile' in [0, 1] (got {threshold_quantile})")
        if encoder_weights is not None and autoencoder != "vig":
            raise ValueError(
                f"Expected autoencoder 'vig' with 'encoder_weights' (got {autoencoder!r})"
            )
        self.image_size = (height, width)
        self.losses = losses
        self.hard_quantile = hard_quantile
        self.feature = feature
        self.fusion = fusion
        self.threshold_quantile = threshold_quantile

        self.imagenet = ImageNetNormalization()
        self.teacher: PDN | BackboneTeacher
        # Facts for the model card.
        self._about: dict[str, str] = {"teacher": teacher} if isinstance(teacher, str) else {}
        if isinstance(teacher, PDN | BackboneTeacher):
            if teacher_weights is not None or teacher_kwargs:
                raise ValueError(
                    "Expected a teacher 'timm:NAME' with 'teacher_weights' or 'teacher_kwargs' "
                    f"(got {teacher})"
                )
            self.teacher = teacher
        else:
            self.teacher = load_teacher(teacher, teacher_weights, **(teacher_kwargs or {}))
        if self.teacher.padding:
            raise ValueError(f"Expected a teacher without padding (got {self.teacher})")
        self.teacher.eval().requires_grad_(False)
        channels = self.teacher.out_channels
        self.teacher_normalization: ChannelNormalization | Whitening
        if whiten is not None:
            self.teacher_normalization = Whitening(channels, whiten, shrinkage)
            channels = whiten
        elif isinstance(self.teacher, BackboneTeacher):
            components = min(_COMPONENTS, channels)
            self.teacher_normalization = Whitening(channels, components, shrinkage=torch.inf)
            channels = components
        else:
            self.teacher_normalization = ChannelNormalization(channels)
        self.channels = channels
        self.student = make_network(student, size, 2 * channels)
        self._halves = {
            "student_first": slice(channels),
            "student_second": slice(channels, 2 * channels),
        }
        self.autoencoder: nn.Module
        if autoencoder == "vig":
            graph_size = (height - 32, width - 32)
            self.autoencoder = ViGAutoEncoder(
                channels,
                variant,
                graph_size,
                k,
                operator,
                dynamic,
                operator_kwargs=operator_kwargs,
                graph=graph,
                graph_kwargs=graph_kwargs,
                encoder_weights=encoder_weights,
                upsampling=upsampling,
            )
        elif autoencoder == "conv":
            self.autoencoder = ConvAutoEncoder(channels, self.image_size)
        elif isinstance(autoencoder, nn.Module):
            self.autoencoder = autoencoder
        else:
            raise ValueError(
                f"Expected 'autoencoder' to be 'vig', 'conv' or a module (got {autoencoder!r})"
            )

        self.local_calibration = MapCalibration(*quantiles)
        self.global_calibration = MapCalibration(*quantiles)
        self.gaussian = Mahalanobis(self.teacher.out_channels if feature == "teacher" else channels)
        self.reconstruction_scale = Standardization()
        self.feature_scale = Standardization()
        self.node_scorer = make_node_scorer(node_scorer)
        self.node_scale = None if self.node_scorer is None else Standardization()
        self.pseudo_fusion: PseudoFusion | None = None
        if fusion == "pseudo":
            nodes = () if self.node_scorer is None else ("A_n",)
            self.pseudo_fusion = PseudoFusion(("A_r:local", "A_r:global", "A_f", *nodes))
        self.register_buffer("threshold", torch.tensor(torch.nan))

        # What config.json holds: the arguments, with None for what was not given by name.
        named = isinstance(operator, str) and self._is_jsonable(operator_kwargs)
        named_graph = isinstance(graph, str) and self._is_jsonable(graph_kwargs)
        self.config: dict[str, Any] = {
            "size": size,
            "image_size": [height, width],
            "teacher": self.teacher.config,
            "autoencoder": autoencoder if isinstance(autoencoder, str) else None,
            "student": student,
            "variant": variant,
            "k": k,
            "operator": operator if named else None,
            "operator_kwargs": operator_kwargs if named else None,
            "graph": graph if named_graph else None,
            "graph_kwargs": graph_kwargs if named_graph else None,
            "dynamic": dynamic,
            "upsampling": upsampling,
            "losses": losses,
            "hard_quantile": hard_quantile,
            "feature": feature,
            "fusion": fusion,
            "whiten": whiten,
            "shrinkage": shrinkage,
            "node_scorer": node_scorer,
            "quantiles": list(quantiles),
            "threshold_quantile": threshold_quantile,
        }
        self._hub_mixin_config = self.config
        self.precision: Precision = "float32"

    @property
    def fitted(self) -> bool:
        """Whether :meth:`fit_statistics` was called."""
        return all(part.fitted for part in self.children() if isinstance(part, Statistics))

    @property
    def fusion_weights(self) -> dict[str, float]:
        """Weights of ``A_r:local``, ``A_r:global``, ``A_f`` and, with a node scorer, ``A_n`` in the score.

        They are not negative and sum to 1.

        Raises:
            ValueError: If the model has no ``fusion="pseudo"`` or is not fitted.
        """
        if self.pseudo_fusion is None:
            raise ValueError(f"Expected a model with fusion 'pseudo' (got {self.fusion!r})")
        return self.pseudo_fusion.as_dict()

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.threshold.device

    def train(self, mode: bool = True) -> "ViGLAD":
        """Sets the training mode of student and autoencoder; the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def normalize(self, images: Tensor) -> Tensor:
        """ImageNet-normalises images in [0, 1], and converts them to the type of the networks."""
        normal: Tensor = self.imagenet(images)
        return normal.to(next(self.student.parameters()).dtype)

    def teacher_features(self, images: Tensor) -> Tensor:
        """Computes the teacher's features of ImageNet-normalised images, standardised, without gradient."""
        with torch.no_grad():
            return self.teacher_normalization.standardize(self.teacher(images))

    @torch.no_grad()
    def target_features(self, images: Tensor) -> Tensor:
        """Computes the target of student and autoencoder: the teacher's features, maybe whitened."""
        return self.teacher_normalization(self.teacher(images))  # type: ignore[no-any-return]

    def student_features(
        self, images: Tensor, half: Literal["student_first", "student_second"]
    ) -> Tensor:
        """Computes one half of the student's output, ``"student_first"`` or ``"student_second"``."""
        return self.student(images, self._halves[half])  # type: ignore[no-any-return]

    def autoencoder_features(self, images: Tensor) -> Tensor:
        """Computes the autoencoder's features; all but the convolutional one see :meth:`graph_images`."""
        if not isinstance(self.autoencoder, ConvAutoEncoder):
            images = self.graph_images(images)
        return self.autoencoder(images)  # type: ignore[no-any-return]

    def graph_images(self, images: Tensor) -> Tensor:
        """Resizes images ``[B, 3, H, W]`` for the graph branch, to ``[B, 3, H - 32, W - 32]``."""
        height, width = self.image_size
        return to_batch(images, (height - 32, width - 32), normalized=True)

    def loss(
        self,
        images: Tensor | Batch,
        penalty_images: Tensor | None = None,
        teacher: Tensor | None = None,
    ) -> dict[str, Tensor]:
        r"""Computes the named parts of the training loss, to be added (Eq. 15-17).

        .. math::
            L_{ST} &= \frac{1}{CWH} \Big[ \sum_c \|T(I)_c - S(I)_c\|_F^2 + \sum_c \|S(I_r)_c\|_F^2 \Big] \\
            L_{A_gT} &= \frac{1}{CWH} \sum_c \|T(I)_c - A_g(\mathcal{G})_c\|_F^2 \\
            L_{SA_g} &= \frac{1}{CWH} \sum_c \|A_g(\mathcal{G})_c - S'(I)_c\|_F^2

        Args:
            images: Normal images :math:`I`, ``[B, 3, H, W]`` in [0, 1].
            penalty_images: Natural images :math:`I_r` ``[n, 3, H, W]``; without them the second term of
                Eq. 15 is left out.
            teacher: The teacher's output for ``images`` ``[B, C, h, w]``, before its normalisation, if it
                is known already (see :meth:`teacher_outputs`). The colour-jittered images of
                ``losses="efficientad"`` always pass the teacher.

        Returns:
            ``student_teacher``, ``penalty``, ``autoencoder_teacher`` and ``student_autoencoder``.
        """
        images = to_batch(images, self.image_size)
        normal = self.normalize(images)
        target = (
            self.target_features(normal) if teacher is None else self.teacher_normalization(teacher)
        )
        parts: dict[str, Tensor] = {}
        if self.losses == "paper":
            first, second = self.student(normal).to(target.dtype).chunk(2, dim=1)
            parts["student_teacher"] = F.mse_loss(first, target)  # Eq. 15, first term
        else:
            first = self.student_features(normal, "student_first")
            parts["student_teacher"] = hard_mean((target - first).square(), self.hard_quantile)
        if penalty_images is not None:
            other = self.normalize(to_batch(penalty_images, self.image_size))
            with keep_running_statistics(self.student):  # which come from normal images only
                first = self.student_features(other, "student_first")
            parts["penalty"] = first.to(target.dtype).square().mean()  # Eq. 15, second term
        if self.losses == "efficientad":
            normal = self.normalize(_jitter_color(images))
            target = self.target_features(normal)
            second = self.student_features(normal, "student_second").to(target.dtype)
        reconstruction = self.autoencoder_features(normal).to(target.dtype)
        parts["autoencoder_teacher"] = F.mse_loss(reconstruction, target)  # Eq. 16
        # Eq. 17, neither side detached
        parts["student_autoencoder"] = F.mse_loss(second, reconstruction)
        return parts

    def features(self, images: Tensor | Batch, precision: Precision | None = None) -> Features:
        """Computes the feature maps of teacher, both student halves and autoencoder.

        Args:
            images: Images ``[B, 3, H, W]`` in [0, 1], or a ``Batch`` with ``img``.
            precision: See :meth:`predict`.
        """
        normal = self.normalize(to_batch(images, self.image_size))
        with self._computing_in(precision):
            first, second = self.student(normal).chunk(2, dim=1)
            with torch.no_grad():
                output = self.teacher(normal)
                teacher = self.teacher_normalization.standardize(output)
                target = self.teacher_normalization.project(teacher)
            return Features(teacher, first, second, self.autoencoder_features(normal), target)

    def _computing_in(self, precision: Precision | None = None) -> AbstractContextManager[Any]:
        """Lets the networks compute in a precision, by default that of the statistics."""
        if torch.compiler.is_exporting():
            return nullcontext()
        precision = precision or self.precision
        half = precision != "float32"
        dtype = getattr(torch, precision) if half else None
        return torch.autocast(self.device.type, dtype, enabled=half)

    def forward(self, images: Tensor | Batch, precision: Precision | None = None) -> Prediction:
        """Computes scores and anomaly maps, in evaluation mode, whatever the autocast around.

        No value is read back from the device, which may still be computing when this method returns; CUDA
        graphs can capture it. So, unlike :meth:`predict`, it does not raise where scores or maps are not
        finite, but such a score is anomalous. Images on another device than the CPU are not checked to lie
        in [0, 1].

        Args:
            images: Images ``[B, 3, H, W]`` in [0, 1], or a ``Batch`` with ``img``.
            precision: See :meth:`predict`.

        Raises:
            ValueError: If the statistics are not fitted, or images are not ``[B, 3, H, W]`` in [0, 1].
        """
        if not self.fitted:
            raise ValueError("Expected fit_statistics() before scores (got a model without)")
        with evaluation_mode(self):
            features = self.features(images, precision)
        with torch.autocast(self.device.type, enabled=False):  # scores are float32
            scores = self._score(self._distances(features))
            paper, total = self._fuse(scores)
            margin = self.threshold - total
            node_map = None
            if scores.node_map is not None and self.node_scorer is not None:
                first = 16.5 + 4 * (self.node_scorer.window - 1) / 2  # centre of the first window
                step = 4.0 * self.node_scorer.stride
                node_map = place_map(scores.node_map, self.image_size, first, step)
            return Prediction(
                score=total,
                is_anomalous=~(margin >= 0) | margin.isinf(),  # NaN and infinity are never normal
                anomaly_map=place_map(scores.merged_map, self.image_size),
                local_map=place_map(scores.local_map, self.image_size),
                global_map=place_map(scores.global_map, self.image_size),
                reconstruction_score=scores.reconstruction,
                feature_score=scores.feature,
                paper_score=paper,
                node_map=node_map,
                node_score=scores.node,
            )

    def _distances(self, features: Features) -> _Distances:
        """Reduces the features to the maps and vectors from which scores are computed."""
        return _Distances(
            anomaly_map(features.target, features.student_first),
            anomaly_map(features.autoencoder, features.student_second),
            _spatial_mean(getattr(features, self.feature)),
            None if self.node_scorer is None else features.teacher,
        )

    def _finite_distances(self, images: Tensor, precision: Precision | None) -> _Distances:
        """Returns the distances of images, which must be finite."""
        distances = self._distances(self.features(images, precision))
        self._require_finite({**distances._asdict(), "teacher": None}, images, precision)
        return distances

    def _require_finite(
        self,
        results: dict[str, Tensor | None],
        images: Tensor | None = None,
        precision: Precision | None = None,
    ) -> None:
        """Raises ``ValueError`` if a result is not finite, and names the first cause.

        Args:
            results: What must be finite, by name.
            images: What they were computed from. Only where one is not finite, the features of the images
                are computed again and looked at, after all weights and statistics.
            precision: In which they were computed.
        """
        if not _first_not_finite(results):
            return
        causes = {key: value for key, value in self.state_dict().items() if key != "threshold"}
        if images is not None:
            with evaluation_mode(self):
                causes |= self.features(images, precision)._asdict()
        cause = _first_not_finite({**causes, **results})
        raise ValueError(f"Expected finite features, scores and maps (got {cause})")

    def _score(self, distances: _Distances) -> _Scores:
        """Returns the calibrated maps and the scores A_r, A_f (Eq. 18) and A_n."""
        local = self.local_calibration(distances.local_map)
        global_ = self.global_calibration(distances.global_map)
        merged = (local + global_) / 2
        feature = self.gaussian(distances.vector)
        node_map = None if self.node_scorer is None else self.node_scorer(distances.teacher)
        node = None if node_map is None else node_map.amax((1, 2))
        return _Scores(local, global_, merged, merged.amax((1, 2)), feature, node_map, node)

    def _fuse(self, scores: _Scores) -> tuple[Tensor, Tensor]:
        """Returns the paper's score A = A_r + A_f, and the final one."""
        if self.fusion == "sum":
            paper = scores.reconstruction + scores.feature
        else:
            paper = self.reconstruction_scale(scores.reconstruction)
            paper = paper + self.feature_scale(scores.feature)
        if self.pseudo_fusion is not None:
            return paper, self.pseudo_fusion(_parts(scores))
        if scores.node is None or self.node_scale is None:
            return paper, paper
        return paper, paper + self.node_scale(scores.node)

    @torch.no_grad()
    def predict(
        self, images: Any, batch_size: int = 8, precision: Precision | None = None
    ) -> Prediction:
        """Computes scores and maps of images in any form, without gradients; threads may do so at once.

        Args:
            images: An image as :func:`~pyg_viglad.transforms.to_image` takes it (a path, a PIL image, an
                array, a tensor), a tensor of several ``[B, C, H, W]``, a ``Data`` or ``Batch`` with either
                as ``img``, or a list, dataset or iterator of any of these.
            batch_size: Number of images per batch (default: 8).
            precision: Precision of the networks: ``"float32"``, or ``"bfloat16"`` or ``"float16"`` by
                autocast, where the hardware is faster in it (default: that in which the statistics were
                fitted, to which the scores of any other are only close).

        Raises:
            FileNotFoundError: If an image file does not exist.
            ValueError: If an image cannot be read or is too small, there is none, ``batch_size`` is below 1,
                the precision is unknown, or a score or map is not finite: the message names the part of the
                model that makes it so.
        """
        _check_precision(precision or self.precision)
        if batch_size < 1:
            raise ValueError(f"Expected 'batch_size' to be at least 1 (got {batch_size})")
        resized = map(self._read, _each_image(images))
        parts = []
        while batch := list(islice(resized, batch_size)):
            given = torch.cat(batch).to(self.device)
            found = self(given, precision)
            inner = {name: getattr(found, name) for name in _CAUSES}
            results = {**inner, **found._asdict(), "threshold": self.threshold}
            self._require_finite(results, given, precision)
            parts.append(found)
        if not parts:
            raise ValueError("Expected at least one image (got none)")
        return Prediction.cat(parts)

    def _read(self, given: ImageLike) -> Tensor:
        """Reads an image and resizes it, ``[1, 3, *image_size]``."""
        image = to_image(given)
        name = os.fspath(given) if isinstance(given, str | os.PathLike) else ""
        check_image_size(image.size(1), image.size(2), name)
        return to_batch(image[None], self.image_size)

    def graphs(self, images: Tensor | Batch, blocks: bool = False) -> dict[str, Batch]:
        """Returns the graph autoencoder's graphs of the images (Fig. 5), in evaluation mode.

        See :meth:`pyg_viglad.ViGAutoEncoder.graphs`; positions are in pixels of :meth:`graph_images`.

        Raises:
            ValueError: If the autoencoder is not a :class:`~pyg_viglad.ViGAutoEncoder`.
        """
        normal = self.normalize(to_batch(images, self.image_size))
        with self._computing_in():
            return self._graph_autoencoder().graphs(self.graph_images(normal), blocks)

    def edges(self, images: Tensor) -> dict[str, Tensor]:
        """Returns the edges of these graphs alone, see :meth:`pyg_viglad.ViGAutoEncoder.edges`."""
        normal = self.normalize(to_batch(images, self.image_size))
        with self._computing_in():
            return self._graph_autoencoder().edges(self.graph_images(normal))

    def _graph_autoencoder(self) -> ViGAutoEncoder:
        if not isinstance(self.autoencoder, ViGAutoEncoder):
            raise ValueError(
                f"Expected a ViGAutoEncoder to give graphs (got {type(self.autoencoder).__name__})"
            )
        return self.autoencoder

    @torch.no_grad()
    def feature_graphs(self, images: Tensor | Batch) -> dict[str, Batch]:
        """Returns the graphs of the features that the loss compares, in evaluation mode.

        Of normal images the three should be the same; of anomalous ones they agree less, see
        :func:`~pyg_viglad.graphs.neighbor_overlap`. Node i of each is the same cell of the feature maps.

        Returns:
            A ``Batch`` each under ``"teacher"`` (its target features), ``"output"`` (of the autoencoder)
            and ``"student"`` (S'), every node joined with its ``k`` nearest in features, itself first.
            Fields and positions are those of :meth:`graphs`.
        """
        height, width = self.image_size
        with evaluation_mode(self):
            found = self.features(images)
        graphs = {}
        for name, maps in (
            ("teacher", found.target),
            ("output", found.autoencoder),
            ("student", found.student_second),
        ):
            x = to_nodes(maps.to(found.teacher.dtype))
            edges = knn_graph(x, self.config["k"], batch_size=len(maps), loop=True, cosine=True)
            graphs[name] = grid_graphs(
                x,
                edges,
                (maps.size(2), maps.size(3)),
                (height - 32, width - 32),
                distance=edge_distances(x, edges),
            )
        return graphs

    @torch.no_grad()
    def teacher_outputs(self, images: ImageSource) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterates over batches of images, as they come, and the teacher's output before normalisation.

        Args:
            images: See :meth:`fit_statistics`.
        """
        for batch in _batches(images, self.device):
            output = self.teacher(self.normalize(to_batch(batch, self.image_size)))
            self._require_finite({"teacher": output})
            yield batch, output

    def fit_teacher_statistics(self, train: ImageSource, shards: Shards = ALONE) -> None:
        """Fits the teacher's normalisation on the training images; needed before :meth:`loss`.

        Args:
            train: See :meth:`fit_statistics`.
            shards: See :meth:`fit_statistics`.
        """
        outputs = self.teacher_outputs(shards.deal(train))
        self.teacher_normalization.fit((features for _, features in outputs), shards)

    @torch.no_grad()
    def fit_statistics(
        self,
        train: ImageSource,
        validation: ImageSource,
        shards: Shards = ALONE,
        precision: Precision = "float32",
    ) -> None:
        """Fits all statistics that scores need, after training, on normal images only.

        Gaussians are fitted on the training images; quantiles, scales and threshold on the validation
        images. The teacher's channel statistics are fitted first if they are missing. The networks run in
        evaluation mode, in which the model stays, whatever the autocast around.

        Args:
            train: The training images: a tensor ``[n, 3, H, W]``, a dataset of tensors or of ``Data`` with
                ``img``, or an iterable of batches of either. They are read twice unless
                :meth:`fit_teacher_statistics` was called before.
            validation: Normal images held out of training, likewise; never test images. They are read
                twice with ``fusion="pseudo"``.
            shards: The processes that share the work, of which each makes this call with all images, see
                :meth:`Shards.of_process_group() <pyg_viglad.scoring.Shards>`; ``train`` and ``validation``
                are then tensors or datasets (default: this process alone).
            precision: Precision of the networks, see :meth:`predict`, of which it becomes the default
                (default: ``"float32"``), so that scores are standardised as they will be computed. It is
                saved with the model.

        Raises:
            ValueError: If there are too few images, some that are read twice can be read only once, the
                precision is unknown, or a feature, statistic or score is not finite.
        """
        _check_precision(precision)
        scorer = self.node_scorer
        vectors, node_features = [], []
        if self.pseudo_fusion is not None and isinstance(validation, Iterator):
            raise ValueError(
                "Expected 'validation' to be a tensor, dataset or list, which can be read twice for "
                f"fusion 'pseudo' (got a {type(validation).__name__})"
            )
        mirrors: dict[int, list[Tensor]] = {}
        if scorer is not None and scorer.mirrored:
            mirrors = {3: [], 2: []}  # left-right, upside down
        with evaluation_mode(self), torch.autocast(self.device.type, enabled=False):
            if not self.teacher_normalization.fitted:
                if isinstance(train, Iterator):
                    raise ValueError(
                        "Expected 'train' to be a tensor, dataset or list, which can be read twice "
                        f"(got a {type(train).__name__})"
                    )
                self.fit_teacher_statistics(train, shards)
            for images in _batches(shards.deal(train), self.device):
                # Runs only the networks whose features are fitted.
                normal = self.normalize(to_batch(images, self.image_size))
                with self._computing_in(precision):
                    if self.feature == "teacher" or scorer is not None:
                        teacher = self.teacher_features(normal)
                        self._require_finite({"teacher": teacher})
                    if self.feature == "teacher":
                        vectors.append(_spatial_mean(teacher))
                    else:
                        vectors.append(_spatial_mean(self.student_features(normal, self.feature)))
                    self._require_finite({self.feature: vectors[-1]})
                    if scorer is not None:
                        node_features.append(teacher)
                        for dim, views in mirrors.items():
                            views.append(self.teacher_features(normal.flip(dim)))
            if not vectors:
                raise ValueError("Expected at least one training image (got none)")
            # If the refit fails from here on, no old threshold remains beside new statistics.
            self.threshold = torch.full_like(self.threshold, torch.nan)
            self.gaussian.fit(shards.gather(torch.cat(vectors)))
            if scorer is not None:
                scorer.fit(node_features, list(mirrors.values()), shards)

            held_out = [
                self._finite_distances(images, precision)
                for images in _batches(shards.deal(validation), self.device)
            ]
            if not held_out:
                raise ValueError("Expected at least one validation image (got none)")
            if scorer is not None:
                features = [part.teacher for part in held_out if part.teacher is not None]
                scorer.calibrate(features, shards)
            self.local_calibration.fit(torch.cat([part.local_map for part in held_out]), shards)
            self.global_calibration.fit(torch.cat([part.global_map for part in held_out]), shards)
            scores = _Scores(*_cat([self._score(part) for part in held_out]))
            self._require_finite(scores._asdict())
            self.reconstruction_scale.fit(shards.gather(scores.reconstruction))
            self.feature_scale.fit(shards.gather(scores.feature))
            if scores.node is not None and self.node_scale is not None:
                self.node_scale.fit(shards.gather(scores.node))
            if self.pseudo_fusion is not None:
                parts = {name: shards.gather(part) for name, part in _parts(scores).items()}
                pseudo = self._pseudo_parts(validation, len(parts["A_f"]), shards, precision)
                self.pseudo_fusion.fit(parts, pseudo)
            total = shards.gather(self._fuse(scores)[1])
            self.threshold = upper_quantile(total, self.threshold_quantile).to(self.threshold)
        self.precision = precision
        self.eval()

    def _pseudo_parts(
        self, validation: ImageSource, number: int, shards: Shards, precision: Precision
    ) -> dict[str, Tensor]:
        """Computes the parts of the score of pseudo-anomalies of ``number`` validation images."""
        kinds = get_args(PseudoKind)
        per_kind = min(8, math.ceil(_PSEUDO_ANOMALIES / (number * len(kinds))))
        generator = torch.Generator().manual_seed(0)
        found: dict[str, list[Tensor]] = {}
        images = (
            image
            for batch in _batches(validation, self.device)
            for image in to_batch(batch, self.image_size)
        )
        for place, image in enumerate(images):
            # Every process makes all of them, so that they do not depend on the number of processes.
            made = [pseudo_anomaly(image, kind, generator)[0] for kind in kinds * per_kind]
            if place % shards.size != shards.rank:
                continue
            for batch in torch.stack(made).split(_BATCH_SIZE):
                scores = self._score(self._finite_distances(batch, precision))
                for name, part in _parts(scores).items():
                    found.setdefault(name, []).append(part)
        per_image = len(kinds) * per_kind
        return {
            name: shards.gather(torch.cat(parts).view(-1, per_image)).flatten()
            for name, parts in found.items()
        }

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> str | None:
        """Writes weights, calibration and config to a folder, each file whole or not at all.

        Args:
            save_directory: The folder; it is created where needed.
            **options: Of :meth:`huggingface_hub.ModelHubMixin.save_pretrained`, such as
                ``model_card_kwargs``, see :meth:`generate_model_card`; without them an existing README.md
                stays.
        """
        folder = Path(save_directory).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        about = options.get("model_card_kwargs")
        given = about or {}
        self._about |= {key: given[key] for key in ("data", "scores") if key in given}
        write_tensors(folder / "model.safetensors", self.state_dict(), {"format": "pt"})
        self._save_pretrained(folder)
        if about is not None or not (folder / "README.md").exists():
            write_text(folder / "README.md", str(self.generate_model_card(**given)))
        # The mixin deletes config.json first; a kill in between would leave a model without it.
        others = options.keys() - {"model_card_kwargs"}
        return super().save_pretrained(folder, **options) if others else None

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Returns the model card.

        Args:
            *args: Of the mixin.
            **kwargs: ``data`` and ``scores``: texts on the training images and on how well the model does,
                such as ``"image AUROC 97.1"`` (default: those of the last ``save_pretrained``).
        """
        height, width = self.image_size
        given: dict[str, str] = {k: kwargs.pop(k) for k in ("data", "scores") if k in kwargs}
        about = {**self._about, **given}
        teacher = about.get("teacher", str(self.teacher))
        if teacher == SHIPPED_TEACHER:
            teacher = "the shipped one (MIT), distilled from MobileNet-V1 (Apache-2.0)"
        facts = {
            "images": f"{height} x {width} pixels; others are resized",
            "networks": f"student {self.student}, autoencoder {self.autoencoder}",
            "teacher": teacher,
            "trained on": about.get("data", "not stated"),
            "scores": about.get("scores", "not stated"),
            "threshold": f"{float(self.threshold):.4g}" if self.fitted else "not fitted",
        }
        return super().generate_model_card(*args, facts=facts, **kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        more = {"precision": self.precision, "about": self._about}
        write_json(save_directory / "config.json", {**self.config, **more})

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **options: Any
    ) -> "ViGLAD":
        """Loads a model that was saved by ``save_pretrained``, in evaluation mode; nothing is unpickled.

        Args:
            pretrained_model_name_or_path: A folder, that of a run with ``model`` inside, or ``"user/name"``
                on the Hugging Face Hub.
            **options: ``operator``, ``graph``, ``autoencoder`` or ``teacher``, if the model was saved with a
                custom one; ``revision``, ``token``, ``cache_dir``, ``local_files_only`` and
                ``force_download`` of the hub.

        Raises:
            FileNotFoundError: If there is no such model.
            ValueError: If its files cannot be read, a weight or statistic is not finite, or a custom part is
                missing.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        name = os.fspath(pretrained_model_name_or_path)
        folder = Path(name).expanduser()
        if (folder / "model").is_dir() and not (folder / "config.json").is_file():
            folder = folder / "model"
        hub = {key: options.pop(key) for key in _HUB_OPTIONS if key in options}
        files = [folder / file for file in ("config.json", "model.safetensors")]
        if _HUB_NAME.fullmatch(name) and not folder.parent.exists():
            try:
                files = [check_download(hf_hub_download(name, f.name, **hub)) for f in files]
            except HfHubHTTPError as error:
                raise FileNotFoundError(
                    f"Expected a model folder or a name on the hub (got '{name}': {error})"
                ) from error
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(
                    f"Expected a model folder with '{file.name}' (got '{name}')"
                )
        try:
            config = json.loads(files[0].read_text())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"Expected JSON in '{files[0]}' ({error})") from error
        if not isinstance(config, dict) or not isinstance(config.get("teacher"), dict):
            raise ValueError(f"Expected the config of a ViGLAD (got '{files[0]}')")
        options = {**config, **options}
        for part in ("operator", "graph", "autoencoder"):
            if options.get(part) is None:
                raise ValueError(f"The model was saved with a custom {part}: pass `{part}=`.")
        precision, about = options.pop("precision", None), options.pop("about", {})
        _check_precision(precision)
        if options.get("shrinkage", 0) is None:  # JSON has no infinity
            options["shrinkage"] = math.inf
        teacher = options["teacher"]
        for part in ("operator", "graph"):
            if isinstance(teacher, dict) and teacher.get(part, "") is None:
                raise ValueError(
                    f"The model was saved with a teacher that has a custom {part}: pass `teacher=`."
                )
        try:
            if isinstance(teacher, dict):
                options["teacher"] = make_teacher(**teacher)
            model = cls(**options)
            model.precision, model._about = precision, dict(about)
            model.load_state_dict(load_file(files[1]))
        except (RuntimeError, TypeError, SafetensorError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(
                f"Expected weights that fit the config in '{name}' ({reason})"
            ) from error
        state = model.state_dict()
        threshold = state.pop("threshold")  # last: what is broken may have left it at NaN
        broken = _first_not_finite({**state, "threshold": threshold if model.fitted else None})
        if broken:
            raise ValueError(f"Expected finite weights and statistics in '{name}' (got {broken})")
        return model.eval()

    def export(
        self,
        path: str | os.PathLike[str],
        dtype: Literal["float32", "uint8"] = "float32",
        graphs: bool = False,
    ) -> Path:
        """Writes the fitted detector as one program that runs without this package.

        It has everything inside: resizing, networks, calibration, fusion and threshold. The number of
        images and their height and width (at least 4) stay free. It computes in float32: where the
        statistics are fitted in another precision, scores are only close. Nothing is checked: neither
        values to lie in [0, 1], nor scores to be finite.

        Outputs are ``score`` ``[B]``, ``anomaly_map`` ``[B, *image_size]``, with a node scorer ``node_map``
        alike, and ``threshold`` ``[]``; with ``graphs`` also ``graph.input``, ``graph.encoder.0`` and so
        on: the edges ``[2, E]`` of every graph of :meth:`edges`.

        Args:
            path: The file to write: ``.onnx`` for ONNX (opset 20; needs ``pip install
                'pyg-viglad[export]'``) or ``.pt2`` for :func:`torch.export.load`.
            dtype: Type of the images ``[B, 3, H, W]``: ``"float32"`` in [0, 1] (default) or ``"uint8"``.
            graphs: Whether to return the edges, too (default: False). The graph autoencoder then runs
                twice.

        Returns:
            The path.

        Raises:
            ValueError: If the model is not fitted, has a part that cannot be exported or no graphs to
                return, or the file's name ends otherwise.
            FileNotFoundError: If the file's folder does not exist.
            ImportError: If the packages for ONNX are missing.

        Example:
            >>> import tempfile
            >>> model = ViGLAD("small", image_size=96, autoencoder="conv")
            >>> model.fit_statistics(torch.rand(8, 3, 96, 96), torch.rand(8, 3, 96, 96))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     program = torch.export.load(model.export(f"{folder}/model.pt2")).module()
            >>> score, anomaly_map, threshold = program(torch.rand(5, 3, 100, 150))
            >>> score.shape, anomaly_map.shape
            (torch.Size([5]), torch.Size([5, 96, 96]))
        """
        if not self.fitted:
            raise ValueError("Expected fit_statistics() before an export (got a model without)")
        if dtype not in ("float32", "uint8"):
            raise ValueError(f"Expected 'dtype' to be 'float32' or 'uint8' (got {dtype!r})")
        names = ["score", "anomaly_map", "threshold"]
        if self.node_scorer is not None:
            names.insert(2, "node_map")
        height, width = self.image_size
        if graphs:
            found = self.edges(torch.zeros(1, 3, height, width, device=self.device))
            names += [f"graph.{name}" for name in found]
        # Unequal, arbitrary sizes, so that tracing treats none of them as constant.
        images = torch.zeros(2, 3, height + 22, width + 34, dtype=getattr(torch, dtype))
        with evaluation_mode(self):
            return export_program(_Program(self, graphs), images.to(self.device), names, path)

    def __repr__(self) -> str:
        height, width = self.image_size
        student = self.config["student"]
        network = "" if student == "pdn" else f"student={student}, "
        return (
            f"{self.__class__.__name__}({self.student.size}, {height}x{width}, {network}"
            f"teacher={self.teacher}, autoencoder={self.autoencoder})"
        )


class _Program(nn.Module):
    """What is exported of a detector: plain tensors in and out."""

    def __init__(self, model: ViGLAD, graphs: bool) -> None:
        super().__init__()
        self.model = model
        self.graphs = graphs

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        if not images.is_floating_point():
            images = images / 255
        images = to_batch(images, self.model.image_size)
        found = self.model(images)
        maps = (found.anomaly_map, found.node_map)
        edges = self.model.edges(images).values() if self.graphs else ()
        # An output may not be a buffer itself.
        threshold = self.model.threshold.clone()
        return (found.score, *(m for m in maps if m is not None), threshold, *edges)


def hard_mean(values: Tensor, quantile: float) -> Tensor:
    """Computes the mean of the values at or above a quantile: EfficientAD's hard-feature mining.

    Args:
        values: Any shape, with gradient.
        quantile: In [0, 1); 0 gives the plain mean.

    Raises:
        ValueError: If the quantile is out of range.

    Example:
        >>> import torch
        >>> hard_mean(torch.tensor([0., 1., 2., 3.]), 0.5)
        tensor(2.5000)
    """
    if not 0 <= quantile < 1:
        raise ValueError(f"Expected 'quantile' in [0, 1) (got {quantile})")
    flat = values.flatten()
    kept = max(1, flat.numel() - int(quantile * flat.numel()))
    return torch.topk(flat, kept, sorted=False).values.mean()


def _check_precision(precision: Any) -> None:
    if precision not in get_args(Precision):
        known = ", ".join(get_args(Precision))
        raise ValueError(f"Expected 'precision' among {known} (got {precision!r})")


def _jitter_color(images: Tensor) -> Tensor:
    """EfficientAD's augmentation: brightness, contrast or saturation times a factor from U(0.8, 1.2).

    One of the three per image, drawn with torch's global generator on the device of the images.
    """
    shape, device = (len(images), 1, 1, 1), images.device
    factor = torch.empty(shape, device=device).uniform_(0.8, 1.2).to(images.dtype)
    kind = torch.randint(3, shape, device=device)
    red, green, blue = images.split(1, dim=1)
    gray = 0.299 * red + 0.587 * green + 0.114 * blue
    other = torch.where(kind == 1, gray.mean((1, 2, 3), keepdim=True), gray) * (kind > 0)
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def _cat(parts: Sequence[tuple[Tensor | None, ...]]) -> Iterator[Any]:
    """Concatenates the fields of several named tuples; a field may be None in all of them."""
    for values in zip(*parts, strict=True):
        yield None if values[0] is None else torch.cat(values)


def _first_not_finite(parts: Mapping[str, Tensor | None]) -> str:
    """Describes the first of several tensors that is not finite; empty if all are."""
    for name, values in parts.items():
        if values is not None and not values.isfinite().all():
            return f"{float(values.detach()[~values.isfinite()][0])} in '{name}'"
    return ""


def _parts(scores: _Scores) -> dict[str, Tensor]:
    """Returns the parts that ``fusion="pseudo"`` weighs, ``[B]`` each, by name."""
    parts = {
        "A_r:local": scores.local_map.amax((1, 2)),
        "A_r:global": scores.global_map.amax((1, 2)),
        "A_f": scores.feature,
    }
    return parts if scores.node is None else {**parts, "A_n": scores.node}


def _spatial_mean(maps: Tensor) -> Tensor:
    """Mean over the positions of maps ``[B, C, h, w]``, ``[B, C]`` in at least float32."""
    return maps.mean((2, 3), dtype=torch.promote_types(maps.dtype, torch.float32))


def _each_image(images: Any) -> Iterator[Any]:
    """Iterates lazily over the images of an image, list, data set or iterator."""
    items: Any = [images]
    if isinstance(images, Dataset) and hasattr(images, "__len__"):
        items = (images[i] for i in range(len(images)))
    elif isinstance(images, list | tuple | Dataset | DataLoader | Iterator):
        items = images
    for item in items:
        held = item.img if isinstance(item, Data) and "img" in item else item
        for image in held if isinstance(item, Data) and isinstance(held, list) else [held]:
            if isinstance(image, Tensor) and image.dim() == 4:
                yield from image
            else:
                yield image


def _batches(source: ImageSource, device: torch.device) -> Iterator[Tensor]:
    """Iterates over batches of images ``[B, 3, H, W]``."""
    batches: Any
    if isinstance(source, Data):
        batches = [source]
    elif isinstance(source, Tensor):
        batches = source.split(_BATCH_SIZE)
    elif hasattr(source, "__getitem__") and not isinstance(source, list | tuple | IterableDataset):
        dataset: Any = source
        first = dataset[0] if len(dataset) else None
        collate = Batch.from_data_list if isinstance(first, Data) else None
        batches = DataLoader(dataset, _BATCH_SIZE, collate_fn=collate)
    else:
        batches = source
    for batch in batches:
        images = batch.img if isinstance(batch, Data) and "img" in batch else batch
        if not isinstance(images, Tensor):
            raise ValueError(f"Expected batches of images (got a {type(images).__name__})")
        # Values are checked on the CPU alone, so before they leave it.
        yield to_batch(images).to(device)
