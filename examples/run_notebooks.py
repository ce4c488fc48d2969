"""Executes the notebooks of this folder, all or those named, and writes their outputs into them."""

import argparse
import base64
import io
import os
import re
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image

from pyg_viglad.files import write_text

__all__ = ["execute", "find_notebooks", "main", "strip", "write"]

HERE = Path(__file__).resolve().parent


def find_notebooks(names: list[str] | None = None, folder: Path = HERE) -> list[Path]:
    """Returns the notebooks whose names begin with one of ``names``, or all, in order.

    Raises:
        ValueError: If no notebook fits a name.
    """
    paths = sorted(folder.glob("[0-9]*.ipynb"))
    for name in names or []:
        if not any(path.name.startswith(name) for path in paths):
            known = ", ".join(path.stem for path in paths)
            raise ValueError(f"Expected the beginning of one of {known} (got '{name}')")
    return [path for path in paths if not names or path.name.startswith(tuple(names))]


def execute(path: Path, folder: Path, timeout: int = 600) -> NotebookNode:
    """Executes a notebook in ``folder`` with the package beside this folder; does not write it.

    Raises:
        CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        record_timing=False,
        coalesce_streams=True,
    )
    search = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))})
    return strip(notebook)


def strip(notebook: NotebookNode) -> NotebookNode:
    """Removes what differs between machines (metadata, addresses) and makes the pictures smaller."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook.metadata = nbformat.from_dict(metadata)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            output.pop("transient", None)
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            data = output.get("data", {})
            if "text/plain" in data:
                data["text/plain"] = re.sub(r" at 0x[0-9a-f]+", "", data["text/plain"])
            if "image/png" in data:
                data["image/png"] = _shrink(data["image/png"])
    return notebook


def _shrink(encoded: str) -> str:
    """Reduces a picture to 256 colours: a third of the bytes without a visible difference."""
    picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
    if picture.mode == "P":  # already reduced
        return encoded
    reduced = io.BytesIO()
    colors = picture.convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE)
    colors.save(reduced, "PNG", optimize=True)
    return min(encoded, base64.b64encode(reduced.getvalue()).decode(), key=len)


def write(notebook: NotebookNode, path: Path) -> None:
    """Validates a notebook and writes it."""
    nbformat.validate(notebook)
    write_text(path, nbformat.writes(notebook) + "\n")


def main(args: list[str] | None = None) -> None:
    """Executes notebooks in place; the files that a notebook writes go to a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="beginnings of names, such as 01; default: all")
    parser.add_argument("--timeout", type=int, default=600, help="seconds a cell may take")
    chosen = parser.parse_args(args)
    try:
        paths = find_notebooks(chosen.names)
    except ValueError as error:
        parser.error(str(error))
    for path in paths:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                notebook = execute(path, Path(folder), chosen.timeout)
            except CellExecutionError as error:
                raise SystemExit(f"{path.name}: {error}") from None
        write(notebook, path)
        seconds, size = time.perf_counter() - start, path.stat().st_size / 1000
        print(f"{path.name:36}{seconds:>6.0f} s{size:>7.0f} kB", flush=True)


if __name__ == "__main__":
    main()
