"""How fast methods converge, where their theorems hold with equality."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from gdx.optimizers import steepest_descent
from gdx.problems import problem, quadratic
from gdx.studies.verification.base import Check
from gdx.studies.verification.running import descend, ends

STEPS = 20
FEATURES = (10, 4)
"""Shape of the random least squares."""


# Problems and families of a point's values


def huber(h: Any) -> Any:
    """The Huber function of curvature L and slope tau, from R."""

    def loss(x):
        outside = h["tau"] * jnp.abs(x) - h["tau"] ** 2 / (2 * h["L"])
        return jnp.where(jnp.abs(x) < h["tau"] / h["L"], 0.5 * h["L"] * x**2, outside)

    return problem(h["R"], loss)


def elongated(h: Any) -> Any:
    """A bowl of curvatures m, one between and L, from h["start"]."""
    return quadratic(h["curvatures"], h["start"])


def least_squares(h: Any) -> Any:
    """Half the mean square of a random linear model's errors."""
    return problem(h["start"], lambda w: 0.5 * jnp.mean((h["features"] @ w - h["targets"]) ** 2))


def cauchy(h: Any) -> Any:
    """Steepest descent with the exact line search."""
    del h
    return steepest_descent(1.0)


def heavy_ball(h: Any) -> Any:
    """With the row's momentum."""
    return optax.sgd(h["step_size"], momentum=h["b"])


# Closed forms


def bound_of_descent(p: Any) -> float:
    """L R^2 / (4 k L a + 2), for steps a up to 1/L."""
    return p["L"] * p["R"] ** 2 / (4 * p["k"] * p["L"] * p["step_size"] + 2)


def share_of_cauchy(p: Any) -> float:
    """((L - m) / (L + m))^(2 k)."""
    return ((p["L"] - p["m"]) / (p["L"] + p["m"])) ** (2 * p["k"])


def rate_of_polyak(p: Any) -> float:
    """(sqrt(L/m) - 1) / (sqrt(L/m) + 1)."""
    root = np.sqrt(p["L"] / p["m"])
    return (root - 1) / (root + 1)


# Measurements


def measure_descent(points: Any) -> Any:
    """Loss above the minimum after k steps of gradient descent."""
    losses = ends(huber, descend, points, STEPS + 1, window=STEPS + 1)[0]
    return losses[np.arange(len(losses)), points["k"]]


def measure_cauchy(points: Any) -> Any:
    """What k exact line searches leave of the loss."""
    losses = ends(elongated, cauchy, points, STEPS + 1, window=STEPS + 1)[0]
    return losses[np.arange(len(losses)), points["k"]] / losses[:, 0]


def measure_polyak(points: Any) -> Any:
    """The largest root of the recurrence that each coordinate of a run obeys, x_(t+1) = s x_t - p x_(t-1)."""
    path = ends(elongated, heavy_ball, points, 10, window=8)[2]
    a, b, c, d = (path[:, i] for i in range(4, 8))
    determinant = b * b - a * c
    s, p = (b * c - a * d) / determinant, (c * c - b * d) / determinant
    # Where the two roots are a pair, or coincide up to rounding, their size is sqrt(p).
    roots = (np.abs(s) + np.sqrt(np.maximum(s**2 - 4 * p, 0))) / 2
    return np.where(s**2 > 4 * p, roots, np.sqrt(np.abs(p))).max(axis=1)


def measure_potential(points: Any) -> Any:
    """Largest rise in one step of k (f_k - f*) + L/2 |x_k - x*|^2, relative to its start."""
    features, targets = points["features"], points["targets"]
    losses, _, path = ends(least_squares, descend, points, 100, window=100)
    solutions = np.einsum("nij,nj->ni", np.linalg.pinv(features), targets)
    residuals = targets - np.einsum("nij,nj->ni", features, solutions)
    excess = losses - 0.5 * np.mean(residuals**2, axis=1)[:, None]
    distance = np.sum((path - solutions[:, None]) ** 2, axis=-1)
    potential = np.arange(100) * excess + 0.5 * distance / points["step_size"][:, None]
    return np.maximum(np.diff(potential, axis=1).max(axis=1), 0) / potential[:, 0]


