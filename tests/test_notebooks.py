"""Execution and stored outputs of the notebooks in examples/."""

import base64
import copy
import io
import json
import re

import nbformat
import numpy as np
import pytest
from PIL import Image, ImageDraw

from examples.run_notebooks import HERE, execute, find_notebooks, main, strip, write

NOTEBOOKS = find_notebooks()
ABSOLUTE = re.compile(r"(?<![\w.])/(home|root|tmp|Users|mnt|usr|opt)/")
FEWER = {  # images, by the beginning of a notebook's name
    "02": {
        "num_train=200": "num_train=20",
        "num_val=40": "num_val=6",
        "num_test_good=60": "num_test_good=6",
        "num_test_anomalous=60": "num_test_anomalous=8",
    },
    "04": {
        "num_train=200": "num_train=20",
        "num_val=40": "num_val=6",
        "num_test_anomalous=20": "num_test_anomalous=4",
    },
    "05": {"range(100)": "range(20)", "range(12)": "range(4)"},
}


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """Types of a cell's outputs: MIME types, streams, errors."""
    found = set()
    for output in cell.outputs:
        found |= set(output.get("data", {})) or {output.get("name", output.output_type)}
    return found


def texts(notebook):
    """All text of a notebook: sources and outputs without pictures."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield output.get("text", "")
            yield from (v for k, v in output.get("data", {}).items() if not k.startswith("image/"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def stored(request):
    return request.param, nbformat.read(request.param, as_version=4)


def test_there_are_notebooks():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]
    listed = re.findall(r"\((\w+\.ipynb)\)", (HERE / "README.md").read_text(encoding="utf-8"))
    assert listed == [path.name for path in NOTEBOOKS]


def draw_boards(folder):
    """Draws boards with screws in the place of the photographs of notebook 06, named as these are."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    screws = [*["1111"] * 15, *["1011", "0111", "1001", "1100", "0001", "0000"] * 2]
    for number, present in enumerate(screws):
        board = Image.fromarray(
            generator.normal(170, 12, (160, 120, 3)).clip(0, 255).astype("uint8")
        )
        pen = ImageDraw.Draw(board)
        for place, there in enumerate(present):
            x = 35 + 50 * (place % 2) + int(generator.integers(-3, 4))
            y = 45 + 70 * (place // 2) + int(generator.integers(-3, 4))
            radius, color = (10, (60, 70, 90)) if there == "1" else (5, (20, 10, 5))
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        board.save(folder / f"{number}_{present}.jpg")


def with_fewer_images(path, folder):
    """Writes a copy of a notebook into a folder; each text of ``FEWER`` must be there once."""
    notebook = nbformat.read(path, as_version=4)
    for old, new in FEWER.get(path.name[:2], {}).items():
        (cell,) = [cell for cell in code_cells(notebook) if old in cell.source]
        assert cell.source.count(old) == 1, old
        cell.source = cell.source.replace(old, new)
    nbformat.write(notebook, folder / path.name)
    return folder / path.name


def test_runs(stored, tmp_path, monkeypatch):
    path, before = stored
    monkeypatch.setenv("ITERATIONS", "2")
    if path.name.startswith("06"):
        draw_boards(tmp_path / "boards")
        monkeypatch.setenv("FOUR_SCREWS", str(tmp_path / "boards"))
    copied = with_fewer_images(path, tmp_path)
    text = copied.read_bytes()
    after = execute(copied, tmp_path)
    assert copied.read_bytes() == text
    for old, new in zip(code_cells(before), code_cells(after), strict=True):
        assert "stderr" not in kinds(new), new.outputs
        assert kinds(new) == kinds(old), new.source  # outputs are stored where there are any
    assert not any(ABSOLUTE.search(part) for part in texts(after))


def test_stored_as_the_runner_writes(stored):
    path, notebook = stored
    assert path.stat().st_size < 600_000
    assert notebook == strip(nbformat.read(path, as_version=4))
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert sum("image/png" in kinds(cell) for cell in code_cells(notebook)) >= 2


def test_stored_without_traces_of_a_machine(stored):
    _, notebook = stored
    for cell in code_cells(notebook):
        assert not kinds(cell) & {"stderr", "error", "text/html"}
    assert not [part for part in texts(notebook) if ABSOLUTE.search(part)]
    assert not [part for part in texts(notebook) if "Warning" in part or re.search(r"\d+%\|", part)]


def test_begins_with_its_result(stored):
    first = stored[1].cells[0]
    assert first.cell_type == "markdown"
    title, _, sentence = first.source.partition("\n\n")
    assert re.fullmatch(r"# [A-Z][^#\n]+", title)
    assert re.fullmatch(r"At the end .+\.", sentence)


@pytest.mark.parametrize(
    "text",
    ["see /tmp/x", '"/home/a/b.png"', "(/opt/x.py:3)", "file:///root/x"],
)
def test_absolute_paths_are_seen(text):
    assert ABSOLUTE.search(text)


def own_notebook(folder, *sources):
    cells = [nbformat.v4.new_code_cell(source, id=f"cell{i}") for i, source in enumerate(sources)]
    path = folder / "01_own.ipynb"
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)), encoding="utf-8")
    return path


