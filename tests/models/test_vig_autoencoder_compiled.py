"""The whole autoencoder, its graphs rebuilt in every block, as one compiled graph."""

import copy

import torch

from pyg_viglad import ViGAutoEncoder


def test_one_graph_forward_and_backward():
    # In double precision: a batch norm of few nodes, in training, makes any rounding large.
    torch.manual_seed(0)
    model = ViGAutoEncoder(16, image_size=64, k=4).double().train()
    expected = copy.deepcopy(model)
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    # Raises at a graph break.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    outputs = []
    for network in (compiled, expected):
        outputs.append(network(images))
        outputs[-1].square().mean().backward()
    assert torch.allclose(*outputs, rtol=1e-4, atol=1e-4)
    for (name, parameter), other in zip(
        model.named_parameters(), expected.parameters(), strict=True
    ):
        assert torch.allclose(parameter.grad, other.grad, rtol=1e-4, atol=1e-5), name
