"""The interface of the compared detectors, and detectors by name."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

__all__ = ["DETECTORS", "Detector", "Scores", "detector_options", "make_detector"]

# Names in configs, and where their classes are.
DETECTORS = {
    "viglad": "benchmarks.grid.viglad_detector:ViGLADDetector",
    "patchcore": "benchmarks.grid.anomalib_detectors:PatchCoreDetector",
    "padim": "benchmarks.grid.anomalib_detectors:PaDiMDetector",
    "fastflow": "benchmarks.grid.anomalib_detectors:FastFlowDetector",
    "efficientad": "benchmarks.grid.anomalib_detectors:EfficientADDetector",
}


class Scores(NamedTuple):
    """Output of a detector for B images.

    Attributes:
        images: Scores ``[B]`` by name, higher for more anomalous; the first one is the detector's own.
        maps: Anomaly maps ``[B, H, W]`` at the size of the images, or None.
    """

    images: dict[str, Tensor]
    maps: Tensor | None


class Detector(Protocol):
    """A detector that is made with an image size, a seed and a device, and learns from normal images.

    Data sets are PyG's, with ``img`` ``[1, 3, H, W]`` in [0, 1] in every item.
    """

    def fit(self, train: Any, validation: Any, folder: Path) -> dict[str, Any]:
        """Learns from normal images.

        Args:
            train: The training images.
            validation: Normal images held out of training, for calibration.
            folder: Folder of checkpoints; an interrupted ``fit`` may resume from what is there.

        Returns:
            Facts for the record, such as the number of iterations.
        """
        ...

    def predict(self, dataset: Any) -> Scores:
        """Scores every image of a data set, in its order, after :meth:`fit`."""
        ...


def _class(name: str) -> Any:
    place, _, attribute = DETECTORS.get(name, name).partition(":")
    if not attribute:
        names = ", ".join(repr(known) for known in DETECTORS)
        raise ValueError(f"Expected a model of the type {names} or 'module:Class' (got {name!r})")
    try:
        return getattr(import_module(place), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Expected a detector at {name!r} ({error})") from error


def detector_options(name: str) -> list[str]:
    """Returns the names of a detector's options.

    Args:
        name: One of ``DETECTORS``, or ``"module:Class"`` of your own.

    Raises:
        ValueError: If there is no such detector.

    Example:
        >>> "coreset_ratio" in detector_options("patchcore")
        True
    """
    from pyg_viglad.models import ViGLAD

    parameters = dict(inspect.signature(_class(name)).parameters)
    if parameters.pop("options", None):
        parameters.update(inspect.signature(ViGLAD.__init__).parameters)
    return [key for key in parameters if key not in ("self", "image_size", "seed", "device")]


def make_detector(
    name: str,
    image_size: tuple[int, int],
    seed: int = 0,
    device: str = "cpu",
    **options: Any,
) -> Detector:
    """Builds a detector by its name.

    Args:
        name: One of ``DETECTORS``, or ``"module:Class"`` of your own.
        image_size: Height and width of the images in pixels.
        seed: Seed of weights, order and augmentation (default: 0).
        device: A torch device (default: ``"cpu"``).
        **options: Options of the detector, see :func:`detector_options`.

    Raises:
        ValueError: If there is no such detector or option, or a value is out of range.

    Example:
        >>> make_detector("viglad", (96, 96), size="small", iterations=10).iterations
        10
    """
    known = detector_options(name)
    for key in options:
        if key not in known:
            raise ValueError(f"Expected options of {name} among {', '.join(known)} (got {key!r})")
    detector: Detector = _class(name)(image_size, seed, device, **options)
    return detector
