"""What an adaptive optimizer divides by, against the formula that it is written with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdx
from gdx.responses import preconditioner

pytestmark = pytest.mark.usefixtures("quick_compilation")


def params_like(dtype):
    return {
        "a": jnp.asarray([[1.0, 2.0], [3.0, -4.0]], dtype),
        "b": (jnp.asarray([0.5, -1.0], dtype), jnp.zeros((), dtype)),
    }


def state_after(family, num_steps, dtype=jnp.float64):
    params = params_like(dtype)
    transformation = family(0.01)
    rng = np.random.default_rng(num_steps)

    def gradient(leaf):
        return jnp.asarray(rng.normal(size=(num_steps, *leaf.shape)) * np.exp(3 * rng.normal(size=leaf.shape)), dtype)

    def step(state, gradient):
        return transformation.update(gradient, state, params)[1], None

    return jax.lax.scan(step, transformation.init(params), jax.tree.map(gradient, params))[0], params


def of_moment(formula, name="nu"):
    """Apply a formula to the one second moment in a state, leaf by leaf."""
    return lambda state, steps: jax.tree.map(lambda v: formula(v, steps), optax.tree.get(state, name))


def debiased(b2, eps=1e-8):
    return of_moment(lambda v, steps: jnp.sqrt(v / (1 - b2**steps)) + eps)


def of_adadelta(state, steps):
    gradients, updates = optax.tree.get(state, "e_g"), optax.tree.get(state, "e_x")
    return jax.tree.map(lambda g, x: jnp.sqrt((g + 1e-6) / (x + 1e-6)), gradients, updates)


# Name -> (family, P of a state after so many steps).
METHODS = {
    "adam": (optax.adam, debiased(0.999)),
    "adam, other numbers": (functools.partial(optax.adam, b1=0.6, b2=0.9, eps=1e-3), debiased(0.9, 1e-3)),
    "nadam": (optax.nadam, debiased(0.999)),
    "adamw": (functools.partial(optax.adamw, weight_decay=0.3), debiased(0.999)),
    "amsgrad": (optax.amsgrad, of_moment(lambda v, steps: jnp.sqrt(v) + 1e-8, "nu_max")),
    "yogi": (optax.yogi, debiased(0.999, 1e-3)),
    "rmsprop": (optax.rmsprop, of_moment(lambda v, steps: jnp.sqrt(v + 1e-8))),
    "rmsprop with momentum": (
        functools.partial(optax.rmsprop, momentum=0.8, decay=0.7),
        of_moment(lambda v, steps: jnp.sqrt(v + 1e-8)),
    ),
    "adagrad": (optax.adagrad, of_moment(lambda v, steps: jnp.sqrt(v + 1e-7), "sum_of_squares")),
    "adadelta": (optax.adadelta, of_adadelta),
    "clipped adam": (
        lambda step_size: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(step_size)),
        debiased(0.999),
    ),
}


EVERYDAY = ("adamw", "nadam", "rmsprop with momentum", "adagrad")


@pytest.mark.parametrize(
    ("name", "num_steps"),
    [
        *((name, 3) for name in EVERYDAY),
        *(
            pytest.param(name, num_steps, marks=pytest.mark.slow)
            for name in METHODS
            for num_steps in (1, 3, 60)
            if num_steps != 3 or name not in EVERYDAY
        ),
    ],
)
def test_the_preconditioner_is_that_of_the_formula(name, num_steps):
    family, formula = METHODS[name]
    state, params = state_after(family, num_steps)
    found = preconditioner(family, state, params)
    for leaf, expected in zip(jax.tree.leaves(found), jax.tree.leaves(formula(state, num_steps)), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["adam", *(pytest.param(n, marks=pytest.mark.slow) for n in ("rmsprop", "adagrad"))])
def test_the_preconditioner_of_float32_is_right_to_float32(name):
    family, formula = METHODS[name]
    state, params = state_after(family, 40, jnp.float32)
    found = jax.jit(lambda state: preconditioner(family, state, params))(state)
    for leaf, expected in zip(jax.tree.leaves(found), jax.tree.leaves(formula(state, 40)), strict=True):
        assert leaf.dtype == jnp.float32
        np.testing.assert_allclose(leaf, expected, rtol=2e-5)


NARROW = {
    "adam": (optax.adam, "nu", lambda v: np.sqrt(v / (1 - 0.999**240)) + 1e-8),
    "rmsprop": (functools.partial(optax.rmsprop, eps_in_sqrt=False), "nu", lambda v: np.sqrt(v) + 1e-8),
    "adagrad": (optax.adagrad, "sum_of_squares", lambda v: np.sqrt(v + 1e-7)),
    "amsgrad": (optax.amsgrad, "nu", lambda v: np.sqrt(v / (1 - 0.999**240)) + 1e-8),
    "adam, eps 1e-25": (functools.partial(optax.adam, eps=1e-25), "nu", lambda v: np.sqrt(v / (1 - 0.999**240))),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("adam", jnp.float32),
        *(pytest.param(n, d, marks=pytest.mark.slow) for n in NARROW for d in (jnp.float32, jnp.bfloat16)),
    ],
)
def test_second_moments_of_every_size_that_float32_has_are_read(name, dtype):
    family, leaf, formula = NARROW[name]
    moments = jnp.asarray(np.concatenate([[0.0] if "eps" not in name else [], np.geomspace(1.3e-38, 5e37, 300)]), dtype)
    params = jnp.ones(moments.shape, dtype)
    settings = {leaf: moments, "count": jnp.asarray(240)}
    state = family(1.0).init(params)
    for key, value in settings.items():
        state = optax.tree.set(state, **{key: value}) if optax.tree.get_all_with_path(state, key) else state
    read = functools.partial(preconditioner, family, params=params)
    expected = formula(np.asarray(moments, float))
    np.testing.assert_allclose(jax.jit(read)(state), expected, rtol=1e-5)
    np.testing.assert_allclose(read(state), expected, rtol=1e-5)


def test_a_method_that_nobody_has_seen_is_read_too():
    def family(step_size):
        """Divides a momentum by the fourth root of a running mean of fourth powers."""

        def init(params):
            return {"slow": jax.tree.map(jnp.zeros_like, params), "fast": jax.tree.map(jnp.zeros_like, params)}

        def update(gradient, state, params=None):
            fast = jax.tree.map(lambda m, g: 0.7 * m + g, state["fast"], gradient)
            slow = jax.tree.map(lambda v, g: 0.95 * v + 0.05 * g**2, state["slow"], gradient)
            updates = jax.tree.map(lambda m, v: -step_size * m / (v**0.25 + 0.01), fast, slow)
            return updates, {"slow": slow, "fast": fast}

        return optax.GradientTransformation(init, update)

    state, params = state_after(family, 10)
    found = preconditioner(family, state, params)
    for leaf, slow in zip(jax.tree.leaves(found), jax.tree.leaves(state["slow"]), strict=True):
        np.testing.assert_allclose(leaf, slow**0.25 + 0.01, rtol=1e-9)
    np.testing.assert_allclose(gdx.curvature_threshold(family), 2 * 1.7, rtol=1e-6)


def test_entries_that_never_had_a_gradient_are_divided_by_eps():
    params = jnp.ones(3)
    transformation = optax.adam(0.1)
    state = transformation.update(jnp.asarray([1.0, 0.0, 2.0]), transformation.init(params), params)[1]
    np.testing.assert_allclose(preconditioner(optax.adam, state, params), [1 + 1e-8, 1e-8, 2 + 1e-8], rtol=1e-6)


def test_an_optimizer_without_a_preconditioner_has_ones():
    params = params_like(jnp.float64)
    found = preconditioner(optax.sgd, optax.sgd(0.1).init(params), params)
    assert all(np.all(leaf == 1) for leaf in jax.tree.leaves(found))


def test_a_state_of_another_optimizer_is_refused():
    params = params_like(jnp.float64)
    with pytest.raises(ValueError, match=r"^opt_state: .*pass the state of this family"):
        preconditioner(optax.adam, optax.rmsprop(0.1).init(params), params)


def test_an_optimizer_without_a_threshold_is_refused():
    with pytest.raises(ValueError, match=r"^family: .*not linear"):
        preconditioner(optax.sign_sgd, optax.sign_sgd(0.1).init(jnp.ones(2)), jnp.ones(2))
