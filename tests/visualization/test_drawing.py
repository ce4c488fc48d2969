"""What all figures share: the images they read, the width they keep, the files they become."""

import re
import zlib

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from PIL import Image

from pyg_viglad.visualization import (
    plot_anomaly_maps,
    plot_graph,
    plot_score_histogram,
    save_figure,
)
from pyg_viglad.visualization.drawing import dim, kind_colors, wrap
from pyg_viglad.visualization.inputs import as_images, as_mask
from tests.visualization.helpers import graph


def test_images_of_all_kinds(tmp_path):
    pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    pixels[9, 30] = 255
    file = tmp_path / "image.png"
    Image.fromarray(pixels).save(file)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    kinds = [pixels, Image.fromarray(pixels), file, str(file), [pixels], pixels[None], tensor]
    for image in [*kinds, tensor[None], [tensor[:1]]]:
        (array,) = as_images(image)
        np.testing.assert_array_equal(array, pixels / 255)
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        as_images(tmp_path / "none.png")
    for image, message in (
        (tensor * 255, r"values in \[0, 1\] \(got 0 to 255\), in images\[0\]"),
        (torch.rand(2, 5, 4, 4), r"3 or 4 channels .*, in images\[0\]"),
        ([], "at least one image"),
    ):
        with pytest.raises(ValueError, match=message):
            as_images(image)


def test_masks_of_all_kinds():
    mask = np.array([[0, 255], [255, 255]], dtype=np.uint8)
    for kind in (mask, mask > 0, torch.from_numpy(mask), Image.fromarray(mask), mask[None] / 255):
        np.testing.assert_array_equal(as_mask(kind), mask > 0)
    assert as_mask(None) is None


def test_dimming_fades_to_light_gray():
    image = np.random.default_rng(0).random((8, 8, 3))
    np.testing.assert_array_equal(dim(image, 0), image)
    dimmed = dim(image, 1)
    assert dimmed.std() < 0.5 * image.std()
    np.testing.assert_allclose(dimmed[..., 0], dimmed[..., 2])


def test_kinds_keep_their_colours_and_others_differ():
    colors = kind_colors(["odd", "logical", "strange"])
    assert colors["logical"] == kind_colors(["logical"])["logical"]
    assert len(set(colors.values())) == 3


def test_words_are_whole_unless_much_too_long():
    assert wrap("structural: scratch", 0.6, 7) == "structural:\nscratch"
    assert wrap("x" * 60, 0.6, 7).count("\n") > 3


@pytest.fixture
def figure():
    return plot_score_histogram([0.1, 0.3, 4.0], ["good", "good", "logical"], 1.0)


def font_types(data):
    return set(re.findall(rb"/Subtype /(Type3|TrueType|Type0|CIDFontType2|Type1)", data))


def test_png_and_pdf_at_the_figure_s_size(figure, tmp_path):
    files = save_figure(figure, tmp_path / "scores.v2", dpi=200)
    assert [file.name for file in files] == ["scores.v2.png", "scores.v2.pdf"]
    width, height = figure.get_size_inches()
    assert imread(files[0]).shape[:2] == (int(height * 200), int(width * 200))
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", files[1].read_bytes())
    assert float(box[1]) == pytest.approx(72 * width)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["scores.v2.pdf", "scores.v2.png"]


def test_fonts_are_truetype_and_settings_stay(figure, tmp_path):
    before = dict(mpl.rcParams)
    (file,) = save_figure(figure, tmp_path / "a.pdf")
    types = font_types(file.read_bytes())
    assert b"Type3" not in types
    assert b"CIDFontType2" in types  # Type 42 in matplotlib's words
    assert b"/FontFile2" in file.read_bytes()
    assert dict(mpl.rcParams) == before
    figure.savefig(tmp_path / "b.pdf")
    assert b"Type3" not in font_types((tmp_path / "b.pdf").read_bytes())
    plain = Figure()
    plain.text(0.5, 0.5, "text")
    plain.savefig(tmp_path / "c.pdf")
    assert b"Type3" in font_types((tmp_path / "c.pdf").read_bytes())  # what the test is able to see
    (file,) = save_figure(plain, tmp_path / "d.pdf")
    assert b"Type3" not in font_types(file.read_bytes())


def test_lines_stay_lines_in_pdf(tmp_path):
    figure = plot_graph(torch.rand(3, 32, 48), graph(1, (4, 6), (32, 48), k=4), every=1)
    (file,) = save_figure(figure, tmp_path / "a.pdf")
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", file.read_bytes(), re.DOTALL)
    content = b"".join(_inflate(stream) for stream in streams)
    assert len(re.findall(rb"[\d.]+ [\d.]+ l\b", content)) >= 72


def _inflate(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def test_the_same_figure_gives_the_same_file(figure, tmp_path):
    first, second = (save_figure(figure, tmp_path / name)[1] for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_failure_leaves_the_old_file(figure, tmp_path, monkeypatch):
    (file,) = save_figure(figure, tmp_path / "a.png")
    before = file.read_bytes()
    monkeypatch.setattr(type(figure), "savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_figure(figure, tmp_path / "a.png")
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_errors(figure, tmp_path):
    with pytest.raises(ValueError, match=r"Expected formats of .*pdf.* \(got \['bmp3'\]\)"):
        save_figure(figure, tmp_path / "a", formats=["bmp3"])
    with pytest.raises(ValueError, match=r"got 'png'"):
        save_figure(figure, tmp_path / "a", formats="png")
    with pytest.raises(FileNotFoundError, match="existing folder"):
        save_figure(figure, tmp_path / "none" / "a")


def test_dollars_in_titles_are_literal(tmp_path):
    figure = plot_anomaly_maps(
        torch.rand(2, 3, 16, 16),
        {"map": torch.rand(2, 16, 16)},
        titles=["pri$e_\\frac$.png", "$a$.png"],
    )
    save_figure(figure, tmp_path / "maps")  # no ParseException
    dollar = figure.findobj(lambda artist: "$" in getattr(artist, "get_text", str)())
    assert {text.get_text() for text in dollar} == {"pri$e_\\frac$.png", "$a$.png"}
    assert not any(text.get_parse_math() for text in dollar)
