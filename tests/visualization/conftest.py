import pytest
import torch

from tests.visualization.helpers import graph


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def graphs():
    """Pictures are 32 x 48; the graphs saw images of 16 x 24."""
    return {
        "input": graph(2, (8, 12), (16, 24)),
        "encoder": graph(2, (2, 3), (16, 24)),
        "decoder": graph(2, (8, 12), (16, 24), k=4, loop=False),
    }
