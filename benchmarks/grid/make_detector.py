"""Detectors by name."""

import inspect
from importlib import import_module
from typing import Any

from benchmarks.grid.detector import Detector

__all__ = ["DETECTORS", "detector_options", "make_detector"]

# Names in configs, and the class of each in the module <name>_detector.
DETECTORS = {
    "viglad": "ViGLADDetector",
    "patchcore": "PatchCoreDetector",
    "padim": "PaDiMDetector",
    "fastflow": "FastFlowDetector",
    "efficientad": "EfficientADDetector",
}

_OWN = ("self", "image_size", "seed", "device")


def _class(name: str) -> Any:
    place, _, attribute = name.partition(":")
    if name in DETECTORS:
        place, attribute = f"benchmarks.grid.{name}_detector", DETECTORS[name]
    elif not attribute:
        names = ", ".join(repr(known) for known in DETECTORS)
        raise ValueError(f"Expected a model of the type {names} or 'module:Class' (got {name!r})")
    try:
        return getattr(import_module(place), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Expected a detector at {name!r} ({error})") from error


def detector_options(name: str) -> list[str]:
    """List the options of a detector.

    Args:
        name: One of ``DETECTORS``, or ``"module:Class"`` of an own one.

    Raises:
        ValueError: If there is no such detector.

    Example:
        >>> detector_options("patchcore")[:3]
        ['backbone', 'weights', 'strides']
    """
    from pyg_viglad.models import ViGLAD

    parameters = dict(inspect.signature(_class(name).__init__).parameters)
    if parameters.pop("options", None):
        parameters.update(inspect.signature(ViGLAD.__init__).parameters)
    return [key for key in parameters if key not in _OWN]


def make_detector(
    name: str,
    image_size: tuple[int, int],
    seed: int = 0,
    device: str = "cpu",
    **options: Any,
) -> Detector:
    """Make a detector by its name.

    Args:
        name: One of ``DETECTORS``, or ``"module:Class"`` of an own one.
        image_size: Height and width of the images that it will see.
        seed: Seed of everything that it draws.
        device: A torch device.
        **options: Its options, see :func:`detector_options`.

    Raises:
        ValueError: If there is no such detector or option, or a value is out of range.

    Example:
        >>> make_detector("viglad", (96, 96), size="small", iterations=10).iterations
        10
    """
    cls = _class(name)
    known = detector_options(name)
    for key in options:
        if key not in known:
            raise ValueError(f"Expected options of {name} among {', '.join(known)} (got {key!r})")
    detector: Detector = cls(image_size, seed, device, **options)
    return detector
