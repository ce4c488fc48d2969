"""Statistics of images that two processes share, against those of one process and against NumPy."""

import pytest
import torch

from pyg_viglad.scoring import (
    ALONE,
    ChannelNormalization,
    MapCalibration,
    NodeGaussian,
    NodeNeighbors,
    Shards,
    Whitening,
)
from tests.processes import run_in_two


def features(images=11):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, 6, 8, 8, generator=generator) * torch.arange(1, 7).view(6, 1, 1) + 3


def fit_all(shards=None):
    """Fits every kind of statistics on this process's images; returns all buffers."""
    shards = Shards.of_process_group() if shards is None else shards
    train, validation = features()[:6], features()[6:]
    mine, held_out = shards.deal(train), shards.deal(validation)
    fitted = {
        "normalization": ChannelNormalization(6),
        "whitening": Whitening(6, 3),
        "maps": MapCalibration(0.3, 0.9),
        "gaussian": NodeGaussian(window=2, channels=4),
        "neighbors": NodeNeighbors(windows=(2, 4), dimensions=3, elsewhere=20, mirrored=True),
    }
    fitted["normalization"].fit(mine.split(2), shards)
    fitted["whitening"].fit(mine.split(2), shards)
    fitted["maps"].fit(held_out[:, 0], shards)
    fitted["gaussian"].fit(list(mine.split(2)), shards=shards)
    mirrors = [[mine.flip(3)], [mine.flip(2)]]
    fitted["neighbors"].fit(list(mine.split(2)), mirrors, shards)
    for name in ("gaussian", "neighbors"):
        fitted[name].calibrate([held_out], shards)
    found = {f"{k}.{name}": v for k, m in fitted.items() for name, v in m.state_dict().items()}
    return {**found, "images": shards.gather(mine), "mean": shards.mean(mine)}


def test_two_processes_find_what_one_finds(tmp_path):
    alone = fit_all(ALONE)
    for found in run_in_two(fit_all, tmp_path):
        assert found.keys() == alone.keys()
        assert torch.equal(found["images"], features()[:6])
        for name, value in alone.items():
            assert torch.allclose(found[name].double(), value.double(), atol=1e-5), name


def test_the_dealt_images():
    assert Shards(1, 3).deal(torch.arange(8)).tolist() == [1, 4, 7]
    assert [list(Shards(rank, 2).deal("abcde")) for rank in range(2)] == [[*"ace"], [*"bd"]]
    assert ALONE.deal(iter([])) is not None
    with pytest.raises(ValueError, match="an image for each of 3 processes"):
        Shards(0, 3).deal([1, 2])
    with pytest.raises(ValueError, match="which several processes can share"):
        Shards(0, 2).deal(iter([1, 2]))
