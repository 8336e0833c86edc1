"""Losses of one number whose whole life under gradient descent is known: where one phase gives way to the next."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx import curvature
from gdx.stepping import train_step
from gdx.studies.verification.base import Check
from gdx.studies.verification.running import crossing, descend, ends
from gdx.studies.verification.tails import double_well


def measure_slowing(points: Any) -> Any:
    """How much 1/g^2 gains a step of a long run at exactly the edge, its logarithmic term cancelled."""
    points = points | {"step_size": 1 / points["a"] ** 2}
    quarter, half, whole = (
        ends(double_well, descend, points, steps, window=1)[1][:, 0, 0] ** -2.0 for steps in (5_000, 10_000, 20_000)
    )
    # A multiple of log(t) gains as much from a quarter to a half as from there to the end, in half the steps.
    return 2 * (whole - half) / 10_000 - (half - quarter) / 5_000


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
    step = train_step(double_well, descend)

    def forward(carry, _):
        state, crossed = carry
        new, view = step.update(state)
        return (new, crossed | (jnp.asarray(new.params) * jnp.asarray(view.params) < 0)), None

    def crosses(start):
        state = step.init({"step_size": step_size, "a": a, "start": start}, jax.random.key(0))
        # The first steps spread the starts over the well's attractor; changes of side count from then on.
        settled = jax.lax.scan(forward, (state, jnp.zeros((), bool)), length=1000)[0][0]
        return jax.lax.scan(forward, (settled, jnp.zeros((), bool)), length=20_000)[0][1]

    return jnp.where(jnp.any(jax.vmap(crosses)(starts)), 1.0, -1.0)


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


# What is drawn: the length a sets the scale of everything, and none is special


def _draw_length(rng):
    return {"a": rng.uniform(0.5, 2.0)}


def _draw_slowing(rng):
    a = rng.uniform(0.5, 2.0)
    # From 0.618 a the first step ends in the minimum, from near there so close to it that the law begins late.
    return {"a": a, "start": a * rng.uniform(0.7, 0.9)}


def _draw_merging(rng):
    a = rng.uniform(0.5, 2.0)
    return {"a": a, "start": a * rng.uniform(0.2, 1.2, size=64)}


def _draw_escape(rng):
    a = rng.uniform(0.5, 2.0)
    return {"step_size": rng.uniform(2.05, 3.0) / a**2, "a": a, "start": a * rng.normal(size=256)}


PHASES = "Chen et al., arXiv 2310.01687"


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


def _ends():
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
        # What is left gains log(t) / t^2 a step.
        1e-5,
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
    """All checks of phases.

    Returns
    -------
    list
    """
    return [*_phases(), *_ends()]
