"""Models of Flax, Haiku and Equinox go into gdx as they are, and end where a loop written by hand ends."""

import functools

import chex
import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gdx
from gdx.problems.data import bundled, scale_features

WIDTH, CLASSES = 32, 10
# A prime horizon is cut into six blocks, of which the first holds still for one step.
NUM_STEPS, TAIL = 59, 8
STEP_SIZES = (1e-4, 3e-3, 1e-2, 1e6)
SANE = 1


pytestmark = pytest.mark.usefixtures("quick_compilation")


def digits():
    features, labels = bundled("digits")
    # Single precision, as real models are, also where x64 is on and the step sizes are double.
    return jnp.asarray(scale_features(features, "standard")[:128], jnp.float32), jnp.asarray(labels[:128])


X, Y = digits()


def repeat_keys():
    return jax.random.split(jax.random.key(7), 2)


def family(step_size):
    return optax.adamw(optax.linear_schedule(0.0, step_size, 10))


def sweep(problem):
    return gdx.sweep(problem, family, num_steps=NUM_STEPS, tail=TAIL)(jnp.asarray(STEP_SIZES), repeat_keys())


def plain_loop(loss, params, state, step_size):
    """A training loop as anyone writes it, without gdx; `loss(params, state) -> (scalar, state)`.

    Returns the losses and all `(params, state)`, those after the last update included.
    """
    optimizer = optax.adamw(optax.linear_schedule(0.0, step_size, 10))

    @jax.jit
    def step(params, state, opt_state):
        (value, state), gradient = jax.value_and_grad(loss, has_aux=True)(params, state)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state, value

    opt_state, losses, visited = jax.jit(optimizer.init)(params), [], [(params, state)]
    for _ in range(NUM_STEPS):
        params, state, opt_state, value = step(params, state, opt_state)
        losses.append(float(value))
        visited.append((params, state))
    return np.array(losses), visited


def stateless(loss):
    return lambda params, state: (loss(params), state)


def cross_entropy(logits):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, Y))


def linen_mlp():
    model = nn.Sequential([nn.Dense(WIDTH), nn.tanh, nn.Dense(CLASSES)])
    return lambda key: model.init(key, X), lambda params: cross_entropy(model.apply(params, X))


