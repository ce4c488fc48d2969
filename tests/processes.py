"""Functions run by two processes that communicate, on the CPU."""

import torch
from torch import multiprocessing


def run_in_two(function, folder, *arguments):
    """Runs a function of a test module in two processes; returns what it returned in either."""
    multiprocessing.spawn(_work, (function, folder, arguments), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def _work(rank, function, folder, arguments):
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    torch.distributed.init_process_group("gloo", store, rank=rank, world_size=2)
    torch.save(function(*arguments), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
