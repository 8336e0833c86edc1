"""Step sizes that rise before another schedule begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from gdx.schedules.base import (
    NUMBERS,
    Schedule,
    check_number,
    check_order,
    half_cosine,
    make_schedule,
    narrowed,
    working,
)

if TYPE_CHECKING:
    from jax.typing import ArrayLike


def linear_warmup(schedule: Callable[[Any], Any], num_steps: ArrayLike, start: ArrayLike = 0.0) -> Schedule:
    """A straight line from `start` to the schedule's first value, then the schedule from its beginning.

    `start + (schedule(0) - start) * count / num_steps` while `count < num_steps`, then
    `schedule(count - ceil(num_steps))`.

    Parameters
    ----------
    schedule
        Any function `count -> step size`, optax's too; it sees counts of the type that it would see alone.
    num_steps
        Steps before the schedule begins, in [0, inf), rounded up to a whole number there; 0 for no warm-up.
    start
        First step size, in [0, inf).

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If `schedule` is not callable, or a concrete number is no real number or outside its range; traced ones cannot
        be checked.

    Notes
    -----
    Equals `optax.join_schedules` of an `optax.linear_schedule` and the schedule, and so
    `optax.warmup_constant_schedule`, `optax.warmup_cosine_decay_schedule` and `optax.warmup_exponential_decay_schedule`
    around `constant`, `cosine_annealing` and `exponential_decay`. It departs in that the schedule's own numbers do not
    count the warm-up, as the `decay_steps` of optax's cosine do, and in that a warm-up of 0 steps is none, where
    optax's constant stays at `start` for ever.

    Source: Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", arXiv 1706.02677, section 2.2.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.linear_warmup(gdx.schedules.harmonic(1.0), 10)
    >>> [round(float(schedule(count)), 6) for count in (0, 5, 10, 11)]
    [0.0, 0.5, 1.0, 0.5]
    """
    if not callable(schedule):
        raise ValueError(f"schedule: {schedule!r} is not callable; for a fixed step size pass constant(step_size)")
    check_number("num_steps", num_steps, "[0, inf)", "pass 0 for no warm-up")
    check_number("start", start, *NUMBERS["start"])
    length, first = working(num_steps), working(start)

    def warmed_up(count):
        count = jnp.maximum(count, 0)
        # In whole numbers: a swept length is floating, and a schedule that looks up a table could not read that.
        since = jnp.maximum(count - jnp.ceil(length).astype(count.dtype), 0)
        peak, after = schedule(jnp.zeros_like(since)), schedule(since)
        left = (length - jnp.minimum(count, length)) / jnp.where(length > 0, length, 1)
        value = jnp.where(count < length, (first - peak) * left + peak, after)
        return narrowed(value, num_steps, start, after)

    return warmed_up


def warmup_cosine(
    step_size: ArrayLike, num_steps: ArrayLike, warmup: ArrayLike, alpha: ArrayLike = 0.0, start: ArrayLike = 0.0
) -> Schedule:
    """Up in a straight line and down along half a cosine, as transformers are trained.

    `linear_warmup(cosine_annealing(step_size, num_steps - ceil(warmup), alpha), warmup, start)`, its numbers traced or
    not.

    Parameters
    ----------
    step_size
        The peak, in [0, inf).
    num_steps
        Steps of both, in (0, inf): the end of training.
    warmup
        Steps that the rise takes, in [0, num_steps], rounded up to a whole number; 0 for none.
    alpha
        Share of the peak that stays in the end, in [0, 1].
    start
        First step size, in [0, inf).

    Returns
    -------
    Schedule
        `count -> step size`; `alpha * step_size` from `num_steps` on.

    Raises
    ------
    ValueError
        If a concrete number is no real number or outside its range; traced ones cannot be checked.

    Notes
    -----
    Equals `optax.warmup_cosine_decay_schedule(start, step_size, warmup, num_steps, alpha * step_size)` with its
    `exponent` left at 1, whose peak may not be traced. It departs in that a warm-up of all `num_steps` is followed by a
    fall of one step, where optax refuses. Source: Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm
    restarts", arXiv 1608.03983, and Goyal et al., arXiv 1706.02677, section 2.2.

    Examples
    --------
    >>> import optax, gdx
    >>> family = lambda step_size: optax.adamw(gdx.schedules.warmup_cosine(step_size, 1_000, warmup=100))
    >>> schedule = gdx.schedules.warmup_cosine(1.0, 1_000, warmup=100)
    >>> [round(float(schedule(count)), 6) for count in (0, 50, 100, 550, 1_000)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def formula(steps, step_size, num_steps, warmup, alpha, start):
        length = jnp.ceil(warmup)
        left = (warmup - jnp.minimum(steps, warmup)) / jnp.where(warmup > 0, warmup, 1)
        fall = jnp.maximum(num_steps - length, 1)
        share = jnp.clip(steps - length, 0, fall) / fall
        return jnp.where(steps < warmup, (start - step_size) * left + step_size, step_size * half_cosine(share, alpha))

    schedule = make_schedule(formula, step_size=step_size, num_steps=num_steps, warmup=warmup, alpha=alpha, start=start)
    check_order(warmup=warmup, num_steps=num_steps)
    return schedule
