import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from own_optimizers import BLOCKS, QUADRATIC, START, flatten, nest

from gdx.optimizers.coordinates import block_coordinate_descent, coordinate_descent
from gdx.optimizers.newton_dense import damped_newton, newton
from gdx.optimizers.newton_krylov import newton_cg

pytestmark = pytest.mark.usefixtures("quick_compilation")

NEWTONS = {"newton": newton, "damped_newton": damped_newton, "newton_cg": newton_cg}
every_newton = pytest.mark.parametrize("make", NEWTONS.values(), ids=NEWTONS)


def run(make, loss, start, num_steps, *numbers):
    """Parameters and states of `make(*numbers)`, [T, ...] without the start; vmapped over arrays of numbers."""

    def path(*numbers):
        optimizer = make(*numbers)

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state, params, value_fn=loss)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, state)

        return jax.lax.scan(step, (start, optimizer.init(start)), length=num_steps)[1]

    return jax.jit(jax.vmap(path) if numbers else path)(*numbers)


def last_of(params):
    """Flat parameters at the end of every lane, [lanes, D]."""
    return np.asarray(jax.vmap(flatten)(jax.tree.map(lambda leaf: leaf[:, -1], params)))


def failed(state):
    return optax.tree.get(state, "failed")


@every_newton
def test_near_a_minimum_the_error_is_squared_at_every_step(make):
    rows = np.random.default_rng(1).normal(size=(5, 3))
    minimum = np.array([0.3, -0.2, 0.5])
    slope = rows.T @ np.exp(rows @ minimum)

    def loss(x):
        return jnp.sum(jnp.exp(jnp.asarray(rows) @ x)) - slope @ x

    start = minimum + np.array([0.1, -0.1, 0.1])
    iterates = np.stack([start, *run(make, loss, jnp.asarray(start), 8)[0]])
    errors = np.linalg.norm(iterates - minimum, axis=1)

    # Bounds over the ball around the minimum that the start is on.
    lengths = np.linalg.norm(rows, axis=1)
    low, high = (np.exp(rows @ minimum + sign * lengths * errors[0]) for sign in (-1, 1))
    least = np.linalg.eigvalsh(rows.T @ (low[:, None] * rows))[0]
    largest = np.linalg.eigvalsh(rows.T @ (high[:, None] * rows))[-1]
    constant = np.sum(lengths**3 * high) / (2 * least)
    if make is newton_cg:  # what its residual of |g|^2 / |g0| adds
        constant += largest**2 / (least * np.linalg.norm(rows.T @ np.exp(rows @ start) - slope))
    assert np.all(errors[1:] <= constant * errors[:-1] ** 2 + 1e-14)
    assert errors[-1] < 1e-14


@every_newton
def test_at_a_share_of_the_step_an_error_on_a_quadratic_shrinks_by_exactly_that(make):
    minimum = np.linalg.solve(QUADRATIC.hessian(None), -QUADRATIC.gradient(np.zeros(6)))
    shares = jnp.array([0.5, 1.0, 1.5])
    exact = functools.partial(newton_cg, rtol=1e-14) if make is newton_cg else make
    params, _ = run(exact, QUADRATIC.loss, nest(jnp.asarray(START)), 6, shares)
    for share, last in zip(shares, last_of(params), strict=True):
        np.testing.assert_allclose(last - minimum, (1 - share) ** 6 * (START - minimum), atol=1e-12)


def test_newton_converges_on_a_quadratic_below_twice_its_step_and_not_above():
    params, _ = run(newton, QUADRATIC.loss, nest(jnp.asarray(START)), 300, jnp.array([0.1, 1.9, 2.1]))
    norms = [np.linalg.norm(QUADRATIC.gradient(x)) for x in last_of(params)]
    assert norms[0] < 1e-12
    assert norms[1] < 1e-12
    assert norms[2] > 1e6


def saddle(params):
    """A saddle at 0 between minima at (0, 1) and (0, -1)."""
    x, y = params
    return 0.5 * x**2 + 0.25 * y**4 - 0.5 * y**2


@every_newton
def test_a_saddle_repels(make):
    start = jnp.array([0.5, 1e-3])
    params, state = run(make, saddle, start, 40)
    np.testing.assert_allclose(params[-1], [0.0, 1.0], atol=1e-12)
    assert not jnp.any(failed(state))
    # Newton's method as it is written converges to the saddle from there.
    plain = np.array(start)
    for _ in range(40):
        plain = plain - np.array(jax.grad(saddle)(plain)) / np.array([1.0, 3 * plain[1] ** 2 - 1])
    np.testing.assert_allclose(plain, 0.0, atol=1e-12)


