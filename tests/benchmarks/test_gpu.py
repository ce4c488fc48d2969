"""The benchmark of a GPU runs through on a CPU, without what a machine with a GPU may lack."""

import subprocess
import sys

import pytest

from benchmarks import gpu

MISSING = (
    "anomalib",
    "jsonargparse",
    "lightning",
    "matplotlib",
    "pandas",
    "ray",
    "tabulate",
    "timm",
)
SCRIPT = f"""
import sys
sys.modules |= dict.fromkeys({(*MISSING, "torch_cluster", "torch_scatter")})
from benchmarks.gpu import main
sys.exit(main(sys.argv[1:]))
"""


def test_all_sections(tmp_path):
    file = tmp_path / "new" / "gpu.md"
    some = [name for name in gpu.SECTIONS if name != "compiled"]  # takes minutes
    options = ["--device", "cpu", "--rounds", "1", "--images", "1", "--only", *some]
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *options, "--output", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    text = file.read_text()
    assert done.stdout == text
    sections = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    assert list(sections) == some
    for section in sections.values():
        assert section.count("\n|") >= 4  # header, line, and rows
    assert "nan" not in text
    assert "| NO |" not in text


def test_what_fails_hides_nothing(tmp_path, monkeypatch):
    def fails(args):
        yield {"what": "first", "right": "yes"}
        raise MemoryError("all of it")

    sections = {"one": fails, "two": lambda args: iter([{"what": "other", "right": "NO"}])}
    monkeypatch.setattr(gpu, "SECTIONS", sections)
    file = tmp_path / "gpu.md"
    assert gpu.main(["--device", "cpu", "--output", str(file)]) == 1
    text = file.read_text()
    assert text.index("| first |") < text.index("MemoryError: all of it") < text.index("| other |")
    assert gpu.main(["--device", "cpu", "--output", str(file), "--only", "two"]) == 1  # wrong


@pytest.mark.skipif(not gpu.torch.cuda.is_available(), reason="needs a GPU")
def test_graphs_follow_their_inputs():
    replay = gpu.captured(lambda x: 2 * x, gpu.torch.zeros(3, device="cuda"))
    assert replay(gpu.torch.tensor([1.0, 2, 3])).tolist() == [2, 4, 6]
