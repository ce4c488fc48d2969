"""Figures of the tables against sums done by hand."""

import json
import math
import re

import pytest

from benchmarks.grid import (
    PUBLISHED,
    Cell,
    Column,
    DataEntry,
    Grid,
    TableEntry,
    build_tables,
    read_results,
    summarize,
)
from benchmarks.grid.results import format_costs

# Image AUROC (logical, structural) by category, model and seed.
VALUES = {
    ("screw_bag", "ViGLAD", 0): (0.80, 0.90),
    ("screw_bag", "ViGLAD", 1): (0.84, 0.92),
    ("screw_bag", "ViGLAD", 2): (0.85, 0.94),
    ("screw_bag", "PaDiM", 0): (0.50, 0.60),
    ("pushpins", "ViGLAD", 0): (0.90, 0.70),
    ("pushpins", "ViGLAD", 1): (0.96, 0.72),
    ("pushpins", "PaDiM", 0): (0.70, 0.60),
    ("pushpins", "PaDiM", 1): (0.71, 0.61),
    ("pushpins", "PaDiM", 2): (0.72, 0.62),
}


def cell(category, model, seed):
    return Cell("LOCO", category, model, seed, {"options": category, "model": model})


def result(values):
    logical, structural = values
    return {
        "metrics": {
            "A": {"image_auroc": {"logical": logical, "structural": structural, "mean": None}},
            "A_r": {"image_auroc": {"logical": logical - 0.1, "structural": structural}},
            "map": {"au_spro@0.05": {"logical": logical / 2}},
        },
        "facts": {"iterations": 10, "trained_parameters": 28_856_256},
        "seconds": {"fit": 2.0, "predict": 0.5},
        "images": {"train": 7, "validation": 3, "good": 2, "logical": 3},
        "environment": {"device": "cpu", "threads": 1},
    }


@pytest.fixture
def grid():
    cells = [
        cell(category, model, seed)
        for category in ("screw_bag", "pushpins")
        for model in ("ViGLAD", "PaDiM")
        for seed in range(3)
    ]
    columns = {
        "ViGLAD": Column("ViGLAD", "A"),
        "maps alone": Column("ViGLAD", "A_r"),
        "PaDiM": Column("PaDiM"),
    }
    tables = [
        TableEntry("image_auroc", ["logical", "structural", "mean"]),
        TableEntry("au_spro@0.05", ["logical"]),
    ]
    data = {"LOCO": DataEntry("mvtec_loco")}
    return Grid("test", cells, columns, tables, ["viglad_table2"], data=data)


@pytest.fixture
def rows(grid, tmp_path):
    for key, values in VALUES.items():
        folder = tmp_path / "cells" / cell(*key).name
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result(values)))
    return read_results(grid, tmp_path)


def test_mean_and_standard_deviation_over_seeds(grid, rows):
    found = summarize(grid, rows, grid.columns["ViGLAD"], "image_auroc")
    mean = (0.80 + 0.84 + 0.85) / 3
    squares = (0.80 - mean) ** 2 + (0.84 - mean) ** 2 + (0.85 - mean) ** 2
    line = found.loc["LOCO", "screw_bag", "logical"]
    assert line["mean"] == pytest.approx(mean)
    assert line["std"] == pytest.approx(math.sqrt(squares / 2))
    assert line["count"] == 3
    lower = summarize(grid, rows, grid.columns["maps alone"], "image_auroc")
    assert lower.loc["LOCO", "screw_bag", "logical"]["mean"] == pytest.approx(mean - 0.1)
    one = summarize(grid, rows, grid.columns["PaDiM"], "image_auroc")
    line = one.loc["LOCO", "screw_bag", "logical"]
    assert (line["mean"], line["count"]) == (0.5, 1)
    assert math.isnan(line["std"])


def test_average_is_over_the_seeds_that_have_all_categories(grid, rows):
    column = grid.columns["ViGLAD"]
    line = summarize(grid, rows, column, "image_auroc").loc["LOCO", "average", "logical"]
    first, second = (0.80 + 0.90) / 2, (0.84 + 0.96) / 2
    assert line["count"] == 2
    assert line["mean"] == pytest.approx((first + second) / 2)
    assert line["std"] == pytest.approx(abs(first - second) / math.sqrt(2))
    without = summarize(grid, rows[rows.category != "pushpins"], column, "image_auroc")
    assert ("LOCO", "average", "logical") not in without.index


def test_maps_are_the_model_s_whatever_the_score(grid, rows):
    found = summarize(grid, rows, grid.columns["maps alone"], "au_spro@0.05")
    mean = found.loc["LOCO", "pushpins", "logical"]["mean"]
    assert mean == pytest.approx((0.45 + 0.48) / 2)


def test_unknown_score(grid, rows):
    with pytest.raises(ValueError, match=r"among A, A_r, map .got 'B'."):
        summarize(grid, rows, Column("ViGLAD", "B"), "image_auroc")


def narrow(text):
    """Lines of a Markdown table without the spaces that align it."""
    return [re.sub(r" +", " ", line) for line in text.splitlines()]


