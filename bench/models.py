"""Small models of four frameworks as people write them, each with data and an optimizer.

For bench/networks.py. Nothing here judges a run. A model is a plain function of parameters, and its `problem` is what
a user of gdx would make of it: with or without batches, a full loss, mutable state, a dropout key in the batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import gdx
from gdx.problems.data import bundled, scale_features


class Task(NamedTuple):
    """Data, and how outputs are held against it."""

    inputs: jax.Array
    targets: jax.Array
    losses: Callable[[jax.Array, jax.Array], jax.Array]
    """`losses(outputs, targets) -> [b]`."""
    score: Callable[[jax.Array, jax.Array], jax.Array]
    """Accuracy, or the share of the variance that is explained."""
    idle_loss: float
    """Of the best constant prediction."""
    idle_score: float
    num_outputs: int


class Net(NamedTuple):
    """A model as two pure functions."""

    init: Callable[[jax.Array], tuple[Any, Any]]
    """`init(key) -> (params, state)`."""
    apply: Callable[..., tuple[jax.Array, Any]]
    """`apply(params, state, inputs, key, training) -> (outputs, state)`."""


class Model(NamedTuple):
    """What a referee needs to train it, and what gdx gets."""

    init: Callable[[jax.Array], tuple[Any, Any]]
    loss: Callable[[Any, Any, Any], tuple[jax.Array, Any]]
    """The loss that is trained on: `loss(params, state, batch) -> (scalar, state)`."""
    batches: Callable[[jax.Array, jax.Array], Any] | None
    score: Callable[[Any, Any], jax.Array]
    """On all training data, in the mode in which the model would be used."""
    idle_loss: float
    idle_score: float
    family: Callable[[Any], Any]
    lowest: float
    """First step size of the referee's grid."""
    problem: gdx.Problem


# Data.


def classification(inputs, labels):
    """Cross-entropy and accuracy; a constant prediction has the entropy of the classes' frequencies."""
    frequencies = np.bincount(np.ravel(labels)) / np.size(labels)
    entropy = -np.sum(frequencies * np.log(np.maximum(frequencies, 1e-30)))

    def losses(logits, labels):
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return each.reshape(len(each), -1).mean(axis=1)

    def score(logits, labels):
        return jnp.mean(jnp.argmax(logits, axis=-1) == labels)

    inputs = jnp.asarray(inputs) if np.asarray(inputs).dtype.kind == "i" else jnp.asarray(inputs, jnp.float32)
    return Task(inputs, jnp.asarray(labels), losses, score, float(entropy), float(frequencies.max()), len(frequencies))


def regression(inputs, targets):
    """Squared error and R^2; a constant prediction is left with the variance."""
    targets = np.asarray(targets, np.float32).reshape(len(targets), -1)
    variance = float(np.mean((targets - targets.mean(axis=0)) ** 2))

    def losses(outputs, targets):
        return jnp.mean((outputs - targets) ** 2, axis=-1)

    def score(outputs, targets):
        return 1 - jnp.mean(losses(outputs, targets)) / variance

    return Task(jnp.asarray(inputs, jnp.float32), jnp.asarray(targets), losses, score, variance, 0.0, targets.shape[1])


def digits(examples=512):
    features, labels = bundled("digits")
    return classification(scale_features(features, "standard")[:examples], labels[:examples])


def digit_pixels(examples=512):
    """The pixels of digits from 0 to 1, as both inputs and targets."""
    pixels = bundled("digits").features[:examples] / 16
    return regression(pixels, pixels)


def diabetes():
    features, progression = bundled("diabetes")
    return regression(scale_features(features, "standard"), scale_features(progression[:, None], "standard"))


def sums(examples=256, length=12):
    """Sequences of numbers with a mark at two of them, whose sum is the target."""
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, (examples, length))
    marks = np.zeros((examples, length))
    for row in marks:
        row[rng.choice(length, 2, replace=False)] = 1
    return regression(np.stack([values, marks], axis=-1), np.sum(values * marks, axis=1))


