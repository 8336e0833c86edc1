"""What all schedules share: numbers checked and in working precision, and a piece of a formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

Schedule = Callable[[Any], jax.Array]
"""`count -> step size`; elementwise where `count` is an array.

Examples
--------
>>> import gdx
>>> schedule: gdx.schedules.Schedule = gdx.schedules.harmonic(0.5)
>>> float(schedule(4))
0.1
"""

INSIDE = {
    "(0, inf)": lambda value: (value > 0) & (value < np.inf),
    "[0, inf)": lambda value: (value >= 0) & (value < np.inf),
    "[1, inf)": lambda value: (value >= 1) & (value < np.inf),
    "(0, 1]": lambda value: (value > 0) & (value <= 1),
    "[0, 1]": lambda value: (value >= 0) & (value <= 1),
}

# Name -> (range, remedy): a name means the same number in every constructor.
NUMBERS = {
    "step_size": ("[0, inf)", "pass the size itself, without a sign"),
    "tau": ("(0, inf)", "pass the count at which the step size shall have halved"),
    "a": ("[0, inf)", "pass a step size times a number of steps"),
    "b": ("(0, inf)", "pass a number of steps; at 0 the first step size would be infinite"),
    "c": ("[0, inf)", "pass the step size far out, 0 to fall for ever"),
    "decay_rate": ("(0, inf)", "pass the factor over num_steps steps, say 0.5"),
    "num_steps": ("(0, inf)", "pass the number of steps that the change takes"),
    "begin": ("[0, inf)", "pass 0 to begin at once"),
    "warmup": ("[0, inf)", "pass the number of steps that the rise takes, 0 for none"),
    "power": ("(0, inf)", "pass 1 for a straight line"),
    "end": ("[0, inf)", "pass the step size at the end"),
    "start": ("[0, inf)", "pass the first step size, say 0"),
    "factor": ("(0, 1]", "pass what remains after a drop, say 0.1"),
    "every": ("(0, inf)", "pass the number of steps between two drops"),
    "alpha": ("[0, 1]", "pass the share of the step size that stays, say 0"),
    "period": ("(0, inf)", "pass the number of steps of the first cycle"),
    "multiplier": ("[1, inf)", "pass 1 for cycles of equal length"),
    "decay": ("(0, 1]", "pass 1 for cycles of equal height"),
    "low": ("[0, inf)", "pass the smallest step size"),
    "high": ("[0, inf)", "pass the largest step size"),
    "half_period": ("(0, inf)", "pass the number of steps from low to high"),
    "gamma": ("(0, 1]", "pass the factor per step, say 0.999"),
    "pct_start": ("[0, 1]", "pass the share of the steps that rise, say 0.3"),
    "pct_final": ("[0, 1]", "pass the share of the steps before the last line, say 0.85"),
    "div_factor": ("(0, inf)", "pass the peak over the first step size, say 25"),
    "final_div_factor": ("(0, inf)", "pass the first over the last step size, say 1e4"),
}


def make_schedule(formula: Callable[..., jax.Array], **numbers: Any) -> Schedule:
    """Check the numbers, then make the function of the count that evaluates the formula at them.

    The schedule is `formula(max(count, 0), *numbers)`, the count floating.

    Parameters
    ----------
    formula
        `(steps, *numbers) -> step size`, the numbers in the order in which they are passed here.
    **numbers
        Each under a name in `NUMBERS`, which holds its range.

    Returns
    -------
    Schedule
        `count -> step size`.

    Raises
    ------
    ValueError
        If a concrete number is no real number or outside its range; traced ones cannot be checked.
    """
    for name, value in numbers.items():
        check_number(name, value, *NUMBERS[name])
    values = [working(value) for value in numbers.values()]

    def schedule(count):
        # A weakly typed float: JAX divides int32 by a Python number in float32 even in the midst of float64.
        steps = jnp.maximum(count, 0) * 1.0
        return narrowed(formula(steps, *values), *numbers.values())

    return schedule


def check_number(name: str, value: Any, interval: str, remedy: str) -> None:
    """Refuse what is no real number or has an entry outside the interval; a tracer passes.

    Parameters
    ----------
    name
        Name of the number, which begins the message.
    value
        A number or an array of them.
    interval
        A key of `INSIDE`, say "(0, 1]".
    remedy
        What to pass instead, which ends the message.

    Raises
    ------
    ValueError
        If a concrete value is no real number or has an entry outside the interval; traced ones cannot be checked.
    """
    if isinstance(value, Tracer):
        return
    values = np.asarray(value)
    if not (jnp.issubdtype(values.dtype, jnp.floating) or jnp.issubdtype(values.dtype, jnp.integer)):
        raise ValueError(f"{name}: {value!r} is no real number; {remedy}")
    wrong = values[~INSIDE[interval](values)]
    if wrong.size:
        raise ValueError(f"{name}: {float(wrong[0]):g} is outside {interval}; {remedy}")


def check_order(**numbers: Any) -> None:
    """Refuse a first number above the second; both have been checked alone.

    Parameters
    ----------
    **numbers
        The smaller number and its bound, two in this order, each under its name; arrays broadcast.

    Raises
    ------
    ValueError
        If both are concrete and an entry of the first is above that of the second; traced ones cannot be checked.
    """
    (name, value), (other, bound) = numbers.items()
    if isinstance(value, Tracer) or isinstance(bound, Tracer):
        return
    value, bound = np.broadcast_arrays(np.asarray(value, float), np.asarray(bound, float))
    wrong = value > bound
    if wrong.any():
        raise ValueError(
            f"{name}: {value[wrong][0]:g} is outside [0, {other}], {other} being {bound[wrong][0]:g}; swap the two"
        )


def working(value: Any) -> Any:
    """Make a number floating; one of 16 bits in 32, since it could not count steps, and Python's as weak as it is.

    Parameters
    ----------
    value
        A real number or an array of them, concrete or traced.

    Returns
    -------
    float or jax.Array
        The same value: a float for Python's bool, int or float, otherwise an array of 32 bits or more.
    """
    if type(value) in (bool, int, float):
        return float(value)
    value = jnp.multiply(value, 1.0)
    return value.astype(jnp.promote_types(value.dtype, jnp.float32)) if jnp.finfo(value.dtype).bits < 32 else value


def narrowed(value: jax.Array, *numbers: Any) -> jax.Array:
    """Give a result back in 16 bits where all numbers had so few.

    Parameters
    ----------
    value
        The result, in working precision.
    *numbers
        The numbers as the caller passed them.

    Returns
    -------
    jax.Array
        The value, in the type that the numbers promote to if that has 16 bits, otherwise as it is.
    """
    dtype = jnp.result_type(float, *numbers)
    return value.astype(dtype) if jnp.finfo(dtype).bits < 32 else value


def half_cosine(share: jax.Array, alpha: Any = 0.0) -> jax.Array:
    """From 1 to alpha as the share goes from 0 to 1.

    `(1 - alpha) * (1 + cos(pi * share)) / 2 + alpha`.

    Parameters
    ----------
    share
        Share of the way, in [0, 1].
    alpha
        Value at the end, in [0, 1].

    Returns
    -------
    jax.Array
        Value, from 1 down to alpha.
    """
    return (1 - alpha) * (0.5 * (1 + jnp.cos(jnp.pi * share))) + alpha
