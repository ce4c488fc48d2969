"""ViGLAD: teacher, student and vision graph autoencoder, from images to scores."""

import os
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from pyg_viglad.models._fit_statistics import ImageSource, fit_statistics, fit_teacher_statistics
from pyg_viglad.models._loss import training_loss
from pyg_viglad.models._network import Network, describe_network, make_network
from pyg_viglad.models._predict import Precision, predict, predict_features
from pyg_viglad.models._pretrained import load_pretrained, save_pretrained
from pyg_viglad.models.conv_autoencoder import ConvAutoEncoder
from pyg_viglad.models.pdn import PDN, PDNSize
from pyg_viglad.models.prediction import Prediction
from pyg_viglad.models.teacher import SHIPPED_TEACHER, load_teacher
from pyg_viglad.models.vig_autoencoder import Variant, ViGAutoEncoder
from pyg_viglad.nn import Operator
from pyg_viglad.scoring import (
    ChannelNormalization,
    Features,
    NodeScorerName,
    Scorer,
    make_node_scorer,
)
from pyg_viglad.scoring.scorer import Feature, Fusion
from pyg_viglad.transforms import ImageNetNormalization, to_batch

__all__ = ["ViGLAD"]


class ViGLAD(nn.Module):
    r"""Vision graph networks for logical anomaly detection (Zoghlami et al., IEEE Access 2024).

    A frozen teacher :math:`T` and a student :math:`S` describe every 33 x 33 patch; the vision graph
    autoencoder :math:`A_g` describes the same places from the whole image. Trained on normal images
    with :math:`L = L_{ST} + L_{A_gT} + L_{SA_g}` (Eq. 15-17), they disagree on anomalous ones: T and S
    where a patch is odd (local map), A_g and S where patches do not belong together (global map). The
    score is :math:`A = A_r + A_f`, the maximum of the merged maps and a Mahalanobis distance (Eq. 18).

    Args:
        size: Layers of the student, ``"small"`` or ``"medium"`` (the paper's).
        image_size: Side or ``(height, width)`` in pixels, divisible by 4 and at least 96; other images
            are resized. The graph branch sees the image 32 pixels smaller, so that all maps agree.
        teacher: ``"mobilenetv1"`` (small, ships with the package), a file (see
            :func:`~pyg_viglad.models.load_teacher`), a :class:`~pyg_viglad.PDN` or a
            :class:`~pyg_viglad.models.GPDN`.
        autoencoder: ``"vig"``, ``"conv"`` (EfficientAD's) or a module from images ``[B, 3, H, W]`` to
            features of the teacher's width.
        network: What the student is: ``"pdn"`` or, with a vision graph block (Figure 4), ``"gpdn"``. The
            teacher is what it is.
        variant: Widths of the graph autoencoder, ``"ti"``, ``"s"``, ``"m"`` or ``"b"``.
        k: Number of neighbours of its graphs.
        operator: Its graph operator: a name or a factory ``(in_channels, out_channels) ->
            MessagePassing``.
        dynamic: Whether its graphs are rebuilt in every block.
        losses: ``"printed"``: plain means, one image for all branches; ``"practice"`` (EfficientAD):
            hard-feature mining and a colour-jittered image for Eq. 16-17.
        hard_quantile: Quantile of the mining.
        feature: Whose spatial mean the Mahalanobis distance judges: ``"student_second"``,
            ``"student_first"`` or ``"teacher"``.
        fusion: ``"standardized"`` or ``"sum"``, see :class:`~pyg_viglad.scoring.Scorer`.
        nodes: Score every node by itself (ours, beyond the paper): True or ``"gaussian"`` (a Gaussian
            for every node), ``"neighbors"`` (its nearest neighbours in the training images), or
            arguments of either with its name as ``type``; see
            :func:`~pyg_viglad.scoring.make_node_scorer`.
        quantiles: Quantiles of the validation maps that become 0 and 0.1.
        threshold_quantile: Quantile of the validation scores above which an image is anomalous.

    Shapes:
        - **input:** images ``[B, 3, H, W]`` with values in [0, 1], or a ``Batch`` with ``img``.
        - **output:** a :class:`~pyg_viglad.models.Prediction`.

    Raises:
        ValueError: If an argument is out of range, or scores are asked for before
            :meth:`fit_statistics`.
        FileNotFoundError: If the teacher's file does not exist.

    Example:
        >>> import torch
        >>> model = ViGLAD("small", image_size=96)
        >>> normal = torch.rand(12, 3, 96, 96)
        >>> model.fit_statistics(normal[:8], normal[8:])
        >>> model(normal[:2]).anomaly_map.shape
        torch.Size([2, 96, 96])
    """

    def __init__(
        self,
        size: PDNSize = "medium",
        image_size: int | tuple[int, int] = 256,
        teacher: str | os.PathLike[str] | PDN = SHIPPED_TEACHER,
        autoencoder: Literal["vig", "conv"] | nn.Module = "vig",
        *,
        network: Network = "pdn",
        variant: Variant = "ti",
        k: int = 12,
        operator: Operator = "max_relative",
        dynamic: bool = True,
        losses: Literal["printed", "practice"] = "printed",
        hard_quantile: float = 0.999,
        feature: Feature = "student_second",
        fusion: Fusion = "standardized",
        nodes: bool | NodeScorerName | dict[str, Any] = False,
        quantiles: tuple[float, float] = (0.9, 0.995),
        threshold_quantile: float = 0.99,
    ) -> None:
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if min(height, width) < 96 or height % 4 or width % 4:
            raise ValueError(
                f"Expected 'image_size' of at least 96, divisible by 4 (got {height} x {width})"
            )
        if losses not in ("printed", "practice"):
            raise ValueError(f"Expected 'losses' to be 'printed' or 'practice' (got {losses!r})")
        self.config: dict[str, Any] = {
            "size": size,
            "network": network,
            "image_size": [height, width],
            "autoencoder": autoencoder if isinstance(autoencoder, str) else None,
            "variant": variant,
            "k": k,
            "operator": operator if isinstance(operator, str) else None,
            "dynamic": dynamic,
            "losses": losses,
            "hard_quantile": hard_quantile,
            "feature": feature,
            "fusion": fusion,
            "nodes": nodes,
            "quantiles": list(quantiles),
            "threshold_quantile": threshold_quantile,
        }
        self.image_size = (height, width)
        self.losses = losses
        self.hard_quantile = hard_quantile if losses == "practice" else 0.0
        self.normalize = ImageNetNormalization()
        self.teacher = teacher if isinstance(teacher, PDN) else load_teacher(teacher)
        self.teacher.eval().requires_grad_(False)
        self.config["teacher_size"] = self.teacher.size
        kind, options = describe_network(self.teacher)
        self.config.update(teacher_network=kind, teacher_options=options)
        channels = self.config["channels"] = self.teacher.out_channels
        self.teacher_normalization = ChannelNormalization()
        self.student = make_network(network, size, 2 * channels)
        self.halves = {
            "student_first": slice(channels),
            "student_second": slice(channels, 2 * channels),
        }
        self.autoencoder: nn.Module
        if autoencoder == "vig":
            graph_size = (height - 32, width - 32)
            self.autoencoder = ViGAutoEncoder(channels, variant, graph_size, k, operator, dynamic)
        elif autoencoder == "conv":
            self.autoencoder = ConvAutoEncoder(channels, self.image_size)
        elif isinstance(autoencoder, nn.Module):
            self.autoencoder = autoencoder
        else:
            raise ValueError(
                f"Expected 'autoencoder' to be 'vig', 'conv' or a module (got {autoencoder!r})"
            )
        node_scorer = make_node_scorer(nodes)
        self.scorer = Scorer(feature, fusion, quantiles, threshold_quantile, node_scorer)

    def train(self, mode: bool = True) -> "ViGLAD":
        """Set the training mode of student and autoencoder; the teacher stays in evaluation."""
        super().train(mode)
        self.teacher.eval()
        return self

    def teach(self, images: Tensor) -> Tensor:
        """Give the teacher's normalised features of ImageNet-normalised images, without gradient."""
        with torch.no_grad():
            return self.teacher_normalization(self.teacher(images))  # type: ignore[no-any-return]

    def imitate(self, images: Tensor, half: str) -> Tensor:
        """Give one half of the student's output, ``"student_first"`` or ``"student_second"``, alone."""
        return self.student(images, self.halves[half])  # type: ignore[no-any-return]

    def reconstruct(self, images: Tensor) -> Tensor:
        """Run the autoencoder; the graph one sees the image resized to 32 pixels less."""
        if not isinstance(self.autoencoder, ConvAutoEncoder):
            images = self.graph_images(images)
        return self.autoencoder(images)  # type: ignore[no-any-return]

    def graph_images(self, images: Tensor) -> Tensor:
        """Resize images ``[B, 3, H, W]`` to what the graph branch sees, ``[B, 3, H - 32, W - 32]``."""
        size = (self.image_size[0] - 32, self.image_size[1] - 32)
        return F.interpolate(
            images, size=size, mode="bilinear", align_corners=False, antialias=True
        )

    def loss(
        self,
        images: Tensor | Batch,
        penalty_images: Tensor | None = None,
        teacher: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Give the named parts of the training loss, to be added (Eq. 15-17).

        Args:
            images: Normal images ``[B, 3, H, W]`` in [0, 1].
            penalty_images: Natural photographs of the same size, any number; without them the second
                term of Eq. 15 is left out.
            teacher: The teacher's output for ``images`` ``[B, C, h, w]``, before its normalisation, where
                it is known already; the colour-jittered images of ``losses="practice"`` are always
                shown to the teacher.

        Returns:
            ``student_teacher``, ``penalty``, ``autoencoder_teacher`` and ``student_autoencoder``.
        """
        return training_loss(self, images, penalty_images, teacher)

    def features(self, images: Tensor | Batch) -> Features:
        """Give the feature maps of teacher, both student halves and autoencoder, ``[B, C, h, w]``."""
        normal = self.normalize(to_batch(images, self.image_size))
        first, second = self.student(normal).chunk(2, dim=1)
        return Features(self.teach(normal), first, second, self.reconstruct(normal))

    def forward(self, images: Tensor | Batch) -> Prediction:
        """Score images and map their anomalies."""
        if not self.scorer.fitted:
            raise ValueError("Expected fit_statistics() before scores (got a model without them)")
        return predict_features(self, self.features(images))

    def graphs(self, images: Tensor | Batch, blocks: bool = False) -> dict[str, Batch]:
        """Give the graph autoencoder's graphs of the images (Fig. 5), in evaluation mode.

        See :meth:`pyg_viglad.ViGAutoEncoder.graphs`; positions are in pixels of the resized image.
        """
        if not isinstance(self.autoencoder, ViGAutoEncoder):
            raise ValueError(
                f"Expected a ViGAutoEncoder to give graphs (got {type(self.autoencoder).__name__})"
            )
        normal = self.normalize(to_batch(images, self.image_size))
        return self.autoencoder.graphs(self.graph_images(normal), blocks)

    def fit_teacher_statistics(self, train: ImageSource) -> None:
        """Fit the teacher's channel statistics on the training images; needed before :meth:`loss`."""
        fit_teacher_statistics(self, train)

    def fit_statistics(self, train: ImageSource, validation: ImageSource) -> None:
        """Fit all statistics behind the scores, after training, on normal images alone.

        Args:
            train: The training images: a tensor ``[n, 3, H, W]``, a data set or a loader.
            validation: Normal images held out of training, likewise; never test images.
        """
        fit_statistics(self, train, validation)

    def predict(
        self, images: Any, batch_size: int = 8, precision: Precision = "float32"
    ) -> Prediction:
        """Judge a path, a PIL image, an array, a tensor, or a list of them, without gradients.

        Args:
            images: See :func:`~pyg_viglad.transforms.to_image` for what an image may be.
            batch_size: Images that run through the networks at once.
            precision: What the networks compute in: ``"float32"``, or ``"bfloat16"`` or ``"float16"`` by
                torch's autocast, where the hardware is faster so. Scores are then the same to about a
                hundredth of what they differ among normal images.
        """
        return predict(self, images, batch_size, precision)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``model.safetensors`` and ``config.json``: weights, teacher, calibration, threshold."""
        save_pretrained(self, folder)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **overrides: Any) -> "ViGLAD":
        """Read a folder that :meth:`save_pretrained` wrote, in evaluation mode.

        Args:
            folder: The folder.
            **overrides: ``operator`` or ``autoencoder``, where the model was made with an own one, and
                ``teacher``, where that has an own operator.
        """
        return load_pretrained(cls, folder, **overrides)

    def __repr__(self) -> str:
        height, width = self.image_size
        network = "" if self.config["network"] == "pdn" else f"network={self.config['network']}, "
        return (
            f"{self.__class__.__name__}({self.student.size}, {height}x{width}, {network}"
            f"teacher={self.teacher}, autoencoder={self.autoencoder})"
        )
