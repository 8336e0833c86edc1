"""How much curvature times step size every optimizer tolerates, measured in two ways.

`threshold-...` asks `gdx.curvature_threshold` and `gdx.critical_step`, which see the optimizer as a black box.
`loop-...` asks neither: it differentiates one step of the optimizer on a bowl and bisects for the step size at which
the spectral radius passes 1.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx import responses
from gdx.studies.verification.base import Check
from gdx.studies.verification.closed_loops import by_loop, with_moment
from gdx.studies.verification.running import descend

LINES = 8
"""Gradients that the filter remembers."""
MEASURED = 1e-9
"""The impulse response is followed to 1e-16 of its largest value, and the gain's slope along the unit circle turns that
into 1e-12 or so; Adam's bias correction leaves as much."""
LOOPED = 1e-8
"""Bisection ends at 1e-15, and eigenvalues of a matrix of ten rows are good to 1e-13 of a radius that grows in
proportion to the step size, a hundred times slower at most where the memory is long."""


# Families of a point's values


def heavy_ball(h: Any) -> Any:
    """Momentum added to the gradient."""
    return optax.sgd(h["step_size"], momentum=h["b"])


def nesterov(h: Any) -> Any:
    """Momentum with look-ahead."""
    return optax.sgd(h["step_size"], momentum=h["b"], nesterov=True)


def averaged(h: Any) -> Any:
    """Exponential mean of gradients."""
    return optax.chain(optax.ema(h["b"]), optax.scale(-1.0 * h["step_size"]))


def averaged_twice(h: Any) -> Any:
    """Exponential mean of gradients, then momentum."""
    return optax.chain(optax.ema(h["b"], debias=False), optax.sgd(h["step_size"], momentum=h["c"]))


def filtered(h: Any) -> Any:
    """Weighted sum of the last gradients."""

    def init(params):
        return jax.tree.map(lambda leaf: jnp.zeros((LINES, *leaf.shape), leaf.dtype), params)

    def update(updates, state, params=None):
        past = jax.tree.map(lambda new, old: jnp.concatenate([new[None], old[:-1]]), updates, state)
        return jax.tree.map(lambda leaf: jnp.tensordot(jnp.asarray(h["weights"], leaf.dtype), leaf, axes=1), past), past

    return optax.chain(optax.GradientTransformation(init, update), optax.sgd(h["step_size"]))


def adam(h: Any) -> Any:
    """Adam with optax's other defaults."""
    return optax.adam(h["step_size"], b1=h["b"])


def nadam(h: Any) -> Any:
    """Adam with Nesterov's look-ahead."""
    return optax.nadam(h["step_size"], b1=h["b"])


def rmsprop(h: Any) -> Any:
    """RMSprop with optax's defaults, eps inside the root."""
    return optax.rmsprop(h["step_size"], decay=h["b"])


def adamw(h: Any) -> Any:
    """Adam with decoupled weight decay."""
    return optax.adamw(h["step_size"], b1=h["b"], weight_decay=h["decay"])


# Closed forms, of step size times curvature unless the name says otherwise


def gain_of_momentum(p: Any) -> float:
    """2 (1 + b), the threshold of heavy ball."""
    return 2 * (1 + p["b"])


def gain_of_nesterov(p: Any) -> float:
    """2 (1 + b) / (1 + 2 b)."""
    return 2 * (1 + p["b"]) / (1 + 2 * p["b"])


def gain_of_mean(p: Any) -> float:
    """2 (1 + b) / (1 - b), of an exponential mean and so of Adam."""
    return 2 * (1 + p["b"]) / (1 - p["b"])


def gain_of_nadam(p: Any) -> float:
    """2 (1 + b) / ((1 - b) (1 + 2 b))."""
    return 2 * (1 + p["b"]) / ((1 - p["b"]) * (1 + 2 * p["b"]))


