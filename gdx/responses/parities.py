"""What an optimizer's state holds: averages of gradients, averages of their sizes, clocks."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.records import legend
from gdx.trees import cast_like

if TYPE_CHECKING:
    import chex

LOOK = 264
"""Steps that a state is watched for: more than two of the longest period that is looked for."""
SEED = 0


@legend
class Parity(enum.Enum):
    """How a leaf of the state answers to gradients of the opposite sign."""

    ODD = "odd"
    """It changes sign: momentum, a running mean, the last gradient."""
    EVEN = "even"
    """It stays, and depends on the gradients' size: a second moment, an accumulator. Here preconditioners live."""
    CLOCK = "clock"
    """It does not depend on the gradients: step counts, constants, keys."""
    MIXED = "mixed"
    """None of these."""


class EvaluatesLossError(ValueError):
    """The transformation calls the loss, so that gradients alone do not determine its updates."""


def update_of(
    transformation: optax.GradientTransformation,
) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """Make `(gradient, state, params) -> (updates, state)` of a transformation that has to do without a loss.

    Parameters
    ----------
    transformation
        Any optax transformation; the state keeps its dtypes.

    Returns
    -------
    callable

    Raises
    ------
    EvaluatesLossError
        On a call, if the transformation evaluates the loss: line searches, Newton's method.
    """
    transformation = optax.with_extra_args_support(transformation)

    def value_fn(params):
        raise EvaluatesLossError("it evaluates the loss")

    def update(gradient, state, params):
        dtype = jnp.result_type(*jax.tree.leaves(params))
        # A loss that is no number shows in the updates of whoever uses it.
        value = jnp.full((), jnp.nan, dtype)
        updates, new = transformation.update(gradient, state, params, value=value, grad=gradient, value_fn=value_fn)
        return updates, cast_like(new, state)

    return update


def parities(transformation: optax.GradientTransformation, params: chex.ArrayTree) -> tuple[Parity, ...]:
    """Classify the leaves of a transformation's state by feeding it gradients and their negatives.

    Parameters
    ----------
    transformation
        Any optax transformation that needs no loss.
    params
        Pytree of floating arrays, where the transformation starts; a small stand-in serves as long as its structure
        and the ranks of its leaves are those of the real ones.

    Returns
    -------
    tuple
        One a leaf of the state, in the order of `jax.tree.leaves`.
    """
    return survey(transformation, params).kinds


class Survey(NamedTuple):
    """What a state's leaves do in many steps, in the order of `jax.tree.leaves`."""

    kinds: tuple[Parity, ...]
    rising: tuple[bool, ...]
    """Whether the leaf is a whole number that never falls and goes on rising: it counts updates, or some of them."""
    has_memory: bool
    """Whether the leaves that depend on the gradients' size, if there are any, depend on more than the last one's."""


def survey(transformation: optax.GradientTransformation, params: chex.ArrayTree) -> Survey:
    """Watch the leaves of a transformation's state while it is fed gradients, their negatives, and others.

    Parameters
    ----------
    transformation, params
        As in `parities`.

    Returns
    -------
    Survey

    Notes
    -----
    An accumulated gradient is 0 again after every period of its accumulation, so a leaf's answer is looked for at every
    step and not at the last alone.
    """
    update = update_of(transformation)
    start = jax.tree.map(jnp.asarray, transformation.init(params))

    @jax.jit
    def watch(start, draws):
        def step(states, four):
            new = jax.vmap(lambda g, state: update(g, state, params)[1])(four, states)
            return new, new

        return jax.lax.scan(step, jax.tree.map(lambda leaf: jnp.stack([leaf] * 4), start), draws)[1]

    histories = [_as_numbers(leaf) for leaf in jax.tree.leaves(watch(start, _draws(params)))]
    answers = [_answers(history) for history in histories]
    kinds = tuple(_parity(bool(np.any(odd)), bool(np.any(even))) for odd, even in answers)
    rising = tuple(_rises(leaf, history) for leaf, history in zip(jax.tree.leaves(start), histories, strict=True))
    remembers = [bool(even[-1]) for (_, even), kind in zip(answers, kinds, strict=True) if kind is Parity.EVEN]
    return Survey(kinds, rising, not remembers or any(remembers))


def _draws(params):
    """Two sequences of gradients and their negatives, leaves [LOOK, 4, ...]; both sequences end alike."""
    rng = np.random.default_rng(SEED)

    def draw(leaf):
        shape = (LOOK, 2, *np.shape(leaf))
        drawn = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
        drawn[-1, 1] = drawn[-1, 0]
        drawn = np.stack([drawn[:, 0], -drawn[:, 0], drawn[:, 1], -drawn[:, 1]], axis=1)
        return jnp.asarray(drawn, jnp.result_type(leaf))

    return jax.tree.map(draw, params)


