"""A small decoder-only transformer in plain JAX, on a text that comes with it."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.problems.base import Known, Problem, problem
from gdx.problems.batching import finite_sum, minibatches
from gdx.problems.corpus import TEXT
from gdx.problems.data import entropy

STRIDE = 8
"""Characters between the beginnings of neighbouring windows of the text."""
WIDER = 2
"""Width of the hidden layer of a block, in widths of the model."""
EPS = 1e-6
"""Beside the mean square that activations are divided by."""


def character_transformer(
    width: int = 16,
    *,
    heads: int = 2,
    context: int = 16,
    batch_size: int | None = 16,
    replacement: bool = False,
) -> Problem:
    """One block of a decoder-only transformer that tells the next character of four sonnets, mean cross-entropy.

    Norms (root mean square, without a gain) come first, attention is causal, positions are learned, layers between have
    no bias, and there is no dropout. Small enough that a
    step costs a fraction of a millisecond on a CPU; enough of a transformer to have the edges of one.

    Parameters
    ----------
    width
        Of the model, a multiple of `heads`.
    heads
        Of attention.
    context
        Characters that a prediction may look back on, and that one window asks about; from 1 to 512.
    batch_size, replacement
        Windows a step, as in `gdx.problems.minibatches`; None for all of them.

    Returns
    -------
    Problem
        Params are a dict of arrays; weights start at normal(0, 1/sqrt(in)). The loss is that of the batches, and there
        is no `full_loss`: one over the whole text would cost twenty steps.

    Raises
    ------
    ValueError
        If a size is below 1, heads do not divide the width, or the batch size is not from 1 to the number of windows.

    Examples
    --------
    >>> import jax, gdx
    >>> problem = gdx.problems.character_transformer(batch_size=16)
    >>> problem.init(jax.random.key(0))[0]["embed"].shape
    (50, 16)
    """
    if min(width, heads) < 1 or width % heads:
        raise ValueError(f"width: {width} is no multiple of {heads} heads, each at least 1; try width=16, heads=2")
    if not 1 <= context <= 512:
        raise ValueError(f"context: {context} is outside [1, 512]; try 16")
    letters = sorted(set(TEXT))
    tokens = np.array([letters.index(letter) for letter in TEXT], np.int32)
    starts = np.arange(0, len(tokens) - context, STRIDE)
    windows = tokens[starts[:, None] + np.arange(context + 1)]
    known = Known(source="entropy of the frequencies of characters", chance=entropy(windows[:, 1:]))

    def init(key):
        return _init(key, len(letters), width, context)

    def losses(params, rows):
        logits = _logits(params, rows[:, :-1], heads)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, rows[:, 1:]), axis=1)

    if batch_size is None:
        return finite_sum(init, losses, windows, known=known)

    def loss(params, batch):
        rows, weights = batch
        each = losses(params, rows)
        return jnp.sum(weights.astype(each.dtype) * each)

    return problem(init, loss, batches=minibatches(windows, batch_size, replacement=replacement), known=known)


def _init(key, letters, width, context):
    keys = iter(jax.random.split(key, 6))

    def matrix(rows, columns):
        return jax.random.normal(next(keys), (rows, columns)) / math.sqrt(rows)

    return {
        "embed": jax.random.normal(next(keys), (letters, width)),
        "positions": jax.random.normal(next(keys), (context, width)),
        "attend": matrix(width, 3 * width),
        "mix": matrix(width, width),
        "up": matrix(width, WIDER * width),
        "down": matrix(WIDER * width, width),
        # Zero, so that a start knows nothing: its loss is the logarithm of the number of letters.
        "out": {"weights": jnp.zeros((width, letters)), "bias": jnp.zeros(letters)},
    }


def _logits(params, tokens, heads):
    """[b, c, letters] of tokens [b, c]."""
    x = params["embed"][tokens] + params["positions"][None]
    x = x + _attention(params, _normed(x), heads)
    x = x + jax.nn.relu(_normed(x) @ params["up"]) @ params["down"]
    return _normed(x) @ params["out"]["weights"] + params["out"]["bias"][None, None]


def _normed(x):
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + EPS)


def _attention(params, x, heads):
    batch, context, width = x.shape
    queries, keys, values = jnp.moveaxis((x @ params["attend"]).reshape(batch, context, 3, heads, width // heads), 2, 0)
    scores = jnp.einsum("bqhd,bkhd->bhqk", queries, keys) / math.sqrt(width // heads)
    before = jnp.tril(jnp.ones((context, context), bool))[None, None]
    weights = jax.nn.softmax(jnp.where(before, scores, -jnp.inf), axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, values).reshape(batch, context, width) @ params["mix"]
