import pytest
import torch
from lightning import Trainer
from torch_geometric.data import Data

from pyg_viglad import ViGLAD
from pyg_viglad.training import Photographs
from pyg_viglad.training.fit import fit
from pyg_viglad.training.viglad_training import ViGLADTraining


class Images(list):
    """A data set of normal images."""

    def __init__(self, number):
        generator = torch.Generator().manual_seed(number)
        images = torch.rand(number, 1, 3, 96, 96, generator=generator)
        super().__init__(Data(img=image, num_nodes=0) for image in images)


def trainer(folder, steps, precision="32-true"):
    return Trainer(
        max_steps=steps,
        accelerator="cpu",
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def test_fit_trains_and_calibrates(tmp_path):
    torch.manual_seed(0)
    model = ViGLAD("small", 96)
    before = model.student.conv1.weight.clone()
    photographs = Photographs(size=96, length=4)
    fit(model, Images(4), Images(2), trainer(tmp_path, 2), batch_size=2, penalty=photographs)
    assert not torch.equal(before, model.student.conv1.weight)
    assert model.scorer.fitted
    assert not model.training


def test_learning_rate_drops_once(tmp_path):
    module = ViGLADTraining(ViGLAD("small", 96, autoencoder="conv"), lr=1e-3, drop_at=0.5)
    module.model.fit_teacher_statistics([item.img for item in Images(2)])
    batches = [{"images": item} for item in Images(4)]
    run = trainer(tmp_path, 4)
    run.fit(module, torch.utils.data.DataLoader(batches, None))
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4)
    assert run.optimizers[0].param_groups[0]["weight_decay"] == 1e-5


def test_a_loss_that_is_not_finite_is_named():
    module = ViGLADTraining(ViGLAD("small", 96, autoencoder="conv", losses="printed"))
    module.model.fit_teacher_statistics(Images(2)[0].img)
    with torch.no_grad():
        module.model.student.conv1.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="Expected a finite loss"):
        module.training_step({"images": Images(2)[0]})
