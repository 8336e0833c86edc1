"""Step sizes that rise before another schedule begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from gdx.schedules.base import NUMBERS, Schedule, check_number, narrowed, working

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
