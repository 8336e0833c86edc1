"""Small networks on real data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from gdx.problems.base import Problem, problem
from gdx.problems.data import bundled, scale_features


def digits_mlp(
    hidden: Sequence[int] = (16,), *, scale: str | None = "standard", examples: int | None = None
) -> Problem:
    """A tanh network that classifies scikit-learn's digits, full batch, mean cross-entropy.

    Parameters
    ----------
    hidden
        Widths of the hidden layers, each at least 1.
    scale
        How the 64 pixels are scaled: "standard" or None.
    examples
        How many of the 1797 examples, from the first; None for all.

    Returns
    -------
    Problem
        Params are a tuple of `{"weights": [in, out], "bias": [out]}`; weights start at normal(0, 1/sqrt(in)).

    Raises
    ------
    ValueError
        If a width is below 1 or `examples` is outside [1, 1797].
    """
    hidden = tuple(int(width) for width in hidden)
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden: {hidden} has a width below 1; try (16,)")
    features, labels = bundled("digits")
    if examples is not None and not 1 <= examples <= len(features):
        raise ValueError(f"examples: {examples} is outside [1, {len(features)}]; leave it out for all")
    x = jnp.asarray(scale_features(features, scale)[:examples])
    y = jnp.asarray(labels[:examples])
    widths = (x.shape[1], *hidden, 10)

    def init(key):
        keys = jax.random.split(key, len(widths) - 1)
        return tuple(
            {"weights": jax.random.normal(k, (n, m)) / math.sqrt(n), "bias": jnp.zeros(m)}
            for k, n, m in zip(keys, widths[:-1], widths[1:], strict=True)
        )

    def loss(layers):
        activation = x
        for layer in layers[:-1]:
            activation = jnp.tanh(activation @ layer["weights"] + layer["bias"][None])
        logits = activation @ layers[-1]["weights"] + layers[-1]["bias"][None]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

    return problem(init, loss)
