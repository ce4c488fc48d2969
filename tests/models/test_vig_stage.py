"""Vision graph blocks after the feature maps of other networks."""

from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import GATConv

from pyg_viglad import ViGLAD
from pyg_viglad.models import ViGStage
from pyg_viglad.nn import KNN, to_maps, to_nodes
from tests.models.helpers import shaken, smooth_images
from tests.oracles.gpdn import block_oracle

small_backbone = partial(timm.create_model, "test_efficientnet", features_only=True)


def parts(stage, index):
    head = f"blocks.{index}."
    state = stage.state_dict()
    return {k.removeprefix(head): v for k, v in state.items() if k.startswith(head)}


@pytest.mark.parametrize(("channels", "out", "size"), [(8, None, (5, 7)), (6, 12, (4, 4))])
def test_equals_the_layers_written_out(channels, out, size):
    torch.manual_seed(0)
    stage = shaken(ViGStage(channels, out, depth=2, k=4)).double()
    maps = torch.randn(3, channels, *size, dtype=torch.float64)
    with torch.no_grad():
        ours = stage(maps)
        for image, found in zip(maps, ours, strict=True):
            rows, columns = size
            x = torch.stack([image[:, i, j] for i in range(rows) for j in range(columns)])
            if out:
                x = x @ stage.projection.weight.t() + stage.projection.bias
            for index in range(2):
                x = block_oracle(x, parts(stage, index), k=4)
            for i in range(rows):
                for j in range(columns):
                    assert torch.allclose(found[:, i, j], x[i * columns + j], atol=1e-10)


@pytest.mark.parametrize("operator", ["gin", "sage", "gcn", GATConv])
@pytest.mark.parametrize("graph", ["knn", KNN, KNN(5), "ring"])
def test_any_operator_and_graph(operator, graph):
    def ring(x, batch_size=1, grid_size=None):
        nodes = torch.arange(x.size(0)).view(batch_size, -1)
        source = torch.stack([nodes, nodes.roll(1, 1), nodes.roll(-1, 1)], dim=-1)
        return torch.stack([source.flatten(), nodes.repeat_interleave(3)])

    graph = ring if graph == "ring" else graph
    torch.manual_seed(0)
    stage = ViGStage(8, depth=3, k=3, operator=operator, graph=graph).eval()
    maps = torch.randn(2, 8, 3, 5)
    with torch.no_grad():
        nodes = to_nodes(maps)
        for block in stage.blocks:
            edges = block.graph(block.fc_in(nodes), 2, (3, 5))
            nodes = block(nodes, edges)
        assert torch.allclose(stage(maps), to_maps(nodes, (3, 5)), atol=1e-5)


def test_images_do_not_see_each_other_and_graphs_are_of_the_whole_image():
    stage = shaken(ViGStage(8, depth=1, k=2)).double()
    maps = torch.randn(2, 8, 6, 6, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(stage(maps)[0, :, 0, 0].sum(), maps)
    assert gradient[1].abs().sum() == 0
    # One place reads itself and the other one that looks the same, however far away.
    with torch.no_grad():
        maps[0, :, 5, 4] = 1.001 * maps[0, :, 0, 0]
    (gradient,) = torch.autograd.grad(stage(maps)[0, :, 0, 0].sum(), maps)
    assert gradient[0].abs().sum(0).nonzero().tolist() == [[0, 0], [5, 4]]


@pytest.mark.parametrize(
    ("channels", "options", "expected"),
    [
        (12, {}, 12),
        (10, {}, 12),
        (10, {"heads": 1}, 10),
        (10, {"out_channels": 8}, 8),
        (8, {"out_channels": 8}, 8),
    ],
)
def test_widths(channels, options, expected):
    stage = ViGStage(channels, k=3, **options)
    assert stage.out_channels == expected
    assert isinstance(stage.projection, nn.Identity) == (channels == expected)
    maps = torch.randn(2, channels, 3, 4)
    assert stage(maps).shape == (2, expected, 3, 4)
    assert torch.equal(stage.eval()(maps), stage([torch.rand(1), maps]))  # the last of a list


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (1, 10)])
def test_maps_with_about_k_places(size):
    stage = ViGStage(8, k=9).eval()
    assert stage(torch.randn(2, 8, *size)).isfinite().all()
    assert stage(torch.zeros(2, 8, *size)).isfinite().all()


def test_classifier_head_learns():
    torch.manual_seed(0)
    classifier = nn.Sequential(
        small_backbone(out_indices=[3]),
        ViGStage(48, depth=2, k=4, drop_path=0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, 2),
    )
    images = smooth_images(8, size=(64, 96))
    labels = torch.arange(8) % 2
    optimizer = torch.optim.Adam(classifier.parameters(), 1e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(classifier(images), labels)
        loss.backward()
        if not losses:
            # timm keeps the last stage, which nothing uses.
            unused = [name for name, p in classifier.named_parameters() if p.grad is None]
            assert all(name.startswith("0.blocks.4.") for name in unused)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def make_autoencoder():
    """A backbone at stride 8 of the graph branch's 64 pixels, a stage, and back to the teacher's 16 x 16."""
    stage = ViGStage(32, 384, depth=1, k=9)
    return nn.Sequential(small_backbone(out_indices=[2]), stage, nn.Upsample(scale_factor=2))


def test_inside_a_detector(tmp_path):
    torch.manual_seed(0)
    model = ViGLAD("small", 96, autoencoder=make_autoencoder())
    images = smooth_images(6)
    model.fit_teacher_statistics(images)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    before = model.autoencoder[1].projection.weight.clone()
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = sum(model.loss(images[:2]).values())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert not torch.equal(model.autoencoder[1].projection.weight, before)
    model.eval().fit_statistics(images[:4], images[4:])
    expected = model(images)
    assert expected.global_map.shape == (6, 96, 96)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="pass `autoencoder=`"):
        ViGLAD.from_pretrained(tmp_path)
    loaded = ViGLAD.from_pretrained(tmp_path, autoencoder=make_autoencoder())
    assert torch.equal(loaded(images).score, expected.score)


def test_reset_parameters():
    stage = shaken(ViGStage(6, 8, depth=2))
    before = {name: p.clone() for name, p in stage.named_parameters()}
    torch.manual_seed(3)
    stage.reset_parameters()
    assert all(not torch.equal(p, before[name]) for name, p in stage.named_parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 0}, r"'in_channels' to be at least 1 \(got 0\)"),
        ({"depth": 0}, r"'depth' to be at least 1 \(got 0\)"),
        ({"k": 0}, r"'k' to be at least 1 \(got 0\)"),
        ({"heads": 0}, r"'heads' to be at least 1 \(got 0\)"),
        ({"out_channels": 10}, "10"),
        ({"out_channels": 0}, r"'out_channels' to be at least 1 \(got 0\)"),
        ({"operator": "nothing"}, "nothing"),
        ({"graph": "nothing"}, r"'graph' to be one of .*'nothing'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        ViGStage(**{"in_channels": 8, **options})


@pytest.mark.parametrize("shape", [(2, 7, 4, 4), (8, 4, 4), (2, 8, 16)])
def test_errors_of_maps(shape):
    with pytest.raises(ValueError, match=r"'maps' to be \[B, 8, H, W\] \(got "):
        ViGStage(8)(torch.zeros(shape))
