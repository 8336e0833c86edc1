"""Small networks on real data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from gdx.problems.base import Known, Problem
from gdx.problems.batching import finite_sum
from gdx.problems.data import bundled, entropy, scale_features


def digits_mlp(
    hidden: Sequence[int] = (16,),
    *,
    scale: str | None = "standard",
    examples: int | None = None,
    batch_size: int | None = None,
    replacement: bool = False,
) -> Problem:
    """A tanh network that classifies scikit-learn's digits, mean cross-entropy.

    Parameters
    ----------
    hidden
        Widths of the hidden layers, each at least 1.
    scale
        How the 64 pixels are scaled: "standard", "minmax", "robust" or None, see `gdx.problems.scaling`.
    examples
        How many of the 1797 examples, from the first; None for all.
    batch_size, replacement
        Mini-batches, as in `gdx.problems.finite_sum`; None for the full batch.

    Returns
    -------
    Problem
        Params are a tuple of `{"weights": [in, out], "bias": [out]}`; weights start at normal(0, 1/sqrt(in)).

    Raises
    ------
    ValueError
        If a width is below 1, `examples` is outside [1, 1797], or the batch size is not from 1 to the number of them.

    Examples
    --------
    >>> import jax, gdx
    >>> params, _ = gdx.problems.digits_mlp(hidden=(16,)).init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))  # 64 * 16 + 16 + 16 * 10 + 10
    1210
    """
    hidden = tuple(int(width) for width in hidden)
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden: {hidden} has a width below 1; try (16,)")
    features, labels = bundled("digits")
    if examples is not None and not 1 <= examples <= len(features):
        raise ValueError(f"examples: {examples} is outside [1, {len(features)}]; leave it out for all")
    # Pixels that are never lit become 0.
    inputs, labels = scale_features(features, scale, constant="zero")[:examples], labels[:examples]
    widths = (inputs.shape[1], *hidden, 10)

    def init(key):
        keys = jax.random.split(key, len(widths) - 1)
        return tuple(
            {"weights": jax.random.normal(k, (n, m)) / math.sqrt(n), "bias": jnp.zeros(m)}
            for k, n, m in zip(keys, widths[:-1], widths[1:], strict=True)
        )

    def losses(layers, rows):
        activation, y = rows
        for layer in layers[:-1]:
            activation = jnp.tanh(activation @ layer["weights"] + layer["bias"][None])
        logits = activation @ layers[-1]["weights"] + layers[-1]["bias"][None]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y)

    known = Known(source="entropy of the frequencies of classes", chance=entropy(labels))
    return finite_sum(init, losses, (inputs, labels), batch_size=batch_size, replacement=replacement, known=known)
