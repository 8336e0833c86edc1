"""What a kind of losses is, and numbers that several kinds draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Kind(NamedTuple):
    """A family of losses."""

    loss: Callable[[Any, dict[str, Any]], Any]
    """`loss(w, p) -> scalar`, w an array."""
    draw: Callable[[np.random.Generator, float], tuple[Any, dict[str, Any]]]
    """`draw(rng, far) -> (start, p)`; `far` is the start's distance in units of the problem, some .3 to 3."""


def rotation(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def bowl(rng, d, low=0.2, high=2.0):
    """A positive definite matrix with eigenvalues apart from each other."""
    q = rotation(rng, d)
    values = np.exp(np.linspace(np.log(low), np.log(high), d)) * rng.uniform(0.85, 1.15, size=d)
    return q * values @ q.T


def regressors(rng, m, d):
    return rng.normal(size=(m, d)) * rng.uniform(0.5, 1.5, size=d)


def anywhere(rng, far, d=None):
    """A start at random, at a distance of about `far`."""
    return far * rng.normal(size=d) if d else far * rng.normal() + 0.05 * far * rng.choice([-1, 1])
