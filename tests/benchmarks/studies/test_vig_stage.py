import re
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from benchmarks.studies import vig_stage
from pyg_viglad.datasets import DigitSource, ScatteredDigits
from pyg_viglad.models import ViGStage


@pytest.mark.parametrize("channels", [16, 64])
@pytest.mark.parametrize("depth", [1, 3])
def test_both_stages_have_as_many_parameters(channels, depth):
    ours = ViGStage(40, channels, depth)
    theirs = vig_stage.ConvStage(40, channels, ours)
    numbers = [sum(p.numel() for p in stage.parameters()) for stage in (ours, theirs)]
    assert numbers[1] == pytest.approx(numbers[0], rel=0.02)
    assert len(theirs) == 1 + depth
    maps = torch.rand(2, 40, 5, 6)
    assert theirs(maps).shape == ours(maps).shape


def test_swapped_digits_are_those_of_training(tmp_path):
    path = vig_stage.write_swapped("digits", tmp_path / "swapped.npz")
    plain, swapped = DigitSource("digits"), DigitSource(path)
    images = ScatteredDigits("test", path, num_test_good=5, num_test_anomalous=0)
    for digits, sources in zip(images.digits.tolist(), images.sources.tolist(), strict=True):
        for digit, source in zip(digits, sources, strict=True):
            if digit > 0:
                drawn = swapped.images[source]
                known = plain.images[plain.pools["train"][digit]]
                unknown = plain.images[plain.pools["test"][digit]]
                assert np.any((known == drawn).all((1, 2)))
                assert not np.any((unknown == drawn).all((1, 2)))


def test_test_images_have_layouts_of_their_own(monkeypatch):
    drawn = {}

    def keep(*arguments, **options):
        drawn[split, seed] = ScatteredDigits(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(vig_stage, "ScatteredDigits", keep)
    args = SimpleNamespace(data="digits", num_objects=3, images=8, test_images=8)
    for seed in (0, 1):
        for split in ("train", "test"):
            with pytest.raises(KeyboardInterrupt):
                vig_stage.load_features(args, None, split, seed)
    layouts = {tuple(images.boxes.flatten().tolist()) for images in drawn.values()}
    assert len(layouts) == 4


def test_prints_every_head(tmp_path, capsys):
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv1_100", pretrained=False, num_classes=0)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    options = ["--images", "32", "--test-images", "16", "--epochs", "1", "--batch-size", "8"]
    weights = ["--backbone-weights", str(tmp_path / "weights.safetensors")]
    vig_stage.main([*weights, *options, "--channels", "8", "--seeds", "0", "1"])
    lines = [re.sub(" +", " ", line) for line in capsys.readouterr().out.splitlines()]
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    assert rows[0] == [
        "head",
        "parameters",
        "training (CPU s)",
        "train",
        "accuracy",
        *vig_stage.LABELS,
    ]
    assert [row[0] for row in rows[2:]] == ["pooling", "convolutions", "ViGStage, knn"]
    for row in rows[2:]:
        accuracy, *recalls = (float(cell.split(" ± ")[0]) for cell in row[4:])
        assert accuracy == pytest.approx(np.mean(recalls), abs=0.11)


def test_unknown_graph():
    with pytest.raises(ValueError, match=r"'graph' to be one of .*'nothing'"):
        vig_stage.main(["--heads", "pooling", "nothing"])
