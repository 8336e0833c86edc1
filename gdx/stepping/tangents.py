"""Tangent vectors pushed through a whole training step: parameters, the model's state and the optimizer's memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from gdx.stepping.state import TrainState
from gdx.trees import is_floating

NOTHING, EMPTY = 1e-20, 1e-30
"""What counts as 0 in a memory, and what stands for it: the root of an empty second moment has no derivative, though
nothing hangs on it."""


def movable(state: TrainState) -> tuple[jax.Array, ...]:
    """Give all that a step may move by a little: the floating leaves of parameters, model state and optimizer state.

    Parameters
    ----------
    state
        Of one run.

    Returns
    -------
    tuple of arrays
        Counts, switches and random keys are no part of it, since they have no tangents.
    """
    return tuple(leaf for leaf in jax.tree.leaves(_parts(state)) if is_floating(leaf))


def with_movable(state: TrainState, leaves: Sequence[jax.Array]) -> TrainState:
    """Put such leaves back.

    Parameters
    ----------
    state
        Of one run.
    leaves
        As `movable` gives them.

    Returns
    -------
    TrainState
    """
    given = iter(leaves)
    old, structure = jax.tree.flatten(_parts(state))
    params, model_state, opt_state = structure.unflatten([next(given) if is_floating(leaf) else leaf for leaf in old])
    return state._replace(params=params, model_state=model_state, opt_state=opt_state)


def push(
    update: Callable[[TrainState], TrainState], state: TrainState, tangents: Sequence[jax.Array]
) -> tuple[TrainState, tuple[jax.Array, ...]]:
    """Make a step, and the same linear step with a tangent vector.

    Parameters
    ----------
    update
        `state -> state`: one step or several, differentiable where the run stands.
    state
        Of one run.
    tangents
        One a leaf of `movable`, of its shape and dtype.

    Returns
    -------
    state, tangents
        After the step. Under vmap over tangents alone the step itself is made once.

    Notes
    -----
    Where a memory is empty, as the second moment of a pixel that is always 0, tangents see 1e-30 in its place: the
    derivative of its root is infinite, but whatever it is multiplied by is 0.
    """
    memory = jax.tree.map(lambda leaf: _alive(leaf) if is_floating(leaf) else leaf, state.opt_state)

    def lead(leaves):
        return movable(update(with_movable(state, leaves)))

    _, pushed = jax.jvp(lead, (movable(state._replace(opt_state=memory)),), (tuple(tangents),))
    return update(state), pushed


def _alive(leaf):
    return jnp.where(jnp.abs(leaf) < NOTHING, jnp.asarray(EMPTY, leaf.dtype), leaf)


def _parts(state):
    return state.params, state.model_state, state.opt_state
