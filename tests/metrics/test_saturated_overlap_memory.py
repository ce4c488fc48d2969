import json
import subprocess
import sys

import pytest

# The peak only ever rises, so what needs less memory goes first. It is read from /proc because
# getrusage also counts what the process that started this one had.
SCRIPT = r"""
import json, re
import numpy as np
from pyg_viglad.metrics import au_spro

COUNT, SHAPE = 24, (1024, 800)

def peak():
    status = open("/proc/self/status").read()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1))

def maps():
    generator = np.random.default_rng(0)
    for _ in range(COUNT):
        yield generator.random(SHAPE, dtype=np.float32)

def truths():
    mask = np.zeros(SHAPE, bool)
    mask[:200, :300] = True
    for number in range(COUNT):
        yield [(mask, 20000)] if number % 2 else []

start = peak()
binned = au_spro(maps(), truths(), memory=0)
after_binned = peak()
exact = au_spro(maps(), truths())
raw = COUNT * SHAPE[0] * SHAPE[1] * 4
print(json.dumps([raw, after_binned - start, peak() - start, binned[1.0], exact[1.0]]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_in_proportion_to_the_maps():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    raw, growth_binned, growth_exact, binned, exact = json.loads(done.stdout)
    print(raw, growth_binned, growth_exact)
    assert growth_exact < 1.3 * raw + 40e6  # one copy in float32: never in float64, nor a second
    assert growth_binned < 0.7 * raw + 20e6  # an image at hand and the bins
    assert binned == pytest.approx(exact, abs=1e-5)