def gain_of_two_memories(p: Any) -> float:
    """Where the cubic of an exponential mean and then momentum has a pair of roots on the unit circle, or a flip."""
    b, c = p["b"], p["c"]
    return min(2 * (1 + b) * (1 + c) / (1 - b), (1 - b * c) * (1 - c) / (b * c))


def gain_of_two_gradients(p: Any) -> float:
    """Of (1 - w) g_t + w g_(t-1): a pair of roots on the unit circle at 1/w, a flip at 2 / (1 - 2 w)."""
    w = p["w"]
    return min(1 / w, 2 / (1 - 2 * w)) if w < 0.5 else 1 / w


def gain_of_delay(p: Any) -> float:
    """2 sin(pi / (2 (2 d + 1))) for a gradient that comes d steps late; 1 for one step."""
    return 2 * np.sin(np.pi / (2 * (2 * p["d"] + 1)))


def step_of_adamw(p: Any) -> float:
    """2 (1 + b1) / ((1 - b1) lam / P + (1 + b1) decay), a step size."""
    return 2 * (1 + p["b"]) / ((1 - p["b"]) * p["lam"] / p["P"] + (1 + p["b"]) * p["decay"])


# The two measurements


def by_response(family: Any, points: dict[str, Any]) -> list[float]:
    """Ask `gdx.curvature_threshold`, one row after the other."""
    fields = [{name: values[i] for name, values in points.items()} for i in range(len(next(iter(points.values()))))]
    return [responses.curvature_threshold(functools.partial(_at, family, point)) for point in fields]


def _at(family, point, step_size):
    return family(point | {"step_size": step_size})


def by_critical_step(family: Any, points: dict[str, Any]) -> list[float]:
    """Ask `gdx.critical_step`, one row after the other."""
    return [
        responses.critical_step(
            functools.partial(_at, family, {"b": b, "decay": decay}), lam, preconditioner=preconditioner
        )
        for b, decay, lam, preconditioner in zip(*(points[name] for name in ("b", "decay", "lam", "P")), strict=True)
    ]


def _loop_gain(family, points):
    return by_loop(family, points) * points["lam"]


def _preconditioned(family, eps_inside, points):
    """In units of the preconditioned curvature: P is the denominator that the second moment and eps make."""
    return by_loop(family, with_moment(eps_inside, points)) * points["lam"] / points["P"]


# What is drawn


def _draw(rng: np.random.Generator) -> dict[str, Any]:
    # Nearer to 1 the memory outlasts the measurement, and eigenvalues crowd at 1.
    return {"b": rng.uniform(0.1, 0.95), "lam": rng.uniform(0.5, 5.0)}


def _draw_two(rng):
    return {"b": rng.uniform(0.3, 0.9), "c": rng.uniform(0.3, 0.9), "lam": rng.uniform(0.5, 5.0)}


def _draw_weights(rng):
    # Between 0 and 1/4 the flip comes first, beyond a pair; at 1/4 both at once, a double root, stays out.
    w = rng.choice([rng.uniform(0.02, 0.2), rng.uniform(0.3, 1.0)])
    weights = np.zeros(LINES)
    weights[:2] = 1 - w, w
    return {"w": w, "weights": weights, "lam": rng.uniform(0.5, 5.0)}


def _draw_delay(rng):
    d = int(rng.integers(1, LINES))
    return {"d": d, "weights": np.eye(LINES)[d], "lam": rng.uniform(0.5, 5.0)}


def _draw_moments(rng):
    return {"b": rng.uniform(0.3, 0.95), "lam": rng.uniform(0.5, 5.0), "P": rng.uniform(0.01, 2.0)}


def _draw_decay(rng):
    return _draw_moments(rng) | {"decay": 10 ** rng.uniform(-3, 0)}


