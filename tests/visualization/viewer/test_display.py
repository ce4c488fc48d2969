"""The viewer in a real browser: pixels, maps, zoom, layout, titles, notebooks."""

import numpy as np
import pytest
import torch

from pyg_viglad.visualization import GraphViewer
from tests.visualization.viewer.browser import errors, pixels, requests
from tests.visualization.viewer.page import (
    HEIGHT,
    PARTS,
    TITLE,
    WIDTH,
    click,
    find,
    scroll,
    wait_until_ready,
)


def test_picture_map_and_truth_lie_on_the_same_pixels(page, viewer_graphs):
    """The bright spot, the hot patch and the outline are where they should be, to a pixel."""
    picture = pixels(page, "#panels section:first-child .plot").astype(float)
    scale = picture.shape[1] / WIDTH

    def centre(found):
        rows, columns = np.nonzero(found)
        return (columns.min() + columns.max() + 1) / 2 / scale, (
            rows.min() + rows.max() + 1
        ) / 2 / scale

    inner = picture[round(35 * scale) : round(50 * scale), round(60 * scale) : round(90 * scale)]
    x, y = centre(inner.min(axis=2) > 200)
    assert (x + 60, y + 35) == pytest.approx((72.5, 42), abs=0.5)
    pink = (picture[..., 0] > 200) & (picture[..., 1] < 120) & (picture[..., 2] > 200)
    assert centre(pink) == pytest.approx((35, 15), abs=0.5)
    find(page, "input[value=combined_score]").click()
    page.execute_script("window.graphViewer.onEvent({event_name: 'tap', x: 99, y: 59})")
    page.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 300))")
    hot = pixels(page, "#panels section:first-child .plot").astype(float)
    yellow = (hot[..., 0] > 150) & (hot[..., 1] > 150) & (hot[..., 2] < 135)
    graph = viewer_graphs["input"]
    expected = graph.pos[graph.num_nodes // 3].tolist()
    assert centre(yellow) == pytest.approx(expected, abs=0.5)


def test_overlay_and_outline_can_be_switched(page):
    heat = "return Object.fromEntries(Object.entries(window.graphViewer.heats).map(([panel, all]) => [panel, Object.keys(all).filter((key) => all[key].visible)]))"  # noqa: E501
    none = {panel: [] for panel in ("image", *PARTS)}
    assert page.execute_script(heat) == none
    assert find(page, "#scale").text == ""
    find(page, "input[value=local_score]").click()
    assert page.execute_script(heat) == {**none, "image": ["local_score"]}
    assert "99.5 % below 0.1 (mark)" in find(page, "#scale").text
    mark = find(page, "#scale .bar i").rect["x"] - find(page, "#scale .bar").rect["x"]
    assert mark == pytest.approx(0.2 * find(page, "#scale .bar").size["width"], abs=2)
    find(page, "input[name=everywhere]").click()
    assert all(shown == ["local_score"] for shown in page.execute_script(heat).values())
    find(page, "input[value=none]").click()
    assert page.execute_script(heat) == none
    outlines = "return window.graphViewer.outlines.map((renderer) => renderer.visible)"
    assert all(page.execute_script(outlines))
    find(page, "input[name=truth]").click()
    assert not any(page.execute_script(outlines))


def test_node_scores_have_their_own_scale_unit_and_mark(page, viewer_graphs):
    """A_n counts standard deviations: 0 to 6, marked at 3, not 0 to 0.5, marked at 0.1."""
    find(page, "input[value=node_score]").click()
    text = find(page, "#scale").text
    assert "Node scores" in text
    assert "6 and more" in text
    assert "\N{GREEK SMALL LETTER SIGMA}" in text
    assert "calibrated" not in text
    mark = find(page, "#scale .bar i").rect["x"] - find(page, "#scale .bar").rect["x"]
    assert mark == pytest.approx(0.5 * find(page, "#scale .bar").size["width"], abs=2)
    graph = viewer_graphs["input"]
    hot = graph.num_nodes // 3
    row = find(page, "tr[data-score=node_score]")  # the page starts at the most anomalous patch
    assert row.text.split()[:3] == ["node", "(\N{GREEK SMALL LETTER SIGMA})", "4.50"]
    assert "above" in row.find_element("css selector", "td:nth-child(2)").get_attribute("class")
    assert "3 (\N{GREEK SMALL LETTER SIGMA})" in find(page, "#scores .note").text
    click(page, "input", *graph.pos[hot + 5].tolist())
    row = find(page, "tr[data-score=node_score]")
    assert float(row.text.split()[2]) == pytest.approx(float(graph.node_score[hot + 5]), abs=0.0051)
    classes = row.find_element("css selector", "td:nth-child(2)").get_attribute("class")
    assert "above" not in classes  # though above 0.1, the mark of the maps


def test_zooming_keeps_pixels_square_and_panels_together(page):
    ranges = """return Bokeh.documents[0].roots().map(({x_range: x, y_range: y}) =>
        [x.start, x.end, y.end, y.start])"""
    click(page, "input", 90, 10)
    for _ in range(2):
        find(page, "#closer").click()
    shown = page.execute_script(ranges)
    assert all(one == shown[0] for one in shown)
    left, right, upper, lower = shown[0]
    assert right - left == pytest.approx(WIDTH / 4)
    assert lower - upper == pytest.approx(HEIGHT / 4)
    assert left <= 90 <= right
    assert upper <= 10 <= lower
    find(page, "#whole").click()
    assert page.execute_script(ranges)[3] == [0, WIDTH, 0, HEIGHT]
    for steps in (-480, 120):  # the wheel: closer, then a little back
        scroll(page, "encoder", 80, 50, steps)
    left, right, upper, lower = page.execute_script(ranges)[0]
    assert right - left < 0.9 * WIDTH
    assert (right - left) / (lower - upper) == pytest.approx(WIDTH / HEIGHT, rel=1e-3)


def test_titles_are_text(page):
    assert page.title == TITLE
    assert find(page, "h1").text == TITLE
    assert page.find_elements("css selector", "img") == []


@pytest.mark.parametrize(("width", "columns"), [(1400, 4), (900, 2)])
def test_nothing_overflows(page, width, columns):
    page.set_window_size(width, 900)
    page.execute_async_script("setTimeout(arguments[0], 300)")
    size = "return [document.documentElement.scrollWidth, innerWidth]"
    whole, inner = page.execute_script(size)
    assert whole <= inner
    sections = page.find_elements("css selector", "#panels section")
    assert len({section.rect["x"] for section in sections}) == columns
    for section in sections:
        for table in section.find_elements("css selector", "table"):
            assert table.rect["width"] <= section.rect["width"] + 1
        plot = section.find_element("css selector", ".plot").rect
        assert plot["width"] / plot["height"] == pytest.approx(WIDTH / HEIGHT, rel=0.02)


def test_a_notebook_shows_it_in_a_frame_as_high_as_the_page(browser, viewer_graphs, tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    viewer = GraphViewer(torch.zeros(3, HEIGHT, WIDTH), viewer_graphs, title=TITLE)
    cell = tmp_path / "cell.html"
    cell.write_text(f"<!DOCTYPE html><body>{viewer._repr_html_()}</body>", encoding="utf-8")
    browser.get_log("performance")
    browser.get(cell.as_uri())
    frame = browser.find_element("css selector", "iframe")
    browser.switch_to.frame(frame)
    wait_until_ready(WebDriverWait(browser, 30))
    assert browser.find_element("css selector", "h1").text == TITLE
    height = browser.execute_script("return document.documentElement.scrollHeight")
    browser.switch_to.default_content()
    assert frame.size["height"] == pytest.approx(height, abs=8)
    assert errors(browser) == []
    assert requests(browser) == []
