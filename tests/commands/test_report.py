"""Pictures of a report."""

import pytest
import torch
from matplotlib.text import Text

from pyg_viglad import ViGLAD, visualization
from pyg_viglad.commands.report import format_table, plot_images, score_table


def test_the_scale_of_the_maps_names_the_quantiles_of_the_model(tmp_path, monkeypatch):
    model = ViGLAD("small", image_size=96, autoencoder="conv", quantiles=(0.5, 0.999))
    images = torch.rand(4, 3, 96, 96)
    model.fit_statistics(images, images)
    figures, plot = [], visualization.plot_anomaly_maps

    def kept(*args, **kwargs):
        figures.append(plot(*args, **kwargs))
        return figures[-1]

    monkeypatch.setattr(visualization, "plot_anomaly_maps", kept)
    plot_images(tmp_path, model, images[:1], model.predict(images[:1]), ["noise"])
    texts = [text.get_text() for text in figures[0].findobj(Text)]
    assert "0.1\n99.9%" in texts
    assert (tmp_path / "anomaly_maps.png").is_file()


def test_the_final_score_is_in_the_table_without_a_node_scorer():
    model = ViGLAD("small", image_size=96, autoencoder="conv", fusion="pseudo")
    images = torch.rand(20, 3, 96, 96)
    model.fit_statistics(images, images)
    prediction = model.predict(images)
    assert not torch.allclose(prediction.score, prediction.paper_score)
    rows = score_table(prediction, ["good", "structural"] * 10)
    assert list(rows) == ["score", "paper_score", "reconstruction_score", "feature_score"]
    first = format_table(rows).splitlines()[1].split()
    assert first[:3] == ["final", "score", "-"]  # no logical anomalies
    assert first[3] == f"{100 * rows['score']['structural']:.1f}"


def test_hyperedges_have_no_picture_of_graphs(tmp_path):
    model = ViGLAD("small", image_size=96, graph="hypergraph", operator="hyperedge", k=5)
    images = torch.rand(4, 3, 96, 96)
    model.fit_statistics(images, images)
    model.save_pretrained(tmp_path / "model")
    loaded = ViGLAD.from_pretrained(tmp_path / "model")
    prediction = model.predict(images[:1])
    assert torch.allclose(loaded.predict(images[:1]).score, prediction.score)
    with pytest.raises(ValueError, match="model on edges"):
        model.graphs(images)
    plot_images(tmp_path, loaded, images[:1], prediction, ["noise"])
    assert [file.name for file in tmp_path.glob("*.png")] == ["anomaly_maps.png"]
