"""Pictures of a report."""

import torch
from matplotlib.text import Text

from pyg_viglad import ViGLAD, visualization
from pyg_viglad.commands.report import plot_images


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
