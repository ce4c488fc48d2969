"""A grid over two nodes of a local Ray cluster."""

import json

import pytest

from benchmarks.grid import grid_states, read_grid, run_grid
from tests.benchmarks.grid.grids import MEAN, tiny, write_config


@pytest.fixture
def cluster():
    """Two nodes with one core each, as two machines would be."""
    ray = pytest.importorskip("ray")
    utils = pytest.importorskip("ray.cluster_utils")
    memory = 100 * 2**20
    cluster = utils.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": memory, "include_dashboard": False},
    )
    cluster.add_node(num_cpus=1, object_store_memory=memory)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_cells_run_on_all_nodes(cluster, tmp_path):
    models = {
        "Mean": {"type": MEAN, "wait": 1.0},
        "Broken": {"type": MEAN, "end": "error"},
        "Deadly": {"type": MEAN, "end": "death"},
    }
    grid = read_grid(write_config(tmp_path, tiny(models, seeds=[0, 1, 2])))
    cells = [c for c in grid.cells if c.model == "Mean" or c.seed == 0]
    out = tmp_path / "out"
    run_grid(cells[:1], out)  # done before, and not again
    before = next((out / "cells").glob("*/result.json")).stat().st_mtime_ns
    seen = []
    run_grid(
        cells,
        out,
        ray=cluster.address,
        report=lambda cell, outcome: seen.append((cell.model, outcome.state)),
    )
    assert sorted(seen) == [
        ("Broken", "failed"),
        ("Deadly", "failed"),
        ("Mean", "done"),
        ("Mean", "done"),
    ]
    assert next((out / "cells").glob("*mean-seed0*/result.json")).stat().st_mtime_ns == before
    states = {(s.cell.model, s.cell.seed): s for s in grid_states(cells, out)}
    assert [states["Mean", seed].state for seed in range(3)] == ["done"] * 3
    assert states["Broken", 0].message == "Expected another end"
    assert states["Deadly", 0].state == "failed"
    nodes = {
        json.loads(path.read_text())["environment"].get("node")
        for path in (out / "cells").glob("*/result.json")
    }
    assert len(nodes - {None}) == 2


def test_no_cluster_is_said_at_once(tmp_path):
    pytest.importorskip("ray")
    cells = read_grid(write_config(tmp_path, tiny())).cells
    with pytest.raises(ValueError, match=r"Ray cluster at '127\.0\.0\.1:1'"):
        run_grid(cells, tmp_path / "out", ray="127.0.0.1:1")