def test_newton_cg_follows_the_gradient_where_the_loss_curves_downwards():
    start = jnp.array([0.0, 0.1])
    params, state = run(newton_cg, saddle, start, 8)
    losses = jnp.stack([saddle(start), *jax.vmap(saddle)(params)])
    assert state[0].fell_back[0]
    assert jnp.all(jnp.diff(losses) <= 1e-15)
    assert not state[0].fell_back[-1]
    # g |g| / |Hg| by hand.
    slope, curvature = 0.1**3 - 0.1, 3 * 0.1**2 - 1
    np.testing.assert_allclose(params[0], [0.0, 0.1 - slope / abs(curvature)], rtol=1e-12)


def test_newton_cg_keeps_what_it_has_when_it_meets_negative_curvature():
    def loss(params):
        return 0.5 * jnp.sum(jnp.array([1.0, 2.0, -1.0]) * params**2)

    start = jnp.array([1.0, 1.0, 0.01])
    params, state = run(lambda: newton_cg(rtol=1e-6), loss, start, 1)
    assert not state[0].fell_back[0]
    assert jnp.linalg.norm(params[0][:2]) < 0.1
    assert params[0][2] >= start[2]


@every_newton
def test_what_is_not_finite_moves_nothing_and_is_told_and_forgotten(make):
    def loss(params):
        return jnp.sum(params**2 + jnp.sqrt(params))

    @jax.jit
    def update(params, state):
        return make().update(jax.grad(loss)(params), state, params, value_fn=loss)

    params = jnp.array([1.0, -1.0])
    updates, state = update(params, make().init(params))
    np.testing.assert_array_equal(updates, 0.0)
    assert failed(state)
    updates, state = update(jnp.array([1.0, 2.0]), state)
    assert jnp.all(updates < 0)
    assert not failed(state)


@every_newton
def test_a_hessian_that_is_not_finite_is_survived(make):
    def loss(params):
        return jnp.sum(params + jnp.where(params >= 0, params, 0.0) ** 1.5)

    params, state = run(make, loss, jnp.zeros(2), 1)
    assert not jnp.all(jnp.isfinite(jax.hessian(loss)(jnp.zeros(2))))
    assert jnp.all(jnp.isfinite(params))
    assert failed(state)[0] == (make is not newton_cg)  # which has the gradient to go on with


def test_a_flat_point_is_left_where_it_is():
    params, state = run(newton, lambda x: jnp.sum(x**4), jnp.zeros(3), 1)
    np.testing.assert_array_equal(params[0], 0.0)
    assert not failed(state)[0]


def test_damping_by_a_search_converges_where_newton_diverges():
    def loss(params):
        return jnp.sum(jnp.sqrt(1 + params**2))

    start = jnp.array([2.0])
    assert not jnp.abs(run(newton, loss, start, 5)[0][-1]) < 1e3
    params, state = run(damped_newton, loss, start, 12)
    np.testing.assert_allclose(params[-1], 0.0, atol=1e-12)
    assert not jnp.any(failed(state))
    assert state.share[0] < 1
    assert state.share[-1] == 1


def test_a_search_that_finds_nothing_says_so_and_the_next_begins_anew():
    def honest(params):
        return jnp.sum(params**2)

    def deceitful(params):
        return honest(params) - 2 * jax.lax.stop_gradient(honest(params))

    params, optimizer = jnp.array([1.0, 2.0]), damped_newton()
    state = optimizer.init(params)
    for loss, lies in ((deceitful, True), (honest, False)):
        updates, state = jax.jit(lambda state, loss=loss: optimizer.update(2 * params, state, params, value_fn=loss))(
            state
        )
        assert failed(state) == lies
        np.testing.assert_allclose(updates, 0.0 if lies else -params, atol=1e-12)


def test_exact_cyclic_coordinate_descent_on_a_quadratic_is_gauss_seidel():
    matrix, shift = QUADRATIC.hessian(None), -QUADRATIC.gradient(np.zeros(6))
    params, state = run(coordinate_descent, QUADRATIC.loss, nest(jnp.asarray(START)), 60)
    iterates, x = jax.vmap(flatten)(params), START
    for sweep in range(10):
        x = np.linalg.solve(np.tril(matrix), shift - np.triu(matrix, 1) @ x)
        np.testing.assert_allclose(iterates[6 * sweep + 5], x, rtol=1e-12, atol=1e-12)
    assert not jnp.any(failed(state))


