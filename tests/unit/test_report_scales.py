"""Axes, and the drawings on them."""

from __future__ import annotations

import doctest
from importlib import import_module
from itertools import pairwise

import pytest

from launchyard.evaluation.figures import Caption
from launchyard.kinds.text_classification import KIND
from launchyard.report.charts import BAR_WIDTH, BOTTOM, LEFT, RIGHT, TOP, Axis, BarValue, Curve, draw_bars, draw_plot
from launchyard.report.course import draw_learning_curves, draw_parameters, draw_search
from launchyard.report.scales import fit_scale, linear_ticks, log_ticks, thin
from launchyard.report.terms import Terms
from launchyard.report.texts import as_data
from report_samples import make_training, make_tuning

TERMS = Terms(KIND)
AXIS = Axis(Caption(en="x", zh="横"))


@pytest.mark.parametrize("name", ["formats", "scales", "results", "course"])
def test_examples_in_docstrings_hold(name: str) -> None:
    result = doctest.testmod(import_module(f"launchyard.report.{name}"))

    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.79, 0.84), (-3, 2e6), (1e-7, 3e-7), (99.5, 100)])
def test_linear_ticks_are_few_even_and_inside(low: float, high: float) -> None:
    ticks = linear_ticks(low, high, 5)

    steps = [after - before for before, after in pairwise(ticks)]
    assert 2 <= len(ticks) <= 7
    assert low <= ticks[0]
    assert ticks[-1] <= high
    assert max(steps) == pytest.approx(min(steps))


def test_log_ticks_are_inside() -> None:
    assert log_ticks(3e-6, 6e-4) == pytest.approx([5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4])
    assert log_ticks(1e-9, 1) == pytest.approx([10.0**exponent for exponent in range(-9, 1)])


def test_scale_of_equal_values_has_room_on_both_sides() -> None:
    scale = fit_scale([0.5, 0.5], 0, 100)

    assert scale.place(0.5) == 50
    assert fit_scale([], 0, 100).place(1.0) == 50


def test_scale_grows_with_its_values_in_both_forms() -> None:
    linear, log = fit_scale([0, 10], 200, 0), fit_scale([1e-5, 1e-3], 0, 100, log=True)

    assert [linear.place(value) for value in (0, 5, 10)] == [200, 100, 0]
    assert log.place(1e-4) == 50


def test_thinning_keeps_few_points_as_they_are_and_averages_many() -> None:
    points = [(float(number), float(number % 2)) for number in range(1000)]

    thinned = thin(points, 100)

    assert thin(points[:50], 100) == points[:50]
    assert len(thinned) == 100
    assert all(y == 0.5 for _, y in thinned)
    assert sum(x for x, _ in thinned) / 100 == pytest.approx(499.5)


def test_all_points_lie_inside_the_drawing() -> None:
    curve = Curve(as_data("one"), [(0, -4.2), (3, 17.0), (9, 2.0)])

    plot = draw_plot([curve], AXIS, AXIS, diagonal=True)

    assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in plot.curves[0].places)
    assert plot.diagonal is not None


def test_curves_beyond_the_colours_are_counted() -> None:
    curves = [Curve(as_data(str(number)), [(0, number), (1, number)]) for number in range(9)]

    plot = draw_plot(curves, AXIS, AXIS)

    assert (len(plot.curves), plot.num_hidden) == (6, 3)


def test_bars_start_at_zero_and_negative_ones_go_left() -> None:
    bars = draw_bars([BarValue(as_data("down"), -1.0), BarValue(as_data("up"), 3.0)], as_data("value")).bars

    assert (bars[0].start, bars[0].end) == (0, BAR_WIDTH / 4)
    assert (bars[1].start, bars[1].end) == (BAR_WIDTH / 4, BAR_WIDTH)


def test_shares_are_drawn_on_a_scale_up_to_one() -> None:
    bars = draw_bars([BarValue(as_data("half"), 0.5, (0.4, 0.6))], as_data("value")).bars

    assert (bars[0].start, bars[0].end) == (0, BAR_WIDTH / 2)
    assert (bars[0].low, bars[0].high) == (0.4 * BAR_WIDTH, 0.6 * BAR_WIDTH)


def test_training_loss_and_validation_log_loss_share_a_plot() -> None:
    first, others = draw_learning_curves(make_training(), "accuracy", TERMS)

    assert [one.name.en for one in first] == ["Loss", "Accuracy"]
    assert [curve.name.en for curve in first[0].plot.curves] == ["Training", "Validation"]
    assert [one.name.en for one in others] == ["Learning rate"]


def test_best_so_far_never_falls_and_failed_trials_are_left_out() -> None:
    best, trials = draw_search(make_tuning(), TERMS).plot.curves

    heights = [y for _, y in best.places]
    assert all(after <= before for before, after in pairwise(heights))
    assert len(trials.places) == 11


def test_each_searched_key_that_varies_has_its_own_plot() -> None:
    rate, scheduler = draw_parameters(make_tuning(), TERMS)

    assert rate.name.en == "train.learning_rate"
    assert "1e-5" in [tick.label for tick in rate.plot.x_ticks]
    assert [tick.label for tick in scheduler.plot.x_ticks] == ["constant", "cosine", "linear"]
