"""What all schedules share: numbers checked and in working precision, and a piece of a formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

Schedule = Callable[[Any], jax.Array]
"""`count -> step size`; elementwise where `count` is an array."""

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
    """Check the numbers, then make the function of the count that passes them to `formula(steps, *numbers)`."""
    for name, value in numbers.items():
        check_number(name, value, *NUMBERS[name])
    values = [working(value) for value in numbers.values()]

    def schedule(count):
        # A weakly typed float: JAX divides int32 by a Python number in float32 even in the midst of float64.
        steps = jnp.maximum(count, 0) * 1.0
        return narrowed(formula(steps, *values), *numbers.values())

    return schedule


def check_number(name: str, value: Any, interval: str, remedy: str) -> None:
    """Refuse what is no real number or has an entry outside the interval; a tracer passes."""
    if isinstance(value, Tracer):
        return
    values = np.asarray(value)
    if not (jnp.issubdtype(values.dtype, jnp.floating) or jnp.issubdtype(values.dtype, jnp.integer)):
        raise ValueError(f"{name}: {value!r} is no real number; {remedy}")
    wrong = values[~INSIDE[interval](values)]
    if wrong.size:
        raise ValueError(f"{name}: {float(wrong[0]):g} is outside {interval}; {remedy}")


def check_order(**numbers: Any) -> None:
    """Refuse a first number above the second; both have been checked alone."""
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
    """A floating number; one of 16 bits in 32, since it could not count steps, and Python's left as weak as it is."""
    if type(value) in (bool, int, float):
        return float(value)
    value = jnp.multiply(value, 1.0)
    return value.astype(jnp.promote_types(value.dtype, jnp.float32)) if jnp.finfo(value.dtype).bits < 32 else value


def narrowed(value: jax.Array, *numbers: Any) -> jax.Array:
    """Give a result back in 16 bits where all numbers had so few."""
    dtype = jnp.result_type(float, *numbers)
    return value.astype(dtype) if jnp.finfo(dtype).bits < 32 else value


def half_cosine(share: jax.Array, alpha: Any = 0.0) -> jax.Array:
    """From 1 to alpha as the share goes from 0 to 1."""
    return (1 - alpha) * (0.5 * (1 + jnp.cos(jnp.pi * share))) + alpha
