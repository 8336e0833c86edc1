"""Step sizes that fall, or rise, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from gdx.schedules.base import Schedule, check_number, half_cosine, make_schedule

if TYPE_CHECKING:
    from jax.typing import ArrayLike


def constant(step_size: ArrayLike) -> Schedule:
    """The same step size for ever.

    Parameters
    ----------
    step_size
        At least 0.

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.
    """
    return make_schedule(lambda steps, step_size: step_size + 0 * steps, step_size=step_size)


def harmonic(step_size: ArrayLike) -> Schedule:
    """`step_size / k` at the k-th step, k = count + 1.

    Parameters
    ----------
    step_size
        At the first step, at least 0.

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.
    """
    return make_schedule(lambda steps, step_size: step_size / (steps + 1), step_size=step_size)


def inverse_time(step_size: ArrayLike, tau: ArrayLike) -> Schedule:
    """`step_size * tau / (count + tau)`: constant far below `tau` steps, harmonic far above.

    Parameters
    ----------
    step_size
        At the first step, at least 0.
    tau
        Steps after which it has fallen to a half, above 0.

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.
    """
    return make_schedule(
        lambda steps, step_size, tau: step_size * (tau / (steps + tau)),
        step_size=step_size,
        tau=tau,
    )


def hyperbolic(a: ArrayLike, b: ArrayLike, c: ArrayLike = 0.0) -> Schedule:
    """`a / (count + b) + c`.

    Parameters
    ----------
    a, b, c
        Numerator, shift in steps and floor; b above 0.

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.
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
    """`step_size * decay_rate ** (elapsed / num_steps)`, elapsed counting from `begin` (`optax.exponential_decay`).

    Parameters
    ----------
    step_size, decay_rate, num_steps, begin
        A rate above 1 makes the step size grow, as a range test does, and needs an `end`.
    staircase
        Whether the exponent is rounded down to whole numbers; static.
    end
        Where the change stops: a lower bound for a rate below 1, otherwise an upper one.
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
    """From `step_size` at `begin` to `end` in `num_steps` steps, as a power of the share of steps that are left.

    As `optax.polynomial_schedule`; with power 1, a straight line up or down, `optax.linear_schedule`.

    Parameters
    ----------
    step_size, end
        At `begin` and after it is over, at least 0.
    num_steps, begin
        Steps that it takes, above 0, and the step at which it begins, at least 0.
    power
        Above 0; 1 is a straight line.

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.
    """

    def formula(steps, step_size, num_steps, power, end, begin):
        left = num_steps - jnp.clip(steps - begin, 0, num_steps)
        return (step_size - end) * (left / num_steps) ** power + end

    return make_schedule(formula, step_size=step_size, num_steps=num_steps, power=power, end=end, begin=begin)


def step_decay(step_size: ArrayLike, factor: ArrayLike, every: ArrayLike) -> Schedule:
    """Multiplied by `factor` after `every` that many steps.

    Parameters
    ----------
    step_size
        At the first step, at least 0.
    factor
        In (0, 1].
    every
        Steps between two changes, above 0.

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.
    """

    def formula(steps, step_size, factor, every):
        return step_size * factor ** jnp.floor_divide(steps, every)

    return make_schedule(formula, step_size=step_size, factor=factor, every=every)


def cosine_annealing(step_size: ArrayLike, num_steps: ArrayLike, alpha: ArrayLike = 0.0) -> Schedule:
    """Half a cosine from `step_size` to `alpha * step_size` in `num_steps` steps (`optax.cosine_decay_schedule`).

    Parameters
    ----------
    step_size
        At the first step, at least 0.
    num_steps
        Steps that it takes, above 0.
    alpha
        Share of the step size at the end, in [0, 1].

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is out of range; traced ones cannot be checked.
    """

    def formula(steps, step_size, num_steps, alpha):
        return step_size * half_cosine(jnp.minimum(steps, num_steps) / num_steps, alpha)

    return make_schedule(formula, step_size=step_size, num_steps=num_steps, alpha=alpha)