def waves(examples=256, length=16, classes=4):
    """Noisy waves of one of a few frequencies and any phase."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, examples)
    phase = rng.uniform(0, 2 * np.pi, (examples, 1))
    time = np.arange(length) / length
    clean = np.sin(2 * np.pi * (labels[:, None] + 1) * time + phase)
    return classification((clean + 0.2 * rng.normal(size=clean.shape))[..., None], labels)


def reversals(examples=512, length=6, tokens=6):
    """Sequences of tokens, to be given back in reverse."""
    rng = np.random.default_rng(2)
    words = rng.integers(0, tokens, (examples, length))
    return classification(words, words[:, ::-1].copy())


# Models, `make(task) -> Net`.


def without_state(init, apply):
    """A Net of `init(key) -> params` and `apply(params, inputs)`."""
    return Net(lambda key: (init(key), ()), lambda params, state, inputs, key, training: (apply(params, inputs), state))


def of_linen(module, task):
    return without_state(lambda key: module.init(key, task.inputs[:1]), module.apply)


def linen_mlp(task, widths=(32,), activation=nn.tanh):
    layers = [layer for width in widths for layer in (nn.Dense(width), activation)]
    return of_linen(nn.Sequential([*layers, nn.Dense(task.num_outputs)]), task)


class LayerNormed(nn.Module):
    """Three hidden layers, each normed."""

    outputs: int

    @nn.compact
    def __call__(self, x):
        for _ in range(3):
            x = nn.relu(nn.LayerNorm()(nn.Dense(32)(x)))
        return nn.Dense(self.outputs)(x)


def linen_layer_norm(task):
    return of_linen(LayerNormed(task.num_outputs), task)


def patches(images, size=3, stride=1):
    """Every window of images [b, h, w, c] as a row: [b, h', w', size * size * c]."""
    height, width = images.shape[1] - size + 1, images.shape[2] - size + 1
    windows = [images[:, i : i + height : stride, j : j + width : stride] for i in range(size) for j in range(size)]
    return jnp.concatenate(windows, axis=-1)


class Convolutional(nn.Module):
    """Two convolutions, written as products with patches: inside a scan on a CPU the others are 40 times slower."""

    outputs: int

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), 8, 8, 1)
        x = nn.relu(nn.Dense(8)(patches(x, 3)))
        x = nn.relu(nn.Dense(16)(patches(x, 2, stride=2)))
        return nn.Dense(self.outputs)(x.reshape(len(x), -1))


def linen_convolutional(task):
    return of_linen(Convolutional(task.num_outputs), task)


class Block(nn.Module):
    """A transformer of one block, norms first."""

    tokens: int
    width: int = 32

    @nn.compact
    def __call__(self, words):
        x = nn.Embed(self.tokens, self.width)(words)
        x = x + self.param("positions", nn.initializers.normal(0.1), (words.shape[1], self.width))
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
        x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(2 * self.width)(nn.LayerNorm()(x))))
        return nn.Dense(self.tokens)(nn.LayerNorm()(x))


def linen_transformer(task):
    return of_linen(Block(task.num_outputs), task)


class NnxMlp(nnx.Module):
    """Two hidden layers."""

    def __init__(self, inputs, outputs, activation, rngs):
        self.first = nnx.Linear(inputs, 32, rngs=rngs)
        self.second = nnx.Linear(32, 32, rngs=rngs)
        self.last = nnx.Linear(32, outputs, rngs=rngs)
        self.activation = activation

    def __call__(self, x):
        return self.last(self.activation(self.second(self.activation(self.first(x)))))


def nnx_mlp(task, activation=nnx.relu):
    def make(rngs):
        return NnxMlp(task.inputs.shape[-1], task.num_outputs, activation, rngs)

    graph, _ = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    return without_state(
        lambda key: nnx.split(make(nnx.Rngs(key)))[1], lambda params, inputs: nnx.merge(graph, params)(inputs)
    )


class NnxNormed(nnx.Module):
    """A convolution by patches under batch norm."""

    def __init__(self, outputs, rngs):
        self.filters = nnx.Linear(9, 8, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.last = nnx.Linear(6 * 6 * 8, outputs, rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.filters(patches(x.reshape(len(x), 8, 8, 1))))
        return self.last(nnx.relu(x).reshape(len(x), -1))


def nnx_batch_norm(task):
    def make(rngs):
        return NnxNormed(task.num_outputs, rngs)

    graph, *_ = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))), nnx.Param, ...)

    def init(key):
        _, params, state = nnx.split(make(nnx.Rngs(key)), nnx.Param, ...)
        return params, state

    def apply(params, state, inputs, key, training):
        model = nnx.merge(graph, params, state, copy=True)
        model.train() if training else model.eval()
        outputs = model(inputs)
        return outputs, nnx.split(model, nnx.Param, ...)[2]

    return Net(init, apply)


def haiku_batch_norm(task):
    def forward(x, training):
        for width in (64, 32):
            x = hk.Linear(width, with_bias=False)(x)
            x = jax.nn.relu(hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(x, training))
        return hk.Linear(task.num_outputs)(x)

    model = hk.without_apply_rng(hk.transform_with_state(forward))
    return Net(
        lambda key: model.init(key, task.inputs, True),
        lambda params, state, inputs, key, training: model.apply(params, state, inputs, training),
    )


def haiku_rnn(task):
    def forward(x):
        core = hk.VanillaRNN(24)
        outputs, _ = hk.dynamic_unroll(core, x, core.initial_state(len(x)), time_major=False)
        return hk.Linear(task.num_outputs)(outputs[:, -1])

    model = hk.without_apply_rng(hk.transform(forward))
    return without_state(lambda key: model.init(key, task.inputs[:1]), model.apply)


def haiku_autoencoder(task):
    def forward(x):
        return hk.nets.MLP([32, 8, 32, task.num_outputs], activation=jax.nn.gelu)(x)

    model = hk.without_apply_rng(hk.transform(forward))
    return without_state(lambda key: model.init(key, task.inputs[:1]), model.apply)


def of_equinox(make):
    """A Net of `make(key) -> module`, called as `module(example, key, training)`."""
    static = eqx.filter_eval_shape(lambda: eqx.partition(make(jax.random.key(0)), eqx.is_inexact_array)[1])

    def apply(params, state, inputs, key, training):
        model = eqx.combine(params, static)
        if key is None:
            return jax.vmap(lambda example: model(example, None, training))(inputs), state
        keys = jax.random.split(key, len(inputs))
        return jax.vmap(lambda example, key: model(example, key, training))(inputs, keys), state

    return Net(lambda key: (eqx.partition(make(key), eqx.is_inexact_array)[0], ()), apply)


class EquinoxMlp(eqx.Module):
    """A network with dropout after every hidden layer, or without."""

    layers: list
    dropout: eqx.nn.Dropout
    activation: Callable = eqx.field(static=True)

    def __init__(self, widths, activation, rate, key):
        pairs = zip(widths[:-1], widths[1:], jax.random.split(key, len(widths) - 1), strict=True)
        self.layers = [eqx.nn.Linear(n, m, key=k) for n, m, k in pairs]
        self.dropout = eqx.nn.Dropout(rate)
        self.activation = activation

    def __call__(self, x, key, training):
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
            if key is not None:
                key, this = jax.random.split(key)
                x = self.dropout(x, key=this, inference=not training)
        return self.layers[-1](x)


def equinox_mlp(task, widths=(32, 32), activation=jax.nn.gelu, rate=0.0):
    widths = (task.inputs.shape[-1], *widths, task.num_outputs)
    return of_equinox(lambda key: EquinoxMlp(widths, activation, rate, key))


class Recurrent(eqx.Module):
    """A GRU that is read at its end."""

    cell: eqx.nn.GRUCell
    last: eqx.nn.Linear

    def __init__(self, inputs, outputs, key):
        cell_key, last_key = jax.random.split(key)
        self.cell = eqx.nn.GRUCell(inputs, 24, key=cell_key)
        self.last = eqx.nn.Linear(24, outputs, key=last_key)

    def __call__(self, x, key, training):
        hidden, _ = jax.lax.scan(lambda hidden, row: (self.cell(row, hidden), None), jnp.zeros(24), x)
        return self.last(hidden)


def equinox_gru(task):
    return of_equinox(lambda key: Recurrent(task.inputs.shape[-1], task.num_outputs, key))


# A model is a net on a task under an optimizer, handed to gdx in one of the ways there are.


def assemble(net, task, problem, batches, family, lowest):
    """Fill in what is the same for all: `batches(key, step) -> ((inputs, targets), weights, key)` or None."""

    def loss(params, state, batch):
        (inputs, targets), weights, key = ((task.inputs, task.targets), None, None) if batch is None else batch
        outputs, state = net.apply(params, state, inputs, key, True)
        return jnp.average(task.losses(outputs, targets), weights=weights), state

    def score(params, state):
        # Under batch norm the averages lag behind the weights by tens of steps: the statistics of all data do not.
        training = bool(jax.tree.leaves(state))
        outputs, _ = net.apply(params, state, task.inputs, None, training)
        return task.score(outputs, task.targets)

    return Model(net.init, loss, batches, score, task.idle_loss, task.idle_score, family, lowest, problem(loss))


def in_full(net, task, family, lowest):
    """All data in every step."""

    def problem(loss):
        return gdx.problem(lambda key: net.init(key)[0], lambda params: loss(params, (), None)[0])

    return assemble(net, task, problem, None, family, lowest)


def in_batches(net, task, family, lowest, batch_size=32):
    """`gdx.problems.finite_sum`: batches reshuffled every epoch, facts about the loss over all examples."""
    data = (task.inputs, task.targets)
    epochs = gdx.problems.minibatches(data, batch_size)

    def problem(loss):
        def losses(params, rows):
            return task.losses(net.apply(params, (), rows[0], None, True)[0], rows[1])

        return gdx.problems.finite_sum(lambda key: net.init(key)[0], losses, data, batch_size=batch_size)

    return assemble(net, task, problem, lambda key, step: (*epochs(key, step), None), family, lowest)


def own_batches(task, batch_size):
    """Drawn with replacement, with a key for dropout."""

    def draw(key, step):
        rows_key, dropout_key = jax.random.split(jax.random.fold_in(key, step))
        rows = jax.random.randint(rows_key, (batch_size,), 0, len(task.inputs))
        return (task.inputs[rows], task.targets[rows]), None, dropout_key

    return draw


def with_state(net, task, family, lowest, batch_size=32):
    """Batch statistics travel with the run; the full loss is in evaluation mode, as a validation loss would be."""
    draw = own_batches(task, batch_size)

    def problem(loss):
        def full_loss(params, state):
            outputs, _ = net.apply(params, state, task.inputs, None, False)
            return jnp.mean(task.losses(outputs, task.targets))

        return gdx.stateful_problem(net.init, loss, batches=draw, full_loss=full_loss)

    return assemble(net, task, problem, draw, family, lowest)


def with_dropout(net, task, family, lowest, batch_size=32):
    """No full loss: facts are about the batches."""
    draw = own_batches(task, batch_size)

    def problem(loss):
        return gdx.problem(lambda key: net.init(key)[0], lambda params, batch: loss(params, (), batch)[0], batches=draw)

    return assemble(net, task, problem, draw, family, lowest)


def physics_informed(family, lowest):
    """Solve u'' = -9 sin(3x) on [-1, 1] with u = sin(3x) at the ends: squared residuals, no data at all."""
    x = jnp.linspace(-1, 1, 48)
    points = regression(x[:, None], np.sin(3 * np.asarray(x)))
    net = equinox_mlp(points, widths=(24, 24), activation=jnp.tanh)

    def solution(params, at):
        return net.apply(params, (), jnp.reshape(at, (1, 1)), None, True)[0][0, 0]

    def loss(params, state, batch):
        curvature = jax.vmap(jax.grad(jax.grad(solution, argnums=1), argnums=1), (None, 0))(params, x)
        ends = jax.vmap(solution, (None, 0))(params, jnp.array([-1.0, 1.0])) - jnp.sin(jnp.array([-3.0, 3.0]))
        return jnp.mean((curvature + 9 * jnp.sin(3 * x)) ** 2) + 10 * jnp.mean(ends**2), state

    def score(params, state):
        return points.score(jax.vmap(solution, (None, 0))(params, x)[:, None], points.targets)

    # A constant has no curvature, and by symmetry is best at 0.
    idle = float(jnp.mean((9 * jnp.sin(3 * x)) ** 2) + 10 * jnp.sin(3.0) ** 2)
    problem = gdx.problem(lambda key: net.init(key)[0], lambda params: loss(params, (), None)[0])
    return Model(net.init, loss, None, score, idle, 0.0, family, lowest, problem)


def warm_adamw(step_size):
    """AdamW with warm-up and clipping, as transformers are trained."""
    schedule = optax.linear_schedule(0.0, step_size, 40)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-2))


momentum = functools.partial(optax.sgd, momentum=0.9)
nesterov = functools.partial(optax.sgd, momentum=0.9, nesterov=True)


def clipped_sgd(step_size):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(step_size))


MODELS = {
    "Linen MLP, Adam, batches": lambda: in_batches(linen_mlp(digits()), digits(), optax.adam, 1e-5),
    "NNX ReLU MLP, Nesterov, batches": lambda: in_batches(nnx_mlp(digits()), digits(), nesterov, 1e-5),
    "Equinox GELU MLP, sgd": lambda: in_full(equinox_mlp(digits(256)), digits(256), optax.sgd, 1e-4),
    "Linen layer norm, Adam": lambda: in_full(linen_layer_norm(digits(128)), digits(128), optax.adam, 1e-5),
    "Haiku batch norm, momentum, batches": lambda: with_state(haiku_batch_norm(digits()), digits(), momentum, 1e-4),
    "NNX conv, batch norm, Adam, batches": lambda: with_state(nnx_batch_norm(digits()), digits(), optax.adam, 1e-5),
    "Linen conv, AdamW warm, clipped": lambda: in_batches(linen_convolutional(digits()), digits(), warm_adamw, 1e-5),
    "Equinox dropout MLP, AdamW": lambda: with_dropout(
        equinox_mlp(digits(), rate=0.2, activation=jax.nn.relu), digits(), optax.adamw, 1e-5
    ),
    "Haiku RNN, clipped sgd": lambda: in_full(haiku_rnn(waves()), waves(), clipped_sgd, 1e-4),
    "Equinox GRU, Adam, batches": lambda: in_batches(equinox_gru(sums()), sums(), optax.adam, 1e-5),
    "Linen transformer, AdamW warm, clipped": lambda: in_batches(
        linen_transformer(reversals()), reversals(), warm_adamw, 1e-5
    ),
    "Equinox PINN, Adam": lambda: physics_informed(optax.adam, 1e-5),
    "Haiku autoencoder, RMSProp, batches": lambda: in_batches(
        haiku_autoencoder(digit_pixels()), digit_pixels(), optax.rmsprop, 1e-6
    ),
    "Equinox diabetes, momentum": lambda: in_full(equinox_mlp(diabetes()), diabetes(), momentum, 1e-5),
}
TOY = {"Linen MLP, Adam": lambda: in_full(linen_mlp(digits(64), (8,)), digits(64), optax.adam, 1e-3)}
