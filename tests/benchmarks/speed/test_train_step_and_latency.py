"""The scripts that measure time run through at tiny sizes; no time is judged."""

import re

import pytest
import torch

from benchmarks.speed import latency, train_step
from pyg_viglad import ViGLAD

TINY = ["--image-size", "96", "--rounds", "1"]


def rows(shown):
    """Rows of a table: name, then times and ratios in each precision."""
    lines = [line for line in shown.splitlines() if line.startswith("| ViGLAD")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    for _, first, faster, second, faster_too, *_ in found:
        assert min(float(first), float(second)) > 0
        assert re.fullmatch(r"\d+\.\d\dx", faster)
        assert re.fullmatch(r"\d+\.\d\dx", faster_too)
    return found


def test_train_step(capsys):
    train_step.main([*TINY, "--warmup", "0"])
    shown = capsys.readouterr().out
    assert "float32 times faster" in shown
    assert "bfloat16 times faster" in shown
    found = rows(shown)
    ends = ["", ", cached", ", EfficientAD's losses"]
    expected = [f"ViGLAD-S{kind}" for kind in ("", ", convolutional autoencoder")]
    assert [row[0] for row in found] == [start + end for start in expected for end in ends]
    counts = [float(row[-1]) for row in found]
    # The teacher's pass is saved; augmented images need another one.
    assert counts[2] > counts[0] > counts[1] > 0


def test_latency(capsys):
    latency.main([*TINY, "--warmup", "0", "--sizes", "small"])
    assert len(rows(capsys.readouterr().out)) == 2


def test_our_step_is_the_training_step():
    """One step of the benchmark moves the weights as one of the training loop."""
    image, photograph = torch.rand(1, 3, 96, 96), torch.rand(1, 3, 96, 96)
    made = []

    class Kept(ViGLAD):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_step, "ViGLAD", Kept)
        for cached in (False, True):
            torch.manual_seed(0)
            train_step.our_step(image, photograph, "vig", False, cached)()
    torch.manual_seed(0)
    model = ViGLAD("small", 96)
    model.fit_teacher_statistics(image)
    model.train()
    optimizer = torch.optim.Adam(
        [p for p in model.parameters() if p.requires_grad], 1e-4, weight_decay=1e-5
    )
    sum(model.loss(image, photograph).values()).backward()
    optimizer.step()
    for other in made:
        for name in ("student.conv4.weight", "autoencoder.projection.weight"):
            ours = other.get_parameter(name)
            assert torch.allclose(ours, model.get_parameter(name), atol=1e-6)


def test_anomalib_gets_what_it_gets_in_its_own_training():
    pytest.importorskip("anomalib")
    model = train_step.efficient_ad(256, torch.ones(384))
    teacher = ViGLAD("small", 96).teacher
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(teacher.parameters(), model.teacher.parameters(), strict=True)
    )
    assert model.is_set(model.mean_std)
    assert model.is_set(latency.fitted_efficient_ad(256).quantiles)


def test_bfloat16_of_anomalib_is_its_networks_alone():
    pytest.importorskip("anomalib")
    model = train_step.efficient_ad(256, torch.ones(384))
    plain = model.teacher(torch.ones(1, 3, 96, 96))
    train_step.in_bfloat16(model.teacher, "cpu")
    half = model.teacher(torch.ones(1, 3, 96, 96))
    assert half.dtype == torch.float32
    assert torch.allclose(half, plain, atol=0.02 * plain.abs().max())
    assert not torch.equal(half, plain)
