"""The table of faults, and a small sample of each kind of fault."""

import sys
from types import SimpleNamespace

import pytest

from benchmarks.faults import Outcome
from benchmarks.faults.__main__ import NAMES, main, outcomes


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_each_kind(name):
    found = list(outcomes(name, 2))
    assert found
    assert not [outcome for outcome in found if outcome.wrong]


@pytest.fixture
def fake(monkeypatch):
    """Returns a function that lets the module of graphs find what it is given."""

    def put(check):
        monkeypatch.setitem(sys.modules, "benchmarks.faults.graphs", SimpleNamespace(check=check))

    return put


def test_the_table_is_printed_and_written(tmp_path, fake, capsys):
    fake(lambda repeats=7: [Outcome("a | b", repeats, "nothing", 0)])
    assert main(["--only", "graphs", "--output", str(tmp_path / "faults.md")]) == 0
    row = "| a \\| b | 7 | nothing | 0 |\n"
    assert row in capsys.readouterr().out
    assert row in (tmp_path / "faults.md").read_text(encoding="utf-8")
    assert main(["--only", "graphs", "--repeats", "3"]) == 0
    assert "| 3 | nothing |" in capsys.readouterr().out


def test_what_is_wrong_ends_with_1(fake, capsys):
    def check(repeats=1):
        yield Outcome("first", repeats, "lost", 2)
        raise OSError("no space")

    fake(check)
    assert main(["--only", "graphs"]) == 1
    out = capsys.readouterr().out
    assert "| the check of graphs itself | 1 | OSError: no space | 1 |" in out
    assert "3 failures" in out
