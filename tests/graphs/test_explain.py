"""Explanations name the edges without which the node's error is another one, and leave the model alone."""

import copy
import sys
from contextlib import contextmanager
from functools import cache
from itertools import chain

import pytest
import torch
from torch import nn
from torch_geometric.explain import DummyExplainer, Explainer, Explanation
from torch_geometric.nn import GraphConv, MessagePassing, SAGEConv

from pyg_viglad import ViGAutoEncoder, ViGLAD
from pyg_viglad.graphs import (
    EdgeOcclusion,
    explain,
    explain_node,
    explained_neighbors,
    graph_of_image,
    node_at,
    record_graphs,
)
from pyg_viglad.models import pyramid_vig
from pyg_viglad.nn import OPERATORS, knn_graph
from pyg_viglad.scoring import anomaly_map

DEPTHS = (2, 1, 1, 2)
NODE = 9 * 16 + 6  # row 9, column 6 of 16 x 16; row 4, column 3 of 8 x 8
CENTER = 4 * 8 + 3


@pytest.fixture(autouse=True)
def _shallow(monkeypatch):
    monkeypatch.setattr(pyramid_vig, "DEPTHS", DEPTHS)


def make(**kwargs):
    """An autoencoder whose neighbours have a say in its output, and an image."""
    made = copy.deepcopy(cached(*kwargs.items()))
    torch.manual_seed(1)
    return made


@cache
def cached(*options):
    torch.manual_seed(0)
    kwargs = dict(options)
    model = ViGAutoEncoder(8, image_size=64, k=6, **kwargs)
    for block in blocks_of(model).values():
        nn.init.constant_(block.fc_out[1].weight, 3)
    with torch.no_grad():
        model.projection.weight *= 20
        for _ in range(3):  # statistics that fit the features
            model(torch.randn(4, 3, 64, 64))
    return model.eval(), torch.randn(3, 64, 64)


def blocks_of(model):
    return {
        f"{part}.{number}": block
        for part in ("encoder", "decoder")
        for number, block in enumerate(chain.from_iterable(getattr(model, part)))
    }


@contextmanager
def changed_graphs(model, changed):
    """Replaces, by hooks, the graphs of the operators of some blocks."""

    def replace(name, args, kwargs):
        return (args[0], changed[name]), {**kwargs, "k": None}

    handles = [
        block.conv.register_forward_pre_hook(
            lambda _, args, kwargs, name=name: replace(name, args, kwargs), with_kwargs=True
        )
        for name, block in blocks_of(model).items()
        if name in changed
    ]
    yield
    for handle in handles:
        handle.remove()


@torch.no_grad()
def output(model, image, changed=None, frozen=None):
    """The output with the graphs of some blocks replaced, and all others as they were."""
    with changed_graphs(model, {**(frozen or {}), **(changed or {})}):
        return model(image[None])


def graphs_of(model, image):
    """What every block used, without our class that freezes them."""
    return {n: g.edge_index for n, g in model.graphs(image[None], blocks=True).items() if "." in n}


def edges_to(edges, node):
    return ((edges[1] == node) & (edges[0] != node)).nonzero()[:, 0]


def without(edges, numbers):
    keep = torch.ones(edges.size(1), dtype=torch.bool)
    keep[numbers] = False
    return edges[:, keep]


