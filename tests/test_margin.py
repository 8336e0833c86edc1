"""How close a running job is to its edge."""

import functools
import itertools

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gdx
from gdx.problems.data import bundled, scale_features

CURVATURES = jnp.asarray([5.0, 2.0, 0.3, -0.1])


def bowl(params):
    return 0.5 * jnp.sum(CURVATURES * params["w"] ** 2)


def train(watched, loss, params, num_steps, **keywords):
    """States after every update, leaves [T, ...], and the last parameters."""

    def step(carry, _):
        params, state = carry
        updates, state = watched.update(jax.grad(loss)(params), state, params, **keywords)
        return (optax.apply_updates(params, updates), state), state

    (last, _), states = jax.jit(lambda carry: jax.lax.scan(step, carry, length=num_steps))(
        (params, watched.init(params))
    )
    return states, last


START = {"w": jnp.asarray([1.0, -2.0, 0.5, 0.1])}


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(functools.partial(optax.sgd, momentum=0.8), marks=pytest.mark.slow),
        functools.partial(optax.adamw, weight_decay=0.1),
    ],
    ids=["heavy ball", "adamw"],
)
def test_watching_changes_no_update(family):
    schedule = optax.linear_schedule(0.0, 0.05, 10)
    _, watched = train(gdx.edge_margin(family, schedule, bowl, every=3), bowl, START, 25)
    _, alone = train(family(schedule), bowl, START, 25)
    np.testing.assert_allclose(watched["w"], alone["w"], rtol=1e-12)


def test_on_a_quadratic_the_margin_is_exact():
    family = functools.partial(optax.sgd, momentum=0.5)
    states, _ = train(gdx.edge_margin(family, 0.1, bowl, every=2), bowl, START, 100)
    # The vector takes in a little of all directions now and then, which shifts the sharpness of a matrix with a gap by
    # less than 1e-6.
    np.testing.assert_allclose(states.sharpness[-1], 5.0, rtol=1e-6)
    np.testing.assert_allclose(states.threshold, 3.0, rtol=1e-9)
    np.testing.assert_allclose(states.margin[-1], 0.1 * 5.0 / 3.0, rtol=1e-6)
    np.testing.assert_allclose(states.margin, states.sharpness * 0.1 / 3.0, rtol=1e-9)
    np.testing.assert_allclose(jnp.abs(states.vector["w"][-1]), [1, 0, 0, 0], atol=0.02)


def test_measurements_are_made_every_so_many_updates_and_the_step_size_is_followed_at_all():
    schedule = optax.linear_schedule(0.05, 0.15, 20)

    def loss(params):
        return jnp.sum(params["w"] ** 4)

    states, _ = train(gdx.edge_margin(optax.sgd, schedule, loss, every=5), loss, START, 20)
    changes = np.flatnonzero(np.diff(np.asarray(states.sharpness)) != 0) + 1
    np.testing.assert_array_equal(changes, [5, 10, 15])
    steps = schedule(jnp.arange(20, dtype=jnp.int32))
    np.testing.assert_allclose(states.step_size, steps, rtol=1e-6)
    np.testing.assert_allclose(states.margin, states.step_size * states.sharpness / 2, rtol=1e-12)


def test_the_sharpness_of_adam_is_that_of_the_preconditioned_hessian():
    watched = gdx.edge_margin(optax.adam, 1e-5, bowl, every=1)
    states, _ = train(watched, bowl, START, 60)
    # The parameters hardly move, and so gradients and preconditioner stay what they were at the start.
    diagonal = jnp.abs(CURVATURES * START["w"]) + 1e-8
    np.testing.assert_allclose(states.sharpness[-1], jnp.max(CURVATURES / diagonal), rtol=1e-3)
    np.testing.assert_allclose(states.margin[-1], 1e-5 * states.sharpness[-1] / 38, rtol=1e-9)


