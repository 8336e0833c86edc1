"""What all line searches of gdx share: a bracket along a line that grows, shrinks and closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from gdx.optimizers.line_search.line import Line, Trial
from gdx.records import record

if TYPE_CHECKING:
    import chex

TOO_SHORT, ACCEPTED, TOO_LONG = -1, 0, 1
GROWTH = (2.0, 100.0)
"""How much longer the next trial is, at least and at most, while nothing was too long."""
MARGIN = 0.01
"""Share of a bracket that a trial keeps away from its ends."""


@record
class LineSearchState(NamedTuple):
    """What a line search remembers from step to step.

    Examples
    --------
    Continues the example of `gdx.optimizers.scale_by_wolfe`.

    >>> float(state.step_size), bool(state.failed), int(state.num_evaluations)
    (0.1, False, 2)
    """

    step_size: jax.Array
    """Accepted last, the first trial of the next search."""
    failed: jax.Array
    """Whether the last search found no acceptable step; bool."""
    num_evaluations: jax.Array
    """Evaluations of the loss along the line in the last search, int32."""


class SearchEnd(NamedTuple):
    """Where a search ended."""

    step: jax.Array
    """The accepted step; after a failure the lowest trial, 0 where none was below the start."""
    failed: jax.Array
    num_evaluations: jax.Array


class _Interval(NamedTuple):
    step: jax.Array
    low: Trial
    high: Trial
    best: Trial
    width: jax.Array
    """Of the bracket before the last trial."""
    move: jax.Array
    """From the trial before the last to the last."""
    verdict: jax.Array
    tried: jax.Array


def init_state(params: chex.ArrayTree, first_step: chex.Numeric) -> LineSearchState:
    """Make the state of a search that has not begun.

    Parameters
    ----------
    params
        Pytree of floating arrays.
    first_step
        First trial of the first search.

    Returns
    -------
    LineSearchState
    """
    dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)
    return LineSearchState(jnp.asarray(first_step, dtype), jnp.zeros((), bool), jnp.zeros((), jnp.int32))


def search(
    along: Line,
    evaluate: Callable[[jax.Array], Trial],
    judge: Callable[[Trial], jax.Array],
    first_step: jax.Array,
    max_trials: int,
) -> SearchEnd:
    """Try steps until one is accepted: longer ones after one too short, shorter ones after one too long.

    Parameters
    ----------
    along
        The loss along the direction.
    evaluate
        `step -> Trial`, with as many derivatives as the search takes.
    judge
        `trial -> TOO_SHORT, ACCEPTED or TOO_LONG`; a value that is not finite is too long without being asked.
    first_step
        First trial, above 0.
    max_trials
        Evaluations after which the search gives up.

    Returns
    -------
    SearchEnd
        Failed, with step 0 and without a trial, where the direction does not descend or anything at the start is
        not finite. At a point with slope 0, step 0 and not failed.
    """
    start = along.start
    is_flat = start.slope == 0
    starts_well = (start.slope < 0) & jnp.isfinite(start.slope) & jnp.isfinite(start.value)
    nowhere = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.inf), start)
    begun = _Interval(
        step=jnp.asarray(first_step, start.step.dtype),
        low=start,
        high=nowhere,
        best=start,
        width=jnp.full_like(start.step, jnp.inf),
        move=jnp.asarray(first_step, start.step.dtype),
        verdict=jnp.where(starts_well, TOO_LONG, ACCEPTED).astype(jnp.int32),
        tried=jnp.zeros((), jnp.int32),
    )

    def searching(bracket):
        # Between two numbers without a third there is nothing left to try.
        is_open = bracket.high.step - bracket.low.step > 2 * jnp.finfo(start.step.dtype).eps * bracket.low.step
        is_open &= bracket.high.step > along.resolution
        return (bracket.verdict != ACCEPTED) & (bracket.tried < max_trials) & is_open & jnp.isfinite(bracket.step)

    def attempt(bracket):
        trial = evaluate(bracket.step)
        is_finite = jnp.isfinite(trial.value)
        verdict = jnp.where(is_finite, judge(trial), TOO_LONG).astype(jnp.int32)
        low = _where(verdict == TOO_SHORT, trial, bracket.low)
        high = _where(verdict == TOO_LONG, trial, bracket.high)
        is_best = is_finite & ((trial.value < bracket.best.value) | (verdict == ACCEPTED))
        best = _where(is_best, trial, bracket.best)
        width = bracket.high.step - bracket.low.step
        now = _Interval(bracket.step, low, high, best, width, bracket.move, verdict, bracket.tried + 1)
        step = jnp.where(verdict == ACCEPTED, bracket.step, _propose(start, now, trial))
        return now._replace(step=step, move=jnp.abs(step - bracket.step))

    end = jax.lax.while_loop(searching, attempt, begun)
    # Where all that could still be tried is below the rounding of the parameters, the start is as low as it gets.
    is_lowest = is_flat | (starts_well & (end.high.step <= along.resolution) & jnp.isfinite(end.high.value))
    return SearchEnd(end.best.step, ~is_lowest & (~starts_well | (end.verdict != ACCEPTED)), end.tried)


def minimise_along(along: Line, first_step: jax.Array, max_trials: int, tolerance: float | None = None) -> SearchEnd:
    """Find a minimum of a loss along a direction, by Newton's method on the slope inside a bracket.

    Parameters
    ----------
    along
        The loss along the direction.
    first_step
        First trial where the loss does not curve upwards at the start; elsewhere it is the closed form
        -slope/curvature, which is exact on a quadratic.
    max_trials
        Evaluations after which the search gives up.
    tolerance
        Slope at the end relative to the first; by default the 2/3 power of the machine precision.

    Returns
    -------
    SearchEnd
        A local minimum along the line that is not above the start.
    """
    start = along.start
    level = float(jnp.finfo(start.step.dtype).eps) ** (2 / 3) if tolerance is None else tolerance

    def evaluate(step):
        (value, slope), (_, curvature) = jax.jvp(
            lambda at: jax.jvp(along.at, (at,), (jnp.ones_like(at),)), (step,), (jnp.ones_like(step),)
        )
        return Trial(step, value, slope, curvature)

    curvature = evaluate(start.step).curvature
    closed_form = -start.slope / jnp.where(curvature > 0, curvature, 1.0)

    def judge(trial):
        is_low = trial.value <= start.value + along.slack
        slope = jnp.abs(trial.slope)
        # Near a minimum the slope is a small difference of large numbers; what is left of it then moves no loss.
        is_level = (slope <= level * jnp.abs(start.slope)) | (slope * trial.step <= along.slack)
        is_long = ~is_low | (trial.slope > 0)
        return jnp.where(is_low & is_level, ACCEPTED, jnp.where(is_long, TOO_LONG, TOO_SHORT))

    found = search(along, evaluate, judge, jnp.where(curvature > 0, closed_form, first_step), max_trials)
    return found._replace(num_evaluations=found.num_evaluations + 1)


def settle(
    state: LineSearchState, found: SearchEnd, first_step: chex.Numeric, restarts: bool = False
) -> LineSearchState:
    """Bring the state up to date: the accepted step is the next first trial, after a failure the very first one.

    Parameters
    ----------
    state, found, first_step
        What was remembered, what was found, and where a search begins anew.
    restarts
        Whether every search begins anew.

    Returns
    -------
    LineSearchState
    """
    anew = found.failed | restarts
    again = jnp.where(anew, jnp.asarray(first_step, state.step_size.dtype), state.step_size)
    usable = ~anew & (found.step > 0)
    return LineSearchState(
        jnp.where(usable, found.step, again).astype(state.step_size.dtype), found.failed, found.num_evaluations
    )


def scaled(direction: chex.ArrayTree, step: jax.Array) -> chex.ArrayTree:
    """Multiply a direction by a step; by a step of 0 it is 0, also where it is not finite.

    Parameters
    ----------
    direction
        Pytree of floating arrays.
    step
        A number.

    Returns
    -------
    pytree
        Of the direction's dtypes.
    """

    def one(leaf):
        return jnp.where(step == 0, 0.0, step * leaf.astype(step.dtype)).astype(leaf.dtype)

    return jax.tree.map(one, direction)


def _propose(start, bracket, last):
    """Choose the next trial from what its neighbours say of the curvature, and keep it inside the bracket."""
    low, high = bracket.low, bracket.high
    newton = last.step - last.slope / last.curvature
    # The parabola through the start's value and slope and the last trial's slope, or else its value.
    secant = -start.slope * last.step / (last.slope - start.slope)
    parabola = -start.slope * last.step**2 / (2 * (last.value - start.value - start.slope * last.step))
    chord = low.step - low.slope * (high.step - low.step) / (high.slope - low.slope)
    has_high = jnp.isfinite(high.step)
    guess = jnp.where(last.slope > start.slope, secant, parabola)
    guess = jnp.where(has_high & jnp.isfinite(chord), chord, guess)
    guess = jnp.where(last.curvature > 0, newton, guess)

    longest, shortest = GROWTH[1] * low.step, GROWTH[0] * low.step
    grown = jnp.clip(jnp.where(guess > 0, guess, longest), shortest, longest)

    width = high.step - low.step
    middle = jnp.where(low.step > 0, 0.5 * (low.step + high.step), 0.1 * high.step)
    is_wide = high.step > 100 * low.step
    middle = jnp.where(is_wide & (low.step > 0), jnp.sqrt(low.step) * jnp.sqrt(high.step), middle)
    inside = jnp.clip(guess, low.step + MARGIN * width, high.step - MARGIN * width)
    inside = jnp.where(~jnp.isfinite(guess) | (width > 0.5 * bracket.width), middle, inside)
    # Newton's step converges from one side, so it may come as near to an end as it likes while it shrinks.
    converges = (newton > low.step) & (newton < high.step) & (jnp.abs(newton - last.step) < 0.5 * bracket.move)
    return jnp.where(has_high, jnp.where((last.curvature > 0) & converges, newton, inside), grown)


def _where(condition, new, old):
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)
