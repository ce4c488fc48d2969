import numpy as np
import pytest
import torch

from pyg_viglad.metrics import image_auroc
from pyg_viglad.visualization import plot_roc
from tests.visualization.helpers import artists, assert_inside, one, render

KINDS = ["good"] * 30 + ["logical"] * 20 + ["structural"] * 25


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(75, generator=generator)
    values[30:] += 0.8
    return (values * 4).round() / 4  # with ties


def oracle(scores, kinds, kind):
    """The share of pairs that are ranked rightly, pair by pair."""
    good = [float(s) for s, k in zip(scores, kinds, strict=True) if k == "good"]
    bad = [
        float(s)
        for s, k in zip(scores, kinds, strict=True)
        if k != "good" and kind in (k, "pooled")
    ]
    return sum((b > g) + 0.5 * (b == g) for g in good for b in bad) / len(good) / len(bad)


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_auroc_in_the_legend(scores):
    axes = plot_roc(scores, KINDS).axes[0]
    kinds = ("logical", "structural", "pooled")
    assert legend(axes) == [f"{k}: {100 * oracle(scores, KINDS, k):.1f}" for k in kinds]
    table = image_auroc(scores, KINDS)
    assert legend(axes) == [f"{k}: {100 * table[k]:.1f}" for k in kinds]


@pytest.mark.parametrize("kind", ["logical", "structural", "pooled"])
def test_curves_are_shares_above_every_threshold(scores, kind):
    line = one(plot_roc(scores, KINDS).axes[0], kind)
    good = np.array([k == "good" for k in KINDS])
    bad = ~good if kind == "pooled" else np.array([k == kind for k in KINDS])
    values = scores.numpy()
    expected = {
        (float((values[good] >= t).mean()), float((values[bad] >= t).mean()))
        for t in [*values[good | bad], np.inf]
    }
    drawn = {(float(x), float(y)) for x, y in line.get_xydata()}
    assert {(round(x, 9), round(y, 9)) for x, y in drawn} == {
        (round(x, 9), round(y, 9)) for x, y in expected
    }


def test_the_threshold_is_a_point_on_each_curve(scores):
    axes = plot_roc(scores, KINDS, 1.0).axes[0]
    values = scores.numpy()
    good = values[:30]
    for kind, own in (
        ("logical", values[30:50]),
        ("structural", values[50:]),
        ("pooled", values[30:]),
    ):
        point = one(axes, f"threshold-{kind}").get_xydata()[0]
        assert point.tolist() == [float((good > 1).mean()), float((own > 1).mean())]
        line = one(axes, kind).get_xydata()
        assert np.abs(line - point).max(axis=1).min() < 1e-9
    share = 100 * float((good > 1).mean())
    assert legend(axes)[-1] == f"threshold: {share:.1f}% false positives"


def test_several_scores_have_a_panel_for_each_kind(scores):
    models = {"ours": scores, "chance": torch.arange(75.0) % 7}
    figure = plot_roc(models, KINDS, {"ours": 0.5})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        "good against logical",
        "good against structural",
        "good against all anomalous",
    ]
    for axes, kind in zip(figure.axes, ("logical", "structural", "pooled"), strict=True):
        aurocs = [f"{n}: {100 * oracle(s, KINDS, kind):.1f}" for n, s in models.items()]
        assert legend(axes) == [*aurocs, "at the threshold"]
        assert artists(axes, f"threshold-ours-{kind}")
        assert artists(axes, f"threshold-chance-{kind}") == []
        ours, other = one(axes, f"ours-{kind}"), one(axes, f"chance-{kind}")
        assert ours.get_color() != other.get_color()
        assert ours.get_linestyle() != other.get_linestyle()
    assert figure.get_figwidth() == pytest.approx(7.2)


def test_curves_can_be_chosen_and_kinds_may_have_other_names(scores):
    figure = plot_roc({"a": scores}, KINDS, curves=["pooled"])
    assert len(figure.axes) == 1
    axes = plot_roc(scores, ["scratch" if k == "logical" else k for k in KINDS]).axes[0]
    assert [text.split(":")[0] for text in legend(axes)] == ["structural", "scratch", "pooled"]
    axes = plot_roc(scores[:50], KINDS[:50]).axes[0]
    assert [text.split(":")[0] for text in legend(axes)] == ["logical"]


@pytest.mark.parametrize("width", [None, 3.5, 7.2])
def test_nothing_leaves_the_figure(scores, width):
    for values, threshold in ((scores, 0.5), ({"a": scores, "b": scores}, {"a": 0.5})):
        figure = plot_roc(values, KINDS, threshold, width=width)
        assert render(figure).std() > 0.05
        assert_inside(figure)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kinds": ["good"] * 75}, r"at least one anomalous image \(got only 'good'\)"),
        ({"kinds": ["logical"] * 75}, r"at least one 'good'"),
        ({"kinds": KINDS[:-1]}, r"scores of shape \[74\] \(got \[75\]\)"),
        ({"scores": {"a": [1.0]}}, r"scores\['a'\] of shape \[75\] \(got \[1\]\)"),
        ({"scores": {}}, "Expected scores"),
        ({"scores": [float("nan")] * 75}, "scores to be finite"),
        ({"curves": ["odd"]}, r"curves of .*'pooled'\] \(got \['odd'\]\)"),
        ({"threshold": {"b": 1.0}}, r"threshold by names of scores \(got \['b'\]\)"),
        ({"scores": {"a": [1.0] * 75}, "threshold": 1.0}, r"threshold by name for several"),
    ],
)
def test_errors(scores, change, message):
    with pytest.raises(ValueError, match=message):
        plot_roc(**{"scores": scores, "kinds": KINDS, **change})
