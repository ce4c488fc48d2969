from threading import Thread, get_ident

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import coalesce

from pyg_viglad import ViGAutoEncoder
from pyg_viglad.models import PyramidViG, pyramid_vig
from pyg_viglad.nn import GRAPHS, ConvViG, DeconvViG, GridGraph, WindowKNN
from pyg_viglad.transforms import ImageNetNormalization
from tests.oracles.knn_graph import knn_graph_oracle


@pytest.fixture
def shallow(monkeypatch):
    """Fewer blocks where their number proves nothing."""
    monkeypatch.setattr(pyramid_vig, "DEPTHS", (2, 1, 2, 1))


@pytest.fixture
def narrow(monkeypatch):
    """Fewer channels where their number proves nothing."""
    for place, variant in enumerate(pyramid_vig.VARIANTS, 1):
        widths = tuple(4 * place * stage for stage in (1, 2, 3, 4))
        monkeypatch.setitem(pyramid_vig.VARIANTS, variant, widths)


def test_structure_of_the_paper():
    model = ViGAutoEncoder()
    encoder = [block for stage in model.encoder for block in stage]
    decoder = [block for stage in model.decoder for block in stage]
    assert [len(stage) for stage in model.encoder] == [2, 2, 6, 2]
    assert [len(stage) for stage in model.decoder] == [2, 2, 6, 2]
    assert all(isinstance(block, ConvViG) for block in encoder)
    assert all(isinstance(block, DeconvViG) for block in decoder)
    assert [block.channels for block in encoder] == 2 * [48] + 2 * [96] + 6 * [240] + 2 * [384]
    assert [block.channels for block in decoder] == 4 * [384] + 6 * [240] + 2 * [96]
    assert [block.dilation for block in encoder] == 4 * [1] + 4 * [2] + 4 * [3]
    assert str(model) == "ViGAutoEncoder(384, ti, k=12, max_relative)"


def test_grids_go_down_and_back_by_the_same_sizes():
    model = ViGAutoEncoder(32, image_size=224).eval()
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        graphs = model.graphs(images, blocks=True)
        assert model(images).shape == (1, 32, 56, 56)
    firsts = [f"encoder.{n}" for n in (0, 2, 4, 10)] + ["encoder"]
    firsts += [f"decoder.{n}" for n in (0, 2, 4, 10)] + ["decoder"]
    sizes = [graphs[name].grid_size[0].tolist() for name in firsts]
    sides = [56, 28, 14, 7, 4, 4, 7, 14, 28, 56]
    assert sizes == [[side, side] for side in sides]
    assert len(graphs) == 27


@pytest.mark.parametrize("size", [(64, 96), (68, 64), (96, 64)])
def test_any_size(size, shallow):
    # In double precision, as a rounded distance may choose another neighbour.
    model = ViGAutoEncoder(16, image_size=64).double().eval()
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    output = model(images)
    assert output.shape == (2, 16, size[0] // 4, size[1] // 4)
    # Each image is a graph of its own.
    assert torch.allclose(output[1:], model(images[1:]), atol=1e-9)


def test_gradients_reach_every_weight(shallow):
    model = ViGAutoEncoder(16, image_size=64)
    model(torch.rand(2, 3, 64, 64)).square().mean().backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all()
    ]
    assert without == []


def test_operator_kwargs_reach_all_blocks(shallow):
    model = ViGAutoEncoder(16, image_size=32, operator="sage", operator_kwargs={"aggr": "mean"})
    convs = [module for module in model.modules() if isinstance(module, MessagePassing)]
    assert [conv.aggr for conv in convs] == 12 * ["mean"]


