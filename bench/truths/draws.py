"""Random losses that are neither quadratics nor factorizations, all float64, at any seed.

A kind is a loss of parameters and numbers, `loss(w, p)`, with a way to draw the numbers and a start, near or far.
Losses of one kind share a compiled program, since their numbers are arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from truths.models import MODELS
from truths.wells import WELLS

KINDS = WELLS | MODELS


class Case(NamedTuple):
    """One loss, one start, one optimizer."""

    name: str
    """Of its kind."""
    optimizer: str
    seed: int
    start: Any
    numbers: dict[str, Any]

    @property
    def loss(self) -> Callable[[Any], Any]:
        """The loss of parameters alone."""
        return functools.partial(_with_numbers, KINDS[self.name].loss, jax.tree.map(jnp.asarray, self.numbers))

    @property
    def family(self) -> Callable[[Any], Any]:
        """Step size -> optax transformation."""
        return OPTIMIZERS[self.optimizer].family

    @property
    def words(self) -> str:
        """What repeats it."""
        return f"case({self.name!r}, {self.optimizer!r}, {self.seed})"


def _with_numbers(loss, numbers, w):
    return loss(w, numbers)


# Optimizers


class Optimizer(NamedTuple):
    """A family with the closed form of its threshold."""

    family: Callable[[Any], Any]
    gain: float | None
    """Step size times curvature that it stands; None where there is no such number."""
    sharpness_of_rate: float
    """|d rate / d ln step_size| at the edge, a step."""


def heavy_ball(b: float) -> Optimizer:
    """Momentum added to the gradient."""
    return Optimizer(functools.partial(optax.sgd, momentum=b), 2 * (1 + b), 2 * (1 + b) / (1 - b))


def nesterov(b: float) -> Optimizer:
    """Momentum with look-ahead: z^2 - (1 + b - a (1 + b)) z + b (1 - a) = 0 with a = step_size * curvature."""
    gain = 2 * (1 + b) / (1 + 2 * b)
    # At z = -1: dz/da = ((1 + b) + b) / (2 z - (1 + b) (1 - a)), and rate = ln|z|.
    slope = (-(1 + b) + -b) / (-2 - (1 + b) * (1 - gain)) * gain
    return Optimizer(functools.partial(optax.sgd, momentum=b, nesterov=True), gain, abs(slope))


def mean_of_gradients(b: float) -> Optimizer:
    """Exponential mean of gradients."""

    def family(step_size):
        return optax.chain(optax.ema(b, debias=False), optax.scale(-1.0 * step_size))

    return Optimizer(family, 2 * (1 + b) / (1 - b), 2 * (1 + b) / (1 - b))


OPTIMIZERS = {
    "sgd": Optimizer(optax.sgd, 2.0, 2.0),
    "momentum .5": heavy_ball(0.5),
    "momentum .9": heavy_ball(0.9),
    "nesterov .9": nesterov(0.9),
    "ema .9": mean_of_gradients(0.9),
    "adam": Optimizer(optax.adam, None, 2.0),
}
SHARES = {"sgd": 0.44, "momentum .5": 0.16, "momentum .9": 0.16, "nesterov .9": 0.1, "ema .9": 0.1, "adam": 0.04}


FAR = (0.3, 1.0, 2.5)
"""Distances of starts, in units of each problem."""


def case(name: str, optimizer: str, seed: int) -> Case:
    """Draw one case; its numbers depend on these three alone.

    Parameters
    ----------
    name
        One of `KINDS`.
    optimizer
        One of `OPTIMIZERS`.
    seed
        Any.

    Returns
    -------
    Case
    """
    rng = np.random.default_rng([seed, list(KINDS).index(name)])
    start, numbers = KINDS[name].draw(rng, float(rng.choice(FAR)))
    return Case(name, optimizer, seed, jnp.asarray(start, float), numbers)


def cases(number: int, seed: int) -> list[Case]:
    """Draw many: kinds in turn, optimizers at random.

    Parameters
    ----------
    number
        Of cases.
    seed
        Of all of them.

    Returns
    -------
    list
    """
    rng = np.random.default_rng(seed)
    shares = np.array(list(SHARES.values()))
    optimizers = rng.choice(list(SHARES), size=number, p=shares / shares.sum())
    names = list(KINDS)
    return [case(names[i % len(names)], str(optimizers[i]), 1000 * seed + i) for i in range(number)]
