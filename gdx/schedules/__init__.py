"""Step sizes as functions of the step, every number of which traces.

A constructor here takes numbers and returns a schedule, `count -> step size`, for any place where optax takes one:
`optax.sgd(gdx.schedules.inverse_time(0.1, tau))`. Numbers may be Python's, arrays or tracers, so that a period, a
warm-up or a rate is an axis of a sweep like the step size itself. They follow JAX's promotion, and Python's adapt to
the rest. `count` begins at 0, a negative one is taken as 0, and every count gives a finite step size. In float32
counts above 2**24 are rounded.

A concrete number outside its range raises a ValueError when the schedule is made. A traced one cannot be checked:
there the range is the caller's promise, and step sizes from a number outside it mean nothing.
"""

from gdx.schedules.base import Schedule
from gdx.schedules.cycles import cosine_restarts, exp_range, linear_one_cycle, one_cycle, triangular
from gdx.schedules.decays import (
    constant,
    cosine_annealing,
    exponential_decay,
    harmonic,
    hyperbolic,
    inverse_time,
    polynomial_decay,
    step_decay,
)
from gdx.schedules.warmups import linear_warmup, warmup_cosine

__all__ = [
    "Schedule",
    "constant",
    "cosine_annealing",
    "cosine_restarts",
    "exp_range",
    "exponential_decay",
    "harmonic",
    "hyperbolic",
    "inverse_time",
    "linear_one_cycle",
    "linear_warmup",
    "one_cycle",
    "polynomial_decay",
    "step_decay",
    "triangular",
    "warmup_cosine",
]
