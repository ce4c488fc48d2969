import json

import pytest
import timm
import torch

from benchmarks.studies import teachers
from pyg_viglad.scoring import Whitening

FEW = {"num_train": 12, "num_val": 4, "num_test_good": 6, "num_test_anomalous": 8}


@pytest.fixture
def backbone(tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_efficientnet").state_dict(), weights)
    return json.dumps({"source": "timm:test_efficientnet", "weights": str(weights), "scale": 1})


def test_prints_a_line_for_every_teacher_width_and_score(capsys, backbone):
    options = ["--image-size", "96", "--options", json.dumps(FEW), "--whiten", "8"]
    teachers.main([*options, "--teachers", "mobilenetv1", backbone])
    lines = [line.strip("| ").split("|") for line in capsys.readouterr().out.splitlines()]
    rows = [[cell.strip() for cell in line] for line in lines]
    assert rows[0] == [
        *("teacher", "whiten", "score", "disorder", "flip", "missing", "novel"),
        *("logical", "structural", "mean", "pooled", "seconds per image"),
    ]
    names = ["mobilenetv1", "timm:test_efficientnet, strides 8 and 16, scale 1"]
    expected = [
        [name, width, score] for name in names for width in ("no", "8") for score in teachers.SCORES
    ]
    assert [row[:3] for row in rows[2:]] == expected
    for row in rows[2:]:
        *_, logical, structural, mean, _, _ = map(float, row[3:])
        assert abs(mean - (logical + structural) / 2) < 0.11


def test_compositions_of_every_number_of_clusters_and_seed(capsys):
    options = ["--image-size", "96", "--options", json.dumps(FEW), "--whiten", "8"]
    teachers.main([*options, "--clusters", "2", "4", "--cluster-seeds", "0", "1"])
    lines = [line.strip("| ").split("|") for line in capsys.readouterr().out.splitlines()]
    rows = {
        line[2].strip(): [cell.strip() for cell in line[3:]] for line in lines if "A_c" in line[2]
    }
    assert list(rows) == [f"A_c, {n} clusters, seed {seed}" for n in (2, 4) for seed in (0, 1)]
    assert len({tuple(row) for row in rows.values()}) > 1


def test_whitens_as_the_model_does():
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(6, 6, generator=generator)
    outputs = [
        [torch.einsum("dc,bchw->bdhw", mix, torch.randn(4, 6, 9, 9, generator=generator))]
        for _ in range(3)
    ]
    expected = Whitening(6, 3, teachers.SHRINKAGE)
    expected.fit(outputs[0])
    test = outputs[2][0]
    (_, plain), (width, features) = teachers.whiten(outputs, [3])
    assert width == 3
    assert torch.allclose(plain.test[0].float(), expected.standardize(test), atol=5e-3)
    ratio = features.test[0].float() / expected(test)
    assert torch.allclose(ratio, ratio.median().expand_as(ratio), rtol=0.1)
