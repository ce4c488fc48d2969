"""The page of a viewer: its figures, its words, and one callback for all that happens.

Imports Bokeh on import.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.models import CustomJS
from bokeh.resources import INLINE
from matplotlib.colors import to_hex

from pyg_viglad.visualization._draw import TRUTH_COLOR
from pyg_viglad.visualization._node_panel import NODE_COLOR, rank_colors
from pyg_viglad.visualization._viewer_figures import INK, heat_palette, make_figures

__all__ = ["make_page"]

SCRIPTS = ("graphs.js", "panels.js", "details.js", "viewer.js")


def make_page(
    payload: dict[str, Any],
    pictures: tuple[str, str],
    maps: Mapping[str, Any],
    outline: Any,
    heading: str,
    verdict: str,
) -> str:
    """Write the page as one HTML text that needs nothing else.

    Args:
        payload: What the script gets as ``payload``: graphs, scores, scales, where to start.
        pictures: Addresses (``data:``) of the picture and of its pale copy behind the graphs.
        maps: Maps ``[h, w]`` in 256 steps, by name.
        outline: The truth's border, ``[n, 2, 2]`` in pixels, or None.
        heading: The title, any text.
        verdict: The line under it, any text.

    Returns:
        The page.
    """
    height, width = payload["height"], payload["width"]
    colors = rank_colors(payload["neighbors"])
    numbers = np.arange(1, payload["neighbors"] + 1)
    ranks = [to_hex(tuple(color)) for color in colors.to_rgba(numbers)]
    palette = heat_palette()
    made = make_figures((height, width), pictures, maps, outline, palette)
    callback = CustomJS(
        args={"payload": {**payload, "ranks": ranks, "palette": palette}, **vars(made)},
        code="\n".join(_asset(name) for name in SCRIPTS),
    )
    document = Document()
    document.js_on_event("document_ready", callback)
    for plot in made.plots.values():
        for event in ("tap", "doubletap", "mousemove", "mouseleave"):
            plot.js_on_event(event, callback)
        for side in ("inner_width", "inner_height"):
            plot.js_on_change(side, callback)
    for end in ("start", "end"):
        made.plots["image"].x_range.js_on_change(end, callback)
    for plot in made.plots.values():  # last: a document looks through all models at every change
        document.add_root(plot)
    return file_html(
        document,
        INLINE,
        heading,
        template=_asset("page.html"),
        template_variables={
            "style": _asset("page.css"),
            "heading": heading,
            "verdict": verdict,
            "ratio": width / height,
            "has_truth": outline is not None,
            "maps": list(maps),
            "colors": {"node": NODE_COLOR, "truth": TRUTH_COLOR, "ink": INK},
            "ranks": ranks,
        },
        suppress_callback_warning=True,
    )


def _asset(name: str) -> str:
    return (files("pyg_viglad.visualization") / "_viewer" / name).read_text(encoding="utf-8")
