"""Critical step sizes as `gdx.critical_step_size` finds them, an endless run's by its estimate and a finite one's."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.edges import critical_step_size
from gdx.problems import problem, quadratic, scalar_factorization
from gdx.studies.verification.base import Check
from gdx.sweeps import sweep
from gdx.verdicts import converged

HORIZON = 2000
LONG = 10_000
"""Steps behind the shift of a finite horizon, which is linear only where it is small."""
TAIL = 64
LOOSE, TIGHT = 1e-6, 1e-10
LANES = 32
"""Step sizes tried at once for a row and a tolerance."""
DIMENSION = 5


def _estimate(made, family, around):
    """Search a factor of 30, so that the search and not the scan finds the edge."""
    edge = critical_step_size(
        made,
        family,
        keys=jax.random.split(jax.random.key(0), 1),
        num_steps=HORIZON,
        tolerance=LOOSE,
        bracket=(around / 6, around * 5),
    )
    return float("nan") if edge.estimate is None else edge.estimate.value


def _on_bowl(family, points):
    """Edges on random spectra, one search after the other."""
    found = []
    for spectrum, start, momentum in zip(points["spectrum"], points["start"], points["b"], strict=True):
        made = quadratic(spectrum, start)
        found.append(_estimate(made, functools.partial(family, momentum), 2 / spectrum.max()))
    return found


def measure_descent(points: Any) -> list[float]:
    """Of gradient descent on a random spectrum."""
    return _on_bowl(lambda momentum, step_size: optax.sgd(step_size), points)


def measure_heavy_ball(points: Any) -> list[float]:
    """Of heavy ball on a random spectrum."""
    return _on_bowl(lambda momentum, step_size: optax.sgd(step_size, momentum=momentum), points)


def measure_factorization(points: Any) -> list[float]:
    """Of gradient descent on (u v - s)^2 / 2."""
    return [
        _estimate(scalar_factorization(s, start), optax.sgd, 1 / s)
        for s, start in zip(points["s"], points["start"], strict=True)
    ]


def measure_logistic(points: Any) -> list[float]:
    """Of gradient descent on logistic loss with both labels."""
    found = []
    for x, start in zip(points["x"], points["start"], strict=True):
        made = problem(start, lambda w, x=x: 0.5 * (jax.nn.softplus(x * w) + jax.nn.softplus(-x * w)))
        found.append(_estimate(made, optax.sgd, 8 / x**2))
    return found


@functools.cache
def _bowls():
    return sweep(
        lambda h: quadratic(jnp.ones(1) * h["lam"], jnp.ones(1)),
        lambda h: optax.sgd(h["step_size"], momentum=h["b"]),
        num_steps=LONG,
        tolerance=TIGHT,
        slots=2 * LANES,
    )


def measure_horizon(points: Any) -> Any:
    """Multisect for how much lower a finite run's last success lies at a tight tolerance than at a loose one."""
    keys = jax.random.split(jax.random.key(0), 1)
    number = len(points["lam"])
    lam, b = (np.broadcast_to(points[name][:, None, None], (number, 2, LANES)).ravel() for name in ("lam", "b"))
    # Shares of the endless run's edge, for both tolerances side by side.
    low, high = np.full((number, 2, 1), 0.99), np.full((number, 2, 1), 1.01)
    for _ in range(4):
        shares = low + (high - low) * np.arange(1, LANES + 1) / (LANES + 1)
        runs = _bowls()({"step_size": shares.ravel() * 2 * (1 + b) / lam, "lam": lam, "b": b}, keys)
        met = [
            converged(runs, tolerance)[:, 0].reshape(shares.shape)[:, i] for i, tolerance in enumerate((TIGHT, LOOSE))
        ]
        # The last point of the unbroken row of successes, and the one after it.
        count = np.cumprod(np.stack(met, axis=1), axis=-1).sum(axis=-1, keepdims=True)
        width = (high - low) / (LANES + 1)
        low, high = low + width * count, low + width * (count + 1)
    middle = (0.5 * (low + high))[..., 0]
    return middle[:, 0] - middle[:, 1]


