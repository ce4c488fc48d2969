import numpy as np
import pytest

from pyg_viglad.visualization import plot_ablation
from tests.visualization.helpers import artists, assert_inside, one, render

RESULTS = {
    "PDN-AE": {"logical": [0.62, 0.70, 0.66], "structural": [0.90, 0.92, 0.94]},
    "PDN-ViGAE": {"logical": [0.80, 0.84, 0.85], "structural": [0.91, 0.93, 0.89]},
}


def bars(axes, kind):
    return sorted(artists(axes, kind), key=lambda bar: bar.get_x())


def test_bars_are_means_above_the_baseline_with_their_values_on_them():
    axes = plot_ablation(RESULTS).axes[0]
    texts = {}
    for text in artists(axes, "value"):
        texts[round(text.xy[0], 6)] = text.get_text()
    for kind in ("logical", "structural", "mean"):
        for bar, row in zip(bars(axes, kind), RESULTS.values(), strict=True):
            seeds = row.get(kind, [(a + b) / 2 for a, b in zip(*row.values(), strict=True)])
            value = 100 * sum(seeds) / len(seeds)
            assert bar.get_y() == 50
            assert bar.get_y() + bar.get_height() == pytest.approx(value)
            assert texts[round(bar.get_x() + bar.get_width() / 2, 6)] == f"{value:.1f}"
    assert len(texts) == 6


def test_whiskers_are_standard_deviations_over_the_seeds():
    axes = plot_ablation(RESULTS).axes[0]
    rows = [
        {**row, "mean": [(a + b) / 2 for a, b in zip(*row.values(), strict=True)]}
        for row in RESULTS.values()
    ]
    for kind in ("logical", "structural", "mean"):
        seeds = [[100 * value for value in row[kind]] for row in rows]
        dots = [dots.get_offsets()[:, 1] for dots in artists(axes, f"seeds-{kind}")]
        np.testing.assert_allclose(dots, seeds)
        whiskers = one(axes, f"spread-{kind}").get_segments()
        for values, segment in zip(seeds, whiskers, strict=True):
            center = sum(values) / 3
            spread = (sum((value - center) ** 2 for value in values) / 2) ** 0.5
            np.testing.assert_allclose(segment[:, 1], [center - spread, center + spread])


def test_the_axis_says_where_it_starts():
    axes = plot_ablation(RESULTS).axes[0]
    assert axes.get_ylim()[0] == 50
    assert axes.get_ylabel() == "image AUROC (%)\nbars start at 50, chance"
    assert one(axes, "baseline").get_ydata()[0] == 50
    axes = plot_ablation(RESULTS, baseline=0.0).axes[0]
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylabel() == "image AUROC (%)\nbars start at 0"


def test_below_chance_hangs_down():
    axes = plot_ablation({"worse": {"logical": [0.42, 0.38]}}).axes[0]
    (bar,) = artists(axes, "logical")
    assert (bar.get_y(), bar.get_height()) == pytest.approx((50, -10))
    low = axes.get_ylim()[0]
    assert low == 30  # the whisker reaches 37.2
    assert axes.get_yticks()[0] == 30
    assert 50 in axes.get_yticks()


def test_one_seed_has_no_whisker_and_other_kinds_are_drawn():
    axes = plot_ablation({"a": {"AU-sPRO": [0.7]}, "b": {"AU-sPRO": [0.8]}}).axes[0]
    assert len(artists(axes, "AU-sPRO")) == 2
    assert artists(axes, "spread-AU-sPRO") == []
    assert artists(axes, "mean") == []


def test_a_given_mean_is_kept():
    axes = plot_ablation({"a": {"logical": [0.7], "structural": [0.9], "mean": [0.75]}}).axes[0]
    (bar,) = artists(axes, "mean")
    assert bar.get_height() == pytest.approx(25)


@pytest.mark.parametrize("width", [3.5, 7.2])
@pytest.mark.parametrize("count", [1, 4, 8])
def test_nothing_leaves_the_figure_and_no_value_covers_another(width, count):
    results = {
        f"variant {n} with a name": {"logical": [0.99, 1.0], "structural": [1.0, 1.0]}
        for n in range(count)
    }
    figure = plot_ablation(results, width=width)
    assert render(figure).std() > 0.05
    assert_inside(figure)
    texts = list(artists(figure, "value")) + figure.axes[0].get_xticklabels()
    boxes = [text.get_window_extent() for text in texts]
    for number, box in enumerate(boxes):
        for other in boxes[number + 1 :]:
            overlap = (
                min(box.x1, other.x1) - max(box.x0, other.x0),
                min(box.y1, other.y1) - max(box.y0, other.y0),
            )
            assert min(overlap) < 2  # pixels of 1/100 inch


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({}, r"map variants to values \(got dict\)"),
        ([1], r"map variants to values \(got list\)"),
        ({"a": {}}, r"results\['a'\] to map kinds"),
        ({"a": {"logical": [81.8]}}, r"results\['a'\]\['logical'\] to be shares in \[0, 1\] \(got"),
        ({"a": {"logical": []}}, r"shares in \[0, 1\]"),
        ({"a": {"logical": [float("nan")]}}, r"shares in \[0, 1\]"),
        ({"a": {"logical": [0.5], "structural": [0.5, 0.6]}}, r"same seeds.*\(got 1 and 2\)"),
        ({"a": {"logical": [0.5]}, "b": {"structural": [0.5]}}, r"results\['b'\] with the kinds"),
    ],
)
def test_errors(results, message):
    with pytest.raises(ValueError, match=message):
        plot_ablation(results)


def test_baseline():
    with pytest.raises(ValueError, match=r"baseline in \[0, 1\) \(got 50\)"):
        plot_ablation(RESULTS, baseline=50)
