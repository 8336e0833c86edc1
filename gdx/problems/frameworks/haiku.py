"""Haiku."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from gdx.problems.base import Known, Problem
from gdx.problems.frameworks.assembling import asking, assembled, of_a_model, require_callable


@of_a_model
def from_haiku(
    model: Any,
    loss: Callable[..., jax.Array],
    batches: Iterable[Any] | Callable | None = None,
    *,
    keyed: bool = False,
    start: Any = None,
    full_loss: Callable[[Any], jax.Array] | None = None,
    num_batches: int | None = None,
    known: Known | None = None,
) -> Problem:
    """Make a Problem of a Haiku function, its state and its random numbers.

    Parameters
    ----------
    model
        What `hk.transform` or `hk.transform_with_state` returns, with or without `hk.without_apply_rng`.
    loss
        `loss(model, batch) -> scalar`, the model called as the function that was transformed, `model(x, is_training)`:
        its parameters, its state and its key are passed for it.
    keyed
        Whether the function draws random numbers, as for dropout: with a new key in every step.
    start
        What to start from, as `model.init` returns it: parameters, or a pair `(params, state)` of a model with state.
        By default that of `model.init`, from the repeat's key. The model sees the first batch then.

    Examples
    --------
    >>> import haiku as hk, jax, jax.numpy as jnp, numpy as np, gdx
    >>> model = hk.transform(lambda x: hk.nets.MLP([8, 1])(x))
    >>> def loss(model, batch):
    ...     return jnp.mean((model(batch["x"]) - batch["y"]) ** 2)
    >>> batches = [{"x": np.ones((4, 3), np.float32), "y": np.ones((4, 1), np.float32)}]
    >>> problem = gdx.problems.from_haiku(model, loss, batches)
    >>> params, model_state = problem.init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    41
    """
    import haiku as hk

    if not isinstance(model, hk.Transformed | hk.TransformedWithState):
        raise ValueError(f"model: {type(model).__name__} is not transformed; pass hk.transform(function)")
    require_callable(loss)
    has_state = isinstance(model, hk.TransformedWithState)
    takes_key = list(inspect.signature(model.apply).parameters)[1 + has_state :][:1] == ["rng"]

    def pair(variables):
        return variables if has_state else (variables, {})

    def init(key, args):
        if start is not None:
            return jax.tree.map(jnp.asarray, pair(start))
        made: list[Any] = []

        def first(*inputs, **named):
            if not made:
                made.append(pair(model.init(key, *inputs, **named)))
            params, state = made[0]
            return _called(model, has_state, takes_key, params, state, key)[0](*inputs, **named)

        loss(first, *args)
        if not made:
            raise ValueError("loss: it calls no model, so that nothing is trained; call the one that it is given")
        return made[0]

    def applied(params, state, args, key):
        called, last = _called(model, has_state, takes_key, params, state, key)
        with asking("MissingRNGError", "keyed: the model draws random numbers; pass keyed=True"):
            value = loss(called, *args)
        return value, last()

    def judged(params, state):
        assert full_loss is not None
        return full_loss(_called(model, has_state, takes_key, params, state, None)[0])

    return assembled(init, applied, full_loss and judged, batches, num_batches, keyed, known)


def _called(model, has_state, takes_key, params, state, key):
    """A Haiku function with all that it needs but its inputs, and what tells its state after the calls so far."""
    num_calls = 0

    def call(*inputs, **named):
        nonlocal state, num_calls
        own = key if key is None or not num_calls else jax.random.fold_in(key, num_calls)
        num_calls += 1
        front = (params, *((state,) if has_state else ()), *((own,) if takes_key else ()))
        outputs = model.apply(*front, *inputs, **named)
        if has_state:
            outputs, state = outputs
        return outputs

    return call, lambda: state
