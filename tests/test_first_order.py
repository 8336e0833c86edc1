import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from own_optimizers import LOGISTIC, QUADRATIC, START, flatten, nest

from gdx.optimizers.adadelta import textbook_adadelta
from gdx.optimizers.adagrad import textbook_adagrad
from gdx.optimizers.coordinates import block_coordinate_descent, coordinate_descent
from gdx.optimizers.ema import ema_momentum
from gdx.optimizers.lookahead import nesterov_lookahead
from gdx.optimizers.newton_dense import damped_newton, newton
from gdx.optimizers.newton_krylov import newton_cg
from gdx.optimizers.rmsprop import textbook_rmsprop

pytestmark = pytest.mark.usefixtures("quick_compilation")


def run(optimizer, num_steps, look=lambda params, state: flatten(params), landscape=LOGISTIC):
    """What `look` sees after each step on a landscape."""

    def step(carry, _):
        params, state = carry
        gradient = jax.grad(landscape.loss)(params)
        updates, state = optimizer.update(gradient, state, params, value_fn=landscape.loss)
        params = optax.apply_updates(params, updates)
        return (params, state), look(params, state)

    params = nest(jnp.asarray(START))
    return jax.jit(lambda: jax.lax.scan(step, (params, optimizer.init(params)), length=num_steps)[1])()


def test_optax_names_the_look_ahead_points_its_iterates_while_the_step_size_is_constant():
    def ahead(params, state):
        return flatten(params) + 0.9 * flatten(state.velocity)

    points = run(nesterov_lookahead(0.02, 0.9), 50, ahead)
    np.testing.assert_allclose(run(optax.sgd(0.02, 0.9, nesterov=True), 50), points, rtol=1e-12, atol=1e-12)

    def schedule(count):
        return 0.02 / (1 + 0.1 * count)

    points = run(nesterov_lookahead(schedule, 0.9), 50, ahead)
    assert jnp.max(jnp.abs(run(optax.sgd(schedule, 0.9, nesterov=True), 50) - points)) > 1e-3


def test_a_scheduled_look_ahead_scales_new_gradients_only():
    def expected(x):
        velocity = 0.0
        for count in itertools.count():
            velocity = 0.9 * velocity - 0.02 * 0.9**count * LOGISTIC.gradient(x + 0.9 * velocity)
            x = x + velocity
            yield x

    iterates = run(nesterov_lookahead(lambda count: 0.02 * 0.9**count, 0.9), 50)
    np.testing.assert_allclose(iterates, list(itertools.islice(expected(START), 50)), rtol=1e-12, atol=1e-12)


def test_a_random_coordinate_step_takes_one_coordinate_to_its_minimum_and_forgets_none():
    points = np.concatenate([START[None], run(coordinate_descent(rule="random"), 60, landscape=QUADRATIC)])
    moved = points[1:] != points[:-1]
    taken = np.argmax(moved, axis=1)
    # Drawn with replacement: a coordinate that is taken twice running is at its minimum already.
    assert set(moved.sum(axis=1)) <= {0, 1}
    for point, index, moves in zip(points[1:], taken, moved.any(axis=1), strict=True):
        assert not moves or abs(QUADRATIC.gradient(point)[index]) < 1e-12
    assert set(taken[moved.any(axis=1)]) == set(range(START.size))


def test_averaged_gradients_are_heavy_ball_at_another_step_size():
    averaged, heavy = run(ema_momentum(0.1, 0.8), 50), run(optax.sgd(0.02, 0.8), 50)
    np.testing.assert_allclose(averaged, heavy, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [textbook_adagrad, textbook_adadelta])
def test_an_entry_without_gradient_or_eps_stays_where_it_is(make):
    optimizer = make(0.1, eps=0.0)
    updates, _ = optimizer.update(jnp.array([0.0, 2.0]), optimizer.init(jnp.zeros(2)))
    assert updates[0] == 0
    assert jnp.all(jnp.isfinite(updates))


