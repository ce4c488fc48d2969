import pytest
import torch

from pyg_viglad.nn import NodeNorm, keep_running_statistics


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
