"""The wheel and the source distribution: checked, and the README's first lines run from the wheel alone."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pyg_viglad import __version__

ROOT = Path(__file__).parent.parent


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=ROOT)
    return folder


def test_distributions_are_sound(dist):
    files = sorted(dist.iterdir())
    stem = f"pyg_viglad-{__version__}"
    assert [file.name for file in files] == [f"{stem}-py3-none-any.whl", f"{stem}.tar.gz"]
    run(sys.executable, "-m", "twine", "check", "--strict", *files)
    run(sys.executable, "-m", "check_wheel_contents", files[0])
    wheel = zipfile.ZipFile(files[0]).namelist()
    assert {
        "pyg_viglad/py.typed",
        "pyg_viglad/models/weights/pdn_small_mobilenetv1.safetensors",
    } < {*wheel}
    assert all(name.startswith(("pyg_viglad/", f"{stem}.dist-info/")) for name in wheel)
    assert max(file.stat().st_size for file in files) < 8e6
    with tarfile.open(files[1]) as source:
        assert f"{stem}/tests/test_package.py" in source.getnames()


def test_the_wheel_runs_outside_of_the_repository(dist, tmp_path):
    site = tmp_path / "site"
    wheel = next(dist.glob("*.whl"))
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    code = f"import pyg_viglad\nprint(pyg_viglad.__file__)\n{block}"
    shown = run(sys.executable, "-c", code, cwd=tmp_path, env=environment)
    assert shown.startswith(str(site))
    assert "edge_index=[2, 1764]" in shown
    shown = run(sys.executable, "-m", "pyg_viglad", "--help", cwd=tmp_path, env=environment)
    assert "Detects logical anomalies" in shown
