import pytest
import torch

from pyg_viglad.models import ConvAutoEncoder


def test_weights_and_shapes_of_efficientad():
    model = ConvAutoEncoder()
    assert sum(p.numel() for p in model.parameters()) == 1_096_320
    grids = []
    for layer in model.decoder:
        layer.register_forward_pre_hook(lambda _, inputs: grids.append(inputs[0].shape[-1]))
    assert model.eval()(torch.rand(1, 3, 256, 256)).shape == (1, 384, 56, 56)
    assert grids == [3, 8, 15, 32, 63, 127]


@pytest.mark.parametrize("size", [(96, 96), (128, 192), (100, 96)])
def test_other_sizes(size):
    model = ConvAutoEncoder(8, size)
    output = model(torch.rand(2, 3, *size))
    assert output.shape == (2, 8, (size[0] - 32) // 4, (size[1] - 32) // 4)
    output.sum().backward()


def test_bad_sizes():
    with pytest.raises(ValueError, match="Expected 'image_size'"):
        ConvAutoEncoder(8, 60)
    with pytest.raises(ValueError, match="Expected images of 96 x 96"):
        ConvAutoEncoder(8, 96)(torch.zeros(1, 3, 128, 128))
