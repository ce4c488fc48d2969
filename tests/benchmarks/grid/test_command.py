"""``python -m benchmarks.grid``, as a user runs it."""

import csv
import json
import re

import pytest
from matplotlib.image import imread

from benchmarks.grid.__main__ import main
from tests.benchmarks.grid.grids import MEAN, tiny, write_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished benchmark: its config and its folder."""
    folder = tmp_path_factory.mktemp("benchmark")
    config = tiny(
        figures=["ablation", "anomaly_maps"],
        published=["viglad_table2"],
        columns={
            "ViGLAD": {"model": "Mean", "score": "score"},
            "peak": {"model": "Other", "score": "peak"},
        },
    )
    path = write_config(folder, config)
    main([str(path), "--output", str(folder / "out"), "--device", "cpu"])
    return path, folder / "out"


def test_outputs(run):
    _, folder = run
    rows = list(csv.DictReader((folder / "results.csv").open()))
    # Per cell: two scores with 4 kinds and 4 defects, and the maps with one value.
    assert len(rows) == 4 * (2 * (4 + 4) + 1)
    assert {row["metric"] for row in rows} == {"image_auroc", "defect_auroc", "pixel_auroc"}
    keys = {path.parent.name[-10:] for path in folder.glob("cells/*/result.json")}
    assert {row["key"] for row in rows} == keys
    text = (folder / "tables.md").read_text()
    assert re.search(r"ViGLAD, Table 2 +\| +\*96.1\*", text)
    assert "Missing" not in text
    assert r"\begin{tabular}" in (folder / "tables.tex").read_text()
    for name in ("ablation-digits_3_altered", "anomaly_maps-digits_3_altered"):
        assert imread(folder / f"{name}.png").std() > 0.05
        assert (folder / f"{name}.pdf").is_file()
    assert not list(folder.rglob("*.part"))


def test_table_is_the_mean_of_the_results(run):
    _, folder = run
    values = [
        json.loads(path.read_text())["metrics"]["peak" if model == "Other" else "score"][
            "image_auroc"
        ]["pooled"]
        for model in ("Mean", "Other")
        for path in sorted(folder.glob(f"cells/*-{model.lower()}-seed*/result.json"))
    ]
    for first, second in (values[:2], values[2:]):
        mean, half = (first + second) / 2, abs(first - second) / 2**0.5
        line = f"{100 * mean:.1f} ± {100 * half:.1f}"
        pooled = [row for row in (folder / "tables.md").read_text().split("\n") if "pooled" in row]
        assert any(line in row for row in pooled)


def test_status_names_what_is_missing(run, tmp_path, capsys):
    path, folder = run
    main([str(path), "--output", str(folder), "--status"])
    assert "4 done, 0 failed, 0 missing" in capsys.readouterr().out
    main([str(path), "--output", str(tmp_path / "none"), "--status"])
    shown = capsys.readouterr().out
    assert "0 done, 0 failed, 4 missing" in shown
    assert "missing: Digits / 3 altered / Mean / seed 1" in shown
    assert not (tmp_path / "none").exists()


def test_a_failure_is_named_and_the_rest_runs(tmp_path, capsys):
    models = {"Bad": {"type": MEAN, "end": "error"}, "Mean": {"type": MEAN}}
    path = write_config(tmp_path, tiny(models, seeds=[0]))
    command = [str(path), "--output", str(tmp_path / "out"), "--device", "cpu"]
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 1
    shown = capsys.readouterr()
    assert "[1/2] Digits / 3 altered / Bad / seed 0: failed: Expected another end" in shown.out
    assert "[2/2] Digits / 3 altered / Mean / seed 0: done" in shown.out
    assert shown.err.strip().count("\n") == 0
    assert "got 1 of 2" in shown.err
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "Missing, 1 of 2 cells:\n\n- Digits / 3 altered / Bad / seed 0" in text
    main([*command, "--only", "mean"])


def test_bad_config_is_one_line(tmp_path, capsys):
    path = write_config(tmp_path, tiny(models={"X": {"type": "resnet"}}))
    with pytest.raises(SystemExit) as caught:
        main([str(path)])
    assert caught.value.code == 1
    shown = capsys.readouterr().err.strip()
    assert shown.startswith("benchmarks.grid: error: models.X: Expected a model of the type")
    assert "\n" not in shown


def test_only_names_a_cell(tmp_path, capsys):
    path = write_config(tmp_path, tiny())
    with pytest.raises(SystemExit):
        main([str(path), "--only", "nothing", "none", "--output", str(tmp_path / "out")])
    assert "'only'" in capsys.readouterr().err
