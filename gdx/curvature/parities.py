"""What an optimizer's state holds: averages of gradients, averages of their sizes, clocks."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

if TYPE_CHECKING:
    import chex

NUM_STEPS = 6
SEED = 0


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
        return updates, jax.tree.map(_cast_like, new, state)

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
    update = update_of(transformation)
    start = jax.tree.map(jnp.asarray, transformation.init(params))
    rng = np.random.default_rng(SEED)
    leaves, structure = jax.tree.flatten(params)

    def draw():
        shapes = [(NUM_STEPS, *np.shape(leaf)) for leaf in leaves]
        drawn = [rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape) for shape in shapes]
        return structure.unflatten([jnp.asarray(d, leaf.dtype) for d, leaf in zip(drawn, leaves, strict=True)])

    @jax.jit
    def after(gradients):
        state, _ = jax.lax.scan(lambda state, g: (update(g, state, params)[1], None), start, gradients)
        return [leaf if jnp.issubdtype(leaf.dtype, jnp.number) else jnp.zeros(()) for leaf in jax.tree.leaves(state)]

    first, second = draw(), draw()
    ends = [after(g) for g in (first, jax.tree.map(jnp.negative, first), second, jax.tree.map(jnp.negative, second))]
    return tuple(_parity(*(np.asarray(leaf, float) for leaf in group)) for group in zip(*ends, strict=True))


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
    after = update_of(transformation)(jax.tree.map(jnp.ones_like, params), start, params)[1]
    pairs = zip(jax.tree.leaves(start), jax.tree.leaves(after), strict=True)
    return tuple(old.ndim == 0 and old.dtype == jnp.int32 and int(new - old) == 1 for old, new in pairs)


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


def _cast_like(new, old):
    new, dtype = jnp.asarray(new), jnp.asarray(old).dtype
    return new if new.dtype == dtype else new.astype(dtype)


def _parity(plus, minus, other_plus, other_minus):
    """Of one leaf, from two sequences of gradients and their negatives."""
    scale = max(float(np.max(np.abs(leaf), initial=0.0)) for leaf in (plus, minus, other_plus, other_minus))
    odd = np.max(np.abs(plus - minus), initial=0.0) > 1e-9 * scale
    # What is the same for both sequences is no answer to gradients, such as the value that an average starts from.
    even = np.max(np.abs(plus + minus - other_plus - other_minus), initial=0.0) > 1e-9 * scale
    if odd:
        return Parity.MIXED if even else Parity.ODD
    return Parity.EVEN if even else Parity.CLOCK