def test_weight_decay_takes_its_share_of_the_margin():
    family = functools.partial(optax.adamw, b1=0.8, weight_decay=2.0)
    states, _ = train(gdx.edge_margin(family, 1e-5, bowl, every=1), bowl, START, 40)
    critical = gdx.critical_step(family, float(states.sharpness[-1]))
    np.testing.assert_allclose(states.margin[-1], 1e-5 / critical, rtol=1e-6)
    np.testing.assert_allclose(states.threshold[-1], critical * states.sharpness[-1], rtol=1e-6)


def test_a_batch_that_is_passed_is_the_one_measured():
    def loss(params, batch):
        return 0.5 * jnp.mean(batch) * jnp.sum(params**2)

    watched = gdx.edge_margin(optax.sgd, 0.1, loss, every=1)
    params = jnp.ones(3)
    state, update = watched.init(params), jax.jit(watched.update)
    for value in (2.0, 7.0):
        _, state = update(params, state, params, batch=jnp.full(4, value))
        np.testing.assert_allclose(state.sharpness, value, rtol=1e-9)


def test_a_measurement_that_fails_spoils_no_later_one():
    def loss(params, batch):
        return batch * jnp.sum(jnp.asarray([4.0, 1.0]) * params**2)

    watched = gdx.edge_margin(optax.sgd, 0.1, loss, every=1)
    params = jnp.ones(2)
    state, update = watched.init(params), jax.jit(watched.update)
    assert np.isnan(state.margin)
    found = []
    for batch in (jnp.nan, 1.0, 1.0, jnp.nan, *([1.0] * 20)):
        _, state = update(params, state, params, batch=jnp.asarray(batch))
        found.append(float(state.sharpness))
    assert np.isnan([found[0], found[3]]).all()
    np.testing.assert_allclose(found[-1], 8.0, rtol=1e-6)


@pytest.mark.slow
def test_numbers_are_float32_for_narrow_parameters():
    params = {"w": jnp.ones(4, jnp.bfloat16)}
    watched = gdx.edge_margin(optax.adam, 0.01, lambda p: jnp.sum((p["w"].astype(jnp.float32) - 2) ** 4), every=1)
    updates, state = jax.jit(watched.update)({"w": jnp.full(4, -4, jnp.bfloat16)}, watched.init(params), params)
    assert updates["w"].dtype == jnp.bfloat16
    assert state.margin.dtype == jnp.float32
    # Every second derivative is 12, every gradient and so the preconditioner 4.
    np.testing.assert_allclose(state.sharpness, 3.0, rtol=1e-2)


def digits_network(key):
    """A small tanh network on a part of the digits, mean squared error, and where it starts."""
    features, labels = bundled("digits")
    inputs = jnp.asarray(scale_features(features, "standard", constant="zero")[:500], jnp.float32)
    targets = jax.nn.one_hot(labels[:500], 10, dtype=jnp.float32)

    def loss(matrices):
        hidden = jnp.tanh(jnp.tanh(inputs @ matrices[0]) @ matrices[1])
        return 0.5 * jnp.mean(jnp.sum((hidden @ matrices[2] - targets) ** 2, axis=1))

    shapes = ((64, 32), (32, 32), (32, 10))
    keys = jax.random.split(key, 3)
    start = [0.5 * jax.random.normal(k, s, jnp.float32) / s[0] ** 0.5 for k, s in zip(keys, shapes, strict=True)]
    return loss, start


@pytest.mark.slow
def test_gradient_descent_climbs_to_its_edge_and_hovers_there_within_ten_per_cent():
    loss, start = digits_network(jax.random.key(0))
    step_size = 0.6
    states, last = train(gdx.edge_margin(optax.sgd, step_size, loss), loss, start, 900)
    margin = np.asarray(states.margin)
    assert margin[0] < 0.6
    np.testing.assert_allclose(margin[-400:].mean(), 1.0, atol=0.1)
    measured = gdx.sharpness(loss, last, rtol=1e-4).value
    np.testing.assert_allclose(states.sharpness[-1], measured, rtol=0.05)
    np.testing.assert_allclose(measured, 2 / step_size, rtol=0.1)