def irregular(x, batch_size, grid_size):
    """Some edges of the nearest neighbours."""
    edges = knn_graph(x, min(5, len(x) // batch_size), loop=True, batch_size=batch_size)
    return edges[:, torch.arange(edges.size(1)) % 7 != 0]


class OneSpeaker(MessagePassing):
    """Every node hears its neighbours, but only one node of the image says anything."""

    def __init__(self, in_channels, out_channels):
        super().__init__(aggr="add")
        self.lin = nn.Linear(in_channels, out_channels)

    def forward(self, x, edge_index):
        speaks = torch.arange(len(x)) == speaker(x)
        return self.lin(x) + self.propagate(edge_index, x=10 * self.lin(x) * speaks[:, None])

    def message(self, x_j):
        return x_j


def speaker(x):
    return int(x[:, 0].argmax())


def all_hear(x, batch_size, grid_size):
    """Every node has four random neighbours and, as the third, the speaker."""
    others = torch.randint(len(x), (5, len(x)), generator=torch.Generator().manual_seed(0))
    others[2] = speaker(x)
    return torch.stack([others.T.flatten(), torch.arange(len(x)).repeat_interleave(5)])


@pytest.mark.parametrize("algorithm", ["occlusion", "gnn_explainer"])
def test_the_one_neighbour_that_matters_is_found(algorithm):
    model, image = make(operator=OneSpeaker, graph=all_hear)
    target = torch.zeros(8, 16, 16)
    explanation = explain_node(model, image, NODE, target=target, algorithm=algorithm)
    assert (explanation.block, explanation.center) == ("decoder.5", CENTER)
    spoke = all_hear(blocks_of(model)["decoder.5"].fc_in(explanation.x), 1, None)[0, 2]
    neighbors, weights = explained_neighbors(explanation)
    assert neighbors[0] == spoke
    assert weights[0] > 0.5
    assert (weights[1:] == 0).all()
    effects = explain_node(model, image, NODE, target=target, algorithm="occlusion").edge_effect
    assert effects.count_nonzero() == 1


@pytest.mark.parametrize("number", [0, 2, 4])
def test_an_edge_without_which_there_is_no_error_has_an_effect_of_1(number):
    model, image = make()
    edges = graphs_of(model, image)["decoder.5"]
    cause = edges_to(edges, CENTER)[number]
    target = output(model, image, {"decoder.5": without(edges, cause)})
    explanation = explain_node(model, image, NODE, target=target, algorithm="occlusion")
    assert explained_neighbors(explanation)[0][0] == edges[0, cause]
    assert float(explanation.edge_effect[cause]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dynamic": False},
        {"operator": "gatv2"},
        {"operator": GraphConv},
        {"operator": "sage", "graph": irregular},
    ],
)
@pytest.mark.parametrize("block", ["input", "decoder.2", None])
def test_occlusion_is_the_change_of_the_error_without_the_edge(options, block, monkeypatch):
    def anomaly_map(first, second):  # in float64, as edges of the encoder change it little
        return (first - second).square().mean(1)

    monkeypatch.setattr(explain, "anomaly_map", anomaly_map)
    model, image = (part.double() for part in make(**options))
    target = torch.randn(8, 16, 16, dtype=torch.float64)
    explanation = explain_node(
        model, image, NODE, block=block, target=target[None], algorithm="occlusion"
    )
    graphs = graphs_of(model, image)
    used = explanation.edge_index
    edges = (used, graphs[explanation.block])  # of irregular graphs, in another order
    assert sorted(zip(*edges[0].tolist(), strict=True)) == sorted(
        zip(*edges[1].tolist(), strict=True)
    )
    error = anomaly_map(output(model, image), target[None]).flatten()
    torch.testing.assert_close(explanation.prediction, error)
    expected = torch.zeros(used.size(1), dtype=torch.float64)
    stage = {"encoder.0": ("encoder.0", "encoder.1"), "decoder.4": ("decoder.4", "decoder.5")}
    sharing = stage.get(explanation.block) if options.get("dynamic") is False else None
    for edge in edges_to(used, explanation.center):
        changed = {name: without(used, edge) for name in sharing or [explanation.block]}
        less = anomaly_map(output(model, image, changed, graphs), target[None]).flatten()[NODE]
        expected[edge] = (error[NODE] - less) / error[NODE]
    torch.testing.assert_close(explanation.edge_effect, expected, atol=1e-10, rtol=1e-6)
    assert expected.abs().max() > 1e-7
    raising = explanation.edge_effect.clamp(min=0)
    torch.testing.assert_close(explanation.edge_mask * raising.max(), raising)


def test_blocks_that_share_a_graph_are_explained_together():
    model, image = make(dynamic=False)
    target = torch.randn(8, 16, 16)
    explanation = explain_node(model, image, block="encoder.1", target=target, epochs=1)
    assert explanation.block == "encoder.0"
    model.dynamic = True
    assert explain_node(model, image, block="encoder.1", target=target, epochs=1).block == (
        "encoder.1"
    )


@pytest.mark.parametrize("operator", ["max_relative", "gatv2", GraphConv])
def test_without_the_top_edges_the_error_changes_more_than_without_random_ones(operator):
    # With upsampling "nearest" four nodes share their features, and single edges matter less.
    model, image = make(operator=operator, upsampling="transposed3")
    target = torch.randn(1, 8, 16, 16)
    explanation = explain_node(model, image, NODE, target=target)
    edges = explanation.edge_index
    loops = edges[0] == edges[1]
    assert ((explanation.edge_mask >= 0) & (explanation.edge_mask <= 1)).all()

    def change(numbers):
        less = output(model, image, {"decoder.5": without(edges, numbers)})
        return abs(float(anomaly_map(less, target).flatten()[NODE] - explanation.error))

    top = explanation.edge_mask.masked_fill(loops, -1).argsort(descending=True)[:10]
    others = (~loops).nonzero()[:, 0]
    random = [change(others[torch.randperm(len(others))[:10]]) for _ in range(20)]
    assert change(top) > 3 * sum(random) / len(random)


def test_the_error_is_that_of_the_global_map():
    torch.manual_seed(0)
    model = ViGLAD("small", image_size=96, k=5)
    model.fit_statistics(torch.rand(4, 3, 96, 96), torch.rand(4, 3, 96, 96))
    model.eval()
    image = torch.rand(3, 60, 120)
    with torch.no_grad():
        features = model.features(
            nn.functional.interpolate(image[None], (96, 96), mode="bilinear", antialias=True)
        )
    explanation = explain_node(model, image, epochs=1)
    error = anomaly_map(features.autoencoder, features.student_second).flatten()
    torch.testing.assert_close(explanation.prediction, error)
    assert int(explanation.index) == int(error.argmax())
    assert explanation.error == explanation.prediction.max()
    teacher = explain_node(model, image, 7, target="teacher", epochs=1)
    error = anomaly_map(features.autoencoder, features.teacher).flatten()
    torch.testing.assert_close(teacher.prediction, error)
    assert (int(teacher.index), float(teacher.error)) == (7, float(teacher.prediction[7]))


def test_the_teacher_is_whitened_where_the_model_whitens():
    torch.manual_seed(0)
    model = ViGLAD("small", image_size=96, k=5, whiten=6)
    model.fit_teacher_statistics(torch.rand(4, 3, 96, 96))
    image = torch.rand(3, 96, 96)
    features = model.eval().features(image[None])
    explanation = explain_node(model, image, 7, target="teacher", epochs=1)
    error = anomaly_map(features.autoencoder, features.target).flatten()
    torch.testing.assert_close(explanation.prediction, error)


def test_in_inference_mode_the_explanation_is_the_same():
    model, image = make()
    target = torch.randn(1, 8, 16, 16)
    expected = explain_node(model, image, NODE, target=target, epochs=2)
    with torch.inference_mode():
        explanation = explain_node(model, image * 1, NODE, target=target * 1, epochs=2)
    assert torch.equal(explanation.edge_mask, expected.edge_mask)


def test_an_unfitted_detector_is_explained_too():
    explanation = explain_node(ViGLAD("small", image_size=96), torch.rand(3, 96, 96), epochs=1)
    assert explanation.error > 0


def test_the_explanation_is_a_patch_graph_of_the_original_image():
    torch.manual_seed(0)
    model = ViGLAD("small", image_size=96, k=5)
    image = torch.rand(3, 60, 120)
    recorded = record_graphs(model, image)
    explanation = explain_node(model, image, (50.0, 20.0), block="decoder.2", epochs=1)
    assert isinstance(explanation, Explanation)
    assert explanation.validate()
    graph = graph_of_image(explanation)
    for key in ("edge_index", "pos", "grid_size", "img_size"):
        assert torch.equal(graph[key], recorded["decoder.2"][key])
    assert torch.equal(graph.edge_mask, explanation.edge_mask)
    # 16 x 16 patches of 7.5 x 3.75 pixels
    assert explanation.index.tolist() == [5 * 16 + 6]
    assert explanation.index.tolist() == [node_at(recorded["input"], (50.0, 20.0))]
    assert explanation.center == node_at(recorded["decoder.2"], (50.0, 20.0))
    by_number = explain_node(model, image, 5 * 16 + 6, block="decoder.2", epochs=1)
    assert torch.equal(by_number.edge_mask, explanation.edge_mask)


def test_neighbours_of_the_largest_weight_come_first():
    edge_index = torch.tensor([[0, 3, 1, 2, 1], [0, 0, 0, 0, 1]])
    weights = torch.tensor([1.0, 0.1, 0.4, 0.4, 0.2])
    explanation = Explanation(edge_index=edge_index, edge_mask=weights, center=0)
    neighbors, values = explained_neighbors(explanation)
    assert neighbors.tolist() == [1, 2, 3]
    assert torch.equal(values, torch.tensor([0.4, 0.4, 0.1]))
    assert explained_neighbors(explanation, 1)[0].tolist() == []


def test_a_node_without_neighbours():
    def isolated(x, batch_size, grid_size):
        edges = knn_graph(x, min(3, x.size(0)), loop=True)
        return edges[:, edges[1] != (CENTER if len(x) == 64 else -1)]

    model, image = make(graph=isolated)
    for algorithm in ("occlusion", "gnn_explainer"):
        explanation = explain_node(
            model, image, NODE, target=torch.zeros(8, 16, 16), algorithm=algorithm, epochs=2
        )
        assert explanation.center == CENTER
        assert explained_neighbors(explanation)[0].numel() == 0
        assert explanation.edge_mask.isfinite().all()


def test_masks_are_reproduced_by_the_seed_alone():
    model, image = make()
    target = torch.zeros(8, 16, 16)
    state = torch.get_rng_state()
    first = explain_node(model, image, target=target, epochs=3).edge_mask
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(explain_node(model, image, target=target, epochs=3).edge_mask, first)
    other = explain_node(model, image, target=target, epochs=3, seed=1).edge_mask
    assert not torch.equal(other, first)


def snapshot(model):
    """All that an explanation might change of a model."""
    return [
        {name: value.clone() for name, value in model.state_dict().items()},
        {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()},
        [(module.training, *map(len, hooks(module))) for module in model.modules()],
        [(m.explain, m._edge_mask) for m in model.modules() if isinstance(m, MessagePassing)],
        [type(module) for module in model.modules()],
    ]


def hooks(module):
    return [value for name, value in vars(module).items() if name.endswith("_hooks")]


@pytest.mark.parametrize("algorithm", ["occlusion", "gnn_explainer"])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(algorithm, training):
    torch.manual_seed(0)
    model = ViGLAD("small", image_size=96, k=5).train(training)
    image = torch.rand(3, 96, 96)
    model.fit_teacher_statistics(image[None])
    sum(model.loss(image[None]).values()).backward()
    blocks_of(model.autoencoder)["decoder.5"].conv.explain = False
    blocks_of(model.autoencoder)["encoder.0"].requires_grad_(False)
    before = snapshot(model)
    with torch.no_grad():
        explain_node(model, image, algorithm=algorithm, epochs=2)
    with pytest.raises(ValueError, match="inside the image"):
        explain_node(model, image, (200.0, 0.0), algorithm=algorithm)
    state, gradients, *rest = snapshot(model)
    assert rest == before[2:]
    for name, value in before[0].items():  # some are NaN before statistics are fitted
        torch.testing.assert_close(state[name], value, rtol=0, atol=0, equal_nan=True)
    for name, (required, gradient) in before[1].items():
        assert gradients[name][0] == required
        assert gradients[name][1] is gradient


def test_features_and_nodes_are_weighted_where_asked_for():
    model, image = make()
    target = torch.zeros(8, 16, 16)
    for kind, shape in (("object", (64, 1)), ("attributes", (64, 96)), (None, None)):
        explanation = explain_node(model, image, NODE, target=target, epochs=2, node_mask_type=kind)
        assert explanation.x.shape == (64, 96)
        if shape is None:
            assert "node_mask" not in explanation
            continue
        assert explanation.node_mask.shape == shape
        assert explanation.node_mask[CENTER].sum() > 0
    with pytest.raises(ValueError, match="not support"):
        explain_node(model, image, target=target, algorithm="occlusion", node_mask_type="object")


@pytest.mark.parametrize("operator", sorted({*OPERATORS} - {"max_relative", "gatv2"}))
def test_messages_of_every_operator_are_weighted(operator):
    model, image = make(operator=operator)
    explanation = explain_node(model, image, NODE, target=torch.zeros(8, 16, 16), epochs=1)
    assert explained_neighbors(explanation)[1].max() > 0  # PyG raises without gradients


def test_hyperedges_have_no_edges_to_weight():
    model, image = make(operator="hyperedge", graph="hypergraph")
    with pytest.raises(ValueError, match=r"a graph of edges in 'decoder.5' \(got Hyperedges\)"):
        explain_node(model, image, target=torch.zeros(8, 16, 16))


def test_algorithms_of_pyg():
    model, image = make()
    explanation = explain_node(
        model, image, target=torch.zeros(8, 16, 16), algorithm=DummyExplainer()
    )
    assert explanation.edge_mask.shape == (explanation.num_edges,)
    assert "edge_effect" not in explanation


def test_occlusion_of_any_model_of_pyg():
    torch.manual_seed(0)
    conv, x = SAGEConv(4, 2, aggr="mean"), torch.randn(5, 4)
    edge_index = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 1, 1, 2, 2, 2]])

    def explain(algorithm, index):
        config = {"mode": "regression", "task_level": "node", "return_type": "raw"}
        explainer = Explainer(conv, algorithm, "model", config, edge_mask_type="object")
        return explainer(x, edge_index, index=index).edge_mask

    for index, rows in ((1, [1]), (torch.tensor([1, 2]), [1, 2]), (None, list(range(5)))):
        expected = [
            conv(x, edge_index)[rows].sum() - conv(x, without(edge_index, e))[rows].sum()
            for e in range(6)
        ]
        torch.testing.assert_close(explain(EdgeOcclusion(), index), torch.stack(expected).detach())
    some = explain(EdgeOcclusion(torch.tensor([4])), 2)
    assert some.nonzero().tolist() == [[4]]


