import pytest
import torch

from pyg_viglad.scoring import (
    autoencoder_teacher_loss,
    hard_mean,
    penalty_loss,
    student_autoencoder_loss,
    student_teacher_loss,
)
from tests.oracles import scoring as oracle


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 2, 3, 4, 5, generator=generator).unbind()


def test_equations_15_to_17(maps):
    first, second = maps
    assert float(student_teacher_loss(first, second)) == pytest.approx(
        oracle.mean_square(first, second), rel=1e-5
    )
    assert float(penalty_loss(first)) == pytest.approx(
        oracle.mean_square(first, torch.zeros_like(first)), rel=1e-5
    )
    expected = oracle.mean_square(first, second)
    assert float(autoencoder_teacher_loss(first, second)) == pytest.approx(expected, rel=1e-5)
    assert float(student_autoencoder_loss(first, second)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.9, 0.999])
def test_hard_mean(maps, quantile):
    values = maps[0].square()
    assert float(hard_mean(values, quantile)) == pytest.approx(
        oracle.hard_mean(values, quantile), rel=1e-5
    )
    assert float(hard_mean(torch.ones(7), quantile)) == 1


def test_hard_mining_sends_gradients_to_the_hardest_alone(maps):
    first, second = maps[0], maps[1].clone().requires_grad_()
    student_teacher_loss(first, second, 0.9).backward()
    share = (second.grad != 0).float().mean()
    assert 0.09 < float(share) < 0.12


def test_gradients_flow_into_both_sides_of_equation_17(maps):
    first, second = (m.clone().requires_grad_() for m in maps)
    student_autoencoder_loss(first, second).backward()
    assert first.grad.abs().sum() > 0
    assert torch.allclose(first.grad, -second.grad)


def test_bad_quantile():
    with pytest.raises(ValueError, match="Expected 'quantile'"):
        hard_mean(torch.ones(3), 1.0)
