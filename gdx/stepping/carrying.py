"""What a run carries from step to step: one structure, one shape and one dtype a leaf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from gdx.checks import inside
from gdx.problems.base import Problem
from gdx.stepping.ordering import batch_of
from gdx.stepping.state import TrainState
from gdx.trees import strong

if TYPE_CHECKING:
    import optax

KINDS = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
"""Of numbers, each holding the ones before it."""


def begun(problem: Problem, transformation: optax.GradientTransformationExtraArgs, state: TrainState) -> TrainState:
    """Give a start whose leaves have the dtypes that they keep.

    A count that begins as 0 and becomes a mean of losses would be cut to a whole number at every step if it kept its
    dtype. Leaves that are floating already keep theirs.

    Parameters
    ----------
    problem, transformation
        Of the run.
    state
        As the user's functions made it.

    Returns
    -------
    TrainState
        Without weak types.
    """
    params, model_state, opt_state = strong((state.params, state.model_state, state.opt_state))
    state = state._replace(params=params, model_state=model_state, opt_state=opt_state)

    def loss_of(model_state):
        with inside("loss"):
            return problem.loss(params, model_state, batch_of(problem, state))

    state = state._replace(model_state=_fixed(lambda old: loss_of(old)[1], model_state))

    def update(old):
        inner = state._replace(opt_state=old)
        return updates_of(problem, transformation, inner, batch_of(problem, inner), loss_like(params), params)[1]

    return state._replace(opt_state=_fixed(update, opt_state))


def updates_of(
    problem: Problem,
    transformation: optax.GradientTransformationExtraArgs,
    state: TrainState,
    batch: Any,
    loss: jax.Array,
    gradient: Any,
) -> tuple[Any, Any]:
    """Ask an optimizer for its updates, with all that any optimizer may want to know.

    Parameters
    ----------
    problem, transformation, state, batch
        Of the run, and where it stands.
    loss, gradient
        There.

    Returns
    -------
    updates, optimizer state
        As they come, in whatever dtypes.
    """

    def value_fn(params):
        with inside("loss"):
            return problem.loss(params, state.model_state, batch)[0]

    with inside("family"):
        return transformation.update(
            gradient, state.opt_state, state.params, value=loss, grad=gradient, value_fn=value_fn
        )


def carried(what: str, new: Any, old: Any) -> Any:
    """Cast what a step returns to the dtypes of what went into it.

    Parameters
    ----------
    what
        Whose it is and what.
    new, old
        Pytrees.

    Returns
    -------
    pytree
        Without weak types.

    Raises
    ------
    ValueError
        If structure or shapes differ.
    """
    if jax.tree.structure(new) != jax.tree.structure(old):
        raise ValueError(
            f"{what} is {jax.tree.structure(new)} after a step and {jax.tree.structure(old)} before; keep one structure"
        )
    new = strong(new)
    for (path, before), after in zip(jax.tree.leaves_with_path(old), jax.tree.leaves(new), strict=True):
        if jnp.iscomplexobj(after) and not jnp.iscomplexobj(before):
            raise ValueError(
                f"{what}{jax.tree_util.keystr(path)} is complex after a step and real before; keep real numbers"
            )
        if before.shape != after.shape:
            raise ValueError(
                f"{what}{jax.tree_util.keystr(path)} has shape {after.shape} after a step and {before.shape} before; "
                "keep one shape"
            )
    return jax.tree.map(lambda n, o: n if n.dtype == o.dtype else n.astype(o.dtype), new, old)


def loss_like(params: Any) -> jax.Array:
    """Make a stand-in for a loss, where only its type matters and tracing the real one would take long.

    Parameters
    ----------
    params
        Pytree of floating arrays.

    Returns
    -------
    array
        Zero.
    """
    return jnp.zeros((), jnp.result_type(*jax.tree.leaves(params)))


def _fixed(update, state):
    """Widen whole numbers to what an update makes of them, until it makes nothing else of any."""
    while any(not jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(state)):
        after = jax.eval_shape(lambda old: strong(update(old)), state)
        if jax.tree.structure(after) != jax.tree.structure(state):
            return state
        wide = jax.tree.map(_widened, state, after)
        if [leaf.dtype for leaf in jax.tree.leaves(wide)] == [leaf.dtype for leaf in jax.tree.leaves(state)]:
            return state
        state = wide
    return state


def _widened(old, new):
    dtype = _wider(old.dtype, new.dtype)
    # Keys, which are cast to nothing, stay as they are.
    return old if dtype == old.dtype else old.astype(dtype)


def _wider(old, new):
    """The dtype of a leaf that was one and became another; floats keep theirs, and so do keys."""
    if not any(jnp.issubdtype(old, kind) for kind in KINDS[:2]):
        return old
    if any(jnp.issubdtype(new, kind) for kind in KINDS[2:]):
        return new
    return jnp.promote_types(old, new) if any(jnp.issubdtype(new, kind) for kind in KINDS) else old