@pytest.mark.parametrize(
    ("optimizer", "length"),
    [
        (textbook_adagrad(0.1, eps=1e-12), 0.1),
        (textbook_rmsprop(0.1, decay=0.96, eps=1e-12), 0.1 / 0.2),
        (textbook_adadelta(1.0, rho=0.96, eps=1e-6), 1e-6 / 0.2),
        (optax.adadelta(1.0, rho=0.96, eps=1e-6), 1e-3 / 0.2),
    ],
    ids=["adagrad", "rmsprop", "adadelta with eps outside the roots", "adadelta with eps inside"],
)
def test_the_first_step_is_as_long_as_the_docstring_says(optimizer, length):
    gradient = jnp.array([-700.0, 50.0, 300.0])
    updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    np.testing.assert_allclose(updates, -length * jnp.sign(gradient), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ema_momentum(0.1, momentum=1.0), r"momentum: 1.0 is outside \[0, 1\); the usual value is 0.9"),
        (lambda: nesterov_lookahead(0.1, momentum=-0.1), r"momentum: -0.1 is outside \[0, 1\)"),
        (lambda: textbook_adagrad(0.1, eps=-1e-8), r"eps: -1e-08 is outside \[0, inf\)"),
        (lambda: textbook_adadelta(1.0, rho=float("nan")), r"rho: nan is outside \[0, 1\)"),
        (lambda: textbook_adadelta(1.0, eps=-1.0), "eps: -1.0 is outside"),
        (lambda: textbook_rmsprop(0.1, decay=1.5), "decay: 1.5 is outside"),
        (lambda: textbook_rmsprop(0.1, eps=jnp.array([0.1, -0.1])), "eps: .* is outside"),
        (lambda: newton(damping=-1.0), "damping: -1.0 is outside"),
        (lambda: newton(floor=-1.0), "floor: -1.0 is outside"),
        (lambda: damped_newton(damping=-1.0), "damping: -1.0 is outside"),
        (lambda: newton_cg(damping=-1.0), "damping: -1.0 is outside"),
        (lambda: newton_cg(rtol=0.0), r"rtol: 0.0 is outside \(0, 1\)"),
        (lambda: newton_cg(max_iterations=0), "max_iterations: 0 is below 1"),
        (lambda: coordinate_descent(rule="best"), "rule: 'best' is unknown; pass one of cyclic, random, greedy"),
        (lambda: coordinate_descent(lipschitz=0.0), r"lipschitz: 0.0 is outside \(0, inf\)"),
        (lambda: block_coordinate_descent(lipschitz={"a": 1.0, "b": -2.0}), "lipschitz: -2.0 is outside"),
    ],
)
def test_numbers_out_of_range_are_refused_at_the_door(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_traced_number_has_no_range():
    jax.eval_shape(lambda momentum: ema_momentum(0.1, momentum).init(jnp.zeros(2)), 1.5)


@pytest.mark.parametrize(
    "optimizer", [nesterov_lookahead(0.1), newton(), damped_newton(), newton_cg(), coordinate_descent()]
)
def test_methods_that_look_at_the_loss_say_so_when_they_are_not_told(optimizer):
    params = jnp.ones(2)
    state = optimizer.init(params)
    with pytest.raises(ValueError, match=r"value_fn: .*call update\(updates, state, params, value_fn=loss\)"):
        jax.eval_shape(optimizer.update, params, state, params)


@pytest.mark.parametrize(
    ("make", "lipschitz", "words"),
    [
        (coordinate_descent, [1.0, 2.0], "pass a number or a pytree like the parameters"),
        (coordinate_descent, {"a": jnp.ones(3), "b": 1.0}, "pass a number for each leaf"),
        (block_coordinate_descent, {"a": jnp.ones(2), "b": 1.0}, "pass a number for each leaf"),
    ],
)
def test_constants_that_do_not_fit_the_parameters_are_refused(make, lipschitz, words):
    params = {"a": jnp.ones(2), "b": jnp.ones(())}
    optimizer = make(lipschitz=lipschitz)
    with pytest.raises(ValueError, match=words):
        optimizer.update(params, optimizer.init(params), params)
