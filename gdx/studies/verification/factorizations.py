"""Products of parameters: how flat their flattest minimum is, and which starts its neighbourhood keeps."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdx import curvature
from gdx.problems import linear_network, problem
from gdx.studies.verification.base import Check
from gdx.studies.verification.running import crossing, descend, ends

DIMENSION = 3
"""Of each of the two vectors."""
LONGEST = 6
"""Factors of a chain."""
JUST_INSIDE = 0.99
"""Share of the distance to the boundary from which a run must converge."""
HORIZON = 3000
"""Steps in which a start leaves, that stands 1e-12 beyond the boundary: it departs at 1.02 a step or faster."""


def inner_product(h: Any) -> Any:
    """Half of (u.v - y)^2, from h["radius"] along h["direction"]."""

    def loss(w):
        return 0.5 * (w[:DIMENSION] @ w[DIMENSION:] - h["y"]) ** 2

    return problem(h["radius"] * h["direction"], loss)


# Closed forms


def flattest_of_chain(p: Any) -> float:
    """Sharpness k y^(2 - 2/k) of the flattest minimum of (x1 ... xk - y)^2 / 2."""
    return p["k"] * p["y"] ** (2 - 2 / p["k"])


def radius_of_ellipse(p: Any) -> float:
    """Where |w| = r along a direction meets S - eta y (u.v) = 4/eta - eta y^2."""
    eta, y, direction = p["step_size"], p["y"], p["direction"]
    product = direction[:DIMENSION] @ direction[DIMENSION:]
    return np.sqrt((4 / eta - eta * y**2) / (1 - eta * y * product))


# Measurements


@jax.jit
@jax.vmap
def _chain_sharpness(k, y):
    # Factors beyond the first k are left out of the product: they add eigenvalues of 0 and no program of their own.
    used = jnp.arange(LONGEST) < k
    balanced = jnp.where(used, y ** (1 / k), 0.0)
    return curvature.sharpness(lambda w: 0.5 * (jnp.prod(jnp.where(used, w, 1.0)) - y) ** 2, balanced, rtol=1e-13).value


def measure_chain(points: Any) -> Any:
    """Sharpness where all factors are equal, by Lanczos."""
    return _chain_sharpness(jnp.asarray(points["k"], float), jnp.asarray(points["y"]))


@jax.jit
@jax.vmap
def _network_sharpness(s):
    widths = (2, 3, 2, 3)
    unit = linear_network(widths, singular_values=(1.0, 0.5))
    size = s ** (1 / 3)
    blocks = [np.eye(rows, columns) for columns, rows in itertools.pairwise(widths)]
    # The second mode is balanced as well, and flatter.
    balanced = tuple(
        jnp.asarray(block) * (size * np.where(np.arange(block.shape[1]) == 1, 0.5 ** (1 / 3), 1.0))[None]
        for block in blocks
    )

    def loss(matrices):
        # In units where the teacher's top singular value is 1.
        return s**2 * unit.loss(tuple(matrix / size for matrix in matrices), (), None)[0]

    return curvature.sharpness(loss, balanced, rtol=1e-12).value


def measure_network(points: Any) -> Any:
    """Sharpness of a network of three layers at its balanced minimum, by Lanczos."""
    return _network_sharpness(jnp.asarray(points["y"]))


def measure_radius(points: Any) -> Any:
    """Bisect along the direction for where runs begin to blow up."""

    def has_left(radius):
        params = ends(inner_product, descend, points | {"radius": radius}, HORIZON, window=1)[2][:, 0]
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(np.linalg.norm(params, axis=1) < 1e6, -1.0, 1.0)

    return crossing(has_left, 1e-3, 20 / np.sqrt(points["step_size"]))


def measure_convergence(points: Any) -> Any:
    """Bisect likewise, and see a run from just inside converge: NaN where it does not."""
    radius = measure_radius(points)
    inside = points | {"radius": JUST_INSIDE * radius}
    gradient = ends(inner_product, descend, inside, HORIZON, window=1)[1][:, 0]
    return np.where(np.linalg.norm(gradient, axis=1) < 1e-6, radius, np.nan)


# What is drawn


def _draw_chain(rng):
    return {"k": int(rng.integers(2, LONGEST + 1)), "y": rng.uniform(0.3, 3.0)}


def _draw_network(rng):
    return {"k": 3, "y": rng.uniform(0.3, 3.0)}


def _draw_ellipse(low, high):
    # At 1/|y| itself the flattest minimum attracts no faster than 1/sqrt(t).
    def draw(rng):
        direction = rng.normal(size=2 * DIMENSION)
        y = rng.uniform(0.5, 2.0) * rng.choice([-1, 1])
        return {
            "step_size": rng.uniform(low, high) / abs(y),
            "y": y,
            "direction": direction / np.linalg.norm(direction),
        }

    return draw


def _draw_catapult(rng):
    return _draw_ellipse(0.1, 2.0)(rng) | {"y": 0.0}


ELLIPSE = "Liang & Montufar, arXiv 2509.25351"
FLATTEST = "Craciun & Ghoshdastidar, arXiv 2402.13108"
LANCZOS = 1e-10
"""Ritz values are off by the square of the residual, 1e-12 of the value, and by the rounding of the product."""
BISECTED = 1e-9
"""Bisection ends at 1e-14; runs closer to the boundary than 1e-12 have not left at the horizon."""


def _minima():
    words = "flattest sharpness is k y^(2 - 2/k), k = {k}, y = {y:.4g}"
    yield Check(
        "minimum-chain",
        "minimum",
        f"(x1 ... xk - y)^2 / 2: {words}",
        FLATTEST,
        _draw_chain,
        flattest_of_chain,
        measure_chain,
        LANCZOS,
        3,
        fast=1,
    )
    yield Check(
        "minimum-network",
        "minimum",
        f"linear network, k layers, top singular value y: {words}",
        FLATTEST,
        _draw_network,
        flattest_of_chain,
        measure_network,
        LANCZOS,
        2,
    )


def _basins():
    on = "(u.v - y)^2 / 2, a random direction, y = {y:.4g}, eta = {step_size:.4g}:"
    ellipse = "S - eta y u.v < 4/eta - eta y^2"
    lines = (
        ("ellipse", f"{on} converges iff {ellipse}", ELLIPSE, _draw_ellipse(0.1, 0.95), 3, 2),
        ("beyond", f"{on} stays finite beyond 1/|y| iff {ellipse}", ELLIPSE, _draw_ellipse(1.02, 1.9), 2, 0),
        (
            "catapult",
            "(u.v)^2 / 2, a random direction, eta = {step_size:.4g}: the catapult ends well iff S < 4 / eta",
            "Lewkowycz et al., arXiv 2003.02218",
            _draw_catapult,
            2,
            0,
        ),
    )
    for name, claim, source, draw, number, fast in lines:
        yield Check(
            f"basin-{name}",
            "basin",
            claim,
            source,
            draw,
            radius_of_ellipse,
            measure_convergence if name == "ellipse" else measure_radius,
            BISECTED,
            number,
            fast=fast,
        )


def checks() -> list[Check]:
    """All checks of factorizations, apart from their tails and doublings.

    Returns
    -------
    list
    """
    return [*_minima(), *_basins()]