def names_of(params):
    """Which group a parameter is of, told by the last of its names that say so, whatever the tree is made of."""

    def of_path(path, _):
        return "bias" if any(name in jax.tree_util.keystr(path) for name in ("bias", "'b'")) else "kernel"

    return jax.tree.map_with_path(of_path, params)


def is_kernel(params):
    return jax.tree.map(lambda name: name == "kernel", names_of(params))


def trees():
    """The same two layers as four frameworks hold them."""
    x = jnp.ones((1, 3))
    network = hk.transform(lambda x: hk.Linear(1)(hk.Linear(2)(x)))
    module = eqx.nn.MLP(3, 1, 2, 1, key=jax.random.key(0))
    nets = [nnx.Linear(n, m, rngs=nnx.Rngs(0)) for n, m in ((3, 2), (2, 1))]
    return {
        "linen": nn.Sequential([nn.Dense(2), nn.Dense(1)]).init(jax.random.key(0), x),
        "nnx": nnx.state(nnx.Sequential(*nets), nnx.Param),
        "haiku": network.init(jax.random.key(0), x),
        "equinox": eqx.filter(module, eqx.is_inexact_array),
    }


# Name -> (family, step sizes of kernels and biases in units of the step size).
BY_NAME = {
    "a step size a group": (
        lambda h: optax.multi_transform({"kernel": optax.sgd(0.1 * h), "bias": optax.sgd(h)}, names_of),
        (0.1, 1.0),
    ),
    "one group frozen": (
        lambda h: optax.multi_transform({"kernel": optax.sgd(h), "bias": optax.set_to_zero()}, names_of),
        (1.0, 0.0),
    ),
    "masked": (lambda h: optax.chain(optax.masked(optax.scale(0.5), is_kernel), optax.sgd(h)), (0.5, 1.0)),
    "fixed ones under a common scale": (
        lambda h: optax.chain(
            optax.multi_transform({"kernel": optax.sgd(0.3), "bias": optax.sgd(0.1)}, names_of), optax.scale(h)
        ),
        (0.3, 0.1),
    ),
}
QUICK = ("nnx", "a step size a group")
FOREIGN = [
    pytest.param(*pair, marks=() if pair == QUICK else pytest.mark.slow)
    for pair in itertools.product(("linen", "nnx", "haiku", "equinox"), BY_NAME)
]


@pytest.mark.parametrize(("name", "grouped"), FOREIGN)
def test_groups_by_name_on_a_framework_s_own_tree_have_the_margin_of_the_scaled_hessian(name, grouped):
    params = jax.tree.map(lambda leaf: leaf.astype(float), trees()[name])
    flat, _ = jax.flatten_util.ravel_pytree(params)
    root = np.random.default_rng(5).normal(size=(flat.size, flat.size))
    hessian = root @ root.T

    def loss(params):
        flat = jax.flatten_util.ravel_pytree(params)[0]
        return 0.5 * flat @ hessian @ flat

    groups = zip(jax.tree.leaves(params), jax.tree.leaves(names_of(params)), strict=True)
    is_bias = np.concatenate([np.full(leaf.size, name == "bias") for leaf, name in groups])
    assert 0 < is_bias.sum() < flat.size
    family, (kernel, bias) = BY_NAME[grouped]
    watched = gdx.edge_margin(family, 0.02, loss, every=1)
    state, gradient = watched.init(params), jax.jit(jax.grad(loss))(params)
    update = jax.jit(lambda state: watched.update(gradient, state, params)[1])
    for _ in range(60):
        state = update(state)
    sizes = np.sqrt(np.where(is_bias, bias, kernel))
    sharpness = np.linalg.eigvalsh(sizes[:, None] * hessian * sizes).max()
    np.testing.assert_allclose(state.margin, 0.02 * sharpness / 2, rtol=1e-4)


