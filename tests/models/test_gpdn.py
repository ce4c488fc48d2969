"""The patch description network with a vision graph block."""

import pytest
import torch
from torch_geometric.nn import GraphConv

from pyg_viglad import PDN
from pyg_viglad.models import GPDN
from tests.models.helpers import shaken, smooth_images
from tests.oracles.gpdn import gpdn_oracle


@pytest.mark.parametrize(
    ("size", "padding", "shape"),
    [("small", False, (48, 56)), ("small", True, (24, 32)), ("medium", False, (44, 40))],
)
def test_equals_the_layers_written_out(size, padding, shape):
    torch.manual_seed(0)
    model = shaken(GPDN(size, 6, padding, k=4)).double()
    images = torch.randn(2, 3, *shape)
    with torch.no_grad():
        ours = model(images.double())
    expected = gpdn_oracle(images, model.state_dict(), size, padding, k=4)
    assert torch.allclose(ours, expected, atol=1e-9)


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("size", [(96, 96), (96, 112), (128, 128), (100, 104), (36, 40)])
def test_sizes_are_those_of_the_pdn(size, padding):
    images = torch.zeros(1, 3, *size)
    with torch.no_grad():
        assert GPDN("small", 4, padding)(images).shape == PDN("small", 4, padding)(images).shape


@pytest.mark.parametrize("padding", [False, True])
def test_sizes_of_medium(padding):
    images = torch.zeros(1, 3, 96, 112)
    with torch.no_grad():
        assert GPDN("medium", 4, padding)(images).shape == PDN("medium", 4, padding)(images).shape


@pytest.mark.parametrize(("size", "place"), [("small", 3), ("medium", 4)])
def test_all_but_the_middle_is_the_pdn(size, place):
    ours, theirs = GPDN(size, 8).state_dict(), PDN(size, 8).state_dict()
    convs = {key: v.shape for key, v in ours.items() if not key.startswith("vig.")}
    gone = {f"conv{place}.weight", f"conv{place}.bias"}
    assert convs == {key: v.shape for key, v in theirs.items() if key not in gone}
    assert theirs[f"conv{place}.weight"].shape[-1] == 3


@pytest.mark.parametrize(("size", "count"), [("small", 2_897_408), ("medium", 8_826_368)])
def test_number_of_weights(size, count):
    assert sum(p.numel() for p in GPDN(size).parameters()) == count


def test_graphs_do_not_mix_images():
    torch.manual_seed(0)
    model = shaken(GPDN("small", 8)).double()
    images = smooth_images(3).double()
    images[2] = images[0].flip(-1)  # its places are near those of the first
    with torch.no_grad():
        together, alone = model(images), torch.cat([model(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-9)


def test_a_far_patch_changes_the_description():
    """The last column is changed to what the first place shows; that place is then described otherwise."""
    torch.manual_seed(0)
    images = torch.randn(1, 3, 96, 96)
    changed = images.clone()
    changed[..., 60:96] = images[..., 0:36]
    here = (..., slice(None), slice(0, 4))  # places of pixels 0 to 45
    for model, same in (
        (PDN("small", 8), True),
        (shaken(GPDN("small", 8, k=1)), True),  # its only neighbour is itself
        (shaken(GPDN("small", 8, k=9)), False),
    ):
        model.double()
        with torch.no_grad():
            before, after = model(images.double())[here], model(changed.double())[here]
        assert torch.allclose(before, after, atol=1e-9) is same, model


@pytest.mark.parametrize("size", ["small", "medium"])
def test_some_channels_are_those_of_the_whole(size):
    torch.manual_seed(0)
    model = shaken(GPDN(size, 12))
    images = torch.randn(2, 3, 64, 48)
    whole = model(images)
    for channels in (slice(6), slice(6, 12)):
        part = model(images, channels)
        assert torch.allclose(part, whole[:, channels], atol=1e-5)


def test_evaluation_chooses_neighbors_in_float32():
    torch.manual_seed(0)
    model = shaken(GPDN("small", 8))
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        plain = model.trunk(images)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model.trunk(images), plain)
            assert model(images).dtype == torch.bfloat16
            assert model.train()(images).dtype == torch.bfloat16


def test_state_reset_and_repr():
    model, other = shaken(GPDN("small", 8)), GPDN("small", 8).eval()
    images = torch.randn(1, 3, 64, 64)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(images), other(images))
    weights = []
    for _ in range(2):
        torch.manual_seed(1)
        model.reset_parameters()
        weights.append([p.clone() for p in model.parameters()])
    for one, again, before in zip(*weights, other.parameters(), strict=True):
        assert torch.equal(one, again)
        assert not torch.equal(one, before)
    assert str(model) == "GPDN(small, 8, k=9, max_relative)"
    assert (
        str(GPDN("medium", 8, True, 3, GraphConv)) == "GPDN(medium, 8, padding=True, k=3, custom)"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "large"}, "Expected 'size'"),
        ({"k": 0}, "Expected 'k'"),
        ({"operator": "other"}, "Expected 'operator'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        GPDN(**options)
