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
    """Half cosines one after the other, for ever: Loshchilov and Hutter's warm restarts.

    Cycle i lasts `period * multiplier**i` steps, and at the share s of it the step size is
    `step_size * decay**i * ((1 - alpha) * (1 + cos(pi * s)) / 2 + alpha)`.

    Parameters
    ----------
    step_size
        Height of the first cycle, the first step size, in [0, inf).
    period
        Length of the first cycle, in (0, inf) steps.
    multiplier
        What the length is multiplied by at every restart, in [1, inf).
    decay
        What the height is multiplied by at every restart, in (0, 1].
    alpha
        Share of its own height at which a cycle ends, in [0, 1].

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is no real number or outside its range; traced ones cannot be checked.

    Notes
    -----
    Equals `optax.sgdr_schedule` of such cycles without a warm-up. It departs in that the cycles go on for ever, where
    optax's last one stays at its end. A restart within rounding of a step falls on that step.

    Source: Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", arXiv 1608.03983, whose height
    is the same in every cycle (`decay` 1).

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.cosine_restarts(1.0, period=10, multiplier=2)
    >>> [round(float(schedule(count)), 6) for count in (0, 5, 10, 20, 30)]
    [1.0, 0.5, 1.0, 0.5, 1.0]
    """

    def formula(steps, step_size, period, multiplier, decay, alpha):
        cycle, phase = _growing_cycle(steps, period, multiplier)
        return step_size * decay**cycle * half_cosine(phase, alpha)

    return make_schedule(formula, step_size=step_size, period=period, multiplier=multiplier, decay=decay, alpha=alpha)


def triangular(low: ArrayLike, high: ArrayLike, half_period: ArrayLike, decay: ArrayLike = 1.0) -> Schedule:
    """From `low` to `high` and back in straight lines, for ever: Smith's cyclical step sizes.

    `low + (high - low) * height * decay**cycle`, where the height goes from 0 to 1 and back in `half_period` steps
    each, and `cycle = floor(count / (2 * half_period))`.

    Parameters
    ----------
    low, high
        Smallest and first step size, in [0, high], and largest, at the top of the first cycle, in [0, inf).
    half_period
        Steps from `low` to `high`, in (0, inf): Smith's stepsize.
    decay
        What the height above `low` is multiplied by after every cycle, in (0, 1]: 1 is Smith's triangular, 0.5 his
        triangular2.

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is no real number or outside its range, or `low` is above `high`; traced ones cannot be
        checked.

    Notes
    -----
    optax has no namesake.

    Source: Smith, "Cyclical learning rates for training neural networks", arXiv 1506.01186.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.triangular(0.0, 1.0, half_period=4)
    >>> [float(schedule(count)) for count in (0, 2, 4, 8)]
    [0.0, 0.5, 1.0, 0.0]
    """

    def formula(steps, low, high, half_period, decay):
        cycle, height = _triangle(steps, half_period)
        return low + (high - low) * height * decay**cycle

    schedule = make_schedule(formula, low=low, high=high, half_period=half_period, decay=decay)
    check_order(low=low, high=high)
    return schedule


def exp_range(low: ArrayLike, high: ArrayLike, half_period: ArrayLike, gamma: ArrayLike) -> Schedule:
    """`triangular` whose height above `low` is multiplied by `gamma` at every step.

    `low + (high - low) * height * gamma**count`, where the height goes from 0 to 1 and back in `half_period` steps
    each.

    Parameters
    ----------
    low, high
        Smallest and first step size, in [0, high], and upper bound of all, in [0, inf).
    half_period
        Steps from `low` to a top, in (0, inf): Smith's stepsize.
    gamma
        Factor per step, in (0, 1].

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is no real number or outside its range, or `low` is above `high`; traced ones cannot be
        checked.

    Notes
    -----
    optax has no namesake. Only the height decays, where in the paper both boundaries fall.

    Source: Smith, "Cyclical learning rates for training neural networks", arXiv 1506.01186.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.exp_range(0.0, 1.0, half_period=2, gamma=0.5)
    >>> [round(float(schedule(count)), 6) for count in (0, 1, 2, 4, 6)]
    [0.0, 0.25, 0.25, 0.0, 0.015625]
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
    """Half a cosine up to the peak `step_size` and another far down.

    From `start = step_size / div_factor` at count 0 to `step_size` at count `floor(pct_start * num_steps)`, and on to
    `start / final_div_factor` at count `num_steps`.

    Parameters
    ----------
    step_size
        Peak of the cycle, in [0, inf).
    num_steps
        Steps of the whole cycle, in (0, inf).
    pct_start
        Share of the steps that rise, in [0, 1], no percentage.
    div_factor, final_div_factor
        Peak over first and first over last step size, ratios in (0, inf).

    Returns
    -------
    Schedule
        `count -> step size`; the last one from `num_steps` on.

    Raises
    ------
    ValueError
        If a concrete number is no real number or outside its range; traced ones cannot be checked.

    Notes
    -----
    Equals `optax.cosine_onecycle_schedule`, whose `transition_steps` and `peak_value` are `num_steps` and `step_size`
    here. It departs at a `pct_start` of 1, where optax's rise is lost and it falls from the start, and in that
    `num_steps` need not be whole. `pct_start * num_steps` is rounded down in its own precision: where it comes to a
    whole number, float32 may peak one step from float64.

    Source: Smith & Topin, "Super-convergence: very fast training of neural networks using large learning rates", arXiv
    1708.07120. Its cycle is of straight lines, as in `linear_one_cycle`; the cosines are optax's.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.one_cycle(1.0, 100)
    >>> [round(float(schedule(count)), 6) for count in (0, 30, 100)]
    [0.04, 1.0, 4e-06]
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
    """`one_cycle` in straight lines: up, back to the start, and further down.

    Lines from `start = step_size / div_factor` at count 0 to `step_size` at `floor(pct_start * num_steps)`, back to
    `start` at `floor(pct_final * num_steps)`, and on to `start / final_div_factor` at `num_steps`.

    Parameters
    ----------
    step_size
        Peak of the cycle, in [0, inf).
    num_steps
        Steps of the whole cycle, in (0, inf).
    pct_start, pct_final
        Shares of the steps that rise, in [0, pct_final], and that come before the last line, in [0, 1].
    div_factor, final_div_factor
        Peak over first and first over last step size, ratios in (0, inf).

    Returns
    -------
    Schedule
        `count -> step size`; the last one from `num_steps` on.

    Raises
    ------
    ValueError
        If a concrete number is no real number or outside its range, or `pct_start` is above `pct_final`; traced ones
        cannot be checked.

    Notes
    -----
    Equals `optax.linear_onecycle_schedule`, whose `transition_steps` and `peak_value` are `num_steps` and `step_size`
    here. It departs where two corners fall on one step (`pct_start` equal to `pct_final`, or `pct_final` 1): there
    optax loses one of its lines, and here the step size jumps. The corners are rounded down as in `one_cycle`.

    Source: Smith & Topin, "Super-convergence: very fast training of neural networks using large learning rates", arXiv
    1708.07120.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.linear_one_cycle(1.0, 100)
    >>> [round(float(schedule(count)), 6) for count in (0, 30, 85, 100)]
    [0.04, 1.0, 0.04, 4e-06]
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