@pytest.mark.parametrize("graph", sorted(set(GRAPHS) - {"hypergraph"}))
def test_graphs(graph, shallow):
    torch.manual_seed(0)
    model = ViGAutoEncoder(8, image_size=32, k=5, graph=graph).double()
    assert str(model).endswith("max_relative)" if graph == "knn" else f"max_relative, {graph})")
    images = torch.rand(2, 3, 32, 40, dtype=torch.float64)
    model(images).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    both, second = model.eval()(images), model(images[1:])
    assert torch.allclose(both[1:], second, atol=1e-9)
    # The recorded graphs are those of the blocks, image by image, nearest first.
    used = []
    blocks = [block for part in (model.encoder, model.decoder) for stage in part for block in stage]
    for block in blocks:
        block.conv.register_forward_pre_hook(lambda _, args: used.append(args[1]))
    model(images)
    graphs, alone = model.graphs(images, blocks=True), model.graphs(images[1:], blocks=True)
    names = [name for name in graphs if "." in name]
    for name, edges in zip(names, used[: len(blocks)], strict=True):
        assert torch.equal(coalesce(graphs[name].edge_index), coalesce(edges))
    for name, recorded in graphs.items():
        for key in ("edge_index", "distance", "pos", "x"):
            assert torch.allclose(recorded[1][key], alone[name][0][key])
        step = recorded.edge_index[1].diff()
        assert (step >= 0).all()
        if graph != "knn":
            assert (recorded.distance.diff()[step == 0] >= -1e-6).all()
    assert torch.equal(model.constructor(images).edge_index, graphs["input"].edge_index)


def test_graph_by_class_instance_and_function(narrow):
    def itself(x, batch_size, grid_size):
        return torch.arange(x.size(0)).expand(2, -1)

    model = ViGAutoEncoder(8, image_size=32, graph=WindowKNN, graph_kwargs={"size": 3})
    assert str(model).endswith("k=12, max_relative, custom graph)")
    stages = (*model.encoder, *model.decoder)
    builders = [block.graph for stage in stages for block in stage]
    assert [builder.number for builder in builders] == list(range(24))
    assert {builder.size for builder in builders} == {3}
    assert [builder.dilation for builder in builders[:12]] == [1] * 4 + [2] * 4 + [3] * 4
    assert [builder.dilation for builder in builders[12:]] == [1] * 4 + [2] * 4 + [3] * 4
    for graph, edges in ((itself, 8 * 8), (GridGraph(1), 22 * 22)):
        model = ViGAutoEncoder(8, image_size=32, graph=graph).eval()
        assert str(model).endswith("k=12, max_relative, custom graph)")
        assert model.graphs(torch.rand(2, 3, 32, 32))["decoder"].num_edges == 2 * edges


def test_reconstruct_takes_edges_in_any_order_and_fewer():
    model = ViGAutoEncoder(8, image_size=32, k=4, dynamic=False).eval()
    x, grid_size = model.constructor.embed(torch.rand(1, 3, 32, 32))
    edges = model.constructor.connect(x, 1, grid_size)
    block = model.encoder[0][0]
    for kept in (torch.randperm(256), torch.randperm(256)[:192], torch.randperm(256)[:100]):
        expected = block(x, edges[:, kept.sort().values], grid_size=grid_size)
        out = model.run_stage([block], x, edges[:, kept], grid_size)
        assert torch.allclose(out, expected, atol=1e-6)
        assert model.reconstruct(x, edges[:, kept], grid_size).shape == x.shape


def test_static_graphs_are_shared_by_a_stage(shallow):
    images = torch.rand(1, 3, 64, 64)
    static = ViGAutoEncoder(16, image_size=64, dynamic=False).eval().graphs(images, blocks=True)
    assert torch.equal(static["encoder.3"].edge_index, static["encoder.4"].edge_index)
    assert torch.equal(static["input"].edge_index, static["encoder.1"].edge_index)
    dynamic = ViGAutoEncoder(16, image_size=64).eval().graphs(images, blocks=True)
    assert not torch.equal(dynamic["encoder.3"].edge_index, dynamic["encoder.4"].edge_index)


