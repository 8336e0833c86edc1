"""One example at a time: in the mean square, for almost every order, and all at once."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from gdx.problems import finite_sum, problem
from gdx.studies.verification.base import Check
from gdx.studies.verification.running import crossing, descend, ends

EXAMPLES = 4
DRAWS = 4
"""Steps of which every possible order of examples, with replacement, is run: EXAMPLES^DRAWS of them."""
EPOCHS = 50


def one_of(h: Any) -> Any:
    """Half of h_i w^2, where the examples i come in the order that the digits of h["order"] give."""

    def batches(key, step):
        digit = h["order"].astype(jnp.int32) // EXAMPLES**step % EXAMPLES
        return h["curvatures"][digit]

    return problem(jnp.ones(()), lambda w, curvature: 0.5 * curvature * w**2, batches=batches)


def _losses(w, curvatures):
    return 0.5 * curvatures * w**2


def reshuffled(h: Any) -> Any:
    """The same mean over examples, one at a time in a new order every epoch."""
    return finite_sum(jnp.ones(()), _losses, h["curvatures"], batch_size=1)


def in_full(h: Any) -> Any:
    """The same mean over examples, all at once."""
    return finite_sum(jnp.ones(()), _losses, h["curvatures"])


# Closed forms


def limit_in_mean_square(p: Any) -> float:
    """2 E h / E h^2."""
    return 2 * np.mean(p["curvatures"]) / np.mean(p["curvatures"] ** 2)


def limit_almost_surely(p: Any) -> float:
    """The root of E log|1 - eta h|."""
    h = p["curvatures"]

    def growth(eta):
        return np.mean(np.log(np.abs(1 - eta * h)))

    # Beyond the last of the singularities 1/h the sum only rises.
    return float(crossing(growth, (1 + 1e-9) / h.min(), 4 / h.min()))


def limit_in_full(p: Any) -> float:
    """2 / E h."""
    return 2 / np.mean(p["curvatures"])


# Measurements


def measure_mean_square(points: Any) -> Any:
    """Bisect for where the mean of w^2, over all orders of a few examples, is as large as at the start."""
    curvatures = points["curvatures"]
    orders = np.arange(EXAMPLES**DRAWS)

    def growth(step_sizes):
        flat = {
            "step_size": np.repeat(step_sizes, orders.size),
            "curvatures": np.repeat(curvatures, orders.size, axis=0),
            "order": np.tile(orders.astype(float), len(curvatures)),
        }
        end = ends(one_of, descend, flat, DRAWS + 1, window=1)[2][:, 0, 0]
        return np.mean(end.reshape(len(curvatures), -1) ** 2, axis=1) - 1

    # At 1 / mean the square shrinks, at 4 / mean every order makes it grow.
    return crossing(growth, 1 / curvatures.mean(axis=1), 4 / curvatures.mean(axis=1))


def _measure_growth(make, points):
    """Bisect for where a run over whole epochs ends as far from the minimum as it began."""

    def growth(step_sizes):
        here = {"step_size": step_sizes, "curvatures": points["curvatures"]}
        return np.abs(ends(make, descend, here, EPOCHS * EXAMPLES + 1, window=1)[2][:, 0, 0]) - 1

    mean = points["curvatures"].mean(axis=1)
    return crossing(growth, 1 / mean, 6 / mean)


# What is drawn


def _draw(rng):
    # Within a factor of 2 of each other, so that the growth changes its sign once.
    return {"curvatures": rng.uniform(0.2, 5.0) * rng.uniform(0.7, 1.3, size=EXAMPLES)}


def checks() -> list[Check]:
    """All checks of stochastic thresholds.

    Returns
    -------
    list
    """
    words = "four curvatures h, mean {mean:.4g}, one at a time"
    # Bisection ends at 1e-15, and a few hundred steps round to 1e-13.
    bound = 1e-10
    lines = (
        (
            "mean-square",
            f"{words} with replacement: mean square bounded up to 2 E h / E h^2",
            "Wu, Ma & E, NeurIPS 2018",
            limit_in_mean_square,
            measure_mean_square,
        ),
        (
            "almost-sure",
            f"{words}, reshuffled: bounded up to the root of E log|1 - eta h|",
            "Chemnitz & Engel, arXiv 2407.20209",
            limit_almost_surely,
            functools.partial(_measure_growth, reshuffled),
        ),
        (
            "full-batch",
            "four curvatures h, mean {mean:.4g}, all at once: bounded up to 2 / E h",
            "linear stability of a quadratic",
            limit_in_full,
            functools.partial(_measure_growth, in_full),
        ),
    )

    def draw(rng):
        drawn = _draw(rng)
        return drawn | {"mean": drawn["curvatures"].mean()}

    return [
        Check(f"stochastic-{name}", "stochastic", claim, source, draw, predict, measure, bound, 2, fast=1)
        for name, claim, source, predict, measure in lines
    ]
