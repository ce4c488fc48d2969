import json

import torch

from benchmarks.studies import composition, teachers
from pyg_viglad.commands.data import open_data
from pyg_viglad.metrics import image_auroc
from pyg_viglad.models import load_teacher
from pyg_viglad.scoring import GraphComposition

FEW = {"num_train": 12, "num_val": 4, "num_test_good": 6, "num_test_anomalous": 8}


def test_prints_the_aurocs_of_every_number_of_clusters_and_seed(capsys):
    options = ["--image-size", "96", "--options", json.dumps(FEW), "--kinds", "2", "4"]
    composition.main([*options, "--seeds", "0", "1"])
    lines = [line.strip("| ").split("|") for line in capsys.readouterr().out.splitlines()]
    rows = {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}
    names = [f"A_c, {kinds} clusters, seed {seed}" for kinds in (2, 4) for seed in (0, 1)]
    assert [name for name in rows if name.startswith("A_c")] == names

    # One of the lines, computed step by step.
    splits = open_data("digits", (96, 96), FEW)
    outputs = [teachers.compute(load_teacher("mobilenetv1"), split, False) for split in splits]
    _, features = next(teachers.whiten(outputs, []))
    judge = GraphComposition(4, seed=1)
    judge.fit(features.train)
    scores = torch.cat([judge(batch) for batch in features.test])
    expected = image_auroc(scores, splits.test.kinds)
    column = rows["score"].index("logical")
    assert rows[names[-1]][column] == f"{100 * expected['logical']:.1f}"