# What is drawn


def _draw_bowl(rng):
    # The largest curvature stands apart, so that its mode is the one that ends the run.
    spectrum = np.append(rng.uniform(0.1, 0.8, size=DIMENSION - 1), 1.0) * rng.uniform(0.5, 5.0)
    return {
        "spectrum": spectrum,
        "lam": spectrum.max(),
        "start": rng.normal(size=DIMENSION),
        "b": rng.uniform(0.2, 0.9),
    }


def _draw_factorization(rng):
    s = rng.uniform(0.3, 3.0)
    return {"s": s, "start": np.sqrt(s) * rng.uniform(0.3, 1.05, size=2)}


def _draw_logistic(rng):
    return {"x": rng.uniform(0.5, 2.0), "start": rng.normal()}


def _draw_horizon(rng):
    # Nearer to 1 the shift is no longer linear.
    return {"lam": rng.uniform(0.5, 5.0), "b": rng.uniform(0.0, 0.6)}


def shift_of_horizon(p: Any) -> float:
    """-(1 - b) / (1 + b) times log(tolerance ratio) / (2 (T - W)), W steps being those of the tail."""
    steps = LONG - TAIL
    return -(1 - p["b"]) / (1 + p["b"]) * np.log(LOOSE / TIGHT) / (2 * steps)


POLYAK = "Polyak, 1964"
LINEAR = "linear stability of a quadratic"
ESTIMATED = 1e-8
"""What the growth rate and the oscillating side are good for, on problems as smooth as these, at this horizon."""


def _bowls_checks():
    yield Check(
        "edge-descent",
        "edge",
        "gradient descent: eta_c = 2 / lam, lam = {lam:.4g} the largest of five; by the estimate of the edge",
        LINEAR,
        _draw_bowl,
        lambda p: 2 / p["lam"],
        measure_descent,
        ESTIMATED,
        1,
    )
    yield Check(
        "edge-heavy-ball",
        "edge",
        "heavy ball, b = {b:.4g}: eta_c = 2 (1 + b) / lam, lam = {lam:.4g} the largest of five; by the estimate",
        POLYAK,
        _draw_bowl,
        lambda p: 2 * (1 + p["b"]) / p["lam"],
        measure_heavy_ball,
        ESTIMATED,
        1,
    )
    yield Check(
        "edge-horizon",
        "edge",
        "heavy ball, b = {b:.4g}, T steps: from tolerance 1e-6 to 1e-10 the last success sinks by "
        "(1 - b) / (1 + b) log(1e4) / (2 T) of the edge",
        LINEAR,
        _draw_horizon,
        shift_of_horizon,
        measure_horizon,
        # The shift is linear up to log(1e10) / (T (1 - b)) of itself, 6e-3 at b = 0.6.
        1e-2,
        2,
        fast=1,
    )


def _soft_checks():
    yield Check(
        "edge-factorization",
        "edge",
        "(u v - s)^2 / 2, s = {s:.4g}: eta_c = 1/s; by the estimate of the edge",
        "Craciun & Ghoshdastidar, arXiv 2402.13108",
        _draw_factorization,
        lambda p: 1 / p["s"],
        measure_factorization,
        ESTIMATED,
        1,
    )
    yield Check(
        "edge-logistic",
        "edge",
        "logistic loss, both labels at x = {x:.4g}: eta_c = 8 / x^2; by the estimate of the edge",
        "Meng et al., arXiv 2406.05033",
        _draw_logistic,
        lambda p: 8 / p["x"] ** 2,
        measure_logistic,
        ESTIMATED,
        1,
    )


def checks() -> list[Check]:
    """All checks of edges.

    Returns
    -------
    list
    """
    return [*_bowls_checks(), *_soft_checks()]
