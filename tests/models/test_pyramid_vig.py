import pytest
import torch
from torch_geometric.nn import SAGEConv

from pyg_viglad.files import write_tensors
from pyg_viglad.models import PyramidViG, ViG
from pyg_viglad.nn import ConvViG
from tests.oracles.pyramid_vig import reference_state, vig_oracle

MODELS = {"pyramid": PyramidViG, "isotropic": ViG}


@pytest.fixture(scope="module")
def states():
    """Reference-layout state dicts, each made once."""
    made = {}

    def get(model, variant):
        if (model, variant) not in made:
            made[model, variant] = reference_state(model, variant)
        return dict(made[model, variant])

    return get


def neighbors_of(model, images):
    """Returns logits, and the neighbours ``[B, N, k]`` of every block of a model."""
    seen = []

    def see(_, args):
        graphs, edges = images.size(0), args[1]
        centres = args[0][1] if isinstance(args[0], tuple) else args[0]
        candidates = (args[0][0] if isinstance(args[0], tuple) else args[0]).size(0) // graphs
        first = torch.arange(graphs).view(-1, 1, 1) * candidates
        seen.append(edges[0].view(graphs, centres.size(0) // graphs, -1) - first)

    blocks = [module for module in model.modules() if isinstance(module, ConvViG)]
    hooks = [block.conv.register_forward_pre_hook(see) for block in blocks]
    with torch.no_grad():
        logits = model(images)
    for hook in hooks:
        hook.remove()
    return logits, seen


@pytest.mark.parametrize(
    ("model", "variant", "size"),
    [
        ("pyramid", "ti", (224, 224)),
        ("pyramid", "ti", (192, 320)),
        ("pyramid", "s", (224, 224)),
        ("isotropic", "ti", (224, 224)),
        ("isotropic", "ti", (160, 288)),
    ],
)
def test_equals_the_dense_oracle(states, model, variant, size):
    state = states(model, variant)
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected, neighbors = vig_oracle(state, images, model, variant)
    network = MODELS[model](variant, num_classes=10).double().eval()
    ignored = network.load_reference(state)
    assert ignored == [key for key in state if key.endswith("relative_pos")]
    logits, seen = neighbors_of(network, images.double())
    assert float((logits - expected).abs().max()) < 1e-9
    assert len(seen) == len(neighbors)
    assert all(torch.equal(own, other) for own, other in zip(seen, neighbors, strict=True))


def test_parameters_as_published():
    model = PyramidViG()
    assert sum(p.numel() for p in model.parameters()) == 10_714_376
    assert str(model) == "PyramidViG(ti, 1000)"
    assert str(ViG("s", 0, operator="edge")) == "ViG(s, 0, operator=edge)"


def test_gradients_reach_every_weight_in_training():
    model = PyramidViG("ti", num_classes=3, image_size=64, drop_path=0.1)
    rates = [m.drop_path for m in model.modules() if isinstance(m, ConvViG)]
    assert rates == pytest.approx([0.1 * n / 11 for n in range(12)])
    model(torch.rand(4, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("network", [PyramidViG, ViG])
@pytest.mark.parametrize("size", [(30, 50), (67, 32), (4, 4)])
def test_any_size(network, size):
    torch.manual_seed(0)
    model = network("ti", num_classes=5).double().eval()
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        logits = model(images)
        assert logits.shape == (2, 5)
        assert torch.allclose(logits[1:], model(images[1:]), atol=1e-9)  # each a graph of its own


@pytest.mark.parametrize("network", [PyramidViG, ViG])
def test_without_classes_the_features_are_pooled(network, states):
    layout = "pyramid" if network is PyramidViG else "isotropic"
    state = states(layout, "ti")
    model = network("ti", num_classes=0).eval()
    ignored = model.load_reference(state)
    assert [key for key in state if key.startswith("prediction.")] == [
        key for key in ignored if not key.endswith("relative_pos")
    ]
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        maps = model.forward_features(images)
        assert torch.allclose(model(images), maps.flatten(2).mean(2), atol=1e-5)


def test_initialisation_is_kaiming_normal_with_zero_biases():
    torch.manual_seed(0)
    model = PyramidViG("ti")
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            norm = name.endswith("weight")  # of a batch normalization
            assert torch.equal(parameter, torch.full_like(parameter, float(norm))), name
        elif name == "constructor.position":
            assert not parameter.any()
        else:
            fan = parameter.size(1) if parameter.dim() == 3 else parameter[0].numel()
            assert float(parameter.detach().std() * (fan / 2) ** 0.5) == pytest.approx(
                1, abs=0.1
            ), name


@pytest.mark.parametrize("network", [PyramidViG, ViG])
def test_reset_parameters_reproduces_the_state(network):
    model = network("ti", num_classes=2, image_size=64)
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        model.reset_parameters()
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        with torch.no_grad():
            for value in model.state_dict().values():
                value.add_(1)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("network", [PyramidViG, ViG])
@pytest.mark.parametrize("operator", ["edge", "gatv2"])
def test_operators_and_graphs(network, operator):
    def ring(x, batch_size, grid_size):
        nodes = x.size(0) // batch_size
        centres = torch.arange(x.size(0))
        first = centres // nodes * nodes
        return torch.stack([first + (centres - first + 1) % nodes, centres])

    model = network("ti", num_classes=2, image_size=32, operator=operator, graph=ring)
    images = torch.rand(2, 3, 32, 32)
    model(images).sum().backward()
    seen = neighbors_of(model.eval(), images)[1]
    assert all(
        torch.equal(own[0, :, 0], torch.arange(1, own.size(1) + 1) % own.size(1)) for own in seen
    )


def test_operators_without_pairs_take_candidates_that_are_not_pooled(tmp_path):
    images = torch.rand(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"for pooled sources \(reduce_ratio above 1; got GCNConv"):
        PyramidViG("ti", num_classes=2, image_size=64, operator="gcn")(images)
    ratios = (1, 1, 1, 1)
    model = PyramidViG("ti", 2, image_size=64, operator="gcn", reduce_ratios=ratios).eval()
    model.save(tmp_path / "model.safetensors")
    logits, neighbors = neighbors_of(PyramidViG.from_file(tmp_path / "model.safetensors"), images)
    assert torch.equal(logits, model(images))
    assert int(neighbors[0].max()) > 16 * 16 // 16  # among all nodes


@pytest.mark.parametrize("network", [PyramidViG, ViG])
def test_save_and_load(network, tmp_path):
    model = network("ti", num_classes=4, image_size=64, k=5).eval()
    model.save(tmp_path / "model.safetensors")
    loaded = network.from_file(tmp_path / "model.safetensors")
    assert (loaded.config, loaded.training) == (model.config, False)
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded(images), model(images))
    other = ViG if network is PyramidViG else PyramidViG
    with pytest.raises(ValueError, match=rf"saved {other.__name__} .*got {network.__name__}"):
        other.from_file(tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError, match=r"nothing.safetensors"):
        network.from_file(tmp_path / "nothing.safetensors")
    with pytest.raises(ValueError, match=r"ends in '.safetensors'"):
        model.save(tmp_path / "model.pth")
    custom = network("ti", num_classes=4, operator=lambda a, b: SAGEConv(a, b))
    with pytest.raises(ValueError, match="operator and graph by name"):
        custom.save(tmp_path / "custom.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_files_whose_weights_and_options_do_not_fit(tmp_path):
    file = tmp_path / "model.safetensors"
    for options in ({}, {"config": '{"variant": "ti"}'}, {"config": '{"path": "/"}'}):
        write_tensors(file, {"weight": torch.zeros(3)}, {"model": "ViG", **options})
        with pytest.raises(ValueError, match=r"weights and options that fit in '.*model\.safe"):
            ViG.from_file(file)


def test_wrong_layouts_name_the_keys_that_do_not_fit(states):
    model = PyramidViG("ti", num_classes=10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = states("pyramid", "ti")
    del state["backbone.3.0.fc1.0.bias"]
    state["backbone.4.1.fc1.0.weight"] = torch.zeros(1, 1)
    state["extra.weight"] = torch.zeros(1)
    message = (
        r"layout of PyramidViG\(ti, 10\): 1 keys missing \(backbone.3.0.fc1.0.bias\); "
        r"1 keys unknown \(extra.weight\); 1 keys of another shape "
        r"\(backbone.4.1.fc1.0.weight: \[384, 96\], got \[1, 1\]\)"
    )
    with pytest.raises(ValueError, match=message):
        model.load_reference(state)
    with pytest.raises(ValueError, match=r"missing \(backbone.13.0.* unknown .*another shape"):
        model.load_reference(states("isotropic", "ti"))
    with pytest.raises(ValueError, match=r"keys of another shape \(pos_embed: .*, \.\.\.\)"):
        PyramidViG("s", num_classes=10).load_reference(states("pyramid", "ti"))
    with pytest.raises(ValueError, match=r"prediction.4.weight: \[9, 1024\], got \[10, 1024, 1, 1"):
        PyramidViG("ti", num_classes=9).load_reference(states("pyramid", "ti"))
    with pytest.raises(ValueError, match=r"keys missing .*gconv"):
        PyramidViG("ti", 10, operator="edge").load_reference(states("pyramid", "ti"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_tables_of_other_positions_are_refused(states):
    model = PyramidViG("ti", num_classes=10)
    state = states("pyramid", "ti")
    key = "backbone.6.0.relative_pos"
    half = {**state, key: state[key].half()}
    assert key in model.load_reference(half)
    with pytest.raises(ValueError, match=rf"'{key}' to hold sine-cosine positions"):
        model.load_reference({**state, key: state[key].roll(1, 2)})
    with pytest.raises(ValueError, match=rf"'{key}' to be \[1, 196, 196\] \(got \[1, 196, 49\]"):
        model.load_reference({**state, key: state[key][:, :, :49]})
    without = {name: value for name, value in state.items() if not name.endswith("relative_pos")}
    assert model.load_reference(without) == []


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: PyramidViG("xl"), "'variant' to be one of"),
        (lambda: ViG("m"), r"'variant' to be one of \['b', 's', 'ti'\] \(got 'm'\)"),
        (lambda: PyramidViG(num_classes=-1), "'num_classes' to be at least 0"),
        (lambda: PyramidViG(k=0), "'k' to be at least 1"),
        (lambda: ViG(k=0), "'k' to be at least 1"),
        (lambda: ViG(image_size=100), "'image_size' to be divisible by 16"),
        (lambda: PyramidViG(image_size=90), "'image_size' to be divisible by 4"),
        (lambda: PyramidViG(drop_path=1.0), r"'drop_path' to lie in \[0, 1\)"),
        (lambda: PyramidViG(operator="magic"), "'operator'"),
        (lambda: ViG(graph="magic"), "'graph'"),
        (lambda: PyramidViG(reduce_ratios=(4, 2)), r"'reduce_ratios' of 4 stages \(got \(4, 2\)\)"),
        (lambda: PyramidViG(graph="grid", reduce_ratios=(4, 2, 1, 1)), "graph 'knn' with reduce"),
        (lambda: PyramidViG()(torch.zeros(1, 1, 64, 64)), r"\[B, 3, H, W\]"),
    ],
)
def test_bad_arguments(make, match):
    with pytest.raises(ValueError, match=match):
        make()
