import pytest
import torch


@pytest.fixture(autouse=True)
def keep_threads():
    """Restores the number of threads after a test: other numbers change sums in the last digits."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
