"""The whole autoencoder, its graphs built anew in every block, as one compiled graph."""

import copy
import shutil

import pytest
import torch

from pyg_viglad import ViGAutoEncoder
from pyg_viglad.models import vig_autoencoder


def compare(model, backend):
    torch._dynamo.reset()
    expected = copy.deepcopy(model)
    images = torch.rand(2, 3, 64, 64).to(model.projection.weight)
    compiled = torch.compile(model, fullgraph=True, backend=backend)  # raises at a graph break
    outputs = []
    for network in (compiled, expected):
        outputs.append(network(images))
        outputs[-1].square().mean().backward()
    assert torch.allclose(*outputs, rtol=1e-4, atol=1e-4)
    for (name, parameter), other in zip(
        model.named_parameters(), expected.parameters(), strict=True
    ):
        assert torch.allclose(parameter.grad, other.grad, rtol=1e-4, atol=1e-5), name


def test_one_graph_forward_and_backward():
    # In double precision: a batch norm of few nodes, in training, makes any rounding large.
    torch.manual_seed(0)
    compare(ViGAutoEncoder(16, image_size=64, k=4).double().train(), "aot_eager")


@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_generated_code_equals_eager(monkeypatch):
    # One block in encoder and decoder: to generate the code of all takes minutes.
    monkeypatch.setattr(vig_autoencoder, "DEPTHS", (1, 0, 0, 0))
    torch.manual_seed(0)
    compare(ViGAutoEncoder(16, image_size=64, k=4).eval(), "inductor")