TRANSFER = "z-transform of the gradient history"
JURY = "Jury's stability criterion"
POLYAK = "Polyak, 1964"
COHEN = "Cohen et al., arXiv 2207.14484"
METHODS = {
    "descent": ("gradient descent: eta lam < 2", descend, lambda p: 2.0, _draw, "linear stability of a quadratic"),
    "heavy-ball": ("heavy ball, b = {b:.4g}: eta lam < 2 (1 + b)", heavy_ball, gain_of_momentum, _draw, POLYAK),
    "ema": ("mean of gradients, b = {b:.4g}: eta lam < 2 (1 + b) / (1 - b)", averaged, gain_of_mean, _draw, COHEN),
    "nesterov": (
        "Nesterov, b = {b:.4g}: eta lam < 2 (1 + b) / (1 + 2 b)",
        nesterov,
        gain_of_nesterov,
        _draw,
        "Cohen et al., arXiv 2103.00065",
    ),
    "two-memories": (
        "mean of gradients, b = {b:.4g}, then momentum c = {c:.4g}: eta lam < (1 - b c) (1 - c) / (b c) or a flip",
        averaged_twice,
        gain_of_two_memories,
        _draw_two,
        JURY,
    ),
    "two-gradients": (
        "last two gradients weighted 1 - w, w = {w:.4g}: eta lam < 1 / w or 2 / (1 - 2 w)",
        filtered,
        gain_of_two_gradients,
        _draw_weights,
        JURY,
    ),
    "delay": (
        "gradient delayed by d = {d}: eta lam < 2 sin(pi / (4 d + 2))",
        filtered,
        gain_of_delay,
        _draw_delay,
        TRANSFER,
    ),
}
ADAPTIVE = {
    "adam": ("Adam, b1 = {b:.4g}: eta lam / P < 2 (1 + b1) / (1 - b1)", adam, gain_of_mean, False, COHEN),
    "nadam": (
        "NAdam, b1 = {b:.4g}: eta lam / P < 2 (1 + b1) / ((1 - b1) (1 + 2 b1))",
        nadam,
        gain_of_nadam,
        False,
        TRANSFER,
    ),
    "rmsprop": ("RMSprop, decay {b:.4g}: eta lam / P < 2", rmsprop, lambda p: 2.0, True, COHEN),
}
ADAMW = "AdamW, b1 = {b:.4g}, decay {decay:.3g}: eta < 2 (1 + b1) / ((1 - b1) lam / P + (1 + b1) decay)"


def _number_of(name):
    return 1 if name == "descent" else 3 if name == "two-memories" else 2


def _pair(name, claim, at, source, draw, predict, respond, loop, number, fast):
    """Two checks of one threshold: by gdx's impulse response, and by the spectrum of one step."""
    yield Check(
        f"threshold-{name}",
        "threshold",
        f"{claim}; by impulse response",
        source,
        draw,
        predict,
        respond,
        MEASURED,
        number,
        fast=int(name == "heavy-ball"),
    )
    yield Check(
        f"loop-{name}",
        "threshold",
        f"{claim}; by one step's spectrum at {at}",
        source,
        draw,
        predict,
        loop,
        LOOPED,
        number,
        fast=int(fast),
    )


def checks() -> list[Check]:
    """All checks of thresholds.

    Returns
    -------
    list
    """
    found: list[Check] = []
    for name, (claim, family, gain, draw, source) in METHODS.items():
        measures = functools.partial(by_response, family), functools.partial(_loop_gain, family)
        fast = name in ("nesterov", "two-memories")
        found += _pair(name, claim, "lam = {lam:.4g}", source, draw, gain, *measures, _number_of(name), fast)
    at = "lam = {lam:.4g}, P = {P:.4g}"
    for name, (claim, family, gain, eps_inside, source) in ADAPTIVE.items():
        measures = functools.partial(by_response, family), functools.partial(_preconditioned, family, eps_inside)
        found += _pair(name, claim, at, source, _draw_moments, gain, *measures, 2, False)
    measures = functools.partial(by_critical_step, adamw), lambda points: by_loop(adamw, with_moment(False, points))
    found += _pair("adamw", ADAMW, at, f"{COHEN}; 1711.05101", _draw_decay, step_of_adamw, *measures, 2, True)
    return found
