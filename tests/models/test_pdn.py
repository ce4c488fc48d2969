import pytest
import torch
from torch import nn

from pyg_viglad import PDN


def plain_pdn(size, out_channels, padding):
    """The layers of EfficientAD's tables, written out."""
    p = 3 if padding else 0
    q = 1 if padding else 0
    pool = nn.AvgPool2d(2, 2, padding=q)
    if size == "small":
        return nn.Sequential(
            nn.Conv2d(3, 128, 4, padding=p),
            nn.ReLU(),
            pool,
            nn.Conv2d(128, 256, 4, padding=p),
            nn.ReLU(),
            pool,
            nn.Conv2d(256, 256, 3, padding=q),
            nn.ReLU(),
            nn.Conv2d(256, out_channels, 4),
        )
    return nn.Sequential(
        nn.Conv2d(3, 256, 4, padding=p),
        nn.ReLU(),
        pool,
        nn.Conv2d(256, 512, 4, padding=p),
        nn.ReLU(),
        pool,
        nn.Conv2d(512, 512, 1),
        nn.ReLU(),
        nn.Conv2d(512, 512, 3, padding=q),
        nn.ReLU(),
        nn.Conv2d(512, out_channels, 4),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 1),
    )


@pytest.mark.parametrize("size", ["small", "medium"])
@pytest.mark.parametrize("padding", [False, True])
def test_equals_the_tables(size, padding):
    model = PDN(size, 16, padding)
    plain = plain_pdn(size, 16, padding)
    weights = [p.detach() for p in model.parameters()]
    with torch.no_grad():
        for parameter, weight in zip(plain.parameters(), weights, strict=True):
            parameter.copy_(weight)
    images = torch.randn(2, 3, 64, 48)
    assert torch.allclose(model(images), plain(images), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "channels", "count"),
    [
        ("small", 384, 2_694_144),
        ("small", 768, 4_267_392),
        ("medium", 384, 8_026_624),
        ("medium", 768, 11_615_488),
    ],
)
def test_number_of_weights(size, channels, count):
    assert sum(p.numel() for p in PDN(size, channels).parameters()) == count


def test_sizes_and_receptive_field():
    model = PDN("small", 4).eval()
    assert model(torch.zeros(1, 3, 256, 128)).shape == (1, 4, 56, 24)
    assert PDN("small", 4, padding=True)(torch.zeros(1, 3, 256, 128)).shape == (1, 4, 64, 32)
    images = torch.zeros(1, 3, 96, 96, requires_grad=True)
    model(images)[0, :, 5, 7].sum().backward()
    ys, xs = images.grad[0].abs().sum(0).nonzero(as_tuple=True)
    assert (int(ys.min()), int(ys.max())) == (20, 52)  # 33 pixels from 4 * 5
    assert (int(xs.min()), int(xs.max())) == (28, 60)


def test_repr_reset_and_errors():
    model = PDN("small", 8)
    assert str(model) == "PDN(small, 8)"
    torch.manual_seed(1)
    model.reset_parameters()
    first = model.conv1.weight.clone()
    torch.manual_seed(1)
    model.reset_parameters()
    assert torch.equal(first, model.conv1.weight)
    with pytest.raises(ValueError, match="Expected 'size'"):
        PDN("large")


@pytest.mark.parametrize("size", ["small", "medium"])
def test_some_channels_are_those_of_the_whole(size):
    model = PDN(size, 12)
    images = torch.randn(2, 3, 64, 48)
    whole = model(images)
    weights = list(model.parameters())
    for channels in (slice(6), slice(6, 12)):
        part = model(images, channels)
        assert torch.allclose(part, whole[:, channels], atol=1e-6)
        ours = torch.autograd.grad(part.square().sum(), weights)
        expected = torch.autograd.grad(
            whole[:, channels].square().sum(), weights, retain_graph=True
        )
        for gradient, other in zip(ours, expected, strict=True):
            assert torch.allclose(gradient, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))
