"""The page of a viewer: four figures on the same axes, and one callback for all events.

Imports Bokeh on import.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    ImageURL,
    LinearColorMapper,
    PanTool,
    Range1d,
    Rect,
    Scatter,
    Segment,
    Text,
    WheelZoomTool,
)
from bokeh.plotting import figure
from bokeh.resources import INLINE
from matplotlib import colormaps
from matplotlib.colors import to_hex

from pyg_viglad.visualization.drawing import NODE_COLOR, TRUTH_COLOR, rank_colors

__all__ = ["make_page"]

SCRIPTS = ("graphs.js", "panels.js", "details.js", "viewer.js")
PANELS = ("image", "input", "encoder", "decoder")
BOX = ("x", "y", "width", "height", "node")
LINE = (*BOX, "x0", "y0", "rank", "distance")
COLUMNS = {  # of the sources of a panel; the script fills them
    "node": BOX,
    "neighbors": (*LINE, "color", "dash", "status"),
    "lost": BOX,
    "pointing": LINE,
    "labels": ("x", "y", "text", "color", "ink"),
}
INK = "#222222"


def make_page(
    payload: dict[str, Any],
    pictures: tuple[str, str],
    maps: Mapping[str, Any],
    outline: Any,
    heading: str,
    verdict: str,
) -> str:
    """Returns the page as one HTML text that needs nothing else.

    Args:
        payload: What the script gets as ``payload``: graphs, scores, scales, where to start.
        pictures: Addresses (``data:``) of the picture and of its pale copy behind the graphs.
        maps: Maps ``[h, w]`` in 256 steps, by name.
        outline: The border of the true anomaly, ``[n, 2, 2]`` in pixels, or None.
        heading: The title, any text.
        verdict: The line under it, any text.
    """
    size = payload["height"], payload["width"]
    colors = rank_colors(payload["neighbors"]).to_rgba(np.arange(1, payload["neighbors"] + 1))
    ranks = [to_hex(tuple(color)) for color in colors]
    palette = _heat_palette()
    figures = _make_figures(size, pictures, maps, outline, palette)
    callback = CustomJS(
        args={"payload": {**payload, "ranks": ranks, "palette": palette}, **figures},
        code="\n".join(_asset(name) for name in SCRIPTS),
    )
    document = Document()
    document.js_on_event("document_ready", callback)
    plots = figures["plots"]
    for plot in plots.values():
        for event in ("tap", "doubletap", "mousemove", "mouseleave"):
            plot.js_on_event(event, callback)
        for side in ("inner_width", "inner_height"):
            plot.js_on_change(side, callback)
    for end in ("start", "end"):
        plots["image"].x_range.js_on_change(end, callback)
    for plot in plots.values():  # last: a document looks through all models at every change
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
            "ratio": size[1] / size[0],
            "has_truth": outline is not None,
            "maps": list(maps),
            "colors": {"node": NODE_COLOR, "truth": TRUTH_COLOR, "ink": INK},
            "ranks": ranks,
        },
        suppress_callback_warning=True,
    )


def _asset(name: str) -> str:
    return (files("pyg_viglad.visualization.viewer") / name).read_text(encoding="utf-8")


def _heat_palette() -> list[str]:
    """Colours from clear, where nothing is anomalous, to bright and nearly opaque."""
    steps = np.linspace(0, 1, 256)
    colors = colormaps["inferno"](0.25 + 0.75 * steps)
    colors[:, 3] = np.clip(steps / 0.35, 0, 1) * 0.75
    return [to_hex(color, keep_alpha=True) for color in colors]


def _make_figures(
    size: tuple[int, int],
    pictures: tuple[str, str],
    maps: Mapping[str, Any],
    outline: Any,
    palette: list[str],
) -> dict[str, Any]:
    """Make the figures by panel, and what the script changes of them.

    Returns the figures (``plots``), the data sources of the selected patch (``sources``), the renderer of
    each map (``heats``) and those of the true anomaly's border (``outlines``).
    """
    height, width = size
    shared: dict[str, Any] = {
        "x_range": Range1d(start=0, end=width, bounds=(0, width), min_interval=min(8, width)),
        "y_range": Range1d(start=height, end=0, bounds=(0, height), min_interval=min(8, height)),
    }
    whole: dict[str, Any] = {"x": 0, "y": 0, "dw": width, "dh": height}
    picture: dict[str, Any] = {"x": 0, "y": 0, "w": width, "h": height, "anchor": "top_left"}
    addresses = [ColumnDataSource({"url": [address]}) for address in pictures]
    heat = ColumnDataSource({name: [values] for name, values in maps.items()})
    mapper = LinearColorMapper(palette=palette, low=0, high=255)
    lines = np.zeros((0, 2, 2)) if outline is None else np.asarray(outline)
    names = ("x0", "y0", "x1", "y1")
    ends: dict[str, Any] = {name: name for name in names}
    coordinates = lines.reshape(-1, 4).T.astype(np.float32)
    truth = ColumnDataSource(dict(zip(names, coordinates, strict=True)))
    plots: dict[str, Any] = {}
    heats: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    outlines = []
    for panel in PANELS:
        wheel = WheelZoomTool(maintain_focus=False)
        plot: Any = figure(
            name=panel,
            tools=[PanTool(), wheel],
            toolbar_location=None,
            sizing_mode="stretch_width",
            aspect_ratio=width / height,
            min_border=0,
            outline_line_color=None,
            background_fill_color="#f2f2f2",
            **shared,
        )
        plot.toolbar.active_scroll = wheel
        plot.axis.visible = False
        plot.grid.visible = False
        plot.add_glyph(addresses[panel != "image"], ImageURL(url="url", **picture))
        heats[panel] = {
            name: plot.image(image=name, source=heat, color_mapper=mapper, visible=False, **whole)
            for name in maps
        }
        for line_width, color in ((3.6, "white"), (1.8, TRUTH_COLOR)):
            line = Segment(**ends, line_width=line_width, line_color=color)
            outlines.append(plot.add_glyph(truth, line))
        plots[panel] = plot
        sources[panel] = _add_patch(plot)
    return {"plots": plots, "sources": sources, "heats": heats, "outlines": outlines}


def _add_patch(plot: Any) -> dict[str, ColumnDataSource]:
    """Add the glyphs of the selected patch, and where the panel shows a graph, those of its neighbours."""
    is_graph = plot.name != "image"
    sources = {
        name: ColumnDataSource({column: [] for column in columns}, name=f"{plot.name}-{name}")
        for name, columns in COLUMNS.items()
        if is_graph or name == "node"
    }

    def box(source: str, **style: Any) -> None:
        style = {"fill_color": None, **style}
        glyph = Rect(x="x", y="y", width="width", height="height", **style)
        plot.add_glyph(sources[source], glyph)

    def line(source: str, **style: Any) -> None:
        plot.add_glyph(sources[source], Segment(x0="x0", y0="y0", x1="x", y1="y", **style))

    def mark(source: str, **style: Any) -> None:
        plot.add_glyph(sources[source], Scatter(x="x", y="y", **style))

    if is_graph:
        line("pointing", line_color=INK, line_width=0.8, line_alpha=0.3)
        box("neighbors", fill_color="color", fill_alpha=0.35, line_color="color", line_width=1.5)
        line("neighbors", line_color="white", line_width=3.2, line_alpha=0.8)
        line("neighbors", line_color="color", line_width=1.6, line_dash={"field": "dash"})
        box("lost", line_color="white", line_width=2.6)
        box("lost", line_color=INK, line_width=1.2, line_dash=[2, 2])
        for width, color in ((3.4, "white"), (1.5, INK)):
            mark("lost", marker="x", size=7, line_color=color, line_width=width)
        for width, color in ((3.2, "white"), (1.4, INK)):
            ring: dict[str, Any] = {"marker": "circle", "size": 7, "fill_color": None}
            mark("pointing", **ring, line_color=color, line_width=width)
    for width, color in ((4.5, "white"), (2.4, NODE_COLOR)):
        box("node", line_color=color, line_width=width)
    if is_graph:
        mark("labels", marker="circle", size=15, fill_color="color", line_color="white")
        text = Text(
            x="x",
            y="y",
            text="text",
            text_color="ink",
            text_align="center",
            text_baseline="middle",
            text_font_size="10px",
            text_font_style="bold",
        )
        plot.add_glyph(sources["labels"], text)
    return sources
