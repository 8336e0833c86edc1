"""Step sizes that fall, or rise, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from gdx.schedules.base import Schedule, check_number, half_cosine, make_schedule

if TYPE_CHECKING:
    from jax.typing import ArrayLike


def constant(step_size: ArrayLike) -> Schedule:
    """`step_size` for ever.

    Parameters
    ----------
    step_size
        The step size, in [0, inf).

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
    Equals `optax.constant_schedule`, except that an array of counts gives as many step sizes, all floating.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.constant(0.5)
    >>> [float(schedule(count)) for count in (0, 100)]
    [0.5, 0.5]
    """
    return make_schedule(lambda steps, step_size: step_size + 0 * steps, step_size=step_size)


def harmonic(step_size: ArrayLike) -> Schedule:
    """`step_size / (count + 1)`: the first step size over the number of the step.

    Parameters
    ----------
    step_size
        First step size, in [0, inf).

    Returns
    -------
    Schedule
        `count -> step size`, falling to 0.

    Raises
    ------
    ValueError
        If a concrete number is no real number or outside its range; traced ones cannot be checked.

    Notes
    -----
    optax has no namesake. The step sizes sum to infinity and their squares do not, as Robbins and Monro ask. Source:
    Robbins & Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22, 1951.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.harmonic(1.0)
    >>> [float(schedule(count)) for count in (0, 1, 3)]
    [1.0, 0.5, 0.25]
    """
    return make_schedule(lambda steps, step_size: step_size / (steps + 1), step_size=step_size)


def inverse_time(step_size: ArrayLike, tau: ArrayLike) -> Schedule:
    """`step_size * tau / (count + tau)`: constant far below `tau` steps, harmonic far above.

    Parameters
    ----------
    step_size
        First step size, in [0, inf).
    tau
        Count at which the step size has halved, in (0, inf) steps; 1 for `harmonic`.

    Returns
    -------
    Schedule
        `count -> step size`, falling to 0.

    Raises
    ------
    ValueError
        If a concrete number is no real number or outside its range; traced ones cannot be checked.

    Notes
    -----
    optax has no namesake. Source: Darken & Moody, "Note on learning rate schedules for stochastic optimization", NIPS
    3, 1990.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.inverse_time(1.0, tau=100.0)
    >>> [float(schedule(count)) for count in (0, 100, 300)]
    [1.0, 0.5, 0.25]
    """
    return make_schedule(
        lambda steps, step_size, tau: step_size * (tau / (steps + tau)),
        step_size=step_size,
        tau=tau,
    )


def hyperbolic(a: ArrayLike, b: ArrayLike, c: ArrayLike = 0.0) -> Schedule:
    """`a / (count + b) + c`: a hyperbola above a floor.

    Parameters
    ----------
    a
        Numerator, in [0, inf), a step size times a number of steps.
    b, c
        Offset of the count, in (0, inf) steps, and step size far out, in [0, inf).

    Returns
    -------
    Schedule
        `count -> step size`, falling to `c`.

    Raises
    ------
    ValueError
        If a concrete number is no real number or outside its range; traced ones cannot be checked.

    Notes
    -----
    optax has no namesake. With `c` 0 it is `inverse_time(a / b, b)`.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.hyperbolic(10.0, 5.0, c=0.5)
    >>> [float(schedule(count)) for count in (0, 5)]
    [2.5, 1.5]
    """
    return make_schedule(lambda steps, a, b, c: a / (steps + b) + c, a=a, b=b, c=c)


def exponential_decay(
    step_size: ArrayLike,
    decay_rate: ArrayLike,
    num_steps: ArrayLike,
    begin: ArrayLike = 0,
    staircase: bool = False,
    end: ArrayLike | None = None,
) -> Schedule:
    """A power of `decay_rate` that grows with the count, smoothly or in stairs.

    `step_size * decay_rate**(elapsed / num_steps)` with `elapsed = max(count - begin, 0)`, cut off at `end`.

    Parameters
    ----------
    step_size
        First step size, in [0, inf).
    decay_rate
        Factor over `num_steps` steps, in (0, 1] or, with an `end`, in (0, inf): above 1 the step size grows.
    num_steps, begin
        Steps that one factor takes, in (0, inf), and steps before the change begins, in [0, inf).
    staircase
        Whether the exponent is rounded down to whole numbers; a bool, static.
    end
        Bound on the step size, in [0, inf): from below for a rate below 1, otherwise from above. None for no bound.

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is outside its range or not real, or `staircase` no bool; traced ones cannot be checked.

    Notes
    -----
    Equals `optax.exponential_decay`. It departs where optax puts up with a number: a rate or `num_steps` of 0 (a
    constant there), a negative `begin` (0 there) and growth without an `end` are refused. Stairs fall exactly at
    multiples of `num_steps`; optax's, a rounded division, may fall one step late.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.exponential_decay(1.0, decay_rate=0.5, num_steps=10)
    >>> [round(float(schedule(count)), 6) for count in (0, 10, 20)]
    [1.0, 0.5, 0.25]
    """
    if not isinstance(staircase, bool):
        raise ValueError(f"staircase: {staircase!r} is no switch; pass True or False")
    if end is None:
        check_number(
            "decay_rate", decay_rate, "(0, 1]", "pass the factor over num_steps steps, and end= if it is to grow"
        )

    def formula(steps, step_size, decay_rate, num_steps, begin, *end):
        elapsed = jnp.maximum(steps - begin, 0)
        # The floor of a plain division falls one short at some multiples: compiled, it is a product with 1/num_steps.
        exponent = jnp.floor_divide(elapsed, num_steps) if staircase else elapsed / num_steps
        # Finite, so that a step size of 0 stays 0 however far a growing power has come.
        power = jnp.power(decay_rate, exponent)
        value = step_size * jnp.minimum(power, float(jnp.finfo(power.dtype).max))
        for bound in end:
            value = jnp.where(decay_rate < 1, jnp.maximum(value, bound), jnp.minimum(value, bound))
        return value

    bounds = {} if end is None else {"end": end}
    return make_schedule(
        formula, step_size=step_size, decay_rate=decay_rate, num_steps=num_steps, begin=begin, **bounds
    )


def polynomial_decay(
    step_size: ArrayLike,
    num_steps: ArrayLike,
    power: ArrayLike = 1.0,
    end: ArrayLike = 0.0,
    begin: ArrayLike = 0,
) -> Schedule:
    """From `step_size` to `end`, up or down, as a power of the share of steps that are left.

    `(step_size - end) * left**power + end` with `left = 1 - clip((count - begin) / num_steps, 0, 1)`.

    Parameters
    ----------
    step_size
        First step size, in [0, inf).
    num_steps, begin
        Steps that the change takes, in (0, inf), and steps before it begins, in [0, inf).
    power
        Exponent, in (0, inf): 1 for a straight line.
    end
        Last step size, in [0, inf), above the first one for a rise.

    Returns
    -------
    Schedule
        `count -> step size`; `end` from `begin + num_steps` on.

    Raises
    ------
    ValueError
        If a concrete number is no real number or outside its range; traced ones cannot be checked.

    Notes
    -----
    Equals `optax.polynomial_schedule` and, with power 1, `optax.linear_schedule`. It departs where optax puts up with a
    number: a `num_steps` of 0 or below (a constant there) and a negative `begin` (0 there) are refused. It ends exactly
    at `end`, which optax may miss by a rounding error.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.polynomial_decay(1.0, 100, power=2.0)
    >>> [round(float(schedule(count)), 6) for count in (0, 50, 100)]
    [1.0, 0.25, 0.0]
    """

    def formula(steps, step_size, num_steps, power, end, begin):
        left = num_steps - jnp.clip(steps - begin, 0, num_steps)
        return (step_size - end) * (left / num_steps) ** power + end

    return make_schedule(formula, step_size=step_size, num_steps=num_steps, power=power, end=end, begin=begin)


def step_decay(step_size: ArrayLike, factor: ArrayLike, every: ArrayLike) -> Schedule:
    """`step_size * factor**floor(count / every)`: drops by one factor at equal intervals.

    Parameters
    ----------
    step_size
        First step size, in [0, inf).
    factor, every
        Share that remains after a drop, in (0, 1], and steps between two drops, in (0, inf).

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
    Equals `optax.exponential_decay(step_size, every, factor, staircase=True)`, except that the drops fall exactly at
    multiples of `every`; optax's, a rounded division, may fall one step late.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.step_decay(1.0, factor=0.5, every=10)
    >>> [float(schedule(count)) for count in (0, 9, 10, 20)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def formula(steps, step_size, factor, every):
        return step_size * factor ** jnp.floor_divide(steps, every)

    return make_schedule(formula, step_size=step_size, factor=factor, every=every)


def cosine_annealing(step_size: ArrayLike, num_steps: ArrayLike, alpha: ArrayLike = 0.0) -> Schedule:
    """Half a cosine from `step_size` down to the share `alpha` of it.

    `step_size * ((1 - alpha) * (1 + cos(pi * share)) / 2 + alpha)` with `share = min(count / num_steps, 1)`.

    Parameters
    ----------
    step_size
        First step size, in [0, inf).
    num_steps, alpha
        Steps that the fall takes, in (0, inf), and share of the step size that stays, in [0, 1].

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
    Equals `optax.cosine_decay_schedule` with its `exponent` left at 1. Source: Loshchilov & Hutter, "SGDR: stochastic
    gradient descent with warm restarts", arXiv 1608.03983: one cycle.

    Examples
    --------
    >>> import gdx
    >>> schedule = gdx.schedules.cosine_annealing(1.0, 100, alpha=0.1)
    >>> [round(float(schedule(count)), 6) for count in (0, 50, 100)]
    [1.0, 0.55, 0.1]
    """

    def formula(steps, step_size, num_steps, alpha):
        return step_size * half_cosine(jnp.minimum(steps, num_steps) / num_steps, alpha)

    return make_schedule(formula, step_size=step_size, num_steps=num_steps, alpha=alpha)
