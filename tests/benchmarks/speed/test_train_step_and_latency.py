"""The scripts that measure time run through at tiny sizes; no time is judged."""

import re

import pytest
import torch

from benchmarks.speed import latency, train_step
from benchmarks.speed._comparison import hardware, markdown
from benchmarks.speed._timing import interleaved
from pyg_viglad import ViGLAD


def test_turns_and_warm_up():
    calls = []
    functions = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    times = interleaved(functions, rounds=3, warmup=1)
    assert calls == ["a", "b"] * 4
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}
    assert all(value >= 0 for value in times["a"])


def test_table_of_ratios():
    times = {"slow": [2.0, 4.0, 6.0], "fast": [1.0, 1.0, 2.0]}
    lines = markdown(times, "slow", {"note": {"fast": "yes"}}).splitlines()
    assert lines == [
        "|  | ms | times faster | note |",
        "| --- | --- | --- | --- |",
        "| slow | 4000.0 | 1.00 |  |",
        "| fast | 1000.0 | 3.00 | yes |",
    ]
    assert re.search(r"torch \d.*, 2 threads$", hardware(2))
    assert hardware(1).endswith(", 1 thread")


def rows(shown):
    return [line for line in shown.splitlines() if line.startswith(("| ViGLAD", "| anomalib"))]


TINY = ["--image-size", "96", "--rounds", "1", "--warmup", "0"]


def test_train_step(capsys):
    train_step.main(TINY)
    shown = rows(capsys.readouterr().out)
    assert len(shown) == 8
    assert sum("cached" in row for row in shown) == sum("bfloat16" in row for row in shown) == 4
    counts = [float(row.split(" | ")[3]) for row in shown]
    assert counts[0] > counts[1] > 0  # without the teacher there is less to do
    assert all(re.search(r"\d+ % \|$", row) for row in shown)


def test_latency(capsys):
    latency.main([*TINY, "--sizes", "small"])
    assert len(rows(capsys.readouterr().out)) == 4


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
            train_step.our_step(image, photograph, "cpu", "vig", False, cached)()
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
    assert model.is_set(latency.efficient_ad_model(256).quantiles)
