"""Period doublings by the multiplier of the cycle, and what runs on either side say of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdx
from gdx.edges import Doubling, make_cycles, period_doublings

QUARTIC = (1.0, np.sqrt(5) - 1, 1.288031754, 1.299227940, 1.301628914)
CHAOS = 1.30228346


def at(step_size):
    return step_size


def begun(problem, family, step_size):
    return gdx.train_step(problem, family).init(jnp.asarray(step_size), jax.random.key(0))


def test_the_quartic_doubles_where_it_is_known_to_and_chaos_begins_where_that_ends():
    problem = gdx.problems.quartic(start=0.9)
    cycles = make_cycles(problem, optax.sgd)
    found = period_doublings(cycles, at, begun(problem, optax.sgd, 0.5), near=0.9, number=8)
    assert found.note == ""
    sizes = [one.step_size for one in found.doublings]
    np.testing.assert_allclose(sizes[:2], QUARTIC[:2], atol=1e-12)
    np.testing.assert_allclose(sizes[2:5], QUARTIC[2:], atol=6e-10)
    assert [one.period for one in found.doublings] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert found.ratios[-1] == pytest.approx(4.669201609, abs=1e-3)
    onset, error = found.onset
    assert abs(onset - CHAOS) < 6e-9
    assert error < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "second"), [(2, np.sqrt(5) - 1), (3, 0.829738), (4, 0.623585)])
def test_chains_go_on_from_the_edge_that_is_known(depth, second):
    problem = gdx.problem(lambda key: 1 + 0.1 * jax.random.normal(key, (depth,)), lambda w: (jnp.prod(w) - 1) ** 2 / 2)
    cycles, edge = make_cycles(problem, optax.sgd), 2 / depth
    state = cycles.settle(begun(problem, optax.sgd, 1.05 * edge), 20_000)
    found = period_doublings(cycles, at, state, near=1.05 * edge, number=5, known=[Doubling(edge, 0.0, 1)])
    assert len(found.doublings) == 5
    assert found.doublings[1].step_size == pytest.approx(second, abs=6e-7)


@pytest.mark.slow
def test_with_momentum_multipliers_become_complex_and_doublings_are_found_all_the_same():
    # A cycle's own Jacobian, by NumPy: products over its points of [[1 + b - eta f'', -b], [1, 0]].
    family, momentum = functools.partial(optax.sgd, momentum=0.3), 0.3
    problem = gdx.problems.quartic(start=0.9)
    cycles = make_cycles(problem, family)
    found = period_doublings(cycles, at, begun(problem, family, 0.5), near=1.2, number=5)
    assert found.doublings[0].step_size == pytest.approx(1.3, abs=1e-12)
    assert len(found.doublings) == 5
    for one in found.doublings[1:]:
        settled = cycles.settle(
            begun(problem, family, one.step_size * (1 - 1e-5))._replace(params=jnp.asarray(0.9)), 400_000
        )
        points = np.asarray(cycles.orbit(settled, one.period))
        weights = points[:, np.argmin(np.abs(points - np.asarray(settled.params)).min(axis=0))]
        product = np.eye(2)
        for w in weights:
            product = np.array([[1 + momentum - one.step_size * (3 * w**2 - 1), -momentum], [1, 0]]) @ product
        assert np.linalg.eigvals(product).real.min() == pytest.approx(-1, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "near"),
    [(gdx.problems.quadratic([1.0, 3.0]), 0.6), (gdx.problems.hard_partner(start=0.1), 1.9)],
    ids=["quadratic", "hard"],
)
def test_where_runs_leave_beyond_the_edge_there_is_no_doubling_but_a_reason(problem, near):
    cycles = make_cycles(problem, optax.sgd)
    found = period_doublings(cycles, at, begun(problem, optax.sgd, near), near=near, number=3)
    assert found.doublings == ()
    assert "should have period 2" in found.note


@pytest.mark.slow
def test_a_minimum_at_zero_doubles_and_a_symmetric_cycle_does_not_double_again():
    problem = gdx.problem(jnp.asarray(0.5), lambda w: jnp.log(jnp.cosh(w)) + 0.02 * w**2)
    cycles = make_cycles(problem, optax.sgd)
    found = period_doublings(cycles, at, begun(problem, optax.sgd, 1.7), near=1.7, number=3)
    assert [one.step_size for one in found.doublings] == [pytest.approx(2 / 1.04, abs=1e-12)]
    assert "no eigenvalue of the cycle of period 2" in found.note