def _as_numbers(leaf):
    """The leaf's history as floating numbers, [LOOK, 4, size]; keys of random numbers are none."""
    is_number = jnp.issubdtype(leaf.dtype, jnp.number)
    return np.asarray(leaf, float).reshape(LOOK, 4, -1) if is_number else np.zeros((LOOK, 4, 1))


def _answers(history):
    """Whether a leaf changes sign with the gradients, and whether it depends on their size; both [LOOK]."""
    plus, minus, other_plus, other_minus = np.moveaxis(history, 1, 0)
    bound = 1e-9 * np.max(np.abs(history), axis=(1, 2), initial=0.0)
    odd = np.max(np.abs(plus - minus), axis=1, initial=0.0) > bound
    # What is the same for both draws is no answer to gradients, such as the value that an average starts from.
    return odd, np.max(np.abs(plus + minus - other_plus - other_minus), axis=1, initial=0.0) > bound


def _rises(leaf, history):
    if np.ndim(leaf) or not jnp.issubdtype(leaf.dtype, jnp.integer):
        return False
    counts = history[:, 0, 0]
    return bool(np.all(np.diff(counts) >= 0) and counts[-1] > counts[LOOK // 2])


def counters(transformation: optax.GradientTransformation, params: chex.ArrayTree) -> tuple[bool, ...]:
    """Find the leaves of a transformation's state that count its updates.

    Parameters
    ----------
    transformation, params
        As in `parities`.

    Returns
    -------
    tuple
        One a leaf of the state: whether it is a whole number that one update raises by 1.
    """
    start = jax.tree.map(jnp.asarray, transformation.init(params))
    after = jax.jit(update_of(transformation))(jax.tree.map(jnp.ones_like, params), start, params)[1]
    pairs = zip(jax.tree.leaves(start), jax.tree.leaves(after), strict=True)
    return tuple(old.ndim == 0 and old.dtype == jnp.int32 and int(new - old) == 1 for old, new in pairs)


def carriers(family: Callable[[Any], optax.GradientTransformation], params: chex.ArrayTree) -> tuple[float | None, ...]:
    """Find the leaves of a state that carry the step size, as those of `optax.inject_hyperparams` do.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.
    params
        As in `parities`.

    Returns
    -------
    tuple
        One a leaf of the state: what it holds at a step size of 1, of those that are a number proportional to it, and
        None of all others.
    """
    one, two = (jax.tree.leaves(family(step_size).init(params)) for step_size in (1.0, 2.0))
    return tuple(_carried(*pair) for pair in zip(one, two, strict=True))


def at_step(state: Any, carried: tuple[float | None, ...], step_size: Any) -> Any:
    """Put a step size into a state that carries it.

    Parameters
    ----------
    state
        Of an optimizer.
    carried
        As `carriers` gives it.
    step_size
        A number, traced or not.

    Returns
    -------
    pytree
        The state with its other leaves as they were.
    """
    leaves, structure = jax.tree.flatten(state)
    pairs = zip(leaves, carried, strict=True)
    return structure.unflatten(
        [leaf if one is None else jnp.asarray(one * step_size, jnp.result_type(leaf)) for leaf, one in pairs]
    )


def _carried(one, two):
    is_number = np.ndim(one) == 0 and jnp.issubdtype(jnp.result_type(one), jnp.floating)
    return float(one) if is_number and one != 0 and np.isclose(two, 2 * one, rtol=1e-6, atol=0) else None


def change(state: Any, how: dict[Parity, Callable[[jax.Array], jax.Array]], kinds: tuple[Parity, ...]) -> Any:
    """Map the leaves of some parities.

    Parameters
    ----------
    state
        Of an optimizer.
    how
        Parity to a function of a leaf.
    kinds
        The leaves' parities, in the order of `jax.tree.leaves`.

    Returns
    -------
    pytree
    """
    leaves, structure = jax.tree.flatten(state)
    return structure.unflatten(
        [how[kind](leaf) if kind in how else leaf for leaf, kind in zip(leaves, kinds, strict=True)]
    )


def hold(new: Any, old: Any, kinds: tuple[Parity, ...], is_held: Any = True) -> Any:
    """Put back the leaves of a state that make the preconditioner.

    Parameters
    ----------
    new, old
        States after and before an update.
    kinds
        The leaves' parities.
    is_held
        Whether to, a bool, traced or not.

    Returns
    -------
    pytree
        The new state with the old preconditioner.
    """
    before = iter(jax.tree.leaves(old))
    leaves, structure = jax.tree.flatten(new)
    kept = [(leaf, next(before), kind is Parity.EVEN) for leaf, kind in zip(leaves, kinds, strict=True)]
    return structure.unflatten([jnp.where(is_held, was, leaf) if even else leaf for leaf, was, even in kept])


def _parity(odd, even):
    if odd:
        return Parity.MIXED if even else Parity.ODD
    return Parity.EVEN if even else Parity.CLOCK