def test_over_relaxation_converges_below_2_and_not_above():
    bounds = nest(jnp.diag(jnp.asarray(QUADRATIC.hessian(None))))

    def make(step_size):
        return coordinate_descent(step_size, lipschitz=bounds)

    params, _ = run(make, QUADRATIC.loss, nest(jnp.asarray(START)), 3000, jnp.array([0.1, 1.95, 2.05]))
    norms = [np.linalg.norm(QUADRATIC.gradient(x)) for x in last_of(params)]
    assert norms[0] < 1e-10
    assert norms[1] < 1e-10
    assert norms[2] > 1e6


def stretched(params):
    """A quadratic whose coordinates curve differently."""
    return QUADRATIC.loss(nest(flatten(params) * SCALES))


SCALES = np.array([1.0, 3.0, 0.5, 2.0, 1.0, 0.3])
CURVATURES = np.diag(QUADRATIC.hessian(None)) * SCALES**2


def test_greedy_takes_the_largest_slope_for_its_curvature_and_beats_random_on_average():
    bounds = nest(jnp.asarray(CURVATURES))

    def random(seed):
        return coordinate_descent(rule="random", lipschitz=bounds, seed=seed)

    def greedy():
        return coordinate_descent(rule="greedy", lipschitz=bounds)

    start = nest(jnp.asarray(START))
    drawn, _ = run(random, stretched, start, 40, jnp.arange(8))
    taken, _ = run(greedy, stretched, start, 40)
    last_drawn = jax.tree.map(lambda leaf: leaf[:, -1], drawn)
    assert stretched(jax.tree.map(lambda leaf: leaf[-1], taken)) < jnp.mean(jax.vmap(stretched)(last_drawn))

    x = START
    for iterate in jax.vmap(flatten)(taken):
        slope = SCALES * QUADRATIC.gradient(SCALES * x)
        i = np.argmax(abs(slope) / np.sqrt(CURVATURES))
        x = x - np.eye(6)[i] * slope[i] / CURVATURES[i]
        np.testing.assert_allclose(iterate, x, rtol=1e-12, atol=1e-12)


def test_the_random_order_is_uniform_and_the_seeds_own():
    def path(seed):
        optimizer = coordinate_descent(rule="random", lipschitz=1.0, seed=seed)

        def step(state, _):
            updates, state = optimizer.update(jnp.ones(4), state)
            return state, updates != 0

        return jax.lax.scan(step, optimizer.init(jnp.ones(4)), length=800)[1]

    moved = jax.jit(jax.vmap(path))(jnp.arange(2))
    assert jnp.all(jnp.sum(moved, axis=2) == 1)
    # Binomial(800, 1/4) has a standard deviation of 12.2.
    assert jnp.all(jnp.abs(jnp.sum(moved, axis=1) - 200) < 5 * 12.2)
    assert jnp.sum(jnp.any(moved[0] != moved[1], axis=1)) > 400


def test_greedy_blocks_move_by_their_own_constants():
    matrix = QUADRATIC.hessian(None)
    constants = [np.linalg.eigvalsh(matrix[block, block])[-1] for block in BLOCKS]
    bounds = {"a": {"matrix": constants[0]}, "b": tuple(constants[1:])}

    def make():
        return block_coordinate_descent(rule="greedy", lipschitz=bounds)

    params, _ = run(make, QUADRATIC.loss, nest(jnp.asarray(START)), 40)

    def expected(x):
        while True:
            g = QUADRATIC.gradient(x)
            scores = [np.linalg.norm(g[b]) / np.sqrt(c) for b, c in zip(BLOCKS, constants, strict=True)]
            best = int(np.argmax(scores))
            x = x.copy()
            x[BLOCKS[best]] -= g[BLOCKS[best]] / constants[best]
            yield x

    by_hand = np.stack(list(itertools.islice(expected(START), 40)))
    np.testing.assert_allclose(jax.vmap(flatten)(params), by_hand, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lipschitz", [None, 1.0])
@pytest.mark.parametrize("make", [coordinate_descent, block_coordinate_descent])
def test_a_slope_that_is_not_finite_moves_nothing(make, lipschitz):
    params, state = run(
        lambda: make(rule="greedy", lipschitz=lipschitz), lambda x: jnp.sum(jnp.sqrt(x)), jnp.array([-1.0, 2.0]), 1
    )
    np.testing.assert_array_equal(params[0], [-1.0, 2.0])
    assert failed(state)[0]
