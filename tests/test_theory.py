"""The closed forms of the field, measured."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import LINEAR_METHODS, keys

import gdx

EIGENVALUES = (1.0, 3.0, 10.0)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("heavy ball .5", "nesterov .9") else pytest.mark.slow)
        for name in LINEAR_METHODS
    ],
)
def test_both_edges_of_a_quadratic_are_at_threshold_over_curvature(name):
    family, threshold = LINEAR_METHODS[name]
    problem = gdx.problems.quadratic(EIGENVALUES)
    edge = gdx.critical_step_size(problem, family, num_steps=20_000, keys=keys(8, seed=1), estimate=False)
    assert edge.status is gdx.EdgeStatus.BRACKETED
    for pair in (edge.first_failure, edge.last_success):
        np.testing.assert_allclose(pair, threshold / max(EIGENVALUES), rtol=1e-3)


def assert_law_holds(problem, critical):
    """Tail gradient norms, smallest and largest over all starts and all steps of the tail, follow the law to 1e-8."""
    step_sizes = np.asarray([0.99, 1.01, 1.05, 1.2]) * critical
    # Just below the edge some starts land on minima that are themselves just stable, and take their time there.
    runs = gdx.sweep(problem, optax.sgd, num_steps=20_000)(step_sizes, keys(32))
    law = np.asarray(problem.known.tail_gradient_norm(step_sizes))
    assert law[0] == 0
    np.testing.assert_allclose(runs.tail_gradient_norm_min.min(axis=1), law, rtol=0, atol=1e-8)
    np.testing.assert_allclose(runs.tail_gradient_norm_max.max(axis=1), law, rtol=0, atol=1e-8)


@pytest.mark.parametrize("target", [1.0, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.5, 2.0))])
def test_the_factorization_follows_its_law_from_every_start_in_the_basin(target):
    # Uniform in a box inside the ellipse S - eta s uv < 4/eta - eta s^2 for all four step sizes.
    def init(key):
        return jnp.sqrt(target) * jax.random.uniform(key, (2,), minval=0.3, maxval=1.05)

    known = gdx.problems.scalar_factorization(target).known
    problem = gdx.problem(init, lambda w: 0.5 * (w[0] * w[1] - target) ** 2, known=known)
    np.testing.assert_allclose(2 / known.min_sharpness, 1 / target)
    assert_law_holds(problem, 1 / target)


@pytest.mark.parametrize("top", [1.0, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.5, 2.0))])
def test_the_whitened_network_follows_its_law_from_every_start(top):
    values = (top, 0.6 * top, 0.3 * top)
    problem = gdx.problems.linear_network((3, 3, 3), singular_values=values, init_scale=0.1 * np.sqrt(top))
    assert_law_holds(problem, 1 / top)


def test_the_law_has_the_value_that_theory_gives():
    law = gdx.problems.scalar_factorization(1.0).known.tail_gradient_norm
    np.testing.assert_allclose(law(1.1), 0.387637666101, rtol=1e-11)
    np.testing.assert_allclose(gdx.problems.quartic().known.tail_gradient_norm(1.05), 0.207826562, rtol=1e-8)
    assert np.isnan(law(1.24))


def points_off_a_boundary(boundary, step_sizes, rng, number=10_000):
    """Starts and step sizes, none closer than 1e-4 to the boundary."""
    starts = []
    for step_size in step_sizes:
        start = rng.uniform(0, 2 * boundary(step_size))
        while abs(start - boundary(step_size)) < 1e-4:
            start = rng.uniform(0, 2 * boundary(step_size))
        starts.append(start * rng.choice([-1, 1]))
    assert len(starts) == number
    return np.asarray(starts)


@pytest.mark.parametrize(
    ("make", "boundary", "top"),
    [
        (gdx.problems.quartic, lambda eta: np.sqrt(1 + 2 / eta), 2.0),
        (gdx.problems.hard_partner, lambda eta: np.sqrt(2 / eta - 1), 1.95),
    ],
    ids=["quartic", "hard partner"],
)
def test_the_basin_has_no_mismatch_on_ten_thousand_pairs(make, boundary, top):
    rng = np.random.default_rng(7)
    step_sizes = rng.uniform(0.05, top, 10_000)
    starts = points_off_a_boundary(boundary, step_sizes, rng)
    run = gdx.sweep(lambda h: make(start=h["w0"]), lambda h: optax.sgd(h["step_size"]), num_steps=4000)
    runs = run({"w0": starts, "step_size": step_sizes}, keys(1))
    inside = np.abs(starts) < boundary(step_sizes)
    assert 3000 < inside.sum() < 7000
    np.testing.assert_array_equal(gdx.bounded(runs)[:, 0], inside)


@pytest.mark.parametrize(
    ("widths", "target"),
    [
        ((2, 3, 2, 4, 2), 0.8),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (((2, 2, 2, 2), 1.3), ((3, 3, 3), 2.0))),
    ],
)
def test_the_flattest_minimum_of_a_deep_network_is_the_balanced_one(widths, target):
    problem = gdx.problems.linear_network(widths, singular_values=(target, 0.5 * target))
    depth = len(widths) - 1
    factors = [np.zeros((n, m)) for m, n in itertools.pairwise(widths)]
    for factor in factors:
        factor[0, 0], factor[1, 1] = target ** (1 / depth), (0.5 * target) ** (1 / depth)
    balanced = tuple(jnp.asarray(factor) for factor in factors)
    value = gdx.sharpness(lambda w: problem.loss(w, (), None)[0], balanced, rtol=1e-10).value
    np.testing.assert_allclose(value, problem.known.min_sharpness, rtol=1e-8)


def test_a_regression_knows_its_sharpness_and_its_minimum():
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(50, 4)), rng.normal(size=50)
    problem = gdx.problems.least_squares(features, targets, l2=0.1)
    assert problem.known.source
    params = problem.init(jax.random.key(0))[0]
    value = gdx.sharpness(lambda w: problem.loss(w, (), None)[0], params, rtol=1e-12).value
    np.testing.assert_allclose(value, problem.known.min_sharpness, rtol=1e-9)
    path = gdx.trajectory(problem, optax.sgd(1.9 / value), jax.random.key(0), num_steps=5000)
    np.testing.assert_allclose(path.loss[-1], problem.known.minimum, rtol=1e-10)
