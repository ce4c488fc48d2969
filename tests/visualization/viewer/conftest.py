import pytest
import torch

from pyg_viglad import ViGAutoEncoder
from pyg_viglad.graphs import record_graphs
from pyg_viglad.visualization import GraphViewer
from tests.visualization.viewer.browser import errors, open_browser, requests
from tests.visualization.viewer.page import HEIGHT, TITLE, WIDTH, load


@pytest.fixture(scope="session")
def viewer_graphs():
    """Five grids, three scores, and one node whose scores stand out."""
    torch.manual_seed(0)
    image = torch.rand(3, HEIGHT, WIDTH)
    recorded = record_graphs(ViGAutoEncoder(8, image_size=64, k=5), image)
    graphs = {name: batch[0] for name, batch in recorded.items()}
    for one in graphs.values():
        one.local_score = torch.rand(one.num_nodes) * 0.08
        one.combined_score = torch.zeros(one.num_nodes)
        one.combined_score[one.num_nodes // 3] = 0.5
        one.node_score = torch.rand(one.num_nodes)
        one.node_score[one.num_nodes // 3] = 4.5
    return graphs


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="session")
def viewer_file(viewer_graphs, tmp_path_factory):
    image = torch.zeros(3, HEIGHT, WIDTH)
    image[:, 40:44, 70:75] = 1
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[10:20, 20:50] = 1
    folder = tmp_path_factory.mktemp("pages")
    return GraphViewer(image, viewer_graphs, mask=mask, title=TITLE).save(folder / "page.html")


@pytest.fixture
def page(browser, viewer_file):
    """The page, just opened; what is done with it must neither fail nor ask for anything."""
    browser.set_window_size(1400, 900)
    browser.get_log("performance")
    load(browser, viewer_file.as_uri())
    yield browser
    assert errors(browser) == []
    assert requests(browser) == []
    resources = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert all(name.startswith("data:") for name in browser.execute_script(resources))
