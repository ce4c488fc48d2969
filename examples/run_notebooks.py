"""Execute the notebooks of this folder, all or those named, and write their outputs into them."""

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

__all__ = ["execute", "find_notebooks", "main", "strip", "write"]

HERE = Path(__file__).resolve().parent


def find_notebooks(names: list[str] | None = None, folder: Path = HERE) -> list[Path]:
    """Give the notebooks whose names begin with one of ``names``, or all, in order.

    Raises:
        ValueError: If a name fits none.
    """
    paths = sorted(folder.glob("[0-9]*.ipynb"))
    for name in names or []:
        if not any(path.name.startswith(name) for path in paths):
            known = ", ".join(path.stem for path in paths)
            raise ValueError(f"Expected the beginning of one of {known} (got '{name}')")
    return [path for path in paths if not names or path.name.startswith(tuple(names))]


def execute(path: Path, folder: Path, timeout: int = 600) -> NotebookNode:
    """Run a notebook from top to bottom in a kernel of this Python, with ``folder`` as its own.

    The notebook's file is only read. The package is the one beside this folder, installed or not.

    Raises:
        CellExecutionError: If a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    before = os.environ.get("PYTHONPATH")
    paths = [str(HERE.parent)] + ([before] if before else [])
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        record_timing=False,
        coalesce_streams=True,
    )
    client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
    return strip(notebook)


def strip(notebook: NotebookNode) -> NotebookNode:
    """Take out what differs between machines: times, the kernel's name, addresses of objects, bytes."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
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
                data["image/png"] = base64.b64encode(_shrink(data["image/png"])).decode()
    return notebook


def _shrink(encoded: str) -> bytes:
    """Give a picture 256 colours where that makes it smaller: a third of the bytes, no visible loss."""
    picture = base64.b64decode(encoded)
    drawn = Image.open(io.BytesIO(picture))
    if drawn.mode == "P":  # it has been done
        return picture
    smaller = io.BytesIO()
    few = drawn.convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE)
    few.save(smaller, "PNG", optimize=True)
    return min(picture, smaller.getvalue(), key=len)


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all."""
    nbformat.validate(notebook)
    partial = path.with_name(path.name + ".part")
    partial.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    partial.replace(path)


def main(args: list[str] | None = None) -> None:
    """Execute notebooks in place; each has a temporary folder for the files that it writes."""
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
