"""What pictures of unusual runs must keep: heights, labels and shares that mean what they say."""

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest

import gdx
from gdx import plots
from gdx.cli.listing import list_names
from gdx.edges.endless.estimating import no_estimate

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def run():
    return gdx.sweep(gdx.problems.quadratic((1.0, 3.0)), optax.sgd, num_steps=200)


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def drawn(run, step_sizes, num_starts=4, **more):
    runs = run(np.asarray(step_sizes), jax.random.split(jax.random.key(0), num_starts))
    return (*plots.transition(step_sizes, runs, **more), runs)


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()] if axis.get_legend() else []


def test_where_all_runs_have_come_to_rest_the_axis_is_not_upside_down(run):
    # Step sizes at which 200 steps reach far below the smallest height that is shown.
    upper, _, runs = drawn(run, np.linspace(0.45, 0.55, 5))
    assert np.max(runs.tail_gradient_norm_mean) < 1e-17
    low, high = upper.get_ylim()
    assert low < high
    assert "lowest row: at most 1e-16" in legend(upper)
    heights = np.concatenate([dots.get_offsets()[:, 1] for dots in upper.collections if len(dots.get_offsets())])
    assert np.all((low < heights) & (heights < high))


def test_where_no_run_has_a_tail_no_height_is_labelled(run):
    upper, _, _ = drawn(run, np.geomspace(2.0, 8.0, 5))
    assert [*upper.get_yticks(), *upper.get_yticks(minor=True)] == []
    assert [text.get_text() for text in upper.texts] == ["no run has a tail"]
    assert "ended early: no tail" in legend(upper)


def test_many_starts_become_dots_whose_area_is_their_share(run):
    step_sizes = np.geomspace(0.3, 2.0, 6)
    upper, _, _ = drawn(run, step_sizes, 200)
    dots = [dots for dots in upper.collections if len(dots.get_offsets())]
    assert sum(len(one.get_offsets()) for one in dots) < 6 * 100
    for at, step_size in enumerate(step_sizes):
        areas = np.concatenate([one.get_sizes()[one.get_offsets()[:, 0] == step_size] for one in dots])
        # Those too small to be seen are drawn larger than they are.
        assert areas.sum() >= 60 * 0.999, at
    assert "area of a dot: share of the starts" in legend(upper)
    few, _, _ = drawn(run, step_sizes, 4)
    assert "area of a dot: share of the starts" not in legend(few)
    assert sum(len(one.get_offsets()) for one in few.collections) == 6 * 4


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.6), (0.02, 0.3), (1e-4, 1.0)])
def test_a_logarithmic_axis_of_a_decade_has_labels_that_can_be_read(run, low, high):
    upper, lower, _ = drawn(run, np.geomspace(low, high, 6))
    upper.figure.canvas.draw()
    for axis in (lower.xaxis, upper.yaxis):
        ends = sorted(axis.get_view_interval())
        ticks = axis.get_major_locator()()
        seen = [tick for tick in ticks if ends[0] * (1 - 1e-9) <= tick <= ends[1] * (1 + 1e-9)]
        assert 3 <= len(seen) <= 9
        assert all(axis.get_major_formatter()(tick) for tick in seen)


def test_shares_fill_a_window_that_ends_between_two_step_sizes(run):
    step_sizes = np.geomspace(0.1, 0.6, 6)
    window = (step_sizes[1] * 1.1, step_sizes[4] * 0.9)
    _, lower, _ = drawn(run, step_sizes, window=window)
    edges = lower.patches[0].get_data().edges
    assert edges[0] <= window[0]
    assert edges[-1] >= window[1]
    assert lower.get_xlim() == window
    assert legend(lower) == ["converged"]


def test_an_estimate_is_drawn_with_its_bar(run):
    step_sizes = np.linspace(0.5, 0.8, 7)
    keys = jax.random.split(jax.random.key(0), 2)
    scanned = step_sizes, run(step_sizes, keys)
    edge = gdx.critical_step_size(run=run, keys=keys, criterion="bounded", scanned=scanned, estimate=False)
    edge = edge._replace(estimate=no_estimate("by hand")._replace(value=0.65, error=0.02))
    for axis in plots.transition(edge.step_sizes, edge.runs, edge):
        spans = [patch for patch in axis.patches if patch.get_facecolor()[3] == 0.25]
        assert [np.round([one.get_x(), one.get_x() + one.get_width()], 6).tolist() for one in spans] == [[0.63, 0.67]]


def test_heights_of_a_few_steps_are_labelled_within_a_decade():
    place = gdx.problems.landscape_catalogue()["rosenbrock"]
    slow = gdx.studies.Contestant("sgd", optax.sgd, 1e-5)
    _, right = plots.trajectories(gdx.studies.compare(place, [slow], num_steps=3))
    right.figure.canvas.draw()
    low, high = right.get_ylim()
    assert high < 10 * low
    labels = [right.yaxis.get_major_formatter()(tick) for tick in right.get_yticks() if low <= tick <= high]
    assert len(labels) >= 3
    assert all(labels)


def test_every_table_of_names_fits_eighty_columns_and_a_pipe(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    list_names(None)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    # Nothing is cut for it: the longest names and words are there in one piece.
    text = " ".join(lines)
    for name in gdx.optimizers.catalogue():
        assert f" {name} " in text, name
