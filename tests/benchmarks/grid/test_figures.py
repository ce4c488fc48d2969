from benchmarks.grid import read_grid, run_grid
from benchmarks.grid.figures import draw_figures
from benchmarks.grid.results import read_results
from tests.benchmarks.grid.grids import MEAN, tiny, write_config


def test_maps_of_models_that_are_there_for_more_than_their_nodes(tmp_path, monkeypatch):
    models = {name: {"type": MEAN, "wait": wait} for name, wait in (("Own", 0.0), ("Nodes", 0.01))}
    columns = {
        "Own": {"model": "Own", "score": "score"},
        "Own nodes": {"model": "Own", "score": "A_n"},
        "Nodes": {"model": "Nodes", "score": "A_n"},
    }
    config = tiny(models, columns=columns, figures=["anomaly_maps"], seeds=[0])
    grid = read_grid(write_config(tmp_path, config))
    run_grid(grid.cells, tmp_path / "out")
    drawn = []

    def plot(images, maps, *args, **kwargs):
        drawn.extend(maps)

    monkeypatch.setattr("benchmarks.grid.figures.plot_anomaly_maps", plot)
    monkeypatch.setattr("benchmarks.grid.figures.save_figure", lambda *args, **kwargs: [])
    draw_figures(grid, read_results(grid, tmp_path / "out"), tmp_path / "out")
    assert drawn == ["Own"]
