"""A page to click through the graphs of one image."""

from __future__ import annotations

import html
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch_geometric.data import Data

from pyg_viglad.files import write_text
from pyg_viglad.graphs import record_graphs
from pyg_viglad.models import Prediction, ViGAutoEncoder, ViGLAD
from pyg_viglad.transforms import ImageLike, to_image
from pyg_viglad.visualization.drawing import dim, mask_outline
from pyg_viglad.visualization.inputs import as_image, as_mask, check_names, size_of
from pyg_viglad.visualization.viewer.payload import (
    data_url,
    map_scales,
    pack_graphs,
    pack_maps,
    start_blocks,
    start_position,
    verdict,
)

__all__ = ["GraphViewer"]


class GraphViewer:
    r"""Four linked panels of one image and its graphs, to click through without a kernel or a server.

    Image, input graph, one encoder and one decoder graph lie on the same pixel axes and zoom together.
    A click on a patch shows, in every graph, the patch that contains this position: its neighbours by
    rank and distance, the patches that have it among their neighbours, its scores, and which neighbours
    it has kept, lost and gained since the input graph (:func:`~pyg_viglad.graphs.neighbor_changes`).
    Sliders choose the blocks. The maps lie over the image on fixed scales, so a normal image stays
    clear: the calibrated maps on 0 to 0.5, A_n on 0 to 6 standard deviations.

    In a notebook the viewer shows itself as the last value of a cell, or with :meth:`show`;
    :meth:`save` writes one HTML file that works offline; its content security policy forbids requests.
    Needs Bokeh: ``pip install 'pyg-viglad[viewer]'``.

    Args:
        image: The image at its original size, anything that :func:`~pyg_viglad.transforms.to_image`
            takes.
        graphs: Graphs by name, as :func:`~pyg_viglad.graphs.record_graphs` returns them: ``"input"``,
            ``"encoder.0"``, ..., ``"encoder"``, ``"decoder.0"``, ..., ``"decoder"``; also fewer, one of
            each part at least (such as those of :func:`~pyg_viglad.graphs.select_graphs`).
        prediction: The model's output for the same images, whose maps and score are shown. Default: the
            scores of the input graph's patches, where they were recorded.
        mask: The true anomaly ``[h, w]`` at any resolution, outlined.
        node: Where to start: a node of the input graph, or a position (x, y) in pixels. Default: the
            most anomalous patch; the middle of the image where there are no scores.
        title: The heading.
        threshold: A value of the calibrated maps to mark on their scale. Default: 0.1, the
            calibrated value of the upper one of ``quantiles``. (Node scores have their own mark, 3
            standard deviations.)
        number: The image's place in the batches of ``graphs`` and ``prediction``, where they hold
            several.
        score_threshold: The model's threshold, written beside the image's score.
        quantiles: The quantiles of the validation maps that stand for 0 and 0.1.

    Raises:
        ImportError: If Bokeh is missing.
        ValueError: If the graphs lack a field or a part, or sizes, numbers or positions do not match.
        FileNotFoundError: If the image's file does not exist.

    Example:
        >>> import torch
        >>> image = torch.rand(3, 64, 96)
        >>> graphs = record_graphs(ViGAutoEncoder(8, image_size=64), image)
        >>> viewer = GraphViewer(image, graphs, node=(70.5, 20.0), title="noise")
        >>> viewer
        GraphViewer('noise', 64x96, 27 graphs)
        >>> viewer.to_html().startswith("<!DOCTYPE html>")
        True
    """

    def __init__(
        self,
        image: ImageLike,
        graphs: Mapping[str, Data],
        prediction: Prediction | None = None,
        *,
        mask: Any = None,
        node: int | tuple[float, float] | None = None,
        title: str | None = None,
        threshold: float | None = None,
        number: int | None = None,
        score_threshold: float | None = None,
        quantiles: tuple[float, float] = (0.9, 0.995),
    ) -> None:
        if importlib.util.find_spec("bokeh") is None:
            raise ImportError("Expected Bokeh for a GraphViewer: pip install 'pyg-viglad[viewer]'")
        check_names(graphs, "graphs")
        self._picture = as_image(image)
        height, width = size_of(self._picture)
        packed, scores, first = pack_graphs(graphs, number, (height, width))
        place = number or 0
        if prediction is not None:
            count = len(prediction.score)
            if place >= count or (number is None and count != 1):
                raise ValueError(
                    f"Expected number, the image's place in the prediction's {count} (got {number})"
                )
        scales = map_scales(threshold, quantiles)
        self._maps = pack_maps(prediction, place, first, scales)
        self._mask = as_mask(mask)
        self._title = "Node graphs of an image" if title is None else str(title)
        self._verdict = verdict(prediction, place, score_threshold)
        x, y = start_position(node, first, prediction, place)
        self._payload: dict[str, Any] = {
            "height": height,
            "width": width,
            "graphs": packed,
            "scores": scores,
            "scales": scales,
            "neighbors": max(1, *(graph["neighbors"] for graph in packed)),
            "start": {"x": x, "y": y, "block": start_blocks(graphs)},
        }

    @classmethod
    def from_model(
        cls, model: ViGLAD | ViGAutoEncoder, image: ImageLike, mask: Any = None, **options: Any
    ) -> GraphViewer:
        """Returns the viewer of an image's recorded graphs and, for a fitted detector, its prediction.

        Args:
            model: A detector (fitted, for scores and maps), or a graph autoencoder alone.
            image: One image, at its original size.
            mask: The true anomaly, see the class.
            **options: ``node``, ``title`` and ``threshold``, see the class.
        """
        picture = to_image(image)
        graphs = record_graphs(model, picture)
        prediction = None
        if isinstance(image, str | os.PathLike):
            options.setdefault("title", Path(image).name)
        if isinstance(model, ViGLAD) and model.fitted:
            prediction = model.predict(picture)
            calibration = model.local_calibration
            options.setdefault("score_threshold", float(model.threshold))
            options.setdefault("quantiles", (calibration.start, calibration.end))
        return cls(picture, graphs, prediction, mask=mask, **options)

    def to_html(self) -> str:
        """Returns the page as one HTML text that needs nothing else."""
        return self._html

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the page as one HTML file, whole or not at all.

        Args:
            path: The file; an existing one is replaced.

        Returns:
            The path.

        Raises:
            FileNotFoundError: If its folder does not exist.
        """
        write_text(path, self._html)
        return Path(path)

    def show(self) -> None:
        """Shows the viewer in a notebook.

        Raises:
            ValueError: Outside of a notebook.
        """
        # Not imported: where there is a notebook, it is loaded.
        ipython = sys.modules.get("IPython")
        if ipython is None or ipython.get_ipython() is None:
            raise ValueError("Expected a notebook to show the viewer in (got none): use save()")
        importlib.import_module("IPython.display").display(self)

    def _repr_html_(self) -> str:
        # A frame of its own: the notebook's styles, its Bokeh and its keys stay out of the way.
        page = html.escape(self._html, quote=True)
        style = "width: 100%; height: 1100px; border: 0; background: white"
        return f'<iframe srcdoc="{page}" style="{style}" title="GraphViewer"></iframe>'

    @cached_property
    def _html(self) -> str:
        from pyg_viglad.visualization.viewer.page import make_page

        pictures = (data_url(self._picture), data_url(dim(self._picture, 0.7)))
        size = size_of(self._picture)
        outline = None if self._mask is None else mask_outline(self._mask, size)
        return make_page(self._payload, pictures, self._maps, outline, self._title, self._verdict)

    def __repr__(self) -> str:
        height, width = self._payload["height"], self._payload["width"]
        graphs = len(self._payload["graphs"])
        return f"{type(self).__name__}({self._title!r}, {height}x{width}, {graphs} graphs)"
