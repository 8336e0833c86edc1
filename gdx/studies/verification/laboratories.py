"""Losses of one number whose whole life under gradient descent is known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx import curvature
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
    """Bisect on the side that the row drew."""
    return np.abs(_measure_basin(partner_from, points))


def measure_quartic_cycle(points: Any) -> Any:
    """The last two points of a long run, ascending."""
    return np.sort(np.abs(ends(double_well, descend, points, 4000, window=2)[2][..., 0]), axis=1)


def measure_three_cycle(points: Any) -> Any:
    """The last three points of a long run, ascending."""
    return np.sort(ends(three_pieces, heavy_ball, points, 2000, window=3)[2][..., 0], axis=1)


def measure_slowing(points: Any) -> Any:
    """How much 1/g^2 gains a step, between the middle and the end of a long run at exactly the edge."""
    points = points | {"step_size": 1 / points["a"] ** 2}
    steps = 20_000
    late = ends(double_well, descend, points, steps, window=1)[1][:, 0, 0]
    middle = ends(double_well, descend, points, steps // 2, window=1)[1][:, 0, 0]
    return (late**-2.0 - middle**-2.0) / (steps // 2)


def measure_monotone(points: Any) -> Any:
    """Bisect for the step size from which on some start within the basin sees its loss rise in its first step."""

    def rises(step_sizes):
        shares = np.linspace(0, 1, 100_002)[1:-1]
        starts = points["a"][:, None] * np.sqrt(1 + 2 / (step_sizes * points["a"] ** 2))[:, None] * shares
        return np.asarray(_largest_rise(starts, step_sizes, points["a"]))

    return crossing(rises, 0.1 / points["a"] ** 2, 1 / points["a"] ** 2, iterations=40)


@jax.jit
@jax.vmap
def _largest_rise(starts, step_size, a):
    def loss(w):
        return double_well({"start": w, "a": a}).loss(w, (), None)[0]

    before, gradient = jax.vmap(jax.value_and_grad(loss))(starts)
    after = jax.vmap(loss)(starts - step_size * gradient)
    # Relative to the loss, so that the rise does not vanish towards the minimum.
    return jnp.max(after / before) - 1


def measure_merging(points: Any) -> Any:
    """Bisect for the step size from which on runs visit both wells, not the one that they started in alone."""

    def visits_both(step_sizes):
        return np.asarray(_visits_both(jnp.asarray(step_sizes), jnp.asarray(points["a"]), jnp.asarray(points["start"])))

    low, high = 1.45 / points["a"] ** 2, 1.8 / points["a"] ** 2
    return crossing(visits_both, low, high, iterations=30)


@jax.jit
@jax.vmap
def _visits_both(step_size, a, starts):
    def loss(w):
        return double_well({"start": w, "a": a}).loss(w, (), None)[0]

    def forward(carry, _):
        w, crossed = carry
        new = w - step_size * jax.vmap(jax.grad(loss))(w)
        return (new, crossed | (new * w < 0)), None

    # Starts are spread over the well's attractor by the first half; changes of side count in the second.
    settled = jax.lax.scan(forward, (starts, jnp.zeros(starts.shape, bool)), length=1000)[0][0]
    crossed = jax.lax.scan(forward, (settled, jnp.zeros(starts.shape, bool)), length=20_000)[0][1]
    return jnp.where(jnp.any(crossed), 1.0, -1.0)


def measure_escape(points: Any) -> Any:
    """Share of random starts that blow up."""
    starts = points["start"]
    flat = {
        "step_size": np.repeat(points["step_size"], starts.shape[1]),
        "a": np.repeat(points["a"], starts.shape[1]),
        "start": starts.ravel(),
    }
    last = ends(double_well, descend, flat, 2000, window=1)[2][:, 0, 0]
    return np.mean(~(np.abs(last.reshape(starts.shape)) < 1e6), axis=1)


@jax.jit
@jax.vmap
def _ripple_curvature(height, length):
    """Smallest second derivative of x^2 + height cos(2 pi x / length) over half a ripple."""

    def loss(x):
        return x**2 + height * jnp.cos(2 * jnp.pi * x / length)

    places = jnp.linspace(0.0, 0.5, 101) * length
    return jnp.min(jnp.asarray(jax.vmap(lambda x: curvature.hvp(loss, x, jnp.ones(())))(places)))


def measure_ripple(points: Any) -> Any:
    """Bisect for the height of the ripples from which on some curvature is negative."""
    lengths = jnp.asarray(points["length"])
    return crossing(lambda heights: -_ripple_curvature(jnp.asarray(heights), lengths), 0.0, points["length"] ** 2)


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


def _draw_length(rng):
    return {"a": rng.uniform(0.5, 2.0)}


def _draw_slowing(rng):
    a = rng.uniform(0.5, 2.0)
    return {"a": a, "start": a * rng.uniform(0.5, 0.9)}


def _draw_merging(rng):
    a = rng.uniform(0.5, 2.0)
    return {"a": a, "start": a * rng.uniform(0.2, 1.2, size=64)}


def _draw_escape(rng):
    a = rng.uniform(0.5, 2.0)
    return {"step_size": rng.uniform(2.05, 3.0) / a**2, "a": a, "start": a * rng.normal(size=256)}


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


def _phases():
    yield Check(
        "catapult-quartic",
        "catapult",
        "(w^2 - a^2)^2 / 4, a = {a:.4g}: no loss rises up to eta a^2 = 2 sqrt(2) - 2",
        PHASES,
        _draw_length,
        lambda p: (2 * np.sqrt(2) - 2) / p["a"] ** 2,
        measure_monotone,
        1e-8,  # The first start whose loss rises lies between two of the grid; the error is the spacing's square.
        1,
        fast=1,
    )
    yield Check(
        "merging-quartic",
        "merging",
        "(w^2 - a^2)^2 / 4, a = {a:.4g}: the wells' chaos merges at eta a^2 = 3 sqrt(3) / 2 - 1",
        PHASES,
        _draw_merging,
        lambda p: (1.5 * np.sqrt(3) - 1) / p["a"] ** 2,
        measure_merging,
        # Beyond it by d a run visits the other side about once in 1/sqrt(d) steps: a million look for it.
        1e-6,
        1,
        fast=1,
    )
    yield Check(
        "escape-quartic",
        "escape",
        "(w^2 - a^2)^2 / 4, a = {a:.4g}, eta = {step_size:.5g}: all starts escape beyond eta a^2 = 2",
        PHASES,
        _draw_escape,
        lambda p: 1.0,
        measure_escape,
        0.0,
        2,
        fast=1,
    )
    yield Check(
        "slowing-quartic",
        "slowing",
        "(w^2 - a^2)^2 / 4, a = {a:.4g}: |g| = a^3 / (2 sqrt(t)) at eta a^2 = 1, so 1/g^2 gains 4 / a^6 a step",
        "centre manifold of a flip",
        _draw_slowing,
        lambda p: 4 / p["a"] ** 6,
        measure_slowing,
        # The next term of 1/g^2 is a multiple of log(t), which gains about 2 / T a step in the second half of T steps.
        2e-4,
        2,
        fast=1,
    )
    yield Check(
        "convexity-ripple",
        "convexity",
        "x^2 + e cos(2 pi x / l), l = {length:.4g}: convex up to e = l^2 / (2 pi^2)",
        "Liu, arXiv 2406.13971",
        lambda rng: {"length": rng.uniform(0.2, 3.0)},
        lambda p: p["length"] ** 2 / (2 * np.pi**2),
        measure_ripple,
        1e-12,
        2,
        fast=1,
    )


def checks() -> list[Check]:
    """All checks of losses of one number, apart from their tails and doublings.

    Returns
    -------
    list
    """
    return [*_basins(), *_cycles(), *_phases()]
