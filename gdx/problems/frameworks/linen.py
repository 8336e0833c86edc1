"""Flax Linen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gdx.problems.base import Known, Problem
from gdx.problems.frameworks.assembling import asking, assembled, of_a_model, require, require_callable


@of_a_model
def from_flax(
    model: Any,
    loss: Callable[..., jax.Array],
    batches: Iterable[Any] | Callable | None = None,
    *,
    rngs: Sequence[str] = (),
    start: Any = None,
    full_loss: Callable[[Any], jax.Array] | None = None,
    num_batches: int | None = None,
    known: Known | None = None,
) -> Problem:
    """Make a Problem of a Flax Linen module, its mutable collections and its dropout.

    Parameters
    ----------
    model
        A `flax.linen.Module`.
    loss
        `loss(model, batch) -> scalar`, the model bound to its variables: called as `model(batch["x"], train=True)`, or
        by any other of its methods. All collections but "params" are carried from step to step.
    rngs
        Names of the streams of random numbers that it draws from in training, as ("dropout",): with a new key in every
        step.
    start
        Variables to start from, `{"params": ..., "batch_stats": ...}`; by default those of `model.init`, from the
        repeat's key. The model sees the first batch then.

    Examples
    --------
    >>> import flax.linen as nn, jax, jax.numpy as jnp, numpy as np, gdx
    >>> model = nn.Sequential([nn.Dense(8), nn.tanh, nn.Dense(1)])
    >>> def loss(model, batch):
    ...     return jnp.mean((model(batch["x"]) - batch["y"]) ** 2)
    >>> batches = [{"x": np.ones((4, 3), np.float32), "y": np.ones((4, 1), np.float32)}]
    >>> problem = gdx.problems.from_flax(model, loss, batches)
    >>> params, model_state = problem.init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    41
    """
    from flax import linen as nn

    require("model", model, nn.Module, "flax.linen.Module")
    require_callable(loss)

    def variables_of(key, args):
        if start is not None:
            return start
        streams = {name: jax.random.fold_in(key, i) for i, name in enumerate(rngs, start=1)}
        return nn.init(loss, model)({"params": key, **streams}, *args)

    def init(key, args):
        variables = jax.tree.map(jnp.asarray, dict(variables_of(key, args)))
        return variables.pop("params"), variables

    def applied(params, state, args, key):
        streams = {name: jax.random.fold_in(key, i) for i, name in enumerate(rngs)}
        run = nn.apply(loss, model, mutable=list(state))
        with asking("InvalidRngError", 'rngs: the model draws random numbers; name its streams, as rngs=("dropout",)'):
            value, changed = run({"params": params, **state}, *args, rngs=streams)
        # What was not touched is not returned.
        return value, {**state, **changed}

    def judged(params, state):
        assert full_loss is not None
        return nn.apply(full_loss, model)({"params": params, **state})

    return assembled(init, applied, full_loss and judged, batches, num_batches, bool(rngs), known)
