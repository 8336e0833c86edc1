"""The flattest minimum that starts lead to: closed forms where there are some, and reasons where there is none."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdx
from gdx import studies
from gdx.studies import minima

KEYS = jax.random.split(jax.random.key(0), 3)


def product_of(depth, singular_values, scale):
    """A deep linear network of square layers that nobody has told gdx anything of."""
    target = jnp.diag(jnp.asarray(singular_values))

    def start(key):
        return [scale * jax.random.normal(layer, target.shape) for layer in jax.random.split(key, depth)]

    def loss(layers):
        product = jnp.eye(len(singular_values))
        for layer in layers:
            product = layer @ product
        return 0.5 * jnp.sum((product - target) ** 2)

    return gdx.problem(start, loss)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_the_flattest_minimum_of_a_chain_is_its_balanced_one(depth):
    found = studies.flattest_minimum(gdx.problems.chain(depth)._replace(known=None), KEYS)
    np.testing.assert_allclose(found.by_start, depth, rtol=1e-6)
    assert (found.num_flat, found.note) == (depth - 1, "")


@pytest.mark.slow
@pytest.mark.parametrize("widths", [(3, 3, 3, 3), (3, 2, 4, 3)])
def test_the_flattest_minimum_of_a_linear_network_is_that_in_closed_form(widths):
    problem = gdx.problems.linear_network(widths)
    found = studies.flattest_minimum(problem._replace(known=None), KEYS)
    np.testing.assert_allclose(found.by_start, problem.known.min_sharpness, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "singular_values", "scale", "sharpness"),
    [
        # Depth L: L s^(2 - 2/L) of the largest singular value s; one of rank 2 has curvature that vanishes beside.
        (3, (1.0, 0.8, 0.5, 0.2), 0.5, 3.0),
        (3, (1.0, 0.8, 0.0, 0.0), 0.5, 3.0),
        (2, (3.0, 1.0, 1.0, 0.2), 0.5, 6.0),
        (4, (1.5, 1.0, 0.4), 0.7, 4 * 1.5**1.5),
    ],
)
def test_networks_of_ones_own_are_walked_to_the_flattest_minimum(depth, singular_values, scale, sharpness):
    found = studies.flattest_minimum(product_of(depth, singular_values, scale), KEYS)
    np.testing.assert_allclose(found.by_start, sharpness, rtol=1e-6)


@pytest.mark.slow
def test_a_prediction_in_a_valley_is_where_runs_stop_to_come_to_rest():
    # Newton's method alone ends at sharpness 7 to 25 here, at step sizes of .08 to .28.
    found = studies.transition(product_of(3, (1.0, 0.8, 0.5), 0.5), optax.sgd, keys=KEYS, num_steps=4000)
    predicted = {entry.name: entry.value for entry in found.predictions.entries}
    assert predicted["minimum"] == pytest.approx(2 / 3, rel=1e-6)
    assert found.edge.last_success.lower < predicted["minimum"] * 1.001
    assert found.edge.estimate.value == pytest.approx(predicted["minimum"], rel=1e-6)


@pytest.mark.parametrize("gains", [(1.0, 4.0), (9.0, 0.25)])
def test_gains_bend_a_valley(gains):
    # At x y = 1 the scaled Hessian's eigenvalue is g y^2 + h x^2, least 2 sqrt(g h).
    problem = gdx.problem(jnp.asarray([3.0, 0.2]), lambda w: (w[0] * w[1] - 1) ** 2 / 2)
    found = studies.flattest_minimum(problem, KEYS, jnp.asarray(gains))
    np.testing.assert_allclose(found.by_start, 2 * math.sqrt(gains[0] * gains[1]), rtol=1e-6)


def test_a_start_that_never_changes_is_displaced_so_that_there_are_three():
    problem = gdx.problem(jnp.asarray([3.0, 0.2]), lambda w: (w[0] * w[1] - 1) ** 2 / 2)
    found = studies.flattest_minimum(problem, KEYS)
    assert len(set(found.by_start)) > 1
    np.testing.assert_allclose(found.by_start, 2.0, rtol=1e-6)


def test_how_far_a_search_is_is_told():
    told = []
    studies.flattest_minimum(gdx.problems.chain(2), KEYS, progress=lambda *at: told.append(at))
    assert told == [(0, 3), (1, 3), (2, 3)]


def test_directions_of_little_curvature_are_no_valley():
    curvatures = jnp.asarray([1.0, 1e-3, 1e-6, 1e-7])
    problem = gdx.problem(jnp.ones(4), lambda w: jnp.sum(curvatures * w**2) + 1e-3 * jnp.sum(jnp.cos(w) - 1 + w**2 / 2))
    found = studies.flattest_minimum(problem, KEYS)
    np.testing.assert_allclose(found.by_start, 2.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("start", "loss", "words"),
    [
        (jnp.asarray([0.3, -0.7]), lambda w: jnp.sum(w**4), "curvature vanishes"),
        (jnp.asarray([0.0, 0.0]), lambda w: w[0] ** 2 - w[1] ** 2, "saddle"),
        (jnp.asarray([1.0, 0.3]), lambda w: jnp.exp(-w[1]) * w[0] ** 2 + w[1], "no minimum"),
        (jnp.zeros(701), lambda w: jnp.sum(w**2), "700 are too many"),
        # Two wells, of curvature 2 and 8.
        (
            lambda key: jax.random.choice(key, jnp.asarray([-1.1, 1.1])),
            lambda w: jnp.where(w > 0, (w - 1) ** 2, 4 * (w + 1) ** 2),
            "lead to minima of sharpness 2 to 8",
        ),
        # Scale-invariant: flatter, the further out.
        (
            lambda key: jax.random.normal(key, (4,)),
            lambda w: -w[0] / jnp.linalg.norm(w),
            "become flatter as far as one walks",
        ),
    ],
)
def test_where_there_is_no_number_there_is_a_reason(start, loss, words):
    problem = gdx.problem(start, loss)
    keys = jax.random.split(jax.random.key(2), 3)
    found = studies.flattest_minimum(problem, keys)
    assert math.isnan(found.sharpness)
    assert words in found.note
    if words != "700 are too many":
        predictions = studies.predict(problem, optax.sgd, keys)
        assert "minimum" not in {entry.name for entry in predictions.entries}
        assert predictions.minimum_note == found.note


def test_in_float32_a_valley_has_no_number():
    with jax.enable_x64(False):
        problem = gdx.problem(jnp.asarray([3.0, 0.2]), lambda w: (w[0] * w[1] - 1) ** 2 / 2)
        assert "float64" in studies.flattest_minimum(problem, KEYS).note
        bowl = gdx.problem(jnp.asarray([3.0, 0.2]), lambda w: jnp.sum(jnp.asarray([1.0, 2.0]) * w**2))
        assert studies.flattest_minimum(bowl, KEYS).sharpness == pytest.approx(4.0, rel=1e-5)


def test_a_walk_that_ends_where_it_is_still_steep_has_not_arrived(monkeypatch):
    # Starts that are all but one and the same agree wherever they get stuck.
    problem = gdx.problem(
        lambda key: jnp.asarray([3.0, 0.2]) + 1e-4 * jax.random.normal(key, (2,)), lambda w: (w[0] * w[1] - 1) ** 2 / 2
    )
    np.testing.assert_allclose(studies.flattest_minimum(problem, KEYS).by_start, 2.0, rtol=1e-6)
    monkeypatch.setattr(minima, "_move", lambda *_: None)
    found = studies.flattest_minimum(problem, KEYS)
    assert math.isnan(found.sharpness)
    assert "stuck" in found.note


def test_weak_decay_says_where_in_a_valley_the_minimum_stands():
    # Raw features have curvatures of 5e-10 and less of the largest; their minimum stands alone all the same. Here the
    # weaker decay of one of two factors says where on x y = 1 it lies: at x = 3 y, while the flattest has x = y.
    problem = gdx.problem(
        lambda key: 1 + jax.random.normal(key, (2,)) / 4,
        lambda w: (w[0] * w[1] - 1) ** 2 / 2 + 1e-7 * (w[0] ** 2 + 9 * w[1] ** 2) / 2,
    )
    found = studies.flattest_minimum(problem, KEYS)
    assert found.sharpness == pytest.approx(10 / 3, rel=1e-6)
    assert (found.num_flat, found.note) == (0, "")
