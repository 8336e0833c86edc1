"""Step sizes that rise and fall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from gdx.schedules.base import Schedule, check_order, half_cosine, make_schedule

if TYPE_CHECKING:
    from jax.typing import ArrayLike


def cosine_restarts(
    step_size: ArrayLike,
    period: ArrayLike,
    multiplier: ArrayLike = 1.0,
    decay: ArrayLike = 1.0,
    alpha: ArrayLike = 0.0,
) -> Schedule:
    """Half cosines one after the other, for ever: Loshchilov and Hutter's warm restarts (`optax.sgdr_schedule`).

    Parameters
    ----------
    step_size, period
        Height and length of the first cycle.
    multiplier, decay
        What length and height are multiplied by at every restart.
    alpha
        The share of its own height at which a cycle ends.

    References
    ----------
    https://arxiv.org/abs/1608.03983; the paper's height is the same in every cycle.
    """

    def formula(steps, step_size, period, multiplier, decay, alpha):
        cycle, phase = _growing_cycle(steps, period, multiplier)
        return step_size * decay**cycle * half_cosine(phase, alpha)

    return make_schedule(formula, step_size=step_size, period=period, multiplier=multiplier, decay=decay, alpha=alpha)


def triangular(low: ArrayLike, high: ArrayLike, half_period: ArrayLike, decay: ArrayLike = 1.0) -> Schedule:
    """From `low` to `high` and back in `half_period` steps each, for ever: Smith's cyclical step sizes.

    The height above `low` is multiplied by `decay` after every cycle; 0.5 is the paper's triangular2.

    References
    ----------
    https://arxiv.org/abs/1506.01186
    """

    def formula(steps, low, high, half_period, decay):
        cycle, height = _triangle(steps, half_period)
        return low + (high - low) * height * decay**cycle

    schedule = make_schedule(formula, low=low, high=high, half_period=half_period, decay=decay)
    check_order(low=low, high=high)
    return schedule


def exp_range(low: ArrayLike, high: ArrayLike, half_period: ArrayLike, gamma: ArrayLike) -> Schedule:
    """`triangular` whose height above `low` is multiplied by `gamma` at every step.

    Parameters
    ----------
    low, high
        Step sizes at the foot and at the first peak, low at most high.
    half_period
        Steps from a foot to a peak, above 0.
    gamma
        Factor a step, in (0, 1].

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.

    References
    ----------
    https://arxiv.org/abs/1506.01186
    """

    def formula(steps, low, high, half_period, gamma):
        _, height = _triangle(steps, half_period)
        return low + (high - low) * height * gamma**steps

    schedule = make_schedule(formula, low=low, high=high, half_period=half_period, gamma=gamma)
    check_order(low=low, high=high)
    return schedule


def one_cycle(
    step_size: ArrayLike,
    num_steps: ArrayLike,
    pct_start: ArrayLike = 0.3,
    div_factor: ArrayLike = 25.0,
    final_div_factor: ArrayLike = 1e4,
) -> Schedule:
    """Half a cosine up to the peak `step_size` and another far down (`optax.cosine_onecycle_schedule`).

    It starts at `step_size / div_factor`, peaks at step `floor(pct_start * num_steps)` and ends, after `num_steps`, at
    the start over `final_div_factor`. The product is rounded down in its own precision: where it comes to a
    whole number, float32 may peak one step from float64.

    Parameters
    ----------
    step_size
        At the peak, at least 0.
    num_steps
        Steps of the whole cycle, above 0.
    pct_start
        Share of the steps at the peak, in [0, 1].
    div_factor, final_div_factor
        By which the start is below the peak and the end below the start.

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.

    References
    ----------
    https://arxiv.org/abs/1708.07120
    """

    def formula(steps, step_size, num_steps, pct_start, div_factor, final_div_factor):
        top, start = jnp.floor(pct_start * num_steps), step_size / div_factor
        end = start / final_div_factor
        up = step_size + (start - step_size) * half_cosine(_share(steps, 0, top))
        down = end + (step_size - end) * half_cosine(_share(steps, top, num_steps))
        return jnp.where(steps < top, up, down)

    numbers = {"pct_start": pct_start, "div_factor": div_factor, "final_div_factor": final_div_factor}
    return make_schedule(formula, step_size=step_size, num_steps=num_steps, **numbers)


def linear_one_cycle(
    step_size: ArrayLike,
    num_steps: ArrayLike,
    pct_start: ArrayLike = 0.3,
    pct_final: ArrayLike = 0.85,
    div_factor: ArrayLike = 25.0,
    final_div_factor: ArrayLike = 1e4,
) -> Schedule:
    """`one_cycle` in straight lines: up, back to the start at `pct_final`, further down as optax has it.

    Parameters
    ----------
    step_size
        At the peak, at least 0.
    num_steps
        Steps of the whole cycle, above 0.
    pct_start, pct_final
        Shares of the steps at the peak and back at the start, pct_start at most pct_final.
    div_factor, final_div_factor
        As in `one_cycle`.

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.

    References
    ----------
    https://arxiv.org/abs/1708.07120
    """

    def formula(steps, step_size, num_steps, pct_start, pct_final, div_factor, final_div_factor):
        top, turn = jnp.floor(pct_start * num_steps), jnp.floor(pct_final * num_steps)
        start = step_size / div_factor
        end = start / final_div_factor
        up = start + (step_size - start) * _share(steps, 0, top)
        down = start + (step_size - start) * (1 - _share(steps, top, turn))
        out = end + (start - end) * (1 - _share(steps, turn, num_steps))
        return jnp.where(steps < top, up, jnp.where(steps < turn, down, out))

    numbers = {"pct_start": pct_start, "pct_final": pct_final}
    numbers |= {"div_factor": div_factor, "final_div_factor": final_div_factor}
    schedule = make_schedule(formula, step_size=step_size, num_steps=num_steps, **numbers)
    check_order(pct_start=pct_start, pct_final=pct_final)
    return schedule


def _share(steps, begin, end):
    """Share of the way from begin to end, 0 and 1 beyond; finite where both are one."""
    return jnp.clip((steps - begin) / jnp.maximum(end - begin, 1), 0, 1)


def _triangle(steps, half_period):
    """Number of the cycle, and height in it: 0 at its ends, 1 in its middle."""
    cycle, phase = jnp.divmod(steps, 2 * half_period)
    return cycle, 1 - jnp.abs(phase / half_period - 1)


def _growing_cycle(steps, period, multiplier):
    """Number of the cycle, and share of it that has passed, where cycle i lasts `period * multiplier**i`."""
    same, phase = jnp.divmod(steps, period)
    growing = multiplier > 1
    growth = jnp.where(growing, multiplier - 1, 1)  # any, where the cycles are equal
    rate = jnp.log1p(growth)

    def start(cycle):
        exact = period * jnp.expm1(cycle * rate) / growth
        # Rounding must not move a restart that falls on a step to the step after it.
        whole = jnp.round(exact)
        near = jnp.abs(exact - whole) <= 32 * jnp.finfo(exact.dtype).eps * exact
        return jnp.where(near, whole, exact)

    guess = jnp.floor(jnp.log1p(steps * growth / period) / rate)
    guess = jnp.where(steps < start(guess), guess - 1, guess)
    cycle = jnp.where(steps >= start(guess + 1), guess + 1, guess)
    share = (steps - start(cycle)) / (period * jnp.exp(cycle * rate))
    return jnp.where(growing, cycle, same), jnp.where(growing, jnp.clip(share, 0, 1), phase / period)
