import pytest
import torch


@pytest.fixture(autouse=True)
def keep_threads():
    """Give the tests that follow the threads that they had: with others their sums differ."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
