import re

import pytest
import torch

from benchmarks.studies import mean_autoencoder
from pyg_viglad.datasets import DigitAnatomy
from pyg_viglad.models import ViGLAD

TINY = ["--images", "3", "--iterations", "1", "--batch-size", "1", "--seeds", "0"]


def test_answers_every_image_with_the_mean_features():
    train = DigitAnatomy("train", num_train=9)
    model = ViGLAD("small", 96).eval()
    model.fit_teacher_statistics(train.images)
    expected = model.teacher_features(model.normalize(train.images)).mean(0)
    found = mean_autoencoder.fit_mean(train)(torch.rand(3, 3, 64, 64))
    assert found.shape == (3, 384, 16, 16)
    assert torch.allclose(found, expected.expand_as(found), atol=1e-4)


def test_prints_every_score_of_both(capsys):
    mean_autoencoder.main([*TINY, "--good", "4", "--anomalous", "8"])
    lines = [re.sub(" +", " ", line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("| autoencoder | score | disorder | flip |")
    rows = [line.strip("| ").split(" | ") for line in lines[2:]]
    assert [row[0] for row in rows] == ["vig"] * 5 + ["mean"] * 5
    assert [row[1] for row in rows] == 2 * ["A_r:local", "A_r:global", "A_r", "A_f", "A"]
    for *_, logical, structural, mean in rows:
        assert float(mean) == pytest.approx((float(logical) + float(structural)) / 2, abs=0.11)
    assert rows[1] != rows[6]
