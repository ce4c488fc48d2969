"""A page to click through the graphs of one image: a patch's neighbours, and what becomes of them."""

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

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_viglad.files import write_text
from pyg_viglad.graphs import record_graphs
from pyg_viglad.models import Prediction, ViGAutoEncoder, ViGLAD
from pyg_viglad.transforms import to_image
from pyg_viglad.transforms.to_image import ImageLike
from pyg_viglad.visualization._inputs import as_maps
from pyg_viglad.visualization._viewer_graphs import graph_payload, start_blocks
from pyg_viglad.visualization._viewer_maps import (
    data_url,
    map_payload,
    map_scales,
    start_position,
    verdict,
)

__all__ = ["GraphViewer"]


class GraphViewer:
    r"""Four linked panels of one image and its graphs, to click through without a kernel or a server.

    Image, input graph, one encoder and one decoder graph lie on the same pixel axes and zoom together.
    A click on a patch shows, in every graph, the patch that contains this position: its neighbours by
    rank and distance, the patches that list it among theirs, its scores, and which neighbours it has
    kept, lost and gained since the input graph. Sliders choose the blocks; the anomaly maps lie over
    the image on one fixed scale, whatever their values (0 to 0.5 for the calibrated maps, 0 to 6
    standard deviations for A_n), so a normal image stays clear.

    On different grids, neighbours are compared by position: those of the finer graph count as the
    patches of the coarser one that hold their centres.

    In a notebook the viewer shows itself as the last value of a cell, or with :meth:`show`;
    :meth:`save` writes one HTML file that works offline and forbids its own requests. Needs Bokeh:
    ``pip install 'pyg-viglad[viewer]'``.

    Args:
        image: The image at its original size, anything that :func:`~pyg_viglad.transforms.to_image`
            takes.
        graphs: What :func:`~pyg_viglad.graphs.record_graphs` gives: ``"input"``,
            ``"encoder.0"``, ..., ``"encoder"``, ``"decoder.0"``, ..., ``"decoder"``; also fewer, one of
            each part at least (such as those of :func:`~pyg_viglad.graphs.select_graphs`).
        prediction: What the model says of the same images: its maps and its score are shown. Default:
            the scores of the input graph's patches, where they have any.
        mask: The true anomaly ``[h, w]`` at any resolution, outlined.
        node: Where to start: a node of the input graph, or a position (x, y) in pixels. Default: the
            most anomalous patch; the image's centre where there are no scores.
        title: The heading.
        threshold: A value of the calibrated maps to mark on their scale. Default: 0.1, which the
            calibration gives to the upper one of ``quantiles``.
        number: The image's place in the batches of ``graphs`` and ``prediction``, where they hold
            several.
        score_threshold: The model's threshold, to be written beside the image's score.
        quantiles: The quantiles of the validation maps that stand for 0 and 0.1.

    Raises:
        ImportError: If Bokeh is missing.
        ValueError: If the graphs lack a field or a part, or sizes, numbers or positions do not match.
        FileNotFoundError: If the image's file does not exist.

    Example:
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
        self._picture = to_image(image).permute(1, 2, 0).double().numpy()
        size = (int(self._picture.shape[0]), int(self._picture.shape[1]))
        if not isinstance(graphs, Mapping) or not graphs:
            raise ValueError(f"Expected graphs by name, at least one (got {type(graphs).__name__})")
        number = _number(number, graphs, prediction)
        packed, scores = graph_payload(graphs, number, size)
        scales = map_scales(threshold, quantiles)
        first = next(graph for graph in packed if graph["part"] == "input")
        own = scores[first["scores"]]
        self._maps = map_payload(
            prediction,
            number,
            (first["rows"], first["columns"]),
            own,
            {key: scale["limits"] for key, scale in scales.items()},
        )
        self._mask = None
        if mask is not None:
            values = mask if isinstance(mask, Tensor) else torch.as_tensor(np.array(mask))
            self._mask = as_maps([values], "mask", 1)[0] > 0.5
        self._title = "Node graphs of an image" if title is None else str(title)
        self._verdict = verdict(prediction, number, score_threshold)
        grid = (first["rows"], first["columns"])
        x, y = start_position(node, prediction, number, own, grid, size)
        self._payload: dict[str, Any] = {
            "height": size[0],
            "width": size[1],
            "graphs": packed,
            "scores": scores,
            "scales": scales,
            "neighbors": max(1, *(graph["neighbors"] for graph in packed)),
            "start": {"x": x, "y": y, "block": start_blocks(graphs, packed)},
        }

    @classmethod
    def from_model(
        cls, model: ViGLAD | ViGAutoEncoder, image: ImageLike, mask: Any = None, **options: Any
    ) -> GraphViewer:
        """Record an image's graphs and judge it, and make the viewer of both.

        Args:
            model: A detector (fitted, for scores and maps), or a graph autoencoder alone.
            image: One image, at its original size.
            mask: The true anomaly, see the class.
            **options: ``node``, ``title`` and ``threshold``, see the class.
        """
        picture = to_image(image)
        graphs = record_graphs(model, picture)
        if isinstance(image, str | os.PathLike):
            options.setdefault("title", Path(image).name)
        if isinstance(model, ViGLAD) and model.fitted:
            calibration = model.local_calibration
            options.setdefault("score_threshold", float(model.threshold))
            options.setdefault("quantiles", (calibration.start, calibration.end))
            return cls(picture, graphs, model.predict(picture), mask=mask, **options)
        return cls(picture, graphs, mask=mask, **options)

    def to_html(self) -> str:
        """Give the page as one HTML text that needs nothing else."""
        return self._html

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page as one HTML file, whole or not at all.

        Args:
            path: Where to; an existing file is replaced.

        Returns:
            The path.

        Raises:
            FileNotFoundError: If the folder does not exist.
        """
        target = Path(path)
        if not target.parent.is_dir():
            raise FileNotFoundError(f"Expected a folder '{target.parent}' (got none) for the page")
        write_text(target, self._html)
        return target

    def show(self) -> None:
        """Show the viewer in a notebook.

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
        from pyg_viglad.visualization._draw import _border
        from pyg_viglad.visualization._node_panel import dim
        from pyg_viglad.visualization._viewer_page import make_page

        pictures = (data_url(self._picture), data_url(dim(self._picture, 0.7)))
        size = (self._payload["height"], self._payload["width"])
        outline = None if self._mask is None else _border(self._mask, size)
        return make_page(self._payload, pictures, self._maps, outline, self._title, self._verdict)

    def __repr__(self) -> str:
        height, width = self._payload["height"], self._payload["width"]
        graphs = len(self._payload["graphs"])
        return f"{type(self).__name__}({self._title!r}, {height}x{width}, {graphs} graphs)"


def _number(number: int | None, graphs: Mapping[str, Data], prediction: Prediction | None) -> int:
    """Check which image of the batches is meant."""
    counts = {f"graphs[{k!r}]": int(getattr(g, "num_graphs", 1)) for k, g in graphs.items()}
    if prediction is not None:
        counts["prediction"] = len(prediction.score)
    for name, count in counts.items():
        if number is None and count != 1:
            raise ValueError(f"Expected number=, the place of the image (got {count} in {name})")
        if number is not None and not 0 <= number < count:
            raise ValueError(f"Expected number from 0 to {count - 1} in {name} (got {number})")
    return 0 if number is None else int(number)
