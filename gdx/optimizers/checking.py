"""What a caller hands to an optimizer, checked at the door.

A traced value has no number yet: it passes unchecked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jax.core import Tracer

from gdx.records import sharing

_of_a_number = sharing("""
    Parameters
    ----------
    name
        Of the argument.
    value
        A number or an array of them; what is traced passes.
    remedy
        What to pass instead.

    Raises
    ------
    ValueError
        If it is concrete and outside.
    """)


@_of_a_number
def check_coefficient(name: str, value: Any, remedy: str = "the usual value is 0.9") -> None:
    """Refuse a number outside [0, 1), one that weighs the past against the present."""
    _check(name, value, lambda number: (number >= 0) & (number < 1), "[0, 1)", remedy)


@_of_a_number
def check_at_least_zero(name: str, value: Any, remedy: str = "pass 0 to switch it off") -> None:
    """Refuse a number outside [0, inf), one that may be 0 and not negative."""
    _check(name, value, lambda number: (number >= 0) & (number < np.inf), "[0, inf)", remedy)


@_of_a_number
def check_positive(name: str, value: Any, remedy: str = "pass a finite number above 0") -> None:
    """Refuse a number outside (0, inf), one that divides or sets a scale."""
    _check(name, value, lambda number: (number > 0) & (number < np.inf), "(0, inf)", remedy)


def check_between(name: str, value: Any, low: float, high: float, remedy: str = "leave it out for the default") -> None:
    """Check a number that lies strictly between two others.

    Parameters
    ----------
    name
        Of the argument.
    value
        A number or an array of them.
    low, high
        Both excluded.
    remedy
        What to pass instead.

    Raises
    ------
    ValueError
        If it is concrete and outside (low, high).
    """
    _check(name, value, lambda number: (number > low) & (number < high), f"({low:g}, {high:g})", remedy)


def check_value_fn(value_fn: Any, params: Any, why: str) -> None:
    """Check that an update was told the loss and the parameters.

    Parameters
    ----------
    value_fn, params
        What the update was given.
    why
        What the method needs them for.

    Raises
    ------
    ValueError
        If one of them is missing.
    """
    if value_fn is None or params is None:
        missing = "value_fn" if value_fn is None else "params"
        raise ValueError(f"{missing}: None is no use; {why}, call update(updates, state, params, value_fn=loss)")


def _check(name, value, is_inside, interval, remedy):
    if isinstance(value, Tracer):
        return
    # Comparisons with NaN are false, so that it counts as outside.
    number = np.asarray(value, dtype=float)
    if not np.all(is_inside(number)):
        raise ValueError(f"{name}: {value} is outside {interval}; {remedy}")
