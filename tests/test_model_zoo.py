"""Real models of four frameworks under the optimizers that people build: gdx trains them as a plain optax loop does."""

import functools
import math

import corpus
import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import keys
from flax import nnx
from flax.training.train_state import TrainState

import gdx
from gdx.problems import from_equinox, from_flax, from_haiku, from_nnx
from gdx.problems.data import bundled, scale_features

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compilation", "any_rank")]

NUM_STEPS = 24
VOCABULARY = len(corpus.CHARACTERS)


@pytest.fixture
def any_rank():
    """Frameworks add biases of lower rank."""
    with jax.numpy_rank_promotion("allow"):
        yield


def cross_entropy(logits, labels):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels))


def digits(batch_size=32, examples=256):
    features, labels = bundled("digits")
    x, y = scale_features(features, "standard", constant="zero")[:examples].astype(np.float32), labels[:examples]
    for start in range(0, examples, batch_size):
        yield {"x": x[start : start + batch_size], "y": y[start : start + batch_size]}


class LinenConvolution(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (3, 3))(x.reshape(len(x), 8, 8, 1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.Dropout(0.2, deterministic=not train)(x.reshape(len(x), -1))
        return nn.Dense(10)(x)


def linen_convolution():
    return from_flax(
        LinenConvolution(),
        lambda model, batch: cross_entropy(model(batch["x"], train=True), batch["y"]),
        digits(),
        rngs=("dropout",),
    )


def linen_bfloat16():
    narrow = functools.partial(nn.Dense, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    model = nn.Sequential([narrow(32), nn.gelu, narrow(10)])
    return from_flax(model, lambda model, batch: cross_entropy(model(batch["x"]), batch["y"]), digits())


class Decoder(nnx.Module):
    """A transformer of one block that sees what came before."""

    def __init__(self, rngs, width=16):
        self.embed = nnx.Embed(VOCABULARY, width, rngs=rngs)
        self.positions = nnx.Param(0.1 * jax.random.normal(rngs.params(), (32, width)))
        self.norms = nnx.List([nnx.LayerNorm(width, rngs=rngs) for _ in range(3)])
        self.attention = nnx.MultiHeadAttention(
            2, width, dropout_rate=0.1, deterministic=False, decode=False, rngs=rngs
        )
        self.up, self.down = nnx.Linear(width, 32, rngs=rngs), nnx.Linear(32, width, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.out = nnx.Linear(width, VOCABULARY, rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens) + self.positions[...]
        x = x + self.attention(self.norms[0](x), mask=nnx.make_causal_mask(tokens))
        x = x + self.dropout(self.down(nnx.gelu(self.up(self.norms[1](x)))))
        return self.out(self.norms[2](x))


def nnx_transformer():
    return from_nnx(
        Decoder,
        lambda model, tokens: cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]),
        corpus.windows(),
        num_batches=12,
    )


def haiku_rnn():
    def forward(tokens):
        core = hk.GRU(24)
        x = hk.Embed(VOCABULARY, 16)(tokens)
        x, _ = hk.dynamic_unroll(core, x, core.initial_state(len(x)), time_major=False)
        return hk.Linear(VOCABULARY)(hk.dropout(hk.next_rng_key(), 0.1, x))

    return from_haiku(
        hk.transform(forward),
        lambda model, tokens: cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]),
        corpus.windows(),
        keyed=True,
        num_batches=12,
    )


class EquinoxConvolution(eqx.Module):
    filters: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, key):
        first, second = jax.random.split(key)
        self.filters, self.out = eqx.nn.Conv2d(1, 6, 3, key=first), eqx.nn.Linear(216, 10, key=second)
        self.norm, self.dropout = eqx.nn.BatchNorm(6, "batch", momentum=0.9, mode="batch"), eqx.nn.Dropout(0.2)

    def __call__(self, x, state, key):
        x, state = self.norm(self.filters(x.reshape(1, 8, 8).astype(self.filters.weight.dtype)), state)
        return self.out(self.dropout(jax.nn.relu(x).ravel(), key=key)), state


def equinox_convolution():
    def loss(model, state, batch, key):
        many = jax.random.split(key, len(batch["x"]))
        logits, state = jax.vmap(model, (0, None, 0), (0, None), axis_name="batch")(batch["x"], state, many)
        return cross_entropy(logits, batch["y"]), state

    return from_equinox(eqx.nn.make_with_state(EquinoxConvolution), loss, digits(), keyed=True)


MODELS = {
    "Linen convolution": linen_convolution,
    "Linen bfloat16": linen_bfloat16,
    "NNX transformer": nnx_transformer,
    "Haiku RNN": haiku_rnn,
    "Equinox convolution": equinox_convolution,
}


def is_bias(path):
    return any(name in jax.tree_util.keystr(path) for name in ("bias", "'b'"))


