import pytest

from tests.benchmarks.grid.grids import write_weights


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A small backbone's weights as a file."""
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    write_weights(path)
    return path
