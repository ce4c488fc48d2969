"""Images into graphs."""

from pyg_viglad.transforms.image_to_graph import ImageToGraph
from pyg_viglad.transforms.to_image import ImageLike, to_image

__all__ = ["ImageLike", "ImageToGraph", "to_image"]