def test_a_group_with_a_step_size_of_its_own_has_no_common_critical_one():
    def family(h, own=0.1):
        return optax.multi_transform({"a": optax.sgd(h), "b": optax.sgd(own)}, {"w": "a", "v": "b"})

    params = {"w": jnp.ones(2), "v": jnp.ones(3)}
    for one in (params, {"w": params["v"], "v": params["w"]}):
        with pytest.raises(ValueError, match="family: not all of its updates go by the step size"):
            gdx.curvature_threshold(family, one)

    def decaying(h):
        return optax.chain(optax.sgd(h), optax.masked(optax.add_decayed_weights(-0.01), {"w": True, "v": False}))

    with pytest.raises(ValueError, match="family: its weight decay is not proportional to the step size"):
        gdx.curvature_threshold(decaying, params)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((optax.sgd, 0.0, bowl), "step_size: 0.0"),
        ((optax.sgd, jnp.nan, bowl), "step_size: nan"),
        ((optax.sgd, 0.1, bowl, 0), "every: 0"),
        ((optax.sgd, 0.1, 3.0), "loss: 3.0 is not callable"),
        ((optax.sign_sgd, 0.1, bowl), "family: .*not linear"),
        ((lambda s: optax.sgd(0.1), 0.1, bowl), "family: .*ignore it"),
    ],
)
def test_what_cannot_be_watched_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        gdx.edge_margin(*arguments).init(START)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_a_family_that_closes_over_what_is_being_traced_is_refused(transform):
    def margin(momentum):
        def family(step_size):
            return optax.sgd(step_size, momentum=momentum)

        params = jnp.ones(2)
        watched = gdx.edge_margin(family, 0.1, lambda params: jnp.sum(params**2))
        return watched.update(params, watched.init(params), params)[1].margin

    with pytest.raises(ValueError, match="family: it closes over a number that is being traced"):
        transform(margin)(jnp.asarray([0.5])[0] if transform is jax.jit else jnp.asarray([0.5]))


def test_an_update_without_parameters_is_refused():
    watched = gdx.edge_margin(optax.sgd, 0.1, bowl)
    with pytest.raises(ValueError, match="params: missing"):
        watched.update(START, watched.init(START))


def jitted_step(watched, loss):
    """A training step and the number of times that it was traced."""
    traced = []

    @jax.jit
    def step(params, state):
        traced.append(1)
        updates, state = watched.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    return step, traced


@pytest.mark.parametrize("family", [optax.adam, optax.inject_hyperparams(optax.sgd)], ids=["adam", "injected"])
def test_one_compiled_step_serves_all_step_sizes_given_as_numbers(family):
    step, traced = jitted_step(gdx.edge_margin(family, 0.5, bowl), bowl)
    for step_size in (1e-3, 0.1):
        params, state = START, gdx.edge_margin(family, step_size, bowl).init(START)
        alone, inner = START, family(step_size).init(START)
        for _ in range(3):
            params, state = step(params, state)
            updates, inner = family(step_size).update(jax.grad(bowl)(alone), inner, alone)
            alone = optax.apply_updates(alone, updates)
        np.testing.assert_allclose(params["w"], alone["w"], rtol=1e-13)
        np.testing.assert_allclose(state.step_size, step_size, rtol=1e-13)
        np.testing.assert_allclose(
            state.margin, step_size * state.sharpness / gdx.curvature_threshold(family, START), rtol=1e-12
        )
    assert len(traced) == 1


def test_the_program_of_a_step_does_not_tell_the_step_size():
    texts = []
    for step_size in (0.123, 0.0456):
        watched = gdx.edge_margin(optax.sgd, step_size, bowl)
        texts.append(jax.jit(watched.update).lower(START, watched.init(START), START).as_text())
    assert texts[0] == texts[1]


