"""Training and distillation in two processes, as Lightning's DDP starts them, against one process.

In float64: the few nodes of such small images enlarge what float32 rounds away.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Subset

from pyg_viglad import ViGLAD
from pyg_viglad.models import make_network, viglad
from pyg_viglad.scoring import ChannelNormalization
from pyg_viglad.training import DistillationModule, PenaltyImages, fit, make_trainer
from pyg_viglad.training.data import StepSampler, shards_of
from tests.training.helpers import Images
from tests.training.test_modules import Features


def options(devices):
    return {"accelerator": "cpu", "devices": devices, "progress": False, "checkpoint_every": 100}


def train(folder, devices):
    """Trains and fits a model with all kinds of statistics; returns it and the trainer."""
    torch.manual_seed(0)
    viglad._PSEUDO_ANOMALIES = 8
    nodes = {"type": "neighbors", "windows": [2], "dimensions": 8}
    model = ViGLAD(
        "small", 96, student="gpdn", node_scorer=nodes, fusion="pseudo", feature="teacher"
    )
    trainer = make_trainer(folder, 2, **options(devices))
    penalty = PenaltyImages(size=96)
    fit(model, Images(5), Images(3), trainer, batch_size=4, penalty=penalty, lr=1e-5)
    return model, trainer


def distil(folder, devices):
    torch.manual_seed(0)
    images = [item.img[0] for item in Images(7)]
    teacher = make_network("gpdn", "small", 12, padding=True)
    trainer = make_trainer(folder, 2, **options(devices))

    def loader(part, items, steps):
        sampler = StepSampler(len(part), items, steps, 0, shards=lambda: shards_of(trainer))
        return DataLoader(part, items // devices or 1, sampler=sampler)

    module = DistillationModule(
        teacher,
        Features(),
        ChannelNormalization(12),
        1e-5,
        images=loader(Subset(images, range(5)), 1, 5),
    )
    trainer.fit(module, loader(images, 4, 2))
    return {**module.state_dict(), "smooth_loss": torch.tensor(module.smooth_loss)}


def run(folder, devices):
    """Returns all buffers and weights of both trainings, and scores; changes the default type."""
    torch.set_default_dtype(torch.float64)
    model, trainer = train(folder / "model", devices)
    distilled = distil(folder / "teacher", devices)
    scores = model.predict(torch.cat([item.img for item in Images(6)]))._asdict()
    found = {"model": model.state_dict(), "teacher": distilled, "scores": dict(scores)}
    if trainer.is_global_zero:
        torch.save(found, folder / "found.pt")
    return found


@pytest.fixture
def float64():
    yield
    torch.set_default_dtype(torch.float32)


def test_two_processes_train_as_one(tmp_path, float64):
    command = [sys.executable, "-m", __name__, str(tmp_path)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    alone = run(tmp_path / "alone", 1)
    assert process.wait(timeout=300) == 0
    found = torch.load(tmp_path / "found.pt")
    for part, values in alone.items():
        assert found[part].keys() == values.keys()
        for name, value in values.items():
            difference = (found[part][name].double() - value.double()).norm()
            assert difference <= 1e-5 * value.double().norm().clamp(min=1), name


def test_what_processes_need(tmp_path):
    model = ViGLAD("small", 96, autoencoder="conv")
    trainer = make_trainer(tmp_path, 1, **options(2))
    for images, validation, size in ((4, 2, 3), (4, 1, 2)):
        with pytest.raises(ValueError, match="a multiple of the 2 processes"):
            fit(model, Images(images), Images(validation), trainer, batch_size=size)


if __name__ == "__main__":
    run(Path(sys.argv[1]), 2)
