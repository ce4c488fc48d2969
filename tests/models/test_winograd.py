"""The fast convolution against the plain one."""

import copy

import pytest
import torch
from torch import nn

from pyg_viglad import PDN
from pyg_viglad.models._winograd import FastConv


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 40), (38, 19), (41, 23)])
@pytest.mark.parametrize("padding", [0, 3])
def test_equals_the_plain_convolution(height, width, padding):
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 24, 4, padding=padding)
    x = torch.randn(2, 64, height, width).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert FastConv.pays(conv, x)
        ours = FastConv(conv)(x)
        exact = nn.functional.conv2d(
            x.double(), conv.weight.double(), conv.bias.double(), padding=padding
        )
        assert ours.shape == exact.shape
        assert float((ours - exact).abs().max()) < 1e-5
        part = FastConv(conv)(x, slice(5, 9))
    assert float((part - exact[:, 5:9]).abs().max()) < 1e-5


def test_the_kernels_are_those_of_the_weights_now():
    model, images = PDN("small", 16).eval(), torch.randn(1, 3, 128, 128)
    for change in (lambda w: w.zero_(), lambda w: w.data.normal_(std=0.02), lambda w: w.neg_()):
        with torch.no_grad():
            model(images)
            change(model.conv4.weight)
            fast = model(images)
        assert model._fast
        assert torch.allclose(fast, model(images), atol=1e-5)


def test_it_stays_where_it_belongs():
    model, images = PDN("small", 16), torch.randn(1, 3, 128, 128)
    model(images).sum().backward()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert model(images).dtype == torch.bfloat16
    with torch.no_grad():
        model.double()(images.double())
    assert not model._fast
    with torch.inference_mode():
        whole = model.float()(images)
    assert sorted(model._fast) == [2, 4]
    copied = copy.deepcopy(model)
    assert not copied._fast
    assert list(model.state_dict()) == list(copied.state_dict())
    with torch.no_grad():
        assert torch.allclose(copied(images), whole, atol=1e-6)
