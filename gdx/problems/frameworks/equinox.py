"""Equinox."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax

from gdx.checks import inside
from gdx.problems.base import Known, Problem
from gdx.problems.frameworks.assembling import assembled, of_a_model, require, require_callable


@of_a_model
def from_equinox(
    model: Any,
    loss: Callable[..., Any],
    batches: Iterable[Any] | Callable | None = None,
    *,
    keyed: bool = False,
    full_loss: Callable[..., jax.Array] | None = None,
    num_batches: int | None = None,
    known: Known | None = None,
) -> Problem:
    """Make a Problem of an Equinox module and its state.

    Parameters
    ----------
    model
        A function `key -> equinox.Module`, which makes another start of every key; or a module, from which every run
        starts. Of a model with state, a pair `(module, state)` either way, as `eqx.nn.make_with_state` makes it.
    loss
        `loss(model, batch) -> scalar`, and of a model with state `loss(model, state, batch) -> (scalar, state)`. All
        floating arrays of the module are trained, and what else it holds stays.
    keyed
        Whether the loss takes a random key as well, another in every step, as its last argument: for dropout. For
        `full_loss`, which takes the model (and its state), the model is in inference mode.

    Examples
    --------
    >>> import equinox as eqx, jax, jax.numpy as jnp, numpy as np, gdx
    >>> def loss(model, batch):
    ...     return jnp.mean((jax.vmap(model)(batch["x"]) - batch["y"]) ** 2)
    >>> batches = [{"x": np.ones((4, 3), np.float32), "y": np.ones((4, 1), np.float32)}]
    >>> problem = gdx.problems.from_equinox(lambda key: eqx.nn.MLP(3, 1, 8, 1, key=key), loss, batches)
    >>> params, model_state = problem.init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    41
    """
    import equinox as eqx

    require_callable(loss)
    is_made = isinstance(model, (eqx.Module, tuple))
    if not (is_made or callable(model)):
        raise ValueError(f"model: {type(model).__name__} is no equinox.Module, nor a function key -> equinox.Module")

    def parts(key):
        with inside("model"):
            made = model if is_made else model(key)
        module, *carried = made if isinstance(made, tuple) else (made,)
        require("model", module, eqx.Module, "equinox.Module")
        params, rest = eqx.partition(module, eqx.is_inexact_array)
        # Whole numbers and keys may be others for another start, so that they are carried.
        others, fixed = eqx.partition(rest, eqx.is_array)
        return params, (others, tuple(carried)), fixed

    *_, fixed = eqx.filter_eval_shape(parts, jax.random.key(0))

    def bound(params, state):
        return eqx.combine(params, state[0], fixed), *state[1]

    def applied(params, state, args, key):
        result = loss(*bound(params, state), *args, *((key,) if keyed else ()))
        if not state[1]:
            return result, state
        value, after = result
        return value, (state[0], (after,))

    def judged(params, state):
        assert full_loss is not None
        module, *carried = bound(params, jax.tree.map(lambda leaf: leaf, state))
        return full_loss(eqx.nn.inference_mode(module), *carried)

    return assembled(
        lambda key, args: parts(key)[:2], applied, full_loss and judged, batches, num_batches, keyed, known
    )
