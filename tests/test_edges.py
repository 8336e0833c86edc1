import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys

import gdx

pytestmark = pytest.mark.usefixtures("quick_compilation")

# The brackets alone; estimates have tests of their own.
critical_step_size = functools.partial(gdx.critical_step_size, estimate=False)

QUADRATIC = gdx.problems.quadratic((1.0, 10.0))


def test_a_bracket_is_no_wider_than_asked_and_holds_the_change():
    run = gdx.sweep(QUADRATIC, optax.sgd, num_steps=3000)
    for rtol in (1e-2, 1e-4, 1e-9):
        edge = critical_step_size(QUADRATIC, optax.sgd, keys=keys(4), run=run, rtol=rtol)
        for pair in (edge.first_failure, edge.last_success):
            assert pair.upper <= pair.lower * (1 + rtol)
        below, above = run([edge.first_failure.lower, edge.first_failure.upper], keys(4)).stopped
        assert not np.any(below == gdx.Stop.BLOWN_UP)
        assert np.any(above == gdx.Stop.BLOWN_UP)
        assert np.any(gdx.converged(run([edge.last_success.lower], keys(4))))
        assert not np.any(gdx.converged(run([edge.last_success.upper], keys(4))))


def test_too_slow_is_not_unstable():
    edge = critical_step_size(QUADRATIC, optax.sgd, keys=keys(4), num_steps=2000)
    # Converging to 1e-6 along curvature 1 takes a step of about ln(1e6)/2000.
    assert 0.5 < edge.too_slow_below / (math.log(1e6) / 2000) < 2
    assert edge.first_failure.lower > 0.19
    assert edge.horizon == 2000
    assert edge.repeats == 4


def test_what_is_beyond_the_scan_is_said_and_not_guessed():
    within = critical_step_size(QUADRATIC, optax.sgd, keys=keys(2), num_steps=2000, bracket=(0.02, 0.1))
    assert within.status is gdx.EdgeStatus.ALL_MEET
    assert math.isnan(within.first_failure.lower)
    assert within.last_success == (pytest.approx(0.1), math.inf)
    beyond = critical_step_size(QUADRATIC, optax.sgd, keys=keys(2), num_steps=2000, bracket=(0.3, 1.0))
    assert beyond.status is gdx.EdgeStatus.NONE_MEETS
    assert beyond.first_failure == (0.0, pytest.approx(0.3))
    assert math.isnan(beyond.last_success.upper)
    assert beyond.crossings == ()


def family_with_a_hole(step_size):
    """Descends, except that it climbs for step sizes between 0.05 and 0.08."""
    climbs = (step_size > 0.05) & (step_size < 0.08)
    return optax.sgd(jnp.where(climbs, -1.0, 1.0) * step_size)


def test_a_boundary_that_is_not_monotone_is_reported_with_all_its_crossings():
    edge = critical_step_size(QUADRATIC, family_with_a_hole, keys=keys(2), num_steps=3000, rtol=1e-5)
    assert edge.status is gdx.EdgeStatus.NOT_MONOTONE
    np.testing.assert_allclose(edge.first_failure, 0.05, rtol=2e-5)
    np.testing.assert_allclose(edge.last_success, 0.2, rtol=5e-3)
    assert any(pair.lower <= 0.08 <= pair.upper for pair in edge.crossings)
    assert all(pair.upper <= pair.lower * (1 + 1e-5) for pair in edge.crossings)
    assert list(edge.crossings) == sorted(edge.crossings)


def test_edges_may_start_from_a_grid_that_was_swept_already():
    run = gdx.sweep(QUADRATIC, optax.sgd, num_steps=2000)
    grid = np.geomspace(0.3, 0.05, 12)
    edge = critical_step_size(QUADRATIC, optax.sgd, keys=keys(3), run=run, scanned=(grid, run(grid, keys(3))))
    np.testing.assert_allclose(edge.last_success, 0.2, rtol=5e-3)
    assert edge.step_sizes.min() == pytest.approx(0.05)
    assert edge.answers.shape == (edge.step_sizes.size, 3)


def test_the_criteria_disagree_where_they_should():
    problem = gdx.problems.quartic(start=0.5)
    run = gdx.sweep(problem, optax.sgd, num_steps=4000)
    find = functools.partial(critical_step_size, problem, optax.sgd, keys=keys(1), run=run, bracket=(0.5, 3.0))
    np.testing.assert_allclose(find(criterion="converged").last_success, 1.0, rtol=3e-3)
    np.testing.assert_allclose(find(criterion="stable").last_success, 1.0, rtol=3e-3)
    assert find(criterion="bounded").last_success.lower > 1.6
    # Nothing at all is lost by a cycle whose loss is below the first.
    assert find(criterion="improved").first_failure.lower > 1.1


@pytest.mark.slow
def test_momentum_moves_the_edge_by_one_plus_beta():
    plain, heavy = (
        critical_step_size(QUADRATIC, family, keys=keys(2), num_steps=6000, bracket=(0.05, 1.0)).last_success.lower
        for family in (optax.sgd, functools.partial(optax.sgd, momentum=0.7))
    )
    np.testing.assert_allclose(heavy / plain, 1.7, rtol=2e-3)


def test_a_precision_that_float32_cannot_resolve_is_refused_with_the_remedy():
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"rtol: 1e-07 .*float32.*jax_enable_x64"):
        critical_step_size(QUADRATIC, optax.sgd, keys=keys(2), num_steps=100, rtol=1e-7)
    with pytest.raises(ValueError, match=r"rtol: 1e-17 .*float64"):
        critical_step_size(QUADRATIC, optax.sgd, keys=keys(2), num_steps=100, rtol=1e-17)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 100, "criterion": "konverged"}, "criterion: 'konverged'.*converged, stable"),
        ({"num_steps": 100, "bracket": (1.0, 0.1)}, "bracket"),
        ({"num_steps": 100, "bracket": (0.0, 0.1)}, "bracket"),
        ({}, "num_steps: None"),
        (
            {"num_steps": 100, "run": gdx.sweep(QUADRATIC, optax.sgd, num_steps=50)},
            "num_steps: 100 is not the 50",
        ),
        (
            {"tolerance": 1e-9, "run": gdx.sweep(QUADRATIC, optax.sgd, num_steps=50)},
            "tolerance: 1e-09 is tighter",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        critical_step_size(QUADRATIC, optax.sgd, keys=keys(2), **options)
