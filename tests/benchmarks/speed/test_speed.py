"""The timed benchmarks on a few nodes: that all ways agree, and that the tables are whole."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_limits

from benchmarks.speed import (
    aggregation,
    autoencoder,
    knn,
    memory,
    models,
    pyramid,
)
from benchmarks.speed.memory import peak_memory
from benchmarks.speed.rivals import searches
from benchmarks.speed.timing import compare_precisions, markdown, of_ours, time_in_turns
from pyg_viglad import ViGAutoEncoder

LINUX = Path("/proc/self/clear_refs").exists()


@pytest.fixture(autouse=True)
def _threads():
    with threadpool_limits():
        yield


def table(shown):
    assert "torch 2." in shown
    assert "nan" not in shown
    (text,) = re.findall(r"(?:^\|.*\n)+", shown, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines()]
    assert len({len(row) for row in rows}) == 1
    return rows[2:]


def test_turns_call_every_function_alike():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = time_in_turns(functions, rounds=3, warmup=2)
    assert calls == ["a", "b"] * 5
    assert times.shape == (3, 2)
    assert (times >= 0).all(axis=None)


def test_ratios_are_the_medians_of_those_within_each_round(monkeypatch):
    times = pd.DataFrame({"own": [1.0, 1.0, 2.0], "slow": [2.0, 4.0, 6.0]})
    table = of_ours(times, "own", "forward ")
    assert table["forward ms"].tolist() == [1.0, 4.0]
    assert table["forward of ours"].tolist() == ["1.00x", "3.00x"]
    measured = times.add_prefix("float32/").join(2 * times.add_prefix("bfloat16/"))
    monkeypatch.setattr("benchmarks.speed.timing.time_in_turns", lambda *_: measured)
    functions = {precision: dict.fromkeys(["slow", "own"]) for precision in ("float32", "bfloat16")}
    table = compare_precisions(functions, 3, 0)
    assert table.loc["own"].tolist() == [1.0, "3.00x", 2.0, "3.00x"]
    assert table.loc["slow"].tolist() == [4.0, "1.00x", 8.0, "1.00x"]
    del functions["bfloat16"]["own"]  # computes in float32 alone
    shown = markdown(compare_precisions(functions, 3, 0), "way").splitlines()
    assert [cell.strip() for cell in shown[-1].split("|")[1:-1]] == [
        "own",
        "1.00",
        "3.00x",
        "-",
        "-",
    ]


def test_all_searches_find_the_same_neighbours():
    x = torch.randn(300, 8)
    found = {name: search(x) for name, search in searches(5, 3).items()}
    assert {"pyg_viglad", "dense formula (ViG)", "scikit-learn, brute"} <= set(found)
    for neighbors in found.values():
        assert (neighbors == found["pyg_viglad"]).float().mean() > 0.99


def test_knn(capsys):
    knn.main(["--nodes", "150", "--channels", "8", "--rounds", "1"])
    rows = table(capsys.readouterr().out)
    assert rows[0][0] == "pyg_viglad"
    assert rows[0][2:] == ["1.00x", "100.0"]
    assert rows[-1][0].startswith("floor")


def test_aggregation(capsys):
    aggregation.main(["--nodes", "60", "--channels", "8", "--k", "4", "--rounds", "1"])
    names = [row[0] for row in table(capsys.readouterr().out)]
    assert names[:3] == ["pyg_viglad", "pyg_viglad, any edges", "PyG default"]
    assert names[-1].startswith("floor")


def test_autoencoder(capsys):
    arguments = ["--image-size", "32", "--k", "4", "--rounds", "1", "--no-compile"]
    autoencoder.main(arguments)
    rows = table(capsys.readouterr().out)
    assert rows[1][0] == "PyG default, dense formula (ViG)"
    assert float(rows[1][-1]) < 1


def test_models_of_a_config(tmp_path, capsys):
    config = tmp_path / "grid.yaml"
    lines = [
        "image_size: 96",
        "data: {Digits: {dataset: digit_anatomy}}",
        "shared: {viglad: &viglad {type: viglad, size: small, iterations: 5, k: 4}}",
        "models:",
        "  max-relative: {<<: *viglad}",
        "  GCNConv: {<<: *viglad, operator: GCNConv}",
        "  EfficientAD: {<<: *viglad, autoencoder: conv}",
    ]
    config.write_text("\n".join(lines))
    lines = ["model,seed,score,metric,kind,value"]
    for score, first in (("A", 0.5), ("A_r:global", 0.25)):
        for number, kind in enumerate(("logical", "structural", "mean")):
            values = (first + 0.1 * number, first + 0.1 * number + 0.2)
            lines += [f"GCNConv,{n},{score},image_auroc,{kind},{v}" for n, v in enumerate(values)]
    (tmp_path / "results.csv").write_text("\n".join(lines))
    models.main([str(config), "--rounds", "1", "--results", str(tmp_path)])
    rows = table(capsys.readouterr().out)
    assert [row[1] for row in rows] == ["-", "60.0 ± 14.1"]
    assert rows[1][2:7] == [f"{mean}.0 ± 14.1" for mean in (70, 80, 35, 45, 55)]
    rows = [[row[0], row[7]] for row in rows]
    assert [row[0] for row in rows] == ["max-relative", "GCNConv"]
    sizes = [ViGAutoEncoder(384, k=4, operator=name) for name in ("max_relative", "GCNConv")]
    expected = [sum(p.numel() for p in model.parameters()) / 1e6 for model in sizes]
    # The position embedding is for other sizes.
    assert [float(row[1]) for row in rows] == pytest.approx(expected, abs=0.2)


def test_rival_uses_its_own_search_and_aggregation():
    seen = []

    def search(x, k, dilation):
        seen.append((x.shape, k, dilation))
        return torch.zeros(x.size(0), x.size(1), k, dtype=torch.int64)

    model = ViGAutoEncoder(16, image_size=32, k=4)
    rival = autoencoder.Rival(model, search)
    rival(torch.rand(1, 3, 32, 32))
    assert len(seen) == 24  # that of the images, and one for each block but the first
    assert seen[0] == ((1, 64, 48), 4, 1)
    # Outside of the rival nothing is replaced.
    before = len(seen)
    ViGAutoEncoder(16, image_size=32, k=4)(torch.rand(1, 3, 32, 32))
    assert len(seen) == before


def test_memory(monkeypatch, capsys):
    asked = []

    def peak(what, name, threads, **sizes):
        asked.append((what, name, sizes))
        return sizes["nodes"] / 100

    monkeypatch.setattr(memory, "peak_memory", peak)
    memory.main(["--nodes", "100", "200", "--bounds", "3"])
    rows = table(capsys.readouterr().out)
    assert rows[1] == ["knn_graph", "pyg_viglad, bound 3 MiB", "1.0", "2.0"]
    assert asked[2][2]["max_memory"] == 3 * 2**20


@pytest.mark.skipif(not LINUX, reason="peak memory can be read on Linux only")
def test_peak_memory_of_a_process():
    sizes = {"nodes": 2500, "channels": 8, "k": 3, "dilation": 1}
    ours = peak_memory("knn_graph", "pyg_viglad", 1, **sizes)
    # All distances, several times: 25 MB each.
    assert peak_memory("knn_graph", "dense formula (ViG)", 1, **sizes) > max(25, 2 * ours)
    assert 0 <= ours < 100


def test_pyramid(capsys, monkeypatch):
    monkeypatch.setattr(pyramid, "peak_memory", lambda *_: 1.0)
    pyramid.main(["--batch-sizes", "2", "--rounds", "1"])
    rows = table(capsys.readouterr().out)
    assert [row[0] for row in rows] == ["pyg_viglad", "dense formula (ViG)"]
    assert float(rows[1][-1]) < 1e-12  # the same neighbours
