"""How large the gradient stays beyond the edge: laws of the tail."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.optimizers import textbook_rmsprop
from gdx.problems import linear_network, problem
from gdx.studies.verification.base import Check
from gdx.studies.verification.running import crossing, descend, tail_norms

EPS = 1e-8
"""optax's default for RMSprop."""
STARTS = 4
SETTLED = 1e-9
"""What is left of the way to the cycle: at most 0.99 a step on the ranges drawn, over thousands of steps, and then the
rounding of gradients that are differences of numbers of order 1."""


# Problems and families of a point's values


def hyperbola(h: Any) -> Any:
    """Half of (u v - s)^2 from a point of the basin."""
    return problem(h["start"], lambda w: 0.5 * (w[0] * w[1] - h["s"]) ** 2)


def double_well(h: Any) -> Any:
    """(w^2 - a^2)^2 / 4."""
    return problem(h["start"], lambda w: 0.25 * (w**2 - h["a"] ** 2) ** 2)


def both_labels(h: Any) -> Any:
    """Mean logistic loss of two examples at x with opposite labels."""
    return problem(h["start"], lambda w: 0.5 * (jax.nn.softplus(h["x"] * w) + jax.nn.softplus(-h["x"] * w)))


def bowl(h: Any) -> Any:
    """Half of lam x^2."""
    return problem(h["start"], lambda x: 0.5 * h["lam"] * x**2)


def inside(h: Any) -> Any:
    """RMSprop as optax has it by default."""
    return optax.rmsprop(h["step_size"])


def outside(h: Any) -> Any:
    """RMSprop with eps outside the root."""
    return textbook_rmsprop(h["step_size"])


def network(h: Any) -> Any:
    """Two layers of three, singular values s, s/2 and s/4: gdx's own network in other units."""
    unit = linear_network((3, 3, 3), singular_values=(1.0, 0.5, 0.25))
    start = 0.1 * jnp.sqrt(h["s"]) * h["start"]

    def loss(matrices):
        scaled = tuple(matrices[i] / jnp.sqrt(h["s"]) for i in range(2))
        return h["s"] ** 2 * unit.loss(scaled, (), None)[0]

    return problem(start, loss)


# Laws


def law_of_hyperbola(p: Any) -> float:
    """sqrt(2 (eta s - 1)) / eta^1.5, from 1/s to (sqrt(5) - 1)/s."""
    return np.sqrt(2 * (p["step_size"] * p["s"] - 1)) / p["step_size"] ** 1.5


def law_of_double_well(p: Any) -> float:
    """a^3 sqrt(e - 1) / e^1.5 with e = eta a^2, from 1 to sqrt(5) - 1."""
    scaled = p["step_size"] * p["a"] ** 2
    return p["a"] ** 3 * np.sqrt(scaled - 1) / scaled**1.5


def law_of_both_labels(p: Any) -> float:
    """2 |w| / eta where w = (eta x / 4) tanh(x w / 2), beyond 8 / x^2."""
    eta, x = p["step_size"], p["x"]
    w = crossing(lambda w: w - eta * x / 4 * np.tanh(x * w / 2), 1e-6, eta * x, iterations=60)
    return float(2 * w / eta)


def law_inside(p: Any) -> float:
    """sqrt((eta lam / 2)^2 - eps), 0 where that is negative."""
    return np.sqrt(max((p["step_size"] * p["lam"] / 2) ** 2 - EPS, 0.0))


def law_outside(p: Any) -> float:
    """max(0, eta lam / 2 - eps)."""
    return max(p["step_size"] * p["lam"] / 2 - EPS, 0.0)


# Measurements: of all starts, every step of the tail


def _by_scan(family, make, num_steps, points):
    """Smallest and largest gradient norm of each start's tail, [N, 2 R]."""
    starts = points["start"]
    repeated = {name: np.repeat(values, starts.shape[1], axis=0) for name, values in points.items() if name != "start"}
    flat = repeated | {"start": starts.reshape(-1, *starts.shape[2:])}
    norms = tail_norms(make, family, flat, num_steps)
    return np.stack([norms.min(axis=1), norms.max(axis=1)], axis=-1).reshape(len(starts), -1)


def measure_hyperbola(points: Any) -> Any:
    """Run gradient descent from every start of the basin."""
    return _by_scan(descend, hyperbola, 4000, points)


def measure_double_well(points: Any) -> Any:
    """Run gradient descent from every start of the basin."""
    return _by_scan(descend, double_well, 4000, points)


def measure_both_labels(points: Any) -> Any:
    """Run gradient descent from anywhere."""
    return _by_scan(descend, both_labels, 2000, points)


def measure_inside(points: Any) -> Any:
    """Run RMSprop, which first travels to the minimum at one step size a step."""
    return _by_scan(inside, bowl, 4000, points)


def measure_outside(points: Any) -> Any:
    """Run RMSprop with eps outside the root."""
    return _by_scan(outside, bowl, 4000, points)


def measure_network(points: Any) -> Any:
    """Run gradient descent on a network from small random starts."""
    return _by_scan(descend, network, 6000, points)


# What is drawn: away from the ends of each law, where the cycle attracts at 1 a step and no run ends


