"""Flax NNX."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from gdx.checks import inside
from gdx.problems.base import Known, Problem
from gdx.problems.frameworks.assembling import assembled, of_a_model, require, require_callable


@of_a_model
def from_nnx(
    model: Any,
    loss: Callable[..., jax.Array],
    batches: Iterable[Any] | Callable | None = None,
    *,
    wrt: Any = None,
    full_loss: Callable[[Any], jax.Array] | None = None,
    num_batches: int | None = None,
    known: Known | None = None,
) -> Problem:
    """Make a Problem of a Flax NNX module, its batch statistics and its random numbers.

    Parameters
    ----------
    model
        A function `rngs -> flax.nnx.Module`, such as a class of `nnx.Module` that takes no more, which makes another
        start of every key; or a module, from which every run starts. It is trained in the mode in which it comes: where
        layers ask for one, call its `train()` first, also inside of the function.
    loss
        `loss(model, batch) -> scalar`, as for `nnx.value_and_grad`. All variables that are not trained are carried from
        step to step, the streams of dropout among them; those of a module are mixed with the repeat's key.
    wrt
        Filter of the variables that are trained; by default `nnx.Param`. For `full_loss` the model is in evaluation
        mode.

    Examples
    --------
    >>> from flax import nnx
    >>> import jax, jax.numpy as jnp, numpy as np, gdx
    >>> def loss(model, batch):
    ...     return jnp.mean((model(batch["x"]) - batch["y"]) ** 2)
    >>> batches = [{"x": np.ones((4, 3), np.float32), "y": np.ones((4, 1), np.float32)}]
    >>> problem = gdx.problems.from_nnx(lambda rngs: nnx.Linear(3, 1, rngs=rngs), loss, batches)
    >>> params, model_state = problem.init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    4
    """
    from flax import nnx

    trained = nnx.Param if wrt is None else wrt
    is_module = isinstance(model, nnx.Module)
    if not (is_module or callable(model)):
        raise ValueError(f"model: {type(model).__name__} is no flax.nnx.Module, nor a function rngs -> nnx.Module")
    require_callable(loss)

    def make(key):
        with inside("model"):
            made = model(nnx.Rngs(key))
        require("model: what it returns", made, nnx.Module, "flax.nnx.Module")
        return made

    graph, *_ = nnx.split(model if is_module else nnx.eval_shape(lambda: make(0)), trained, ...)

    def init(key, args):
        del args
        _, params, state = nnx.split(model if is_module else make(key), trained, ...)
        # A fresh copy, so that the caller's module stays as it is.
        params, state = jax.tree.map(lambda leaf: leaf, (params, state))
        return params, _mixed(state, key) if is_module else state

    def merged(params, state):
        return nnx.merge(graph, params, state, copy=True)

    def applied(params, state, args, key):
        del key
        here = merged(params, state)
        value = loss(here, *args)
        nnx.pop(here, nnx.Intermediate)
        return value, nnx.split(here, trained, ...)[2]

    def judged(params, state):
        assert full_loss is not None
        here: Any = merged(params, state)
        here.eval()
        return full_loss(here)

    return assembled(init, applied, full_loss and judged, batches, num_batches, False, known)


def _mixed(state, key):
    """The random streams of a module, another for every repeat's key."""
    word = jax.random.bits(key, dtype=jnp.uint32)

    def mix(leaf):
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        fold = jax.random.fold_in
        for _ in range(leaf.ndim):
            fold = jax.vmap(fold, (0, None))
        return fold(leaf, word)

    return jax.tree.map(mix, state)
