"""A loss along a direction, and what a line search sees of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdx import trees
from gdx.optimizers.checking import check_value_fn

if TYPE_CHECKING:
    import chex

SLACK_ULPS = 4
"""Rounding errors of the loss that an inequality forgives: near a minimum the loss no longer resolves its decrease."""


class Trial(NamedTuple):
    """A point on the line."""

    step: jax.Array
    value: jax.Array
    slope: jax.Array
    """First derivative along the line, NaN where the search takes none."""
    curvature: jax.Array
    """Second derivative along the line, NaN where the search takes none."""


class Line(NamedTuple):
    """A loss along a direction, in float32 or wider."""

    start: Trial
    at: Callable[[jax.Array], jax.Array]
    """`at(step) -> loss`, differentiable."""
    slack: jax.Array
    """Differences of the loss below this are rounding."""
    resolution: jax.Array
    """Steps below this change no parameter by more than rounding."""


def line(
    value_fn: Any,
    params: Any,
    direction: chex.ArrayTree,
    value: jax.Array | None = None,
    grad: chex.ArrayTree | None = None,
) -> Line:
    """Look at a loss along a direction.

    Parameters
    ----------
    value_fn
        `params -> loss`.
    params, direction
        Pytrees of the same structure.
    value, grad
        Loss and gradient at the parameters; computed where they are left out.

    Returns
    -------
    Line

    Raises
    ------
    ValueError
        If `value_fn` or the parameters are missing.
    """
    check_value_fn(value_fn, params, "a line search evaluates the loss along its direction")
    if value is None or grad is None:
        value, grad = jax.value_and_grad(value_fn)(params)
    narrow = jnp.result_type(value)
    wide = jnp.promote_types(narrow, jnp.float32)

    def at(step):
        moved = jax.tree.map(lambda p, d: p + (step * d.astype(wide)).astype(p.dtype), params, direction)
        return value_fn(moved).astype(wide)

    value, nan = jnp.asarray(value, wide), jnp.full((), jnp.nan, wide)
    slope = jnp.asarray(optax.tree.vdot(trees.wide(direction), trees.wide(grad)), wide)
    start = Trial(jnp.zeros((), wide), value, slope, nan)
    slack = SLACK_ULPS * jnp.finfo(narrow).eps * jnp.abs(value) + jnp.finfo(narrow).tiny
    ulps = SLACK_ULPS * jnp.finfo(jnp.result_type(*jax.tree.leaves(params))).eps
    return Line(start, at, slack, ulps * _largest(params, wide) / _largest(direction, wide))


def with_slope(along: Line) -> Callable[[jax.Array], Trial]:
    """Evaluate the loss and its slope along a line, in forward mode.

    Parameters
    ----------
    along
        The loss along the direction.

    Returns
    -------
    callable
        `step -> Trial`.
    """

    def evaluate(step):
        value, slope = jax.jvp(along.at, (step,), (jnp.ones_like(step),))
        return Trial(step, value, slope, jnp.full_like(step, jnp.nan))

    return evaluate


def without_slope(along: Line) -> Callable[[jax.Array], Trial]:
    """Evaluate the loss alone along a line.

    Parameters
    ----------
    along
        The loss along the direction.

    Returns
    -------
    callable
        `step -> Trial`.
    """

    def evaluate(step):
        nan = jnp.full_like(step, jnp.nan)
        return Trial(step, along.at(step), nan, nan)

    return evaluate


def _largest(tree, dtype):
    sizes = [jnp.max(jnp.abs(leaf), initial=0).astype(dtype) for leaf in jax.tree.leaves(tree)]
    return jnp.max(jnp.stack(sizes))
