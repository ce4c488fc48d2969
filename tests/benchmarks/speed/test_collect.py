"""Collecting the tables: kept outputs, interruptions, and what stands around the markers."""

import pytest

from benchmarks.speed import collect
from benchmarks.speed.collect import BEGIN, END, main


@pytest.fixture
def started(monkeypatch):
    """Scripts that print what they were asked for."""
    calls = []

    def run(name, threads, handed):
        calls.append((name, threads))
        return f"| {name} {threads} {' '.join(handed)} |\n"

    monkeypatch.setattr(collect, "run", run)
    return calls


def arguments(folder, *more):
    return ["--runs", str(folder / "runs"), "--results", str(folder / "RESULTS.md"), *more]


def test_tables_come_between_the_markers_and_the_rest_stays(tmp_path, started):
    results = tmp_path / "RESULTS.md"
    results.write_text(f"# Results\n\n{BEGIN}\nold\n{END}\n\nmore\n", encoding="utf-8")
    assert main(arguments(tmp_path, "--only", "knn", "memory", "--", "--nodes", "5")) == 0
    text = results.read_text(encoding="utf-8")
    assert text.startswith(f"# Results\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\nmore\n")
    assert "old" not in text
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert tables == [f"| {n} {t} --nodes 5 |" for n in ("knn", "memory") for t in (1, 2)]
    assert "### knn, 2 threads" in text
    assert main(arguments(tmp_path, "--only", "knn", "--resume")) == 0
    assert results.read_text(encoding="utf-8") == text
    assert not list(tmp_path.rglob("*.part"))


def test_outputs_are_kept_only_where_asked(tmp_path, started):
    main(arguments(tmp_path, "--only", "knn", "--threads", "1"))
    main(arguments(tmp_path, "--only", "knn", "--resume"))
    assert started == [("knn", 1), ("knn", 2)]
    main(arguments(tmp_path, "--only", "knn", "--threads", "2"))
    assert started[2:] == [("knn", 2)]


def test_an_interruption_keeps_what_is_done(tmp_path, monkeypatch):
    def run(name, threads, handed):
        if threads == 2:
            raise KeyboardInterrupt
        return "| done |\n"

    monkeypatch.setattr(collect, "run", run)
    with pytest.raises(KeyboardInterrupt):
        main(arguments(tmp_path, "--only", "knn"))
    assert "| done |" in (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["knn-1.md"]


def test_a_failing_script_is_named_and_keeps_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collect, "run", lambda name, *_: None if name == "knn" else "| fine |")
    assert main(arguments(tmp_path, "--only", "knn", "memory", "--threads", "1")) == 1
    assert "failed: knn-1" in capsys.readouterr().err
    assert "### knn" not in (tmp_path / "RESULTS.md").read_text(encoding="utf-8")


def test_a_lost_end_marker_is_not_guessed(tmp_path, started):
    (tmp_path / "RESULTS.md").write_text(f"{BEGIN}\nprecious", encoding="utf-8")
    with pytest.raises(ValueError, match="bench:end"):
        main(arguments(tmp_path, "--only", "knn"))
    assert "precious" in (tmp_path / "RESULTS.md").read_text(encoding="utf-8")


def test_a_script_is_started_with_its_threads(tmp_path):
    small = ["--nodes", "60", "--channels", "4", "--k", "3", "--rounds", "1"]
    assert main(arguments(tmp_path, "--only", "knn", "--threads", "1", "--", *small)) == 0
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "threads 1, rounds 1, nodes 60" in text
    assert collect.run("knn", 1, ["--nodes", "zero"]) is None