PLACE = "import os, pyg_viglad\nprint(os.getcwd())\nprint(pyg_viglad.__file__)\nobject()"
NOISE = """
import io, numpy, PIL.Image
from IPython.display import Image
noise = numpy.random.default_rng(0).integers(0, 255, (40, 40, 3), numpy.uint8)
data = io.BytesIO()
PIL.Image.fromarray(noise).save(data, "PNG")
Image(data.getvalue())
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The folder and what became of a notebook that says where it is and shows a picture."""
    folder = tmp_path_factory.mktemp("own")
    return folder, execute(own_notebook(folder, PLACE, NOISE), folder)


def test_runs_this_package_in_its_own_folder(executed):
    place, notebook = executed
    stream, result = notebook.cells[0].outputs
    folder, package = stream.text.splitlines()
    assert folder == str(place.resolve())
    assert package == str(HERE.parent / "pyg_viglad" / "__init__.py")
    assert result.data["text/plain"] == "<object>"
    assert "execution" not in notebook.cells[0].metadata
    assert set(notebook.metadata.kernelspec) == {"display_name", "language", "name"}


def test_pictures_are_made_smaller_once(executed):
    (output,) = executed[1].cells[1].outputs
    picture = base64.b64decode(output.data["image/png"])
    assert len(picture) < 40 * 40 * 2
    shown = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=float)
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    assert np.abs(shown - noise).mean() < 20  # the noise itself spans 255
    assert strip(copy.deepcopy(executed[1])) == executed[1]


def test_a_failing_notebook_stays_as_it_was(tmp_path, monkeypatch):
    path = own_notebook(tmp_path, "print(1)\n1 / 0")
    before = path.read_bytes()
    monkeypatch.setattr("examples.run_notebooks.HERE", tmp_path)
    monkeypatch.setattr("examples.run_notebooks.find_notebooks", lambda names: [path])
    with pytest.raises(SystemExit, match=r"(?s)01_own\.ipynb: .*ZeroDivisionError"):
        main([])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["01_own.ipynb"]


def test_writes_outputs_and_prints_seconds_and_size(tmp_path, monkeypatch, capsys):
    path = own_notebook(tmp_path, "6 * 7")
    monkeypatch.setattr("examples.run_notebooks.find_notebooks", lambda names: [path])
    main([])
    (output,) = json.loads(path.read_text(encoding="utf-8"))["cells"][0]["outputs"]
    assert output["data"]["text/plain"] == ["42"]
    assert re.match(r"01_own\.ipynb +\d+ s +\d+ kB\n", capsys.readouterr().out)


def test_unknown_names_and_invalid_notebooks(tmp_path, capsys):
    with pytest.raises(ValueError, match="got '99'"):
        find_notebooks(["99"])
    with pytest.raises(SystemExit):
        main(["99"])
    assert "01_image_to_graph" in capsys.readouterr().err
    path = tmp_path / "01.ipynb"
    broken = nbformat.v4.new_notebook()
    broken.cells = [nbformat.from_dict({"cell_type": "code", "id": "only"})]
    with pytest.raises(nbformat.ValidationError):
        write(broken, path)
    assert list(tmp_path.iterdir()) == []
