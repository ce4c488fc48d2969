import json

import torch

from benchmarks.studies import fusion
from pyg_viglad import PDN, ViGLAD

FEW = {"num_train": 8, "num_val": 4, "num_test_good": 5, "num_test_anomalous": 8}


def test_prints_the_weights_and_a_line_for_every_score(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pyg_viglad.models.viglad._PSEUDO_ANOMALIES", 16)
    torch.manual_seed(0)
    saved = ViGLAD("small", 96, PDN("small", 12), "conv", whiten=6)
    saved.fit_teacher_statistics(torch.rand(4, 3, 96, 96))
    saved.save_pretrained(tmp_path)
    scorer = {"type": "neighbors", "windows": [2]}
    options = ["--options", json.dumps(FEW), "--node-scorers", "gaussian", json.dumps(scorer)]
    fusion.main([str(tmp_path), *options])
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if line.startswith(str(tmp_path))]
    assert ["NodeGaussian" in head for head in heads] == [True, False]
    assert all("'A_r:global': " in head for head in heads)
    names = ["A_r:local", "A_r:global", "A_r", "A_f", "A", "A_n", "A + A_n, equal weights"]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    found = [row for row in rows if len(row) > 3]
    assert found[0][:3] == ["score", "disorder", "flip"]
    expected = [*names, "weights of pseudo-anomalies"]
    assert [row[0] for row in found if row[0] in expected] == 2 * expected
    # The networks are those of the saved model, not drawn anew.
    splits = fusion.open_data("digits", (96, 96), FEW)
    model = fusion.refit(saved, splits, None)
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        for ours, theirs in zip(model.features(images), saved.eval().features(images), strict=True):
            assert torch.equal(ours, theirs)