class NnxMlp(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(X.shape[1], WIDTH, rngs=rngs)
        self.out = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.out(jnp.tanh(self.hidden(x)))


def nnx_mlp():
    graph, _ = nnx.split(nnx.eval_shape(lambda: NnxMlp(nnx.Rngs(0))))
    return (
        lambda key: nnx.split(NnxMlp(nnx.Rngs(key)))[1],
        lambda params: cross_entropy(nnx.merge(graph, params)(X)),
    )


def haiku_mlp():
    def forward(x):
        return hk.nets.MLP([WIDTH, CLASSES], activation=jnp.tanh)(x)

    model = hk.without_apply_rng(hk.transform(forward))
    return lambda key: model.init(key, X), lambda params: cross_entropy(model.apply(params, X))


def equinox_parts(key):
    model = eqx.nn.MLP(X.shape[1], CLASSES, WIDTH, depth=1, activation=jnp.tanh, key=key)
    return eqx.partition(model, eqx.is_inexact_array)


def equinox_mlp():
    static = eqx.filter_eval_shape(lambda: equinox_parts(jax.random.key(0))[1])
    return (
        lambda key: equinox_parts(key)[0],
        lambda params: cross_entropy(jax.vmap(eqx.combine(params, static))(X)),
    )


FRAMEWORKS = {"linen": linen_mlp, "nnx": nnx_mlp, "haiku": haiku_mlp, "equinox": equinox_mlp}


@pytest.fixture(scope="module", params=FRAMEWORKS)
def swept(request):
    init, loss = FRAMEWORKS[request.param]()
    return init, loss, sweep(gdx.problem(init, loss))


def test_a_framework_model_learns_where_the_step_size_is_sane(swept):
    _, _, runs = swept
    chex.assert_tree_shape_prefix(runs, (4, 2))
    for losses in (runs.first_loss, runs.best_loss, runs.last_loss, runs.tail_loss):
        assert np.all(np.isfinite(losses[SANE]))
    assert np.all(runs.best_loss[SANE] < 0.2 * runs.first_loss[SANE])
    assert np.all(runs.best_loss[0] > 0.5 * runs.first_loss[0]), "the smallest step size has hardly begun"
    assert np.all(gdx.improved(runs) == [[True], [True], [True], [False]])
    assert np.all(gdx.verdicts(runs)[-1] == gdx.Verdict.DIVERGED)


def test_a_framework_model_ends_where_a_plain_loop_ends(swept):
    init, loss, runs = swept
    losses, _ = plain_loop(stateless(loss), jax.jit(init)(repeat_keys()[1]), (), STEP_SIZES[SANE])
    # Neighbouring steps differ by thousands of tolerances, so that this tells which step is the last.
    assert abs(losses[-1] / losses[-2] - 1) > 1e-2
    facts = jax.tree.map(lambda leaf: leaf[SANE, 1], runs)
    np.testing.assert_allclose(facts.first_loss, losses[0], rtol=1e-5)
    np.testing.assert_allclose(facts.last_loss, losses[-1], rtol=1e-5)
    np.testing.assert_allclose(facts.best_loss, losses.min(), rtol=1e-5)
    np.testing.assert_allclose(facts.tail_loss, losses[-TAIL:].mean(), rtol=1e-5)


class NormalizedMlp(nn.Module):
    @nn.compact
    def __call__(self, x, is_training):
        # A bias here would have rounding errors for a gradient, which Adam blows up to full steps.
        x = nn.Dense(WIDTH, use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=not is_training, momentum=0.9)(x)
        return nn.Dense(CLASSES)(nn.tanh(x))


@pytest.mark.slow
def test_batch_statistics_move_with_the_run():
    model = NormalizedMlp()

    def init(key):
        variables = model.init(key, X, is_training=True)
        return variables["params"], variables["batch_stats"]

    def loss(params, state):
        variables = {"params": params, "batch_stats": state}
        logits, updated = model.apply(variables, X, is_training=True, mutable=["batch_stats"])
        return cross_entropy(logits), updated["batch_stats"]

    @jax.jit
    def full_loss(params, state):
        return cross_entropy(model.apply({"params": params, "batch_stats": state}, X, is_training=False))

    # In training the loss looks at its own batch alone; only the full loss shows the running averages.
    problem = gdx.stateful_problem(init, loss, full_loss=full_loss)
    runs = sweep(problem)
    key = repeat_keys()[1]
    _, visited = plain_loop(loss, *jax.jit(init)(key), STEP_SIZES[SANE])
    start, before_last, end = (visited[step] for step in (0, NUM_STEPS - 1, NUM_STEPS))
    np.testing.assert_allclose(runs.first_loss[SANE, 1], full_loss(*start), rtol=1e-5)
    np.testing.assert_allclose(runs.last_loss[SANE, 1], full_loss(*before_last), rtol=1e-5)
    for other in (start, visited[NUM_STEPS - 2], end):
        # Averages of any other step would show.
        assert abs(full_loss(before_last[0], other[1]) / runs.last_loss[SANE, 1] - 1) > 3e-4

    step = gdx.train_step(problem, family)
    update = jax.jit(step.update)
    moved = jax.jit(step.init)(STEP_SIZES[SANE], key)
    for _ in range(NUM_STEPS):
        moved, _ = update(moved)
    chex.assert_trees_all_equal_dtypes(moved.model_state, end[1])
    # Rounding reaches the weights through Adam, and with them the averages; a step more would move them sevenfold.
    chex.assert_trees_all_close(moved.model_state, end[1], rtol=1e-3, atol=5e-4)
    for running, initial in zip(jax.tree.leaves(moved.model_state), jax.tree.leaves(start[1]), strict=True):
        assert np.median(np.abs(running - initial)) > 0.1


def fixed_equinox():
    init, loss = equinox_mlp()
    return jax.jit(init)(jax.random.key(5)), loss


def fixed_nnx():
    return NnxMlp(nnx.Rngs(5)), lambda model: cross_entropy(model(X))


@pytest.mark.parametrize("make", [fixed_equinox, fixed_nnx])
def test_parameters_that_can_be_called_are_not_called(make):
    params, loss = make()
    assert callable(params)
    for key in repeat_keys():
        chex.assert_trees_all_equal(gdx.problem(params, loss).init(key)[0], params)


def test_a_module_as_a_constant_start_ends_where_a_plain_loop_ends():
    params, loss = fixed_equinox()
    runs = sweep(gdx.problem(params, loss))
    np.testing.assert_array_equal(runs.last_loss[:, 0], runs.last_loss[:, 1])
    losses, _ = plain_loop(stateless(loss), params, (), STEP_SIZES[SANE])
    np.testing.assert_allclose(runs.first_loss[SANE], losses[0], rtol=1e-5)
    np.testing.assert_allclose(runs.last_loss[SANE], losses[-1], rtol=1e-5)


@pytest.mark.parametrize("wrap", [jax.jit, eqx.filter_jit, nnx.jit, functools.partial])
def test_a_start_wrapped_by_a_framework_is_still_called(wrap):
    init, loss = linen_mlp()
    key = repeat_keys()[1]
    params, _ = gdx.problem(wrap(init), loss).init(key)
    chex.assert_trees_all_close(params, init(key), rtol=1e-6)


def test_a_state_with_handles_may_be_read_in_every_step():
    class Counting(eqx.Module):
        weights: jax.Array
        calls: eqx.nn.StateIndex

        def __init__(self):
            self.weights, self.calls = jnp.ones(3), eqx.nn.StateIndex(jnp.array(0.0))

    static = eqx.partition(eqx.nn.make_with_state(Counting)()[0], eqx.is_inexact_array)[1]

    def init(key):
        model, state = eqx.nn.make_with_state(Counting)()
        return eqx.partition(model, eqx.is_inexact_array)[0], state

    def loss(params, state):
        model = eqx.combine(params, static)
        count = state.get(model.calls)
        return jnp.sum(model.weights**2) + 0 * count, state.set(model.calls, count + 1)

    runs = gdx.sweep(gdx.stateful_problem(init, loss), optax.sgd, num_steps=10)(jnp.array([0.1]), repeat_keys())
    np.testing.assert_allclose(runs.last_loss, 3 * 0.8 ** (2 * 9), rtol=1e-5)
