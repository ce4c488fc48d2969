"""Vision graph blocks in teacher and student."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch_geometric.nn import GraphConv

from benchmarks.grid import detector_options
from pyg_viglad import PDN, ViGLAD
from pyg_viglad.models import GPDN, load_teacher, save_teacher
from pyg_viglad.nn import WindowKNN
from tests.models.helpers import shaken, smooth_images


@pytest.mark.parametrize("size", ["small", "medium"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_teacher_files(tmp_path, size, suffix):
    torch.manual_seed(0)
    path = tmp_path / f"teacher{suffix}"
    if suffix == ".pth":
        model = shaken(GPDN(size, 24, padding=True))
        torch.save({"state_dict": {f"teacher.{k}": v for k, v in model.state_dict().items()}}, path)
    else:
        graph = {"graph": "window", "graph_kwargs": {"size": 5}}
        model = shaken(GPDN(size, 24, padding=True, k=4, operator="sage", **graph))
        model.vig.ffn[1].running_var[0] = 1e6  # beyond float16
        model.vig.ffn[1].num_batches_tracked.fill_(70_001)
        save_teacher(model, path, {"seed": 3})
    loaded = load_teacher(path)
    assert isinstance(loaded, GPDN)
    assert loaded.config == model.config
    assert loaded.vig.graph == model.vig.graph
    assert not loaded.training
    assert not loaded.padding
    assert not any(p.requires_grad for p in loaded.parameters())
    for name, value in model.state_dict().items():
        exact = suffix == ".pth" or "running" in name or "num_batches" in name
        assert torch.allclose(loaded.state_dict()[name], value, rtol=0, atol=0 if exact else 2e-3)


def test_bad_teacher_files(tmp_path):
    state = GPDN("small", 8).state_dict()
    file = tmp_path / "teacher.safetensors"
    few = {key: value for key, value in state.items() if not key.startswith("conv2.")}
    for kept, options, message in (
        (few, {}, "beside a graph block"),
        ({**state, "vig.ffn.1.bias": torch.zeros(3)}, {}, "shapes of a small GPDN"),
        (state, {"k": "many"}, "Expected 'k' of the graph block"),
        (state, {"operator": "other"}, "Expected 'operator'"),
        (state, {"graph": "other"}, "Expected 'graph'"),
    ):
        save_file({key: value.contiguous() for key, value in kept.items()}, file, options)
        with pytest.raises(ValueError, match=message):
            load_teacher(file)
    for options, message in (
        ({"operator": GraphConv}, "operator and graph by name"),
        ({"graph": WindowKNN}, "operator and graph by name"),
        ({"graph": "window", "graph_kwargs": {"size": torch.tensor(3)}}, "that JSON can hold"),
    ):
        with pytest.raises(ValueError, match=message):
            save_teacher(GPDN("small", 8, **options), tmp_path / "own.safetensors", {})
    assert [path.name for path in tmp_path.iterdir()] == ["teacher.safetensors"]


@pytest.mark.parametrize("teacher", [PDN, GPDN])
def test_training_moves_the_student_and_leaves_the_teacher(teacher):
    torch.manual_seed(0)
    images = smooth_images(2)
    model = ViGLAD("small", 96, teacher("small", 16), "conv", student="gpdn").train()
    assert isinstance(model.student, GPDN)
    assert model.student.training
    assert not any(module.training for module in model.teacher.modules())
    model.fit_teacher_statistics(images)
    before = {key: value.clone() for key, value in model.teacher.state_dict().items()}
    sum(model.loss(images, smooth_images(1, 5)).values()).backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    for name, parameter in model.student.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert all(torch.equal(value, before[key]) for key, value in model.teacher.state_dict().items())


def test_the_student_s_statistics_are_those_of_normal_images():
    """Photographs, which it must not imitate the teacher on, do not enter what scores are made with."""
    torch.manual_seed(0)
    images, photographs = smooth_images(2), torch.rand(2, 3, 96, 96)
    model = ViGLAD("small", 96, PDN("small", 16), "conv", student="gpdn")
    model.fit_teacher_statistics(images)
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    statistics = []
    for other in (None, photographs):
        model.load_state_dict(kept)
        model.train().loss(images, other)
        norm = model.student.vig.ffn[1]
        assert int(norm.num_batches_tracked) == 1
        assert norm.track_running_stats
        statistics.append((norm.running_mean.clone(), norm.running_var.clone()))
    for plain, beside in zip(*statistics, strict=True):
        assert torch.equal(plain, beside)
    assert not torch.equal(statistics[0][0], torch.zeros_like(statistics[0][0]))


@pytest.mark.parametrize("teacher", ["mobilenetv1", "gpdn"])
def test_save_and_load(tmp_path, teacher):
    torch.manual_seed(0)
    options = {} if teacher == "mobilenetv1" else {"k": 5, "operator": "gin", "graph": "grid"}
    source = shaken(GPDN("medium", 16, **options)) if options else teacher
    model = ViGLAD("small", (96, 112), source, "conv", student="gpdn")
    shaken(model.student)
    model.fit_statistics(smooth_images(6, 1, (96, 112)), smooth_images(4, 2, (96, 112)))
    model.save_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path)
    assert str(loaded) == str(model)
    assert "student=gpdn" in str(loaded)
    assert type(loaded.teacher) is (GPDN if options else PDN)
    images = smooth_images(2, 3, (96, 112))
    for ours, theirs in zip(model.eval()(images), loaded(images), strict=True):
        assert ours is theirs is None or torch.equal(ours, theirs)


@pytest.mark.parametrize("options", [{"operator": GraphConv}, {"graph": WindowKNN}])
def test_a_teacher_with_an_own_part_is_asked_for(tmp_path, options):
    ViGLAD("small", 96, GPDN("small", 16, **options), "conv").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"custom {next(iter(options))}: pass `teacher=`"):
        ViGLAD.from_pretrained(tmp_path)
    again = ViGLAD.from_pretrained(tmp_path, teacher=GPDN("small", 16, **options))
    state = load_file(tmp_path / "model.safetensors")
    for name, value in again.teacher.state_dict().items():
        assert torch.equal(value, state[f"teacher.{name}"])


def test_options_and_names():
    assert "student" in detector_options("viglad")
    with pytest.raises(ValueError, match=r"Expected a network 'pdn' or 'gpdn' \(got 'other'"):
        ViGLAD("small", 96, student="other")
