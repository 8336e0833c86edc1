"""Losses of one number whose whole life under gradient descent is known: basins and cycles."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from gdx.problems import hard_partner, problem, quartic
from gdx.studies.verification.base import Check
from gdx.studies.verification.running import crossing, descend, ends
from gdx.studies.verification.tails import double_well

ALPHA, BETA = 1 / 9, 4 / 9
"""Step size and momentum at which heavy ball fails on a convex function, in units of that function."""
POINTS = np.asarray([-2208, 792, 2592]) / 1225
"""Where it goes round, ascending."""
STARTS = 4


# Problems of a point's values, in units that a row draws: length a, so that step sizes scale as 1/a^2


def quartic_from(h: Any) -> Any:
    """The double well from h["radius"]."""
    return quartic(start=h["radius"])


def partner_from(h: Any) -> Any:
    """The single well from h["radius"]."""
    return hard_partner(start=h["radius"])


def three_pieces(h: Any) -> Any:
    """The convex function with slopes 25 x, x + 24 and 25 x - 24, stretched by a."""

    def loss(w):
        x = w / h["a"]
        middle = 0.5 * x**2 + 24 * x - 12
        return h["a"] ** 2 * jnp.select([x < 1, x < 2], [12.5 * x**2, middle], 12.5 * x**2 - 24 * x + 36)

    return problem(h["start"], loss)


def heavy_ball(h: Any) -> Any:
    """At the step size and momentum that fail."""
    del h
    return optax.sgd(ALPHA, momentum=BETA)


# Closed forms


def cycle_of_quartic(p: Any) -> Any:
    """The two points of the 2-cycle, w^2 = a^2 ((1 + e) +- sqrt((1 + e)^2 - 4)) / (2 e) with e = eta a^2, ascending."""
    e = p["step_size"] * p["a"] ** 2
    root = np.sqrt((1 + e) ** 2 - 4)
    return p["a"] * np.sqrt(np.asarray([1 + e - root, 1 + e + root]) / (2 * e))


def cycle_of_partner(p: Any) -> float:
    """sqrt(2/eta - 1)."""
    return np.sqrt(2 / p["step_size"] - 1)


def bound_of_quartic(p: Any) -> float:
    """sqrt(1 + 2/eta)."""
    return np.sqrt(1 + 2 / p["step_size"])


# Measurements


def _measure_basin(make, points):
    """Bisect for the start from which runs begin to blow up."""

    def has_left(radius):
        params = ends(make, descend, {"step_size": points["step_size"], "radius": radius}, 2000, window=1)[2][:, 0, 0]
        return np.where(np.abs(params) < 1e6, -1.0, 1.0)

    return points["side"] * crossing(
        has_left, 1e-3 * points["side"], points["side"] * 20 / np.sqrt(points["step_size"])
    )


def measure_quartic_basin(points: Any) -> Any:
    """Bisect on the side that the row drew."""
    return np.abs(_measure_basin(quartic_from, points))


def measure_partner_basin(points: Any) -> Any:
    """Bisect on the side that the row drew, and see a run from just inside converge: NaN where it does not."""
    radius = _measure_basin(partner_from, points)
    inside = {"step_size": points["step_size"], "radius": 0.99 * radius}
    gradient = ends(partner_from, descend, inside, 2000, window=1)[1][:, 0, 0]
    return np.where(np.abs(gradient) < 1e-6, np.abs(radius), np.nan)


def measure_quartic_cycle(points: Any) -> Any:
    """The last two points of a long run, ascending."""
    return np.sort(np.abs(ends(double_well, descend, points, 4000, window=2)[2][..., 0]), axis=1)


def measure_three_cycle(points: Any) -> Any:
    """The last three points of a long run, ascending."""
    return np.sort(ends(three_pieces, heavy_ball, points, 2000, window=3)[2][..., 0], axis=1)


# What is drawn


def _draw_basin(low, high):
    return lambda rng: {"step_size": rng.uniform(low, high), "side": rng.choice([-1.0, 1.0])}


def _draw_cycle(rng):
    # Towards the ends of the 2-cycle's life it attracts at 1 a step. A start inside the well's basin, off its minimum.
    a = rng.uniform(0.5, 2.0)
    return {"step_size": rng.uniform(1.03, 1.22) / a**2, "a": a, "start": a * rng.uniform(0.3, 0.9)}


def _draw_three(rng):
    a = rng.uniform(0.5, 2.0)
    return {"a": a, "start": a * rng.uniform(3.25, 3.35)}


PHASES = "Chen et al., arXiv 2310.01687"
HARD = "its unstable 2-cycle"
BISECTED = 1e-10
"""Runs leave the boundary at 1.4 a step or faster, so that 2000 steps tell starts apart to the last bit."""
SETTLED = 1e-9
"""As for tails: at most 0.99 of the way is left a step, over thousands of steps."""


def _basins():
    yield Check(
        "basin-quartic",
        "basin",
        "(w^2 - 1)^2 / 4, eta = {step_size:.5g}: bounded iff |w0| < sqrt(1 + 2/eta)",
        PHASES,
        _draw_basin(0.05, 1.95),
        bound_of_quartic,
        measure_quartic_basin,
        BISECTED,
        3,
    )
    yield Check(
        "basin-partner",
        "basin",
        "x^2/2 + x^4/4, eta = {step_size:.5g}: converges iff |x0| < sqrt(2/eta - 1)",
        HARD,
        # At 2 the unstable cycle repels at 1 a step: 5 - 2 eta is its multiplier.
        _draw_basin(0.05, 1.8),
        cycle_of_partner,
        measure_partner_basin,
        BISECTED,
        3,
        fast=1,
    )


def _cycles():
    yield Check(
        "cycle-quartic",
        "cycle",
        "(w^2 - a^2)^2 / 4, a = {a:.4g}, eta = {step_size:.5g}: the 2-cycle has "
        "w^2 = a^2 (1 + e +- sqrt((1 + e)^2 - 4)) / (2 e), e = eta a^2",
        PHASES,
        _draw_cycle,
        cycle_of_quartic,
        measure_quartic_cycle,
        SETTLED,
        3,
    )
    yield Check(
        "cycle-heavy-ball",
        "cycle",
        "heavy ball, eta = 1/9, b = 4/9, curvatures 1 and 25, a = {a:.4g}: goes round "
        "a (-2208, 792, 2592) / 1225 from {start:.5g}",
        "Lessard, Recht & Packard, arXiv 1408.3595",
        _draw_three,
        lambda p: p["a"] * POINTS,
        measure_three_cycle,
        SETTLED,
        2,
        fast=1,
    )


def checks() -> list[Check]:
    """All checks of basins and cycles of losses of one number.

    Returns
    -------
    list
    """
    return [*_basins(), *_cycles()]
