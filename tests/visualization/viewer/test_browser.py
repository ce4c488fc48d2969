"""The viewer in a real browser, without a network: what it shows is what the graphs say."""

import re

import numpy as np
import pytest
import torch

from pyg_viglad.graphs import neighbor_changes, neighbors_of, node_at
from pyg_viglad.visualization import GraphViewer
from tests.graphs.helpers import random_graph
from tests.visualization.viewer.browser import errors
from tests.visualization.viewer.page import (
    HEIGHT,
    PARTS,
    READ,
    WIDTH,
    click,
    find,
    load,
    set_block,
    state,
)


def grid_of(graph):
    return tuple(graph.grid_size[0].tolist())


def size_text(graph):
    return "{} \N{MULTIPLICATION SIGN} {}".format(*grid_of(graph))


def at(graph, x, y):
    return node_at(graph, (x, y))


def changes(before, after, x, y):
    """Kept, lost and gained neighbours at a position, on the coarser of the two grids."""
    grid = min(after, before, key=lambda graph: graph.num_nodes)
    node = at(grid, x, y)
    found = neighbor_changes(before, after)
    return [edges[0, edges[1] == node].tolist() for edges in found]


def assert_shows(page, shown, x, y):
    """The page shows exactly what the three graphs say of a position."""
    for part, graph in zip(PARTS, shown, strict=True):
        node = at(graph, x, y)
        assert page.execute_script(READ, f"{part}-node")["node"] == [node]
        near = page.execute_script(READ, f"{part}-neighbors")
        order = np.argsort(near["rank"])
        expected = neighbors_of(graph, node).tolist()
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
        assert float(score.replace("\N{MINUS SIGN}", "-")) == pytest.approx(
            float(graph.local_score[node]), abs=0.0051
        )
    pairs = [(0, 1), (1, 2), (0, 2)]
    rows = page.find_elements("css selector", "tr[data-pair]")
    for row, (first, second) in zip(rows, pairs, strict=True):
        found = [cell.text for cell in row.find_elements("css selector", "td")]
        expected = changes(shown[first], shown[second], x, y)
        assert [int(text) for text in found[1:4]] == [len(edges) for edges in expected]
        coarse = min(shown[first], shown[second], key=lambda graph: graph.num_nodes)
        assert found[4] == size_text(coarse)
    for part, graph in zip(PARTS[1:], shown[1:], strict=True):  # no finer than the input graph
        kept, lost, gained = changes(shown[0], graph, x, y)
        near = page.execute_script(READ, f"{part}-neighbors")
        status = {"kept": set(), "new": set()}
        for node, word in zip(near["node"], near["status"], strict=True):
            status[word].add(node)
        assert status == {"kept": set(kept), "new": set(gained)}
        assert set(page.execute_script(READ, f"{part}-lost")["node"]) == set(lost)


