"""How far an update can be stretched before it raises the loss, from forward passes alone."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from gdx.checks import check_count, own_rules
from gdx.curvature.inputs import (
    check_batches,
    check_not_zero,
    check_rtol,
    check_scalar_loss,
    like_params,
    widened,
)
from gdx.curvature.products import mean_loss
from gdx.records import legend, record
from gdx.trees import flatten, safe_norm

if TYPE_CHECKING:
    import chex
    from jaxtyping import Array, Float, Int8, Int32

MAX_ROUNDS = 8
"""Sequential evaluations of `width` multiples each; one more may tell an ascent direction."""
DECADES = 4.8
"""That the first round spans, the second and third while nothing is bracketed two and three times as many."""
LOWEST = -4.2
"""Decade where the first round begins, in multiples that move the parameters by their own norm."""
LONGEST_SPAN = 3
ROUNDING = 8
"""Rises below this many eps times the loss are rounding."""


@legend
class OneStepStatus(enum.IntEnum):
    """What was found along a direction.

    Examples
    --------
    Continues the example of `gdx.one_step_edge`.

    >>> gdx.OneStepStatus(int(found.status)).name
    'BRACKETED'
    """

    BRACKETED = 0
    """`lower` does not raise the loss, `upper` does."""
    NEVER_RISES = 1
    """No multiple within reach raises it; the value is infinite and `lower` the largest multiple tried."""
    RISES_AT_ONCE = 2
    """The direction leads uphill, or the smallest multiple tried raises the loss; the value is 0."""
    NONFINITE = 3
    """Parameters, direction or the loss at the start are not finite; the value is NaN."""


@record
class OneStepEdge(NamedTuple):
    """Largest multiple of an update that does not raise the loss.

    Examples
    --------
    Continues the example of `gdx.one_step_edge`.

    >>> bool(found.lower <= 0.2 <= found.upper), int(found.num_sequential) <= 9
    (True, True)
    """

    value: Float[Array, ""]
    """The largest multiple known not to raise the loss, which is `lower` where there is a bracket."""
    lower: Float[Array, ""]
    """Largest multiple below every rise that was seen; 0 where the first one rises, NaN where nothing is finite."""
    upper: Float[Array, ""]
    """The smallest multiple known to raise it; infinite where there is none."""
    status: Int8[Array, ""]
    """`OneStepStatus` code."""
    num_sequential: Int32[Array, ""]
    """Evaluations that had to wait for one another, that at the start included: 9 at most."""
    num_evaluations: Int32[Array, ""]
    """All evaluations of the loss."""


class Interval(NamedTuple):
    """What the loop carries."""

    lower: jax.Array
    """Largest multiple below every rise seen, 0 for none but the start."""
    upper: jax.Array
    """Smallest multiple that rises, infinite for none."""
    descends: jax.Array
    """Whether a multiple at or below `lower` lowers the loss by more than rounding."""
    rounds: jax.Array


@own_rules()
def one_step_edge(
    loss: Callable[..., jax.Array],
    params: chex.ArrayTree,
    direction: chex.ArrayTree,
    *,
    batches: Any = None,
    width: int = 8,
    rtol: chex.Numeric = 1e-4,
) -> OneStepEdge:
    """Find the first multiple a > 0 at which loss(params + a direction) rises above loss(params).

    On a quadratic along its negative gradient g that is 2 g.g / g.Hg: a critical step size as seen from here, without
    any derivative. For losses whose Hessian is not to be had (custom derivatives, kinks, rounding inside), and cheaper
    than `sharpness` where it is. Not a substitute for it: the curvature along one direction is at most the largest
    eigenvalue, so the multiple is at least the critical step size of gradient descent on a quadratic.

    Parameters
    ----------
    loss
        `loss(params) -> scalar`, or `loss(params, batch) -> scalar` with `batches`; anything that evaluates.
    params
        Pytree of floating arrays, D numbers in all.
    direction
        What is added to the parameters, shaped as they are: an optimizer's update, or the negative gradient.
    batches
        Pytree of arrays [K, ...], K batches. The loss meant is the mean over them, every batch alike; they are gone
        through one after another.
    width
        Multiples evaluated at once, in the memory of that many copies of the parameters and evaluations of the loss.
        With 8 a tolerance of 1e-4 is reached within 9 sequential evaluations; with fewer the bracket may stay wider.
    rtol
        Width of the bracket wanted, relative to its upper end, in [0, 1).

    Returns
    -------
    OneStepEdge
        jit and vmap work.

    Raises
    ------
    ValueError
        If an argument is out of range or does not fit the parameters, or the loss is not scalar. Outside of
        transformations also if anything is not finite at the start or the direction is zero everywhere; inside,
        `status` says so: along zeros the loss never rises.

    Notes
    -----
    Critical sharpness of arXiv 2601.16979, which doubles and then bisects, one multiple at a time. Here a round tries
    `width` multiples in geometric progression: first over 4.8 decades up to moves of about 4 times the parameters' own
    norm (or, where that is 0, of 4), then wider ones above or below while nothing is bracketed, some 25 decades either
    way in all, then inside of the bracket.

    Every multiple tried below the value does not raise the loss. A rise and fall that fits between two of them is not
    seen; the first rise wins. A loss that is not a number counts as risen.

    Rises below 8 eps times the loss are rounding and count as none. Near convergence, where even the best multiple
    lowers the loss by not much more than that, the value is therefore where the rise becomes visible, which is more
    than the exact crossing; and a direction is only called uphill where the other way lowers the loss visibly.

    Examples
    --------
    Along its gradient a bowl of curvature 10 stands steps up to 2/10.

    >>> import jax, jax.numpy as jnp, gdx
    >>> loss, w = lambda w: 5.0 * jnp.sum(w**2), jnp.ones(2)
    >>> found = gdx.one_step_edge(loss, w, -jax.grad(loss)(w))
    >>> round(float(found.value), 3)
    0.2
    """
    width = check_count("width", width, "evaluate at least one multiple at a time")
    check_rtol(rtol)
    params = widened(params)
    direction = like_params("direction", direction, params)
    check_not_zero("direction", direction)
    check_batches(batches)
    check_scalar_loss(loss, params, batches)
    edge = _search(_along(loss, params, direction, batches), _scale(params, direction), width, rtol)
    if not isinstance(edge.status, Tracer) and edge.status == OneStepStatus.NONFINITE:
        value = mean_loss(loss, params, batches)
        raise ValueError(f"loss: it is {value} at params, so nothing can rise; pass parameters where it is finite")
    return edge


def _search(losses, scale, width, rtol):
    """Explore, narrow, and see whether the direction descends at all."""
    lowest = scale * 10.0**LOWEST
    first = lowest * _steps(width, DECADES, scale.dtype)
    found = losses(jnp.concatenate([jnp.zeros(1, scale.dtype), first]))
    # A direction that is not finite has no scale.
    base = jnp.where(jnp.isfinite(scale), found[0], jnp.nan)
    allowed = base + ROUNDING * jnp.finfo(found.dtype).eps * jnp.abs(base)
    start = Interval(jnp.zeros_like(scale), jnp.full_like(scale, jnp.inf), jnp.zeros((), bool), jnp.ones((), jnp.int32))
    bracket = _narrowed(start._replace(rounds=start.rounds - 1), first, found[1:], base, allowed)

    def is_open(bracket):
        is_bracketed = (bracket.lower > 0) & jnp.isfinite(bracket.upper)
        is_wide = bracket.upper - bracket.lower > rtol * bracket.upper
        may_explore = ~is_bracketed & (bracket.rounds < LONGEST_SPAN)
        return jnp.isfinite(base) & (bracket.rounds < MAX_ROUNDS) & ((is_bracketed & is_wide) | may_explore)

    def go_on(bracket):
        multiples = _next_multiples(bracket, width)
        return _narrowed(bracket, multiples, losses(multiples), base, allowed)

    bracket = jax.lax.while_loop(is_open, go_on, bracket)
    is_doubtful = jnp.isfinite(bracket.upper) & ~bracket.descends & (bracket.lower > 0) & jnp.isfinite(base)
    visible = ROUNDING * jnp.finfo(found.dtype).eps * jnp.abs(base)
    leads_uphill = jax.lax.cond(
        is_doubtful,
        # A slope shows on both sides; a minimum that rounding hides rises on both.
        lambda upper: jnp.any(losses(-upper * _steps(width, 2.0, scale.dtype)) < base - visible),
        lambda upper: jnp.zeros((), bool),
        bracket.upper,
    )
    return _edge(bracket, base, leads_uphill, is_doubtful, width)


def _narrowed(bracket, multiples, found, base, allowed):
    """Take ascending multiples into account."""
    rises = ~(found <= allowed)
    first = jnp.argmax(rises)
    is_before = jnp.arange(multiples.size) < jnp.where(jnp.any(rises), first, multiples.size)
    lower = jnp.max(jnp.where(is_before, multiples, bracket.lower))
    upper = jnp.where(jnp.any(rises), multiples[first], bracket.upper)
    falls = jnp.any(is_before & (found < base - (allowed - base)))
    return Interval(lower, upper, bracket.descends | falls, bracket.rounds + 1)


def _next_multiples(bracket, width):
    """Above, below or inside of what is known, in geometric progression."""
    dtype = bracket.lower.dtype
    steps = _steps(width, DECADES * (bracket.rounds + 1).astype(dtype), dtype)
    above, below = bracket.lower * steps, bracket.upper / steps[::-1]
    shares = jnp.arange(1, width + 1, dtype=steps.dtype) / (width + 1)
    inside = bracket.lower * (bracket.upper / bracket.lower) ** shares
    return jnp.where(jnp.isinf(bracket.upper), above, jnp.where(bracket.lower == 0, below, inside))


def _edge(bracket, base, leads_uphill, is_doubtful, width):
    status = jnp.select(
        [~jnp.isfinite(base), leads_uphill | (bracket.lower == 0), jnp.isinf(bracket.upper)],
        [OneStepStatus.NONFINITE, OneStepStatus.RISES_AT_ONCE, OneStepStatus.NEVER_RISES],
        OneStepStatus.BRACKETED,
    ).astype(jnp.int8)
    lower = jnp.where(status == OneStepStatus.RISES_AT_ONCE, 0.0, bracket.lower)
    value = jnp.where(status == OneStepStatus.NEVER_RISES, jnp.inf, lower)
    bad = status == OneStepStatus.NONFINITE
    value, lower, upper = (jnp.where(bad, jnp.nan, number) for number in (value, lower, bracket.upper))
    rounds = bracket.rounds + is_doubtful.astype(jnp.int32)
    return OneStepEdge(value, lower, upper, status, rounds, 1 + width * rounds)


def _along(loss, params, direction, batches):
    """Loss at many multiples of the direction."""

    def at(multiple):
        moved = jax.tree.map(lambda w, d: w + multiple.astype(w.dtype) * d, params, direction)
        return mean_loss(loss, moved, batches)

    return jax.vmap(at)


def _scale(params, direction):
    """The multiple that moves the parameters by their own norm; it follows the direction's units."""
    norm, length = safe_norm(flatten(params)), safe_norm(flatten(direction))
    return jnp.where(norm > 0, norm, 1.0) / jnp.where(length > 0, length, 1.0)


def _steps(width, decades, dtype):
    """Geometric progression over some decades, without 1."""
    return 10.0 ** (decades * jnp.arange(1, width + 1, dtype=dtype) / width)
