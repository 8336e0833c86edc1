"""Edges of wells of one parameter, none of them a quadratic.

All are such that at the edge small cycles grow out of the minimum: a run from nearby goes on converging right up to it.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from gdx.studies.verification.base import Check
from gdx.studies.verification.three_roads import Loss, check_of

# What is drawn


def beside(rng, minimum, by=0.3):
    """A start at a distance of about `by` from the minimum, and never on it."""
    minimum = np.asarray(minimum, float)
    away = rng.normal(size=minimum.shape)
    return minimum + by * rng.uniform(0.5, 1.0) * away / np.linalg.norm(away)


def draw_trough(rng):
    """Numbers of a dimple on a bowl, and a start near its minima."""
    # The ring of minima, |w|^2 = s ln(2 a / s), is there for 2 a > s.
    s = rng.uniform(0.5, 2)
    a = s * rng.uniform(1, 3)
    return {"a": a, "s": s, "start": beside(rng, np.sqrt(s * np.log(2 * a / s)), 0.2)}


def _draw_tilted(rng):
    # Nearer to the hill between the wells, or with momentum, a start may leave for the other one.
    x = rng.uniform(1.0, 1.5)
    a = rng.uniform(0.3, 1.0)
    return {"a": a, "x": x, "start": beside(rng, x, 0.1)}


def _draw_bend(rng):
    a = rng.uniform(0.5, 3)
    return {"a": a, "x": rng.uniform(-0.5, 0.5) / a, "l": rng.uniform(0.1, 1), "start": rng.normal() / a}


def _one(minimum, by=0.3, **ranges):
    """Numbers in ranges and a start beside the minimum that belongs to them."""

    def draw(rng):
        p = {name: rng.uniform(*ends) for name, ends in ranges.items()}
        return p | {"start": beside(rng, minimum(p), by)}

    return draw


# Losses


def dimple(w, p):
    """A bowl with a dimple, of any number of parameters."""
    r = jnp.vdot(w, w)
    return 0.5 * r + p["a"] * jnp.exp(-r / p["s"])


def _tilted(x, p):
    return 0.25 * (x**2 - p["a"]) ** 2 - p["x"] * (p["x"] ** 2 - p["a"]) * x


def log_cosh(z):
    """Stable for any z, up to ln 2."""
    return jnp.logaddexp(z, -z)


def _bend(x, p):
    place = p["x"] + p["a"] * jnp.tanh(p["a"] * p["x"]) / p["l"]
    return log_cosh(p["a"] * x) + 0.5 * p["l"] * (x - place) ** 2


WELLS = {
    "exp": Loss(
        "x^2/2 + a exp(-x^2/s), a = {a:.4g}, s = {s:.4g}",
        dimple,
        draw_trough,
        lambda p: 2 * np.log(2 * p["a"] / p["s"]),
        "2 ln(2a/s)",
        "descent",
    ),
    "log": Loss(
        "x^2/2 + a log(1 + x^2), a = {a:.4g}",
        lambda x, p: 0.5 * x**2 + p["a"] * jnp.log1p(x**2),
        _one(lambda p: 0.0, a=(0.2, 2)),
        lambda p: 1 + 2 * p["a"],
        "1 + 2a",
        "heavy ball",
    ),
    "hypot": Loss(
        "sqrt(1 + x^2) + l x^2/2, l = {l:.4g}",
        lambda x, p: jnp.sqrt(1 + x**2) + 0.5 * p["l"] * x**2,
        _one(lambda p: 0.0, 1.0, l=(0.05, 1)),
        lambda p: 1 + p["l"],
        "1 + l",
        "nesterov",
    ),
    "bend": Loss(
        "log cosh(a x) + l (x - c)^2/2, a = {a:.4g}, l = {l:.4g}, c so that the minimum is {x:.3g}",
        _bend,
        _draw_bend,
        lambda p: p["a"] ** 2 / np.cosh(p["a"] * p["x"]) ** 2 + p["l"],
        "a^2 sech^2(a x) + l",
        "descent",
    ),
    "tilted": Loss(
        "(x^2 - a)^2/4 + t x, a = {a:.4g}, t so that the minimum is {x:.3g}",
        _tilted,
        _draw_tilted,
        lambda p: 3 * p["x"] ** 2 - p["a"],
        "3 x^2 - a",
        "descent",
    ),
    "exp-line": Loss(
        "exp(a x) - b x, a = {a:.4g}, c = {c:.4g} for b",
        lambda x, p: jnp.exp(p["a"] * x) - p["c"] * x,
        _one(lambda p: np.log(p["c"] / p["a"]) / p["a"], a=(0.5, 2), c=(0.3, 3)),
        lambda p: p["a"] * p["c"],
        "a c",
        "descent",
    ),
    "morse": Loss(
        "(1 - exp(-a (x - c)))^2, a = {a:.4g}, c = {c:.3g}",
        lambda x, p: (1 - jnp.exp(-p["a"] * (x - p["c"]))) ** 2,
        _one(lambda p: p["c"], 0.1, a=(0.5, 2), c=(-1, 1)),
        lambda p: 2 * p["a"] ** 2,
        "2 a^2",
        "descent",
    ),
    "barrier": Loss(
        "c x - log x, c = {c:.4g}",
        lambda x, p: p["c"] * x - jnp.log(x),
        _one(lambda p: 1 / p["c"], 0.1, c=(0.5, 2)),
        lambda p: p["c"] ** 2,
        "c^2",
        "descent",
    ),
    "entropy": Loss(
        "c (x log x - x - x log a), c = {c:.4g}, a = {a:.4g}",
        lambda x, p: p["c"] * (x * jnp.log(x / p["a"]) - x),
        _one(lambda p: p["a"], 0.1, a=(0.5, 2), c=(0.5, 2)),
        lambda p: p["c"] / p["a"],
        "c / a",
        "descent",
    ),
    "logit": Loss(
        "log(1 + exp(x)) - q x, q = {q:.4g}",
        lambda x, p: jnp.logaddexp(0.0, x) - p["q"] * x,
        _one(lambda p: np.log(p["q"] / (1 - p["q"])), q=(0.2, 0.8)),
        lambda p: p["q"] * (1 - p["q"]),
        "q (1 - q)",
        "nesterov",
    ),
    "cauchy": Loss(
        "log(1 + (x - c)^2), c = {c:.3g}",
        lambda x, p: jnp.log1p((x - p["c"]) ** 2),
        _one(lambda p: p["c"], c=(-2, 2)),
        lambda p: 2.0,
        "2",
        "heavy ball",
    ),
    "welsch": Loss(
        "1 - exp(-a (x - c)^2/2), a = {a:.4g}, c = {c:.3g}",
        lambda x, p: -jnp.exp(-0.5 * p["a"] * (x - p["c"]) ** 2),
        _one(lambda p: p["c"], a=(0.3, 2), c=(-2, 2)),
        lambda p: p["a"],
        "a",
        "descent",
    ),
    "mises": Loss(
        "-k cos(x - c), k = {k:.4g}, c = {c:.3g}",
        lambda x, p: -p["k"] * jnp.cos(x - p["c"]),
        _one(lambda p: p["c"], k=(0.3, 3), c=(-2, 2)),
        lambda p: p["k"],
        "k",
        "nesterov",
    ),
    "gamma": Loss(
        "mean of x + y exp(-x) with mean(y) = {m:.4g}",
        lambda x, p: x + p["m"] * jnp.exp(-x),
        _one(lambda p: np.log(p["m"]), m=(0.3, 3)),
        lambda p: 1.0,
        "1",
        "heavy ball",
    ),
    "width": Loss(
        "log x + v/(2 x^2), v = {v:.4g}",
        lambda x, p: jnp.log(x) + 0.5 * p["v"] / x**2,
        _one(lambda p: np.sqrt(p["v"]), 0.05, v=(0.5, 2)),
        lambda p: 2 / p["v"],
        "2 / v",
        "descent",
    ),
}


def checks() -> list[Check]:
    """All checks of wells.

    Returns
    -------
    list
    """
    return [check_of(name, made) for name, made in WELLS.items()]
