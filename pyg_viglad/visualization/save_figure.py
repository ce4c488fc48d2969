"""Figures as files, and as notebooks show them."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text

from pyg_viglad.files import write_bytes

__all__ = ["NotebookFigure", "save_figure"]

TRUETYPE: Any = {"pdf.fonttype": 42, "ps.fonttype": 42}  # embedded fonts, as publishers want them


class NotebookFigure(Figure):
    """A figure that notebooks show without pyplot and without ``%matplotlib inline``.

    Texts are drawn literally: a ``$`` in a file name does not start mathtext, and bytes that are not
    UTF-8 appear as escapes.
    """

    def draw(self, renderer: RendererBase) -> None:
        """Draws the figure."""
        for text in self.findobj(Text):
            text.set_parse_math(False)
            text.set_text(text.get_text().encode("utf-8", "backslashreplace").decode())
        super().draw(renderer)

    def savefig(self, fname: Any, *, transparent: bool | None = None, **kwargs: Any) -> None:
        """Saves the figure as matplotlib does, fonts embedded as TrueType (Type 42)."""
        with rc_context(TRUETYPE):
            super().savefig(fname, transparent=transparent, **kwargs)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)
        return buffer.getvalue()


def save_figure(
    figure: Figure,
    path: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("png", "pdf"),
    dpi: float = 300,
) -> list[Path]:
    """Writes a figure at its own size in several formats, each file whole or not at all.

    Fonts in PDF and PostScript files are embedded as TrueType (Type 42), since publishers such as the
    IEEE refuse matplotlib's Type 3. No global setting is changed, and the PDF has no date in it: the
    same figure gives the same file.

    Args:
        figure: Any matplotlib figure.
        path: Where to write, without a suffix; or with one of a format that matplotlib writes, which
            then is the only one. The folder has to exist.
        formats: The formats, which are the suffixes; default PNG and PDF.
        dpi: Dots per inch of PNG, and of what cannot be drawn with lines in PDF; default 300.

    Returns:
        The files written, in the order of the formats.

    Raises:
        ValueError: If matplotlib does not write a format.
        FileNotFoundError: If the folder does not exist.

    Example:
        >>> import tempfile
        >>> from pyg_viglad.visualization import plot_score_histogram
        >>> figure = plot_score_histogram([0.1, 4.0], ["good", "logical"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [file.name for file in save_figure(figure, Path(folder, "scores"))]
        ['scores.png', 'scores.pdf']
    """
    target = Path(path).expanduser()
    known = figure.canvas.get_supported_filetypes()
    suffix = target.suffix[1:].lower()
    if suffix in known:
        formats, target = [suffix], target.with_suffix("")
    if isinstance(formats, str) or not formats or not set(formats) <= set(known):
        raise ValueError(f"Expected formats of {', '.join(sorted(known))} (got {formats!r})")
    written = []
    for kind in formats:
        buffer = io.BytesIO()
        metadata = {"CreationDate": None} if kind == "pdf" else None
        with rc_context(TRUETYPE):
            figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
        file = target.with_name(f"{target.name}.{kind}")
        write_bytes(file, buffer.getvalue())
        written.append(file)
    return written
