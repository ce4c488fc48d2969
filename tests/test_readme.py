"""The Python of the README and of every page of docs/ runs as it stands; the pages build without warnings."""

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from pyg_viglad import ViGLAD
from pyg_viglad.cli import _COMMANDS, CommandParser
from pyg_viglad.datasets import DigitAnatomy
from pyg_viglad.models import load_teacher, save_teacher

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def blocks_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the pages find: the model of the demo, a teacher's file and a backbone's."""
    folder = tmp_path_factory.mktemp("pages")
    torch.manual_seed(0)
    model = ViGLAD("small", 128, node_scorer={"channels": 10})
    model.fit_statistics(
        DigitAnatomy("train", image_size=128)[:6].images, torch.rand(2, 3, 128, 128)
    )
    model.save_pretrained(folder / "runs" / "demo" / "model")
    save_teacher(load_teacher(), folder / "teacher.safetensors", {})
    backbone = timm.create_model("mobilenetv1_100")
    save_file(backbone.state_dict(), folder / "mobilenetv1.safetensors")
    return folder


@pytest.mark.parametrize("page", [p for p in PAGES if blocks_of(p)], ids=lambda page: page.stem)
def test_python_runs(page, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    few = functools.partial(DigitAnatomy, num_train=16, num_val=4)
    monkeypatch.setattr("pyg_viglad.datasets.DigitAnatomy", few)
    torch.manual_seed(0)
    scope = {"__name__": "__main__"}
    for block in blocks_of(page):
        exec(compile(block, page.name, "exec"), scope)
    if page == README:
        assert (folder / "figure5.png").stat().st_size > 10_000
        assert (folder / "figure5.pdf").stat().st_size > 10_000
        assert (folder / "viewer.html").stat().st_size > 1_000_000
        shown = capsys.readouterr().out
        assert "edge_index=[2, 1764]" in shown
        assert "TransformerConv" in repr(scope["block"])
        assert scope["model"].fitted


def commands_of(page):
    """The lines of the shell that call pyg-viglad, also by way of other programs."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            names = [word for word in words if word in ("pyg-viglad", "pyg_viglad")]
            if names and words[0] in ("pyg-viglad", "srun", "torchrun"):
                yield words[words.index(names[0]) + 1 :]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if [*commands_of(p)]], ids=lambda page: page.stem
)
def test_commands_are_known(page):
    for words in commands_of(page):
        if "--help" not in words:
            parser = CommandParser(prog="pyg-viglad")
            parser.add_commands(_COMMANDS)
            parser.parse_args(words)


def test_pages_build_without_warnings(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", ROOT / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "api" / "nn.html").read_text()
    assert 'id="pyg_viglad.nn.knn_graph"' in page
    # No mark of reStructuredText is left over.
    for path in (tmp_path / "api").glob("*.html"):
        assert not re.search(r":(class|func|meth):`|\.\. math", path.read_text()), path.name
    assert (tmp_path / "_static" / "viewer.html").stat().st_size > 1_000_000


@pytest.mark.parametrize("path", re.findall(r'src="(docs/[^"]+)"', README.read_text()))
def test_pictures_are_there(path):
    assert (ROOT / path).is_file()
