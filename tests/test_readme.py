"""The README's Python runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

from pyg_viglad import ViGLAD
from pyg_viglad.datasets import DigitAnatomy

README = Path(__file__).parent.parent / "README.md"


def test_python_blocks(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 4
    torch.manual_seed(0)
    model = ViGLAD("small", 128, node_scorer={"channels": 10})
    model.fit_statistics(
        DigitAnatomy("train", image_size=128)[:6].images, torch.rand(2, 3, 128, 128)
    )
    model.save_pretrained(tmp_path / "runs" / "demo" / "model")
    monkeypatch.chdir(tmp_path)
    scope = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    assert (tmp_path / "figure5.png").stat().st_size > 10_000
    assert (tmp_path / "figure5.pdf").stat().st_size > 10_000
    assert (tmp_path / "viewer.html").stat().st_size > 1_000_000
    shown = capsys.readouterr().out
    assert "edge_index=[2, 1764]" in shown
    assert "TransformerConv" in repr(scope["block"])
    assert scope["model"].fitted


@pytest.mark.parametrize("path", re.findall(r'src="(docs/[^"]+)"', README.read_text()))
def test_pictures_are_there(path):
    assert (README.parent / path).is_file()