def test_graphs_are_neighbours_among_their_own_features(shallow):
    model = ViGAutoEncoder(16, image_size=64).double().eval()
    graphs = model.graphs(torch.rand(2, 3, 64, 64).double())
    assert list(graphs) == ["input", "encoder", "decoder"]
    for name in ("input", "decoder"):
        graph = graphs[name][1]
        expected = knn_graph_oracle(graph.x, 12, loop=True, cosine=True)
        assert torch.equal(graph.edge_index, expected)
        assert graph.img_size.tolist() == [[64, 64]]


@pytest.mark.parametrize("dynamic", [True, False])
def test_block_graphs_are_neighbours_among_the_features_that_chose_them(dynamic, shallow):
    """Also where a static graph serves several blocks, and the model stays in training mode."""
    model = ViGAutoEncoder(16, image_size=64, k=5, dynamic=dynamic).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graphs = model.graphs(torch.rand(2, 3, 64, 96).double(), blocks=True)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    blocks = [block for stage in model.encoder for block in stage]
    for number in range(5):
        graph = graphs[f"encoder.{number}"][1]
        first = number if dynamic else (0, 0, 2, 3, 3)[number]
        dilation = blocks[first].dilation if first else 1
        expected = knn_graph_oracle(graph.x, 5, loop=True, cosine=True, dilation=dilation)
        assert torch.equal(graph.edge_index, expected)
        unit = F.normalize(graph.x, dim=1)
        source, target = graph.edge_index
        assert torch.allclose(graph.distance, (unit[source] - unit[target]).norm(dim=1))
        assert (graph.distance.view(-1, 5).diff(dim=1) >= -1e-6).all()  # nearest first


def test_graphs_under_autocast_are_those_of_its_forward_pass(shallow):
    model = ViGAutoEncoder(16, image_size=64, k=5).eval()
    images = torch.rand(1, 3, 64, 64)
    used = []
    for block in (block for stage in model.encoder for block in stage):
        block.conv.register_forward_pre_hook(lambda _, inputs: used.append(inputs[1]))
    with torch.autocast("cpu", torch.bfloat16):
        graphs = model.graphs(images, blocks=True)
        used.clear()
        assert model(images).dtype == torch.bfloat16
    for number, edges in enumerate(used):
        graph = graphs[f"encoder.{number}"]
        assert graph.x.dtype == torch.float32
        assert torch.equal(graph.edge_index, edges)


class FrozenGraph(nn.Module):
    """Explains the graph that enters the network, which its whole first stage works on."""

    def __init__(self, model, grid_size):
        super().__init__()
        self.model = model
        self.grid_size = grid_size
        first = list(model.encoder[0].modules())
        for module in model.modules():
            if isinstance(module, MessagePassing) and module not in first:
                module.explain = False  # these have graphs of their own

    def forward(self, x, edge_index):
        return self.model.reconstruct(x, edge_index, self.grid_size)


def test_explainer_finds_the_edges_of_a_frozen_graph(shallow):
    model = ViGAutoEncoder(16, image_size=32, k=4, dynamic=False).eval()
    batch = model.constructor(torch.rand(1, 3, 32, 32))
    explainer = Explainer(
        FrozenGraph(model, (8, 8)),
        GNNExplainer(epochs=3),
        explanation_type="model",
        edge_mask_type="object",
        model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
    )
    mask = explainer(batch.x.detach(), batch.edge_index).edge_mask
    assert mask.shape == (8 * 8 * 4,)
    assert (mask.view(64, 4)[:, 1:].amax(dim=1) > 0).all()


def test_reset_parameters_reproduces_the_state(shallow):
    model = ViGAutoEncoder(16, image_size=32)
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        model.reset_parameters()
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        with torch.no_grad():
            for value in model.state_dict().values():
                value.add_(1)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_single_smallest_image_trains(shallow):
    """With one image of 64 x 64 the deepest stage has a single node."""
    model = ViGAutoEncoder(16, image_size=64)
    assert model(torch.rand(1, 3, 64, 64)).isfinite().all()


def trunk_of(model):
    parts = (model.constructor, model.encoder, model.downsamples[:3])
    return [value for part in parts for value in part.state_dict().values()]


