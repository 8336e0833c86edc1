"""Tangent vectors pushed through a whole training step: parameters, the model's state and the optimizer's memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from gdx.stepping.state import TrainState
from gdx.trees import is_floating, wide, widest

NOTHING, EMPTY = 1e-20, 1e-30
"""What counts as 0 in a memory, and what stands for it: the root of an empty second moment has no derivative, though
nothing hangs on it."""
WAVE = 2.399963229728653
"""The golden angle, which no number of turns closes."""


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


def begun_frame(state: TrainState, number: int) -> tuple[jax.Array, ...]:
    """Give tangent vectors to begin with: of length 1, orthogonal, and along nothing in particular.

    Parameters
    ----------
    state
        Of one run.
    number
        Of vectors, k.

    Returns
    -------
    tuple of arrays
        One a leaf of `movable`, [k, ...]. The same for all runs, and no random numbers, which take long to compile.
    """
    leaves, start, frame = movable(state), 0, []
    for leaf in leaves:
        places = start + jnp.arange(leaf.size, dtype=jnp.float32)
        # Of waves of unlike lengths no sum over a part of the numbers vanishes, as it may for ones or single units.
        waves = [jnp.cos((which + 1) * WAVE * places + which + 1) for which in range(number)]
        frame.append(jnp.stack(waves).reshape(number, *leaf.shape).astype(leaf.dtype))
        start += leaf.size
    return _orthonormal(frame)[0]


def push_frame(
    update: Callable[[TrainState], TrainState], state: TrainState, frame: Sequence[jax.Array]
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Push several tangent vectors through a step and make them orthonormal again.

    Parameters
    ----------
    update, state
        As in `push`.
    frame
        Orthonormal, as `begun_frame` gives it.

    Returns
    -------
    frame, growth
        After the step; logarithms [k] of how much of each vector's length is left once those before it are projected
        out, relative to before the step: the diagonal of a QR factorization. -inf where nothing is left, NaN where
        the derivative is no number at all.

    Notes
    -----
    Single numbers of a tangent that come out as NaN count as 0: they are those of a root or a norm at 0, by which
    nothing moves.
    """
    pushed = _side_by_side(lambda tangent: push(update, state, tangent)[1], tuple(frame))
    unknown = [jnp.isnan(leaf) for leaf in pushed]
    cleared = [jnp.where(bad, 0, leaf) for bad, leaf in zip(unknown, pushed, strict=True)]
    new, lengths = _orthonormal(cleared)
    had_any = jnp.stack([jnp.any(bad.reshape(bad.shape[0], -1), axis=1) for bad in unknown if bad.size]).any(axis=0)
    is_lost = had_any & (lengths == 0)
    kept = [
        jnp.where(is_lost.reshape(-1, *(1,) * (leaf.ndim - 1)), o, leaf) for leaf, o in zip(new, frame, strict=True)
    ]
    return tuple(kept), jnp.where(is_lost, jnp.nan, jnp.log(lengths))


def _side_by_side(function, frame):
    """A vmap, which for one vector alone would make XLA on CPU multiply batches of one matrix."""
    if frame[0].shape[0] > 1:
        return jax.vmap(function)(frame)
    return jax.tree.map(lambda leaf: leaf[None], function(tuple(leaf[0] for leaf in frame)))


def _orthonormal(frame):
    """Gram and Schmidt, each projection made twice, which is enough; returns the frame and the lengths left, [k]."""
    leaves = wide(tuple(frame))
    dtype = widest(leaves)

    def inner(one, other):
        return sum((jnp.sum(a * b).astype(dtype) for a, b in zip(one, other, strict=True)), jnp.zeros((), dtype))

    done, lengths = [], []
    for which in range(leaves[0].shape[0]):
        vector = [leaf[which] for leaf in leaves]
        for _ in range(2 if which else 0):
            for other in done:
                share = inner(vector, other)
                vector = [leaf - share.astype(leaf.dtype) * along for leaf, along in zip(vector, other, strict=True)]
        lengths.append(jnp.sqrt(inner(vector, vector)))
        divisor = jnp.where(lengths[-1] > 0, lengths[-1], 1)
        done.append([leaf / divisor.astype(leaf.dtype) for leaf in vector])
    rows = [jnp.stack([vector[place] for vector in done]) for place in range(len(leaves))]
    return tuple(row.astype(leaf.dtype) for row, leaf in zip(rows, frame, strict=True)), jnp.stack(lengths)


def _alive(leaf):
    return jnp.where(jnp.abs(leaf) < NOTHING, jnp.asarray(EMPTY, leaf.dtype), leaf)


def _parts(state):
    return state.params, state.model_state, state.opt_state