# What is drawn


def _draw_huber(rng):
    L, R, k = rng.uniform(0.5, 5.0), rng.uniform(0.5, 3.0), int(rng.integers(1, STEPS + 1))
    step_size = rng.uniform(0.2, 1.0) / L
    return {"L": L, "R": R, "k": k, "step_size": step_size, "tau": L * R / (2 * k * L * step_size + 1)}


def _draw_bowl(rng):
    # Flatter bowls than these leave too few digits of the shortest coordinate.
    L = rng.uniform(0.5, 5.0)
    m = L * rng.uniform(0.01, 0.5)
    return {"L": L, "m": m, "curvatures": np.asarray([m, np.sqrt(L * m), L])}


def _draw_cauchy(rng):
    drawn = _draw_bowl(rng)
    start = rng.uniform(0.5, 2.0) * np.asarray([1 / drawn["m"], 0.0, 1 / drawn["L"]])
    return drawn | {"start": start, "k": int(rng.integers(1, STEPS + 1))}


def _draw_polyak(rng):
    drawn = _draw_bowl(rng)
    low, high = np.sqrt(drawn["m"]), np.sqrt(drawn["L"])
    tuned = {"step_size": 4 / (low + high) ** 2, "b": ((high - low) / (high + low)) ** 2}
    # A start of either sign, no coordinate near 0.
    return drawn | tuned | {"start": rng.uniform(0.5, 2.0, size=3) * rng.choice([-1, 1], size=3)}


def _draw_regression(rng):
    features = rng.normal(size=FEATURES) * rng.uniform(0.1, 2.0, size=FEATURES[1])
    L = np.linalg.norm(features, ord=2) ** 2 / FEATURES[0]
    return {
        "features": features,
        "targets": rng.normal(size=FEATURES[0]),
        "start": rng.normal(size=FEATURES[1]),
        "step_size": 1 / L,
        "L": L,
    }


def _of_descent():
    yield Check(
        "rate-descent",
        "rate",
        "Huber function of slope L R / (2 k L a + 1) from R = {R:.4g}, L = {L:.4g}: k = {k} steps a = {step_size:.4g} "
        "leave L R^2 / (4 k L a + 2)",
        "Drori & Teboulle, arXiv 1206.3209",
        _draw_huber,
        bound_of_descent,
        measure_descent,
        1e-12,  # Rounding of k steps, of differences of numbers of the start's size.
        3,
        fast=1,
    )
    yield Check(
        "rate-potential",
        "rate",
        "random least squares, L = {L:.4g}, steps 1/L: k (f_k - f*) + L/2 |x_k - x*|^2 never rises",
        "Bansal & Gupta, arXiv 1712.04581",
        _draw_regression,
        lambda p: 0.0,
        measure_potential,
        1e-13,  # Rounding of k f_k, k below 100.
        2,
        absolute=True,
    )


def _of_others():
    yield Check(
        "rate-cauchy",
        "rate",
        "k = {k} exact line searches from the worst start, m = {m:.4g}, L = {L:.4g}: "
        "((L - m) / (L + m))^(2 k) of the loss is left",
        "Nocedal & Wright, section 3.3",
        _draw_cauchy,
        share_of_cauchy,
        measure_cauchy,
        # Each search ends within 4e-11 of the slope it began with, which costs the loss the square of that; the path
        # leaves the worst zigzag by its rounding, a factor of L/m a step at most.
        1e-9,
        2,
    )
    yield Check(
        "rate-polyak",
        "rate",
        "heavy ball tuned to m = {m:.4g}, L = {L:.4g}: contracts by (sqrt(L/m) - 1) / (sqrt(L/m) + 1) a step",
        "Polyak, 1964",
        _draw_polyak,
        rate_of_polyak,
        measure_polyak,
        1e-6,  # The two roots coincide, so that rounding of 1e-14 moves them by its square root.
        2,
        fast=1,
    )


def checks() -> list[Check]:
    """All checks of rates.

    Returns
    -------
    list
    """
    return [*_of_descent(), *_of_others()]
