import pytest
import torch

from pyg_viglad.nn import NodeNorm, keep_running_statistics, synchronize_batch_norms
from tests.processes import run_in_two


def test_norm_equals_batch_norm_from_16_nodes_on():
    torch.manual_seed(0)
    norm, expected = NodeNorm(5), torch.nn.BatchNorm1d(5)
    x = torch.randn(16, 5)
    assert torch.equal(norm(x), expected(x))
    assert torch.equal(norm.running_var, expected.running_var)
    assert torch.equal(norm.eval()(x[:1]), expected.eval()(x[:1]))


@pytest.mark.parametrize("nodes", [1, 2, 15])
def test_few_nodes_use_the_running_statistics_and_keep_them(nodes):
    torch.manual_seed(0)
    norm = NodeNorm(5)
    norm(torch.randn(20, 5) * 3 + 1)
    state = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.randn(nodes, 5)
    assert torch.equal(norm(x), norm.eval()(x))
    assert all(torch.equal(value, state[name]) for name, value in norm.state_dict().items())


def test_synchronised_batch_norm_uses_the_batch_also_with_few_nodes():
    norm = torch.nn.SyncBatchNorm.convert_sync_batchnorm(torch.nn.Sequential(NodeNorm(5)))[0]
    assert type(norm) is torch.nn.SyncBatchNorm  # which runs on accelerators only


def test_running_statistics_are_kept():
    norms = torch.nn.Sequential(NodeNorm(5), torch.nn.BatchNorm1d(5))
    x = torch.randn(20, 5)
    with keep_running_statistics(norms):
        out = norms(x)
    assert all(norm.running_mean.eq(0).all() for norm in norms)
    assert torch.equal(norms(x), out)
    assert not any(norm.running_mean.eq(0).all() for norm in norms[:1])


def normalize(parts):
    """Passes this process's part through two norms, or all parts through them where there is one process."""
    several = torch.distributed.is_initialized()
    torch.manual_seed(0)
    norms = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Flatten(1), NodeNorm(12))
    with torch.no_grad():
        for norm in (norms[0], norms[2]):
            norm.weight.copy_(torch.rand_like(norm.weight))
            norm.bias.copy_(torch.rand_like(norm.bias))
    x = parts[torch.distributed.get_rank()] if several else torch.cat(parts)
    x = x.requires_grad_()
    with synchronize_batch_norms(norms, 2 if several else 1):
        y = norms(x)
    y.pow(3).sum().backward()
    found = {"out": y.detach(), "gradient": x.grad, "state": norms.state_dict()}
    return {**found, "weights": [p.grad for p in norms.parameters()]}


def normalize_all(cases):
    return [normalize(parts) for parts in cases]


def test_two_processes_normalise_as_one(tmp_path):
    """Also parts of unequal size, and nodes that are enough only together, or not even so."""
    cases = [[torch.randn(n, 3, 2, 2) + 5 for n in sizes] for sizes in ((11, 9), (12, 4), (7, 8))]
    found = run_in_two(normalize_all, tmp_path, cases)
    for parts, *ours in zip(cases, *found, strict=True):
        whole = normalize(parts)
        for name in ("out", "gradient"):
            joined = torch.cat([our[name] for our in ours])
            assert torch.allclose(joined, whole[name], rtol=1e-4, atol=1e-4)
        for name, value in whole["state"].items():
            assert torch.allclose(ours[0]["state"][name], value, atol=1e-6), name
        for first, second, value in zip(*(o["weights"] for o in (*ours, whole)), strict=True):
            assert torch.allclose(first + second, value, atol=1e-3)  # of terms up to 40