def _draw_hyperbola(rng):
    # A box inside the ellipse that bounds the orbits, see the checks of basins, for all these step sizes.
    s = rng.uniform(0.3, 3.0)
    return {
        "step_size": rng.uniform(1.03, 1.22) / s,
        "s": s,
        "start": np.sqrt(s) * rng.uniform(0.3, 1.05, size=(STARTS, 2)),
    }


def _draw_network(rng):
    # The law holds while step_size (s1 + s2) < 2; the second value is half of the first.
    s = rng.uniform(0.3, 3.0)
    return {"step_size": rng.uniform(1.03, 1.2) / s, "s": s, "start": rng.normal(size=(STARTS, 2, 3, 3))}


def _draw_double_well(rng):
    a = rng.uniform(0.5, 2.0)
    starts = a * rng.uniform(0.1, 1.5, size=STARTS) * rng.choice([-1, 1], size=STARTS)
    return {"step_size": rng.uniform(1.03, 1.22) / a**2, "a": a, "start": starts}


def _draw_both_labels(rng):
    # At larger steps the cycle stands where the gradient is flat, and attracts at 1 a step again.
    x = rng.uniform(0.5, 2.0)
    return {"step_size": rng.uniform(8.3, 25.0) / x**2, "x": x, "start": rng.normal(size=STARTS)}


def _draw_adaptive(low, high, eps_inside):
    def draw(rng):
        lam = rng.uniform(0.5, 5.0)
        critical = (2 * np.sqrt(EPS) if eps_inside else 2 * EPS) / lam
        step_size = critical * rng.uniform(low, high)
        # RMSprop travels one step size a step, so it starts within reach, on either side.
        starts = step_size * rng.uniform(1.0, 50.0, size=STARTS) * rng.choice([-1, 1], size=STARTS)
        return {"step_size": step_size, "lam": lam, "start": starts}

    return draw


FLATTEST = "Craciun & Ghoshdastidar, arXiv 2402.13108"
LECTURE = "Tieleman & Hinton, 2012"


def _factorizations():
    yield Check(
        "tail-factorization",
        "tail",
        "(u v - s)^2 / 2, s = {s:.4g}, eta = {step_size:.5g}: |g| ends at sqrt(2 (eta s - 1)) / eta^1.5",
        FLATTEST,
        _draw_hyperbola,
        law_of_hyperbola,
        measure_hyperbola,
        SETTLED,
        4,
        fast=2,
    )
    yield Check(
        "tail-network",
        "tail",
        "two-layer network, top singular value s = {s:.4g}, eta = {step_size:.5g}: |g| ends at "
        "sqrt(2 (eta s - 1)) / eta^1.5",
        FLATTEST,
        _draw_network,
        law_of_hyperbola,
        measure_network,
        1e-8,  # Modes at a quarter of the top singular value need their own time.
        2,
    )


def _numbers():
    yield Check(
        "tail-quartic",
        "tail",
        "(w^2 - a^2)^2 / 4, a = {a:.4g}, eta = {step_size:.5g}: |g| ends at a^3 sqrt(e - 1) / e^1.5, e = eta a^2",
        "Chen et al., arXiv 2310.01687",
        _draw_double_well,
        law_of_double_well,
        measure_double_well,
        SETTLED,
        4,
        fast=1,
    )
    yield Check(
        "tail-logistic",
        "tail",
        "logistic loss, both labels at x = {x:.4g}, eta = {step_size:.5g}: |g| ends at 2 w / eta, "
        "w = (eta x / 4) tanh(x w / 2)",
        "Meng et al., arXiv 2406.05033",
        _draw_both_labels,
        law_of_both_labels,
        measure_both_labels,
        SETTLED,
        3,
        fast=1,
    )


def _adaptive():
    words = "RMSprop, eps {place} the root, lam = {{lam:.4g}}, eta = {{step_size:.5g}}: |g| ends at {law}"
    for place, law, predict, measure in (
        ("inside", "sqrt((eta lam / 2)^2 - eps)", law_inside, measure_inside),
        ("outside", "eta lam / 2 - eps", law_outside, measure_outside),
    ):
        eps_inside = place == "inside"
        claim = words.format(place=place, law=law)
        # From twice the edge down to 1.02 of it, where the cycle's multiplier is about 0.99.
        above = _draw_adaptive(1.02, 2.0, eps_inside)
        yield Check(
            f"tail-rmsprop-{place}", "tail", claim, LECTURE, above, predict, measure, SETTLED, 3, fast=int(eps_inside)
        )
        below = _draw_adaptive(0.3, 0.95, eps_inside)
        # The gradient starts near eps; a millionth of that is left of nothing that is still moving.
        yield Check(
            f"tail-rmsprop-{place}-below",
            "tail",
            claim.split(": |g|")[0] + ": |g| ends at 0, below the edge",
            LECTURE,
            below,
            predict,
            measure,
            1e-14,
            1,
            absolute=True,
        )


def checks() -> list[Check]:
    """All checks of tail laws.

    Returns
    -------
    list
    """
    return [*_factorizations(), *_numbers(), *_adaptive()]