@pytest.mark.parametrize("variant", ["ti", "s"])
def test_encoder_starts_from_a_pyramid_vig(variant, shallow):
    torch.manual_seed(0)
    pyramid = PyramidViG(variant, num_classes=2)
    nn.init.normal_(pyramid.constructor.position)
    model = ViGAutoEncoder(16, variant, encoder_weights=pyramid)
    other = ViGAutoEncoder(16, variant, encoder_weights=pyramid.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(trunk_of(model), trunk_of(other), strict=True))
    differing = [
        name
        for name, value in pyramid.state_dict().items()
        if not name.startswith("head") and not torch.equal(model.state_dict()[name], value)
    ]
    assert differing == ["constructor.stem.0.weight", "constructor.stem.0.bias"]
    # The stem sees ImageNet-normalised images as it saw those in [-1, 1], but for the border.
    images = torch.rand(1, 3, 64, 96)
    own = model.eval().constructor.stem(ImageNetNormalization()(images))
    wanted = pyramid.eval().constructor.stem(2 * images - 1)
    assert torch.allclose(own[..., 2:-2, 2:-2], wanted[..., 2:-2, 2:-2], atol=1e-4)
    assert not torch.allclose(own, wanted, atol=1e-4)


def test_positions_of_the_encoder_are_interpolated():
    pyramid = PyramidViG("ti", num_classes=0)
    nn.init.normal_(pyramid.constructor.position)
    model = ViGAutoEncoder(16, image_size=(64, 96), encoder_weights=pyramid)
    wanted = F.interpolate(pyramid.constructor.position, (16, 24), mode="bicubic")
    assert torch.equal(model.constructor.position, wanted)


def test_weights_that_do_not_fit_the_encoder(tmp_path, narrow):
    with pytest.raises(
        ValueError, match=r"\(2, 2, 6, 2\) blocks of a Pyramid ViG 'm' .*encoder.2.10"
    ):
        ViGAutoEncoder(16, "m", encoder_weights=PyramidViG("m", num_classes=0))
    with pytest.raises(ValueError, match=r"Pyramid ViG 'ti' .* keys do not fit"):
        ViGAutoEncoder(16, encoder_weights=PyramidViG("s", num_classes=0))
    with pytest.raises(ValueError, match=r"keys do not fit: downsamples.3"):
        ViGAutoEncoder(16, encoder_weights=ViGAutoEncoder(16).state_dict())
    with pytest.raises(ValueError, match=r"keys do not fit: encoder.0.0.conv"):
        ViGAutoEncoder(16, operator="edge", encoder_weights=PyramidViG("ti", num_classes=0))
    with pytest.raises(FileNotFoundError, match="Expected a file of encoder weights"):
        ViGAutoEncoder(16, encoder_weights=tmp_path / "nothing.safetensors")


def test_bad_arguments():
    with pytest.raises(ValueError, match="Expected 'variant'"):
        ViGAutoEncoder(variant="xl")
    with pytest.raises(ValueError, match="operator"):
        ViGAutoEncoder(operator="magic")
    with pytest.raises(ValueError, match="upsampling among"):
        ViGAutoEncoder(upsampling="magic")
    with pytest.raises(ValueError, match="divisible by 4"):
        ViGAutoEncoder(image_size=64)(torch.zeros(1, 3, 63, 64))


def test_graphs_are_those_of_their_own_thread():
    torch.manual_seed(0)
    model = ViGAutoEncoder(4, image_size=32, k=4)
    images, others = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    expected = model.graphs(images, blocks=True)
    main = get_ident()

    def judge_others(*_):
        if get_ident() == main:  # in the midst of the call below
            thread = Thread(target=model, args=(others,))
            thread.start()
            thread.join()

    model.constructor.stem.register_forward_hook(judge_others)
    found = model.graphs(images, blocks=True)
    assert list(found) == list(expected)
    for name, graph in expected.items():
        assert torch.equal(found[name].x, graph.x), name
