import pytest
import torch

from pyg_viglad.models import GraphConstructor, PyramidViG, PyramidViHGNN, ViGAutoEncoder, ViHGNN
from pyg_viglad.nn import ConvViG, HyperedgeConv
from tests.nn.test_hypergraph import as_lists
from tests.oracles.pyramid_vig import reference_state, vig_oracle
from tests.oracles.vision_hgnn import hypergraph_operator


def start(nodes, clusters):
    return torch.rand(nodes, clusters, generator=torch.Generator().manual_seed(0))


def photographs(height, width):
    """Two smooth images in [-1, 1]: noise alone has no clusters."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(2, 3, 7, 9, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic") * 2 - 1


@pytest.fixture(scope="module")
def state():
    operator = hypergraph_operator(start)
    return reference_state("pyramid", "ti", operator=operator, images=photographs(224, 224))


def hyperedges_of(model, images):
    """Returns logits and the hyperedges of every block, as lists."""
    seen = []

    def see(_, args):
        seen.append(as_lists(args[1], args[0].size(0) // len(images)))

    blocks = [module for module in model.modules() if isinstance(module, ConvViG)]
    hooks = [block.conv.register_forward_pre_hook(see) for block in blocks]
    with torch.no_grad():
        logits = model(images)
    for hook in hooks:
        hook.remove()
    return logits, seen


@pytest.mark.parametrize(
    ("size", "padding"), [((224, 224), "last"), ((96, 160), "last"), ((224, 224), None)]
)
def test_equals_the_oracle(state, size, padding):
    images, seen = photographs(*size), []
    operator = hypergraph_operator(start, padding=padding, joint=padding == "last", seen=seen)
    expected, _ = vig_oracle(state, images, "pyramid", "ti", operator=operator)
    model = PyramidViHGNN("ti", num_classes=10, padding=padding).double().eval()
    assert model.load_reference(state) == [key for key in state if key.endswith("relative_pos")]
    logits, found = hyperedges_of(model, images.double())
    assert found == [tuple(part) for part in seen]
    assert any([] in image for feeding, _ in seen for image in feeding)  # an empty hyperedge
    assert float((logits - expected).abs().max()) < 1e-9
    assert float(expected.std()) > 0.1


def test_the_padding_of_the_public_code_matters(state):
    images = photographs(96, 96).double()
    results = []
    for padding in (None, "last"):
        model = PyramidViHGNN("ti", num_classes=10, padding=padding).double().eval()
        model.load_reference(state)
        with torch.no_grad():
            together, alone = model(images), torch.cat([model(image[None]) for image in images])
        # Images influence each other there, and only there.
        assert torch.allclose(together, alone, atol=1e-9) == (padding is None)
        results.append(alone)
    assert float((results[0] - results[1]).abs().max()) > 1e-2


@pytest.mark.parametrize("network", [PyramidViHGNN, ViHGNN])
def test_training_saving_and_determinism(network, tmp_path):
    torch.manual_seed(0)
    model = network("ti", num_classes=3, image_size=64, k=6, seed=4)
    model(photographs(64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval().save(tmp_path / "model.safetensors")
    loaded = network.from_file(tmp_path / "model.safetensors")
    assert (loaded.config, str(loaded)) == (model.config, f"{network.__name__}(ti, 3)")
    images = photographs(70, 33)
    assert torch.equal(loaded(images), model(images))
    assert torch.equal(loaded(images), loaded(images))


def test_initialisation_and_numbers_of_hyperedges():
    torch.manual_seed(0)
    model = ViHGNN("s")
    blocks = [module for module in model.modules() if isinstance(module, ConvViG)]
    assert [block.graph.k for block in blocks] == [int(25 + 25 * n / 15) for n in range(16)]
    conv = blocks[-1].conv
    assert isinstance(conv, HyperedgeConv)
    for layer in (conv.nn_node_to_hyperedge[0], conv.nn_hyperedge_to_node[0]):
        assert float(layer.weight.detach().std()) == pytest.approx((2 / 80) ** 0.5, rel=0.05)
        assert not layer.bias.any()
    assert {block.graph.k for block in PyramidViHGNN("m").encoder[2]} == {25}


def test_wrong_layouts(state):
    with pytest.raises(ValueError, match=r"layout of PyramidViG.*missing .*unknown"):
        PyramidViG("ti", 10).load_reference(state)
    key = "backbone.0.0.graph_conv.gconv.eps"
    without = {name: value for name, value in state.items() if name != key}
    with pytest.raises(ValueError, match=rf"layout of PyramidViHGNN.*1 keys missing \({key}\)"):
        PyramidViHGNN("ti", 10).load_reference(without)
    with pytest.raises(ValueError, match="'padding' to be None or 'last'"):
        PyramidViHGNN(padding="first")
    with pytest.raises(ValueError, match="'variant' to be one of"):
        ViHGNN("m")


def test_the_autoencoder_on_hyperedges():
    options = {"graph": "hypergraph", "operator": "hyperedge", "k": 5}
    model = ViGAutoEncoder(8, image_size=64, **options)
    images = torch.rand(2, 3, 64, 96)
    model(images).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        together = model.eval().double()(images.double())
        assert torch.allclose(together[1:], model(images[1:].double()), atol=1e-9)
    static = ViGAutoEncoder(8, image_size=64, dynamic=False, **options)
    assert static(images).shape == (2, 8, 16, 24)
    with pytest.raises(ValueError, match=r"model on edges \(got Hypergraph"):
        model.graphs(images)
    with pytest.raises(ValueError, match=r"Expected edges \(got hyperedges"):
        GraphConstructor(48, 64, k=5, graph="hypergraph")(images)