def weights(params):
    return jax.tree.map_with_path(lambda path, leaf: not is_bias(path), params)


def groups(params):
    return jax.tree.map_with_path(lambda path, leaf: "bias" if is_bias(path) else "weight", params)


def warm_cosine(h):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(gdx.schedules.warmup_cosine(h, NUM_STEPS, 5)))


OPTIMIZERS = {
    "warm-up, cosine, clipping": warm_cosine,
    "weight decay of weights": lambda h: optax.adamw(h, weight_decay=0.1, mask=weights),
    "a step size a group": lambda h: optax.multi_transform(
        {"weight": optax.adam(h), "bias": optax.sgd(10 * h, momentum=0.9)}, groups
    ),
    "accumulated": lambda h: optax.MultiSteps(optax.adam(h), 3),
    "schedule-free": lambda h: optax.contrib.schedule_free_adamw(h, warmup_steps=3),
}


def plain_losses(problem, optimizer, key, num_steps):
    """The loss of every batch in a loop as anyone writes it."""
    draws = gdx.train_step(problem, optax.sgd).init(0.1, key).key
    params, state = jax.jit(problem.init)(key)

    @jax.jit
    def step(params, state, opt_state, count):
        batch = problem.batches(draws, count)
        (value, state), gradient = jax.value_and_grad(problem.loss, has_aux=True)(params, state, batch)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state, value

    opt_state, losses = jax.jit(optimizer.init)(params), []
    for count in range(num_steps):
        params, state, opt_state, value = step(params, state, opt_state, jnp.int32(count))
        losses.append(float(value))
    return np.array(losses)


@functools.cache
def model(name):
    return MODELS[name]()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_learns_and_its_losses_are_those_of_a_plain_loop(name, optimizer):
    problem, family, key = model(name), OPTIMIZERS[optimizer], keys(1)
    step_size = 0.02
    expected = plain_losses(problem, family(step_size), key[0], NUM_STEPS)
    runs = gdx.sweep(problem, family, num_steps=NUM_STEPS, tail=8)([step_size, 1e-6], key)
    # Adam and bfloat16 make much of rounding.
    rtol = 0.05 if name == "Linen bfloat16" else 1e-3
    np.testing.assert_allclose(runs.first_loss[0], expected[0], rtol=rtol)
    np.testing.assert_allclose(runs.tail_loss[0], expected[-8:].mean(), rtol=rtol)
    np.testing.assert_allclose(runs.last_loss[0], expected[-1], rtol=rtol)
    chance = math.log(VOCABULARY if name in ("NNX transformer", "Haiku RNN") else 10)
    assert expected[-8:].mean() < 0.95 * min(expected[0], chance)
    assert runs.tail_loss[1, 0] > 0.97 * runs.first_loss[1, 0], "the smallest step size has hardly begun"
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(problem.init(key[0])[0])) == ("float16" in name)


@pytest.mark.parametrize("make", [gdx.optimizers.wolfe, gdx.optimizers.damped_newton, gdx.optimizers.goldstein])
def test_optimizers_that_evaluate_the_loss_train_in_the_frameworks_own_loops(make):
    x = jnp.linspace(-1, 1, 16)[:, None]
    module = nn.Sequential([nn.Dense(4), jnp.tanh, nn.Dense(1)])

    @jax.jit
    def flax_step(state):
        def loss(params):
            return jnp.mean((state.apply_fn(params, x) - x**2) ** 2)

        value, grad = jax.value_and_grad(loss)(state.params)
        more = {"value": value, "grad": grad, "value_fn": loss}
        updates, opt_state = state.tx.update(grad, state.opt_state, state.params, **more)
        return state.replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state), value

    @nnx.jit
    def nnx_step(model, optimizer):
        def loss(model):
            return jnp.mean((model(x) - x**2) ** 2)

        graph, _, rest = nnx.split(model, nnx.Param, ...)
        value, grad = nnx.value_and_grad(loss)(model)
        value_fn = lambda params: loss(nnx.merge(graph, params, rest, copy=True))  # noqa: E731
        optimizer.update(model, grad, value=value, grad=grad, value_fn=value_fn)
        return value

    state = TrainState.create(apply_fn=module.apply, params=module.init(jax.random.key(0), x), tx=make())
    net = nnx.Sequential(nnx.Linear(1, 4, rngs=nnx.Rngs(0)), jnp.tanh, nnx.Linear(4, 1, rngs=nnx.Rngs(1)))
    optimizer = nnx.Optimizer(net, make(), wrt=nnx.Param)
    losses = []
    for _ in range(15):
        state, value = flax_step(state)
        losses.append((float(value), float(nnx_step(net, optimizer))))
    # A search never climbs.
    assert np.all(np.diff(losses, axis=0) <= 1e-7)
    assert np.all(np.array(losses)[-1] < 0.5 * np.array(losses)[0])
