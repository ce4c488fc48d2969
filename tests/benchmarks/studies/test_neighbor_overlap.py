"""The statistics of the benchmark against slow ones, and the whole of it on a few images."""

import itertools
import re

import numpy as np
import pytest
import torch

from benchmarks.studies.neighbor_overlap import (
    auroc_interval,
    chance_overlap,
    main,
    measure,
    summaries,
)
from pyg_viglad import ViGLAD
from pyg_viglad.datasets import DigitAnatomy
from pyg_viglad.graphs import record_graphs
from tests.oracles.auroc import auroc


def images(count, seed, shift=0.0):
    """Values of images of different sizes, with ties."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 6, rng.integers(1, 9)) + shift for _ in range(count)]


@pytest.mark.parametrize("same", [False, True])
def test_auroc_and_every_resample(same):
    positive = images(7, 0, 0.5 if same else 1)
    negative = images(7 if same else 5, 1)
    value, low, high = auroc_interval(positive, negative, 40, 3, same)
    assert value == pytest.approx(auroc(np.concatenate(negative), np.concatenate(positive)))
    rng = np.random.default_rng(3)
    counts = [
        rng.multinomial(len(p), np.full(len(p), 1 / len(p)), 40) for p in (positive, negative)
    ]
    drawn = []
    for first, second in zip(counts[0], counts[0] if same else counts[1], strict=True):
        one = np.concatenate([v for v, n in zip(positive, first, strict=True) for _ in range(n)])
        other = np.concatenate([v for v, n in zip(negative, second, strict=True) for _ in range(n)])
        drawn.append(auroc(other, one))
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    assert low < value < high


def test_chance_is_the_mean_over_all_pairs_of_sets():
    sets = [set(c) for c in itertools.combinations(range(6), 2)]
    overlaps = [len(a & b) / len(a | b) for a in sets for b in sets]
    assert chance_overlap(7, 2) == pytest.approx(np.mean(overlaps))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    ViGLAD("small", 96, k=5, node_scorer={"channels": 5}).save_pretrained(folder)
    return folder


def test_wrong_nodes_lie_in_the_wrong_cell(folder):
    model = ViGLAD.from_pretrained(folder)
    model.fit_statistics(torch.rand(4, 3, 96, 96), torch.rand(3, 3, 96, 96))
    test = DigitAnatomy("test", num_test_good=1, num_test_anomalous=1, defects=("missing",))
    nodes, scores, wrong = measure(model, test, 2)
    assert wrong[0].sum() == 0
    graph = record_graphs(model, test[1].img)["input"]
    row, column = np.argwhere(test.digits[1].view(3, 3).numpy() == -1)[0]
    cell = (graph.pos // 32).long()
    assert (wrong[1] == ((cell[:, 0] == column) & (cell[:, 1] == row)).numpy()).all()
    assert wrong[1].any()
    assert nodes["model: node score"][1] == pytest.approx(graph.node_score.numpy(), rel=1e-4)
    assert all(values.shape == (2, 256) for values in nodes.values())
    assert all(values.shape == (2,) for values in scores.values())
    worst = nodes["model: node score"][1].argmax()
    name = "1 - overlap, input and output"
    assert summaries(nodes)[f"{name}: most anomalous node"][1] == nodes[name][1][worst]


def test_the_whole_on_a_few_images(folder, capsys):
    arguments = ["--good", "3", "--anomalous", "4", "--normal", "6", "--resamples", "5"]
    main(["--model", str(folder), "--untrained", "--settle", *arguments])
    shown = capsys.readouterr().out
    assert "7 images of Digit Anatomy at 96 px, untrained model" in shown
    assert "nan" not in shown
    tables = re.findall(r"(?:^\|.*\n)+", shown, re.MULTILINE)
    assert len(tables) == 5
    for table in tables[2:]:
        rows = [row.split(" | ") for row in table.splitlines()]
        assert {len(row) for row in rows if "---" not in row[0]} == {8}
        assert any("1 - overlap, input and decoder" in row[0] for row in rows)
    assert tables[2] != tables[3]