def test_a_click_shows_the_neighbours_in_every_graph(page, viewer_graphs):
    # Of this small image, the encoder's block 12 is the deepest that still chooses.
    start = [viewer_graphs[name] for name in ("input", "encoder.11", "decoder")]
    x, y = viewer_graphs["input"].pos[viewer_graphs["input"].num_nodes // 3].tolist()
    assert_shows(page, start, x, y)
    before = page.execute_script(READ, "decoder-neighbors")["node"]
    for panel, x, y in (("input", 83, 8), ("image", 11, 51), ("encoder", 47, 33)):
        click(page, panel, x, y)
        now = state(page)
        assert (now["x"], now["y"]) == pytest.approx((x, y), abs=0.4)
        assert_shows(page, start, now["x"], now["y"])
    assert page.execute_script(READ, "decoder-neighbors")["node"] != before
    find(page, "#start").click()
    assert page.execute_script(READ, "decoder-neighbors")["node"] == before


def test_sliders_go_through_all_blocks(page, viewer_graphs):
    click(page, "input", 62, 21)
    x, y = (state(page)[key] for key in "xy")
    names = {
        part: [n for n in viewer_graphs if n.startswith(part)] for part in ("encoder", "decoder")
    }
    assert len(names["encoder"]) == len(names["decoder"]) == 13
    for encoder, decoder in ((0, 0), (3, 12), (7, 5), (12, 10)):
        set_block(page, "encoder", encoder)
        set_block(page, "decoder", decoder)
        shown = [names["encoder"][encoder], names["decoder"][decoder]]
        assert_shows(page, [viewer_graphs["input"], *(viewer_graphs[name] for name in shown)], x, y)
        for part, name in zip(PARTS[1:], shown, strict=True):
            block = re.search(r"\.(\d+)", name)
            label = f"block {int(block[1]) + 1}" if block else "output"
            text = f"{size_text(viewer_graphs[name])} patches, {label}"
            assert find(page, f"#{part}-grid").text == text


def test_lost_and_listing_patches_can_be_hidden(page):
    click(page, "input", 30, 40)
    assert page.execute_script(READ, "decoder-lost")["node"]
    find(page, "input[name=lost]").click()
    find(page, "input[name=pointing]").click()
    assert page.execute_script(READ, "decoder-lost")["node"] == []
    assert page.execute_script(READ, "decoder-pointing")["node"] == []


def test_arrows_move_by_a_patch_of_the_clicked_panel(page, viewer_graphs):
    from selenium.webdriver import ActionChains, Keys

    graph = viewer_graphs["decoder"]
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


def test_the_pointer_tells_of_the_patch_below_it(page, viewer_graphs):
    graph = viewer_graphs["decoder"]
    # The patch that most others list: some of them are not among its own neighbours.
    node = int(graph.edge_index[0].bincount().argmax())
    click(page, "decoder", *graph.pos[node].tolist())
    near = page.execute_script(READ, "decoder-neighbors")
    i = near["rank"].index(2)
    click(page, "decoder", near["x"][i], near["y"][i], press=False)
    text = find(page, "#hint").text
    assert f"Neighbour 2 of the selected patch, {near['status'][i]}" in text
    assert f"Distance {near['distance'][i]:.3f}" in text
    assert f"local {graph.local_score[near['node'][i]]:.2f}" in text
    listing = graph.edge_index[1][graph.edge_index[0] == node].tolist()
    assert ("Lists the selected patch" in text) == (near["node"][i] in listing)
    only = next(other for other in listing if other not in [*near["node"], node])
    click(page, "decoder", *graph.pos[only].tolist(), press=False)
    rank = neighbors_of(graph, only).tolist().index(node) + 1
    assert f"Lists the selected patch as neighbour {rank}\n" in find(page, "#hint").text


def test_a_row_of_the_table_leads_to_its_patch(page, viewer_graphs):
    row = find(page, "#input-details tbody tr:nth-child(3)")
    node = int(row.get_attribute("data-node"))
    row.click()
    assert page.execute_script(READ, "input-node")["node"] == [node]


def test_changes_at_every_patch_are_those_of_neighbor_changes(browser, tmp_path):
    """Uneven grids, and an input graph that is the coarser one: most fine neighbours get no vote."""
    size = (HEIGHT, WIDTH)
    graphs = {
        "input": random_graph([(3, 4)], 3, 0, size=size),
        "encoder": random_graph([(7, 9)], 4, 1, size=size),
        "decoder": random_graph([(7, 9)], 6, 2, loop=False, size=size),
    }
    viewer = GraphViewer(torch.zeros(3, *size), graphs)
    load(browser, viewer.save(tmp_path / "page.html").as_uri())
    pairs = [("input", "encoder"), ("encoder", "decoder"), ("input", "decoder")]
    script = """
    window.graphViewer.onEvent({event_name: "tap", x: arguments[0], y: arguments[1]})
    return [...document.querySelectorAll("tr[data-pair]")].map((row) =>
        [...row.cells].slice(1, 4).map((cell) => Number(cell.textContent)))"""
    words = set()
    for x, y in graphs["encoder"].pos[::3].tolist():
        expected = [changes(graphs[first], graphs[second], x, y) for first, second in pairs]
        assert browser.execute_script(script, x, y) == [[len(e) for e in pair] for pair in expected]
        kept, lost, gained = expected[0]
        assert set(browser.execute_script(READ, "encoder-lost")["node"]) == set(lost)
        near = browser.execute_script(READ, "encoder-neighbors")
        own = at(graphs["input"], x, y)
        for node, word in zip(near["node"], near["status"], strict=True):
            patch = at(graphs["input"], *graphs["encoder"].pos[node].tolist())
            known = {own: "inside", **dict.fromkeys(kept, "kept"), **dict.fromkeys(gained, "new")}
            assert word == known.get(patch, "\N{EN DASH}")
            words.add(word)
    assert words == {"inside", "kept", "new", "\N{EN DASH}"}
    assert errors(browser) == []
