"""The examples in the docstrings of the benchmarks."""

import doctest

import pytest

from benchmarks.grid import cell, detector
from benchmarks.speed import scaling, timing


@pytest.mark.parametrize("module", [cell, detector, scaling, timing])
def test_examples(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