def test_markdown(grid, rows):
    first, second = build_tables(grid, rows)
    lines = narrow(first.to_markdown())
    assert lines[0].startswith(
        "Image AUROC in per cent, mean ± standard deviation (n - 1) over n = 3"
    )
    assert lines[2] == "| data set | category | anomalies | | ViGLAD | maps alone | PaDiM |"
    assert [side.endswith(":") for side in lines[3].split("|")[1:-1]] == [False] * 4 + [True] * 3
    assert lines[4:7] == [
        "| LOCO | screw_bag | logical | measured | **83.0 ± 2.6** | 73.0 ± 2.6 | 50.0 (n = 1) |",
        "| | | | ViGLAD, Table 2 | *81.8* | - | *48.8* |",
        # Two columns share the best: nobody's is bold.
        "| | | structural | measured | 92.0 ± 2.0 | 92.0 ± 2.0 | 60.0 (n = 1) |",
    ]
    average = [line for line in lines if "average" in line]
    assert average == [
        "| | average | logical | measured | **87.5 ± 3.5 (n = 2)** | 77.5 ± 3.5 (n = 2) | "
        "60.0 (n = 1) |"
    ]
    assert any(line.startswith("- ViGLAD, Table 2: Zoghlami et al.") for line in lines)
    assert not any("| mean |" in line for line in lines)  # of which there is no value
    assert "AU-sPRO, up to a false-positive rate of 0.05" in second.to_markdown()


def test_latex(grid, rows):
    text = build_tables(grid, rows)[0].to_latex("test")
    assert r"\textbf{83.0 $\pm$ 2.6} & 73.0 $\pm$ 2.6 & 50.0 (n = 1)" in text
    assert r"LOCO & screw\_bag & logical & measured" in text
    assert r"\textit{81.8}" in text
    assert text.count("{") == text.count("}")
    table = text.split("footnotesize")[0]
    lines = [line for line in table.splitlines() if line.endswith(r"\\") and "&" in line]
    assert {line.replace(r"\&", "").count("&") for line in lines} == {6}


def test_lines_of_missing_cells_stay(grid, tmp_path):
    values = build_tables(grid, read_results(grid, tmp_path))[0].values
    assert {place[1:3] for place in values.index} >= {
        ("screw_bag", "logical"),
        ("pushpins", "structural"),
        ("average", "logical"),
    }
    assert values.xs("measured", level="source").isna().all(axis=None)


def test_tidy_rows(rows):
    assert len(rows) == 9 * 5  # null is no value
    first = rows.iloc[0].to_dict()
    assert first == {
        "data": "LOCO",
        "category": "screw_bag",
        "model": "ViGLAD",
        "seed": 0,
        "score": "A",
        "metric": "image_auroc",
        "kind": "logical",
        "value": 0.8,
        "fit_seconds": 2.0,
        "predict_seconds": 0.5,
        "key": cell("screw_bag", "ViGLAD", 0).key,
        "test_images": 5,
        "steps": "10",
        "parameters": "28.9",
        "place": "cpu, 1",
    }


def test_models_that_saw_different_images_are_not_compared(grid, rows, tmp_path):
    file = next((tmp_path / "cells").glob("*screw_bag-padim*")) / "result.json"
    other = json.loads(file.read_text())
    other["images"]["train"] = 8
    file.write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"same images .* LOCO / screw_bag / seed .*'train': 8"):
        read_results(grid, tmp_path)


def test_seconds_of_a_resumed_fit_do_not_count(grid, rows, tmp_path):
    for file in (tmp_path / "cells").glob("*viglad-seed0*/result.json"):
        resumed = json.loads(file.read_text())
        resumed["facts"]["resumed"] = True
        resumed["seconds"]["fit"] = 0.1
        file.write_text(json.dumps(resumed))
    assert "| LOCO | ViGLAD | 5 | 2.0 |" in narrow(format_costs(read_results(grid, tmp_path)))[4]


def test_costs(rows):
    assert "| LOCO | ViGLAD | 5 | 2.0 | 100.0 | 10 | 28.9 | cpu, 1 |" in narrow(format_costs(rows))


def test_published_figures_as_they_are_read():
    table2 = PUBLISHED["viglad_table2"]
    # The row printed under CAD-SD is splicing connectors, the one without a label CAD-SD.
    assert table2.look_up("mvtec_loco", "splicing_connectors", "ViGLAD", "logical") == 92.43
    assert table2.look_up("cad_sd", "Screw", "ViGLAD", "logical") == 99.91
    means = {
        column: table2.look_up("mvtec_loco", "average", column, "logical")
        for column in ("ViGLAD", "PUAD", "EfficientAD", "PatchCore")
    }
    assert {column: round(value, 2) for column, value in means.items()} == {
        "ViGLAD": 91.04,
        "PUAD": 92.38,
        "EfficientAD": 86.97,
        "PatchCore": 51.64,
    }
    table3 = PUBLISHED["viglad_table3"]
    for column, mean in (("ViGLAD", 98.09), ("EfficientAD", 98.01), ("PUAD", 97.35)):
        value = table3.look_up("visa", "average", column, "structural")
        assert round(value, 2) == mean
    assert table3.look_up("visa", "pcb4", "ViGLAD", "structural") is None
    assert table2.look_up("mvtec_loco", "screw_bag", "ViGLAD", "structural") is None
    puad = PUBLISHED["puad"]
    assert round(puad.look_up("mvtec_loco", "average", "PUAD", "pooled"), 2) == 92.23
    assert puad.look_up("mvtec_loco", "average", "PUAD", "logical") is None
    loco = PUBLISHED["efficientad"].look_up("mvtec_loco", "average", "EfficientAD", "mean")
    assert loco == 90.7
