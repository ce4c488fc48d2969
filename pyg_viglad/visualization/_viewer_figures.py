"""The four figures of a viewer, on the same axes. Imports Bokeh on import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from bokeh.models import (
    ColumnDataSource,
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
from matplotlib import colormaps
from matplotlib.colors import to_hex

from pyg_viglad.visualization._draw import TRUTH_COLOR
from pyg_viglad.visualization._node_panel import NODE_COLOR

__all__ = ["INK", "Figures", "heat_palette", "make_figures"]

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
PALETTE = "inferno"


@dataclass
class Figures:
    """The figures by panel, and what the script changes of them.

    Attributes:
        plots: The figures.
        sources: The data sources of the selected patch and its neighbours.
        heats: The renderer of each map.
        outlines: The renderers of the truth's border.
    """

    plots: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, dict[str, ColumnDataSource]] = field(default_factory=dict)
    heats: dict[str, dict[str, Any]] = field(default_factory=dict)
    outlines: list[Any] = field(default_factory=list)


def make_figures(
    size: tuple[int, int],
    pictures: tuple[str, str],
    maps: Mapping[str, Any],
    outline: Any,
    palette: list[str],
) -> Figures:
    """Make the figures of a picture of ``size`` pixels; see ``make_page`` for the arguments."""
    height, width = size
    shared: dict[str, Any] = {
        "x_range": Range1d(start=0, end=width, bounds=(0, width), min_interval=min(8, width)),
        "y_range": Range1d(start=height, end=0, bounds=(0, height), min_interval=min(8, height)),
    }
    full: dict[str, Any] = {"x": 0, "y": 0, "dw": width, "dh": height}
    picture: dict[str, Any] = {"x": 0, "y": 0, "w": width, "h": height, "anchor": "top_left"}
    addresses = [ColumnDataSource({"url": [address]}) for address in pictures]
    heat = ColumnDataSource({name: [values] for name, values in maps.items()})
    mapper = LinearColorMapper(palette=palette, low=0, high=255)
    truth = _segments(outline)
    made = Figures()
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
        made.plots[panel] = plot
        plot.add_glyph(addresses[panel != "image"], ImageURL(url="url", **picture))
        made.heats[panel] = {
            name: plot.image(image=name, source=heat, color_mapper=mapper, visible=False, **full)
            for name in maps
        }
        for line_width, color in ((3.6, "white"), (1.8, TRUTH_COLOR)):
            line = Segment(
                x0="x0", y0="y0", x1="x1", y1="y1", line_width=line_width, line_color=color
            )
            made.outlines.append(plot.add_glyph(truth, line))
        made.sources[panel] = _add_graph(plot, graph=panel != "image")
    return made


def heat_palette() -> list[str]:
    """Colours from clear, where nothing is odd, to bright and nearly opaque."""
    steps = np.linspace(0, 1, 256)
    colors = colormaps[PALETTE](0.25 + 0.75 * steps)
    colors[:, 3] = np.clip(steps / 0.35, 0, 1) * 0.75
    return [to_hex(color, keep_alpha=True) for color in colors]


def _segments(outline: Any) -> ColumnDataSource:
    lines = np.zeros((0, 2, 2)) if outline is None else np.asarray(outline)
    columns = {
        "x0": lines[:, 0, 0],
        "y0": lines[:, 0, 1],
        "x1": lines[:, 1, 0],
        "y1": lines[:, 1, 1],
    }
    return ColumnDataSource({key: values.astype(np.float32) for key, values in columns.items()})


def _add_graph(plot: Any, graph: bool) -> dict[str, ColumnDataSource]:
    """Add the glyphs of a selected patch; those of its neighbours where the panel shows a graph."""
    box: dict[str, Any] = {"x": "x", "y": "y", "width": "width", "height": "height"}
    line: dict[str, Any] = {"x0": "x0", "y0": "y0", "x1": "x", "y1": "y"}
    made = {
        name: ColumnDataSource({column: [] for column in columns}, name=f"{plot.name}-{name}")
        for name, columns in COLUMNS.items()
        if graph or name == "node"
    }
    if graph:
        pointing, lost, near = made["pointing"], made["lost"], made["neighbors"]
        plot.add_glyph(pointing, Segment(**line, line_color=INK, line_width=0.8, line_alpha=0.3))
        plot.add_glyph(
            near,
            Rect(**box, fill_color="color", fill_alpha=0.35, line_color="color", line_width=1.5),
        )
        plot.add_glyph(near, Segment(**line, line_color="white", line_width=3.2, line_alpha=0.8))
        plot.add_glyph(
            near, Segment(**line, line_color="color", line_width=1.6, line_dash={"field": "dash"})
        )
        plot.add_glyph(lost, Rect(**box, fill_color=None, line_color="white", line_width=2.6))
        plot.add_glyph(
            lost,
            Rect(**box, fill_color=None, line_color=INK, line_width=1.2, line_dash=[2, 2]),
        )
        for line_width, color in ((3.4, "white"), (1.5, INK)):
            cross = Scatter(
                x="x", y="y", marker="x", size=7, line_color=color, line_width=line_width
            )
            plot.add_glyph(lost, cross)
        ring: dict[str, Any] = {"marker": "circle", "size": 7, "fill_color": None}
        plot.add_glyph(pointing, Scatter(x="x", y="y", **ring, line_color="white", line_width=3.2))
        plot.add_glyph(pointing, Scatter(x="x", y="y", **ring, line_color=INK, line_width=1.4))
    plot.add_glyph(made["node"], Rect(**box, fill_color=None, line_color="white", line_width=4.5))
    plot.add_glyph(
        made["node"], Rect(**box, fill_color=None, line_color=NODE_COLOR, line_width=2.4)
    )
    if graph:
        labels = made["labels"]
        plot.add_glyph(
            labels,
            Scatter(x="x", y="y", marker="circle", size=15, fill_color="color", line_color="white"),
        )
        plot.add_glyph(
            labels,
            Text(
                x="x",
                y="y",
                text="text",
                text_color="ink",
                text_align="center",
                text_baseline="middle",
                text_font_size="10px",
                text_font_style="bold",
            ),
        )
    return made
