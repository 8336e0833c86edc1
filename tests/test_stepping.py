from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import LAST_PARAMS, OPTIMIZERS, curved_problem, keys, plain_loop

import gdx
from gdx.stepping.tangents import movable, push, with_movable

pytestmark = pytest.mark.usefixtures("quick_compilation")

# Relative error allowed after 200 steps, by the precision of the parameters: a few units in the last place.
TOLERANCES = {jnp.float64: 1e-9, jnp.float32: 2e-4, jnp.bfloat16: 0.06}
NARROW = ("heavy ball", "adam", "clipped and scheduled")
CASES = [(name, jnp.float64) for name in OPTIMIZERS] + [(n, d) for n in NARROW for d in (jnp.float32, jnp.bfloat16)]


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=[f"{name} {dtype.__name__}" for name, dtype in CASES])
def test_a_sweep_equals_a_plain_loop_over_optax(name, dtype):
    family, hyperparams = OPTIMIZERS[name]
    problem, key = curved_problem(dtype), keys(1)
    run = gdx.sweep(problem, family, num_steps=200, slots=2, facts=(), observers={"params": LAST_PARAMS})
    runs = run(jax.tree.map(lambda value: np.asarray([value, 0.9 * value]), hyperparams), key)
    if dtype == jnp.float64:
        # A Python float takes part in a schedule's float32 arithmetic; an array lifts it to float64, as in a sweep.
        hyperparams = jax.tree.map(jnp.float64, hyperparams)
    before, losses = plain_loop(problem, family(hyperparams), key[0], 200)
    seen = jax.tree.map(lambda leaf: leaf[0, 0], runs.observed["params"])
    chex.assert_trees_all_equal_dtypes(seen, before)
    as_float = jax.tree.map(lambda leaf: np.asarray(leaf, float), (seen, before))
    chex.assert_trees_all_close(*as_float, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype] * 0.1)
    np.testing.assert_allclose(float(runs.last_loss[0, 0]), losses[-1], rtol=TOLERANCES[dtype])


def test_the_public_pair_scans_jits_and_vmaps():
    step = gdx.train_step(gdx.problems.quartic(), optax.sgd)

    @jax.jit
    def many(step_sizes, key):
        states = jax.vmap(step.init, in_axes=(0, None))(step_sizes, key)
        return jax.lax.scan(lambda states, _: jax.vmap(step.update)(states), states, length=50)

    states, views = many(jnp.asarray([0.1, 0.2, 0.3]), jax.random.key(3))
    assert views.loss.shape == (50, 3)
    np.testing.assert_array_equal(states.step, 50)
    path = gdx.trajectory(gdx.problems.quartic(), optax.sgd(0.2), jax.random.key(3), num_steps=50)
    np.testing.assert_allclose(views.loss[:, 1], path.loss[:-1], rtol=1e-12)


def test_batches_are_drawn_from_a_key_that_belongs_to_the_repeat():
    data = jnp.arange(12.0)
    problem = gdx.problem(
        jnp.zeros(()),
        lambda w, batch: 0.5 * jnp.mean((w - batch) ** 2),
        batches=lambda key, step: jax.random.choice(jax.random.fold_in(key, step), data, (3,)),
        full_loss=lambda w: 0.5 * jnp.mean((w - data) ** 2),
    )
    step = gdx.train_step(problem, optax.sgd)
    means = []
    for step_size in (0.5, 0.01):
        state, shown = step.init(step_size, jax.random.key(7)), []
        for _ in range(5):
            position = float(state.params)
            state, view = step.update(state)
            shown.append(position - float(view.gradient))
        means.append(shown)
    np.testing.assert_allclose(means[0], means[1], rtol=1e-12)
    assert len(set(np.round(means[0], 9))) > 1


def test_mutable_state_reaches_the_next_step():
    problem = gdx.stateful_problem(
        lambda key: (jnp.asarray(1.0), jnp.asarray(0.0)),
        lambda w, count: (0.5 * w**2 + 0 * count, count + 1),
    )
    state = gdx.train_step(problem, optax.sgd).init(0.1, jax.random.key(0))
    for _ in range(4):
        state, _ = gdx.train_step(problem, optax.sgd).update(state)
    assert float(state.model_state) == 4


@pytest.mark.parametrize("family", [optax.sgd(0.1), 0.1, lambda step_size: step_size, lambda step_size: None])
def test_a_family_that_is_none_is_refused_in_one_sentence(family):
    run = gdx.sweep(gdx.problems.quartic(), family, num_steps=10)
    with pytest.raises(ValueError, match=r"^family: .*optax"):
        run([0.1], keys(1))


def test_a_tangent_goes_through_a_whole_step_memory_and_all():
    # Heavy ball on curvature lam maps (x, v) to (x - a (m v + lam x), m v + lam x).
    lam, a, m = 3.0, 0.2, 0.7
    step = gdx.train_step(gdx.problem(jnp.asarray(1.0), lambda x: 0.5 * lam * x**2), partial(optax.sgd, momentum=m))
    state = step.update(step.init(a, jax.random.key(0)))[0]
    columns = [push(lambda at: step.update(at)[0], state, jnp.eye(2)[i])[1] for i in range(2)]
    exact = np.array([[1 - a * lam, -a * m], [lam, m]])
    np.testing.assert_allclose(np.array(columns).T, exact, atol=1e-15)


@pytest.mark.parametrize("family", [optax.adam, optax.rmsprop, partial(optax.adamw, weight_decay=0.1)])
def test_a_tangent_is_finite_and_right_where_a_second_moment_is_empty(family):
    def loss(w):
        # Nothing hangs on the last number, as on a pixel that is always 0.
        return jnp.log(jnp.cosh(w[0] - 1)) + 0.3 * w[0] ** 2 * w[1] ** 2 + 0 * w[2]

    step = gdx.train_step(gdx.problem(jnp.array([0.3, -0.7, 0.5]), loss), family)

    def update(state):
        return jax.lax.fori_loop(0, 3, lambda _, at: step.update(at)[0], state)

    state = update(step.init(0.05, jax.random.key(0)))
    # In units of each number, and none in the empty ones.
    leaves = movable(state)
    tangents = [jnp.asarray(np.random.default_rng(i).normal(size=3)) * leaf for i, leaf in enumerate(leaves)]
    tangents[0] = tangents[0].at[2].set(0)
    new, pushed = push(update, state, tangents)
    chex.assert_trees_all_equal(new, update(state))

    def at(share):
        moved = [leaf + share * tangent for leaf, tangent in zip(movable(state), tangents, strict=True)]
        return movable(update(with_movable(state, moved)))

    for ahead, back, tangent in zip(at(1e-6), at(-1e-6), pushed, strict=True):
        np.testing.assert_allclose(tangent, (ahead - back) / 2e-6, rtol=1e-5, atol=1e-8)


def test_a_step_sees_what_its_problem_reads_in_every_new_program():
    curvature = {"value": 1.0}
    step = gdx.train_step(gdx.problem(jnp.ones(2), lambda w: 0.5 * curvature["value"] * jnp.sum(w**2)), optax.sgd)
    state = step.init(0.1, jax.random.key(0))
    for value in (1.0, 3.0):
        curvature["value"] = value
        scanned = jax.lax.scan(lambda at, _: step.update(at), state, length=1)[1]
        np.testing.assert_allclose([step.update(state)[1].loss, scanned.loss[0]], value)