def test_captum_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setattr("pyg_viglad.graphs.explain.find_spec", lambda _: None)
    model, image = make()
    with pytest.raises(ImportError, match="pip install captum"):
        explain_node(model, image, target=torch.zeros(8, 16, 16), algorithm="captum")


def test_captums_attributions():
    pytest.importorskip("captum")
    model, image = make()
    target = torch.randn(1, 8, 16, 16)
    explanation = explain_node(model, image, NODE, target=target, algorithm="captum")
    edges, effect = explanation.edge_index, explanation.edge_effect
    assert effect.min() < 0 < effect.max()
    assert explanation.edge_mask.max() == 1
    assert not any(
        value.requires_grad for _, value in explanation if isinstance(value, torch.Tensor)
    )
    # Complete: the effects add up to the change of the error without any messages.
    less = output(model, image, {"decoder.5": edges[:, edges[0] == edges[1]]})
    less = anomaly_map(less, target).flatten()[NODE]
    change = (explanation.error - less) / explanation.error
    assert float(effect.sum()) == pytest.approx(float(change), rel=0.05, abs=0.002)


class Plain(nn.Module):
    """An operator that passes no messages that PyG could weight."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.lin = nn.Linear(in_channels, out_channels)

    def forward(self, x, edge_index):
        return self.lin(x).index_add(0, edge_index[1], self.lin(x)[edge_index[0]])


def test_occlusion_takes_operators_without_messages():
    model, image = make(operator=Plain)
    target = torch.zeros(8, 16, 16)
    explanation = explain_node(model, image, NODE, target=target, algorithm="occlusion")
    assert explanation.edge_effect.abs().max() > 1e-4
    with pytest.raises(ValueError, match=r"MessagePassing.*algorithm='occlusion'"):
        explain_node(model, image, NODE, target=target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "magic"}, "'algorithm' to be gnn_explainer"),
        ({"epochs": 0}, r"'epochs' to be at least 1 \(got 0\)"),
        ({"block": "decoder.6"}, r"from 'encoder.0' to 'decoder.5' \(got 'decoder.6'\)"),
        ({"block": "decoder"}, r"\(got 'decoder'\)"),
        ({"target": "student"}, "a tensor as 'target' for an autoencoder alone"),
        ({"target": "pupil"}, "student, teacher or a tensor"),
        ({"target": torch.zeros(1, 8, 4, 4)}, "of one shape"),
        ({"node": 256}, "node to be from 0 to 255"),
        ({"node": (64.5, 3.0)}, "inside the image of 64 x 64"),
        ({"model": nn.Linear(1, 1)}, "a ViGLAD or a ViGAutoEncoder"),
        ({"model": ViGLAD("small", 96, autoencoder="conv")}, "a ViGAutoEncoder to explain"),
    ],
)
def test_errors(change, message):
    model, image = make()
    arguments = {"model": model, "image": image, "target": torch.zeros(1, 8, 16, 16), **change}
    with pytest.raises(ValueError, match=message):
        explain_node(**arguments)
