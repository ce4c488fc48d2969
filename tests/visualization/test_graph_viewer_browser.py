"""The viewer in a real browser, without a network: what it shows is what the graphs say."""

import re

import numpy as np
import pytest
import torch

from pyg_viglad import ViGAutoEncoder
from pyg_viglad.visualization import GraphViewer, neighbors_of, node_at, record_graphs
from tests.visualization.browser import errors, open_browser, pixels, requests

HEIGHT, WIDTH = 60, 100
TITLE = "</script><script>alert(1)</script><img src='x'> $$x^2$$ \\(y\\)"
READ = """
const source = Bokeh.documents[0].get_model_by_name(arguments[0])
return Object.fromEntries(Object.entries(source.data).map(([k, v]) => [k, Array.from(v)]))
"""
PARTS = ("input", "encoder", "decoder")


@pytest.fixture(scope="module")
def graphs():
    """Five grids, three scores, and one node whose score stands out."""
    torch.manual_seed(0)
    image = torch.rand(3, HEIGHT, WIDTH)
    recorded = record_graphs(ViGAutoEncoder(8, image_size=64, k=5), image)
    graphs = {name: batch[0] for name, batch in recorded.items()}
    for graph in graphs.values():
        graph.local_score = torch.rand(graph.num_nodes) * 0.08
        graph.combined_score = torch.zeros(graph.num_nodes)
        graph.combined_score[graph.num_nodes // 3] = 0.5
    return graphs


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def file(graphs, tmp_path_factory):
    image = torch.zeros(3, HEIGHT, WIDTH)
    image[:, 40:44, 70:75] = 1
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[10:20, 20:50] = 1
    folder = tmp_path_factory.mktemp("pages")
    return GraphViewer(image, graphs, mask=mask, title=TITLE).save(folder / "page.html")


@pytest.fixture
def page(browser, file):
    """The page, just opened; what is done with it must neither fail nor ask for anything."""
    browser.set_window_size(1400, 900)
    browser.get_log("performance")
    load(browser, file.as_uri())
    yield browser
    assert errors(browser) == []
    assert requests(browser) == []
    resources = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert all(name.startswith("data:") for name in browser.execute_script(resources))


def load(browser, address):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(address)
    wait_until_ready(WebDriverWait(browser, 30))


def wait_until_ready(wait):
    ready = "return document.getElementById('graph-viewer')?.dataset.ready === 'true'"
    wait.until(lambda b: b.execute_script(ready))


def find(page, selector):
    return page.find_element("css selector", selector)


def click(page, panel, x, y, press=True):
    """Move the mouse to a position of the image in a panel, and click there."""
    from selenium.webdriver import ActionChains

    plot = find(page, f"[data-root-id='{root(page, panel)}']").find_element("xpath", "..")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    box = plot.size
    right, down = (x / WIDTH - 0.5) * box["width"], (y / HEIGHT - 0.5) * box["height"]
    chain = ActionChains(page).move_to_element_with_offset(plot, round(right), round(down))
    (chain.click() if press else chain).perform()


def root(page, panel):
    return page.execute_script(
        f"return Bokeh.documents[0].roots().find((r) => r.name === '{panel}').id"
    )


def state(page):
    return page.execute_script("return window.graphViewer.state")


def set_block(page, part, number):
    slider = find(page, f"#{part}-block")
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    page.execute_script(script, slider, number)


def grid_of(graph):
    return tuple(graph.grid_size[0].tolist())


def at(graph, x, y):
    return node_at(graph.pos, grid_of(graph), (HEIGHT, WIDTH), (x, y))


def cells(graph, x, y, grid):
    """Cells of a grid that hold the neighbours at a position, the position's own left out."""
    near = neighbors_of(graph.edge_index, at(graph, x, y))
    found = {at(grid, *graph.pos[node].tolist()) for node in near.tolist()}
    return found - {at(grid, x, y)}


def changes(before, after, x, y):
    """Kept, lost and new neighbours by sets, on the coarser of the two grids."""
    grid = min(before, after, key=lambda graph: graph.num_nodes)
    old, new = cells(before, x, y, grid), cells(after, x, y, grid)
    return [len(old & new), len(old - new), len(new - old)]


def assert_shows(page, shown, x, y):
    """The page shows exactly what the three graphs say of a position."""
    for part, graph in zip(PARTS, shown, strict=True):
        node = at(graph, x, y)
        assert page.execute_script(READ, f"{part}-node")["node"] == [node]
        near = page.execute_script(READ, f"{part}-neighbors")
        order = np.argsort(near["rank"])
        expected = neighbors_of(graph.edge_index, node).tolist()
        assert [near["node"][i] for i in order] == expected
        assert sorted(near["rank"]) == list(range(1, len(expected) + 1))
        ends = np.array([near["x"], near["y"]]).T[order]
        assert ends == pytest.approx(graph.pos[expected].numpy(), abs=1e-3)
        starts = np.array([near["x0"], near["y0"]]).T
        assert starts == pytest.approx(np.tile(graph.pos[node], (len(expected), 1)), abs=1e-3)
        own = (graph.edge_index[1] == node) & (graph.edge_index[0] != node)
        distances = [near["distance"][i] for i in order]
        assert distances == pytest.approx(graph.distance[own].tolist(), abs=1e-4)
        listing = graph.edge_index[1][graph.edge_index[0] == node].tolist()
        pointing = page.execute_script(READ, f"{part}-pointing")["node"]
        assert sorted(pointing) == sorted(set(listing) - {node})
        rows = page.find_elements("css selector", f"#{part}-details tbody tr")
        assert [int(row.get_attribute("data-node")) for row in rows] == expected
        score = find(page, "tr[data-score=local_score]").text.split()[1 + PARTS.index(part)]
        assert float(score.replace("−", "-")) == pytest.approx(
            float(graph.local_score[node]), abs=0.0051
        )
    pairs = [(0, 1), (1, 2), (0, 2)]
    rows = page.find_elements("css selector", "tr[data-pair]")
    for row, (first, second) in zip(rows, pairs, strict=True):
        found = [cell.text for cell in row.find_elements("css selector", "td")]
        expected = changes(shown[first], shown[second], x, y)
        assert [int(text) for text in found[1:4]] == expected
        coarse = min(shown[first], shown[second], key=lambda graph: graph.num_nodes)
        assert found[4] == "{} × {}".format(*grid_of(coarse))


def test_a_click_shows_the_neighbours_in_every_graph(page, graphs):
    start = [graphs[name] for name in ("input", "encoder.9", "decoder")]
    x, y = graphs["input"].pos[graphs["input"].num_nodes // 3].tolist()
    block = state(page)["block"]
    start[1] = list(g for n, g in graphs.items() if n.startswith("encoder"))[block["encoder"]]
    assert_shows(page, start, x, y)
    before = page.execute_script(READ, "decoder-neighbors")["node"]
    for panel, x, y in (("input", 83, 8), ("image", 11, 51), ("encoder", 47, 33)):
        click(page, panel, x, y)
        now = state(page)
        assert (now["x"], now["y"]) == pytest.approx((x, y), abs=0.4)
        assert_shows(page, start, now["x"], now["y"])
    assert page.execute_script(READ, "decoder-neighbors")["node"] != before


def test_sliders_go_through_all_blocks(page, graphs):
    click(page, "input", 62, 21)
    x, y = (state(page)[key] for key in "xy")
    names = {part: [n for n in graphs if n.startswith(part)] for part in ("encoder", "decoder")}
    assert len(names["encoder"]) == len(names["decoder"]) == 13
    for encoder, decoder in ((0, 0), (3, 12), (7, 5), (12, 10)):
        set_block(page, "encoder", encoder)
        set_block(page, "decoder", decoder)
        shown = [names["encoder"][encoder], names["decoder"][decoder]]
        assert_shows(page, [graphs["input"], *(graphs[name] for name in shown)], x, y)
        for part, name in zip(PARTS[1:], shown, strict=True):
            block = re.search(r"\.(\d+)", name)
            label = f"block {int(block[1]) + 1}" if block else "output"
            rows, columns = grid_of(graphs[name])
            assert find(page, f"#{part}-grid").text == f"{rows} × {columns} patches, {label}"


def test_lost_neighbours_are_those_of_the_input_graph(page, graphs):
    click(page, "input", 30, 40)
    x, y = (state(page)[key] for key in "xy")
    lost = page.execute_script(READ, "decoder-lost")["node"]
    first, last = graphs["input"], graphs["decoder"]
    assert set(lost) == cells(first, x, y, first) - cells(last, x, y, first)
    near = page.execute_script(READ, "decoder-neighbors")
    kept = {n for n, status in zip(near["node"], near["status"], strict=True) if status == "kept"}
    assert kept == cells(first, x, y, first) & cells(last, x, y, first)
    find(page, "input[name=lost]").click()
    find(page, "input[name=pointing]").click()
    assert page.execute_script(READ, "decoder-lost")["node"] == []
    assert page.execute_script(READ, "decoder-pointing")["node"] == []


def test_arrows_move_by_a_patch_of_the_clicked_panel(page, graphs):
    from selenium.webdriver import ActionChains, Keys

    graph = graphs["decoder"]
    click(page, "decoder", 52, 30)
    node, (_, columns) = at(graph, 52, 30), grid_of(graph)
    for key, step in ((Keys.RIGHT, 1), (Keys.DOWN, columns), (Keys.LEFT, -1), (Keys.UP, -columns)):
        ActionChains(page).send_keys(key).perform()
        node += step
        assert page.execute_script(READ, "decoder-node")["node"] == [node]


def test_following_the_pointer_until_a_click(page):
    click(page, "input", 20, 20, press=False)
    assert state(page)["x"] != pytest.approx(20, abs=0.4)
    find(page, "input[name=follow]").click()
    click(page, "input", 70, 20, press=False)
    assert state(page)["x"] == pytest.approx(70, abs=0.4)
    click(page, "encoder", 40, 30)
    click(page, "encoder", 90, 30, press=False)
    assert state(page)["x"] == pytest.approx(40, abs=0.4)


def test_a_row_of_the_table_leads_to_its_patch(page, graphs):
    row = find(page, "#input-details tbody tr:nth-child(3)")
    node = int(row.get_attribute("data-node"))
    row.click()
    assert page.execute_script(READ, "input-node")["node"] == [node]


def test_picture_map_and_truth_lie_on_the_same_pixels(page, graphs):
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
    yellow = (hot[..., 0] > 150) & (hot[..., 1] > 150) & (hot[..., 2] < 160)
    graph = graphs["input"]
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


def test_a_notebook_shows_it_in_a_frame_as_high_as_the_page(browser, graphs, tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    viewer = GraphViewer(torch.zeros(3, HEIGHT, WIDTH), graphs, title=TITLE)
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