def test_the_hessian_product_stands_in_the_program_once():
    matrix = jnp.ones((7, 4))

    def loss(params):
        return jnp.sum(jnp.tanh(matrix @ params["w"]))

    def uses(function, *arguments):
        lines = jax.jit(function).lower(*arguments).as_text().splitlines()
        return sum("dot_general" in line and "tensor<7x4" in line for line in lines)

    watched = gdx.edge_margin(optax.adam, 0.1, loss)
    product = uses(lambda params, vector: gdx.curvature.hvp(loss, params, vector), START, START)
    forward = uses(lambda p, v: jax.jvp(lambda p: jax.jvp(loss, (p,), (v,)), (p,), (v,)), START, START)
    assert product > 1
    # With the loss itself, once each.
    assert uses(watched.update, START, watched.init(START), START) <= product + forward + 2


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_a_state_out_of_a_file_makes_the_same_updates(dtype):
    params = {"w": jnp.ones(4, dtype), "b": jnp.ones(2, dtype)}
    watched = gdx.edge_margin(optax.sgd, 0.01, lambda p: jnp.sum(p["w"].astype(jnp.float32) ** 4) + jnp.sum(p["b"]))
    state, gradient, update = watched.init(params), jax.tree.map(jnp.ones_like, params), jax.jit(watched.update)
    alone = optax.sgd(0.01).update(gradient, optax.sgd(0.01).init(params), params)[0]
    for given in (state, jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), state)):
        updates, _ = update(gradient, given, params)
        jax.tree.map(np.testing.assert_array_equal, updates, alone)


def test_many_step_sizes_at_once_are_watched_as_one_is():
    def last(step_size):
        watched = gdx.edge_margin(optax.sgd, step_size, bowl, every=2)
        states, params = train(watched, bowl, START, 9)
        return jax.tree.map(lambda leaf: leaf[-1], states), params

    steps = jnp.asarray([0.01, 0.1])
    together, params = jax.vmap(last)(steps)
    for lane, step_size in enumerate((0.01, 0.1)):
        alone, expected = last(step_size)
        np.testing.assert_allclose(params["w"][lane], expected["w"], rtol=1e-12)
        np.testing.assert_allclose(together.sharpness[lane], alone.sharpness, rtol=1e-9)
        np.testing.assert_allclose(together.margin[lane], alone.margin, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("method", [optax.adam, functools.partial(optax.rmsprop, eps=1e-14)], ids=["adam", "rmsprop"])
def test_a_clip_that_adam_does_not_see_does_not_change_the_margin(method):
    # One update from a start where the gradient's norm is 18 times what is let through.
    curvatures = jnp.linspace(0.1, 10.0, 400)
    w = jnp.split(jnp.full(400, 0.03), 4)

    def loss(w):
        return 0.5 * jnp.sum(curvatures * jnp.concatenate(w) ** 2)

    def after_one(family):
        watched = gdx.edge_margin(family, 0.01, loss, every=1)
        return watched.update(jax.grad(loss)(w), watched.init(w), w)[1]

    plain, clipped = after_one(method), after_one(lambda h: optax.chain(optax.clip_by_global_norm(0.1), method(h)))
    norm = optax.tree.norm(jax.grad(loss)(w))
    np.testing.assert_allclose(clipped.passed, 0.1 / norm, rtol=1e-6)
    np.testing.assert_allclose(clipped.margin, plain.margin, rtol=1e-3)
    assert plain.passed == 1


def test_one_leaf_of_many_entries_may_be_clipped():
    w = jnp.full(300, 0.01)

    def family(step_size):
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(step_size))

    watched = gdx.edge_margin(family, 0.01, lambda w: jnp.sum(w**2))
    assert watched.update(2 * w, watched.init(w), w)[1].margin > 0
