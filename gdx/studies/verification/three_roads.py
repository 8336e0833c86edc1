"""The edge of a smooth loss by three roads that have to agree.

The first is a closed form, or the threshold over the largest eigenvalue of the dense Hessian at the minimum, which
Newton's method finds; the second the bracket that runs of a finite horizon leave; the third the estimate of an endless
run's edge.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.edges import critical_step_size
from gdx.problems import problem
from gdx.studies.verification.base import Check
from gdx.verdicts import Answer

HORIZON = 2000
TOLERANCE = 1e-6
AGREES = 1e-9
"""Bound of the estimate against the first road; its own bar is held as well."""
POLISHED = 1e-12
"""What rounding leaves of a minimum and the eigenvalue there."""
NUDGE = 1e-3
"""How far apart Hessians are from which third and fourth derivatives are taken."""
CLEAR, FLAT = 0.1, 0.01
"""Share of the flip coefficient's two parts that it has to be, to be clear of 0, and of the largest curvature that the
smallest has to be."""


class Loss(NamedTuple):
    """A loss of parameters and of one row's numbers."""

    words: str
    """With fields, as "{a:.4g}"."""
    loss: Callable[[Any, dict[str, Any]], Any]
    """`loss(w, p) -> scalar`."""
    draw: Callable[[np.random.Generator], dict[str, Any]]
    """`draw(rng) -> p`, with a "start"."""
    curvature: Callable[[dict[str, Any]], float] | None
    """The largest one at the minimum, in closed form; None for that of the dense Hessian."""
    law: str
    """What 2 / eta_c is, for a person."""
    method: str
    """One of `METHODS`."""


class Method(NamedTuple):
    """An optimizer with one number, b."""

    words: str
    family: Callable[[float, Any], Any]
    """`family(b, step_size)`."""
    gain: Callable[[float], float]
    """Step size times curvature that it stands."""
    slope: Callable[[float], float]
    """|d rate / d ln step_size| at the edge."""


METHODS = {
    "descent": Method("gradient descent", lambda b, step_size: optax.sgd(step_size), lambda b: 2.0, lambda b: 2.0),
    "heavy ball": Method(
        "heavy ball, b = {b:.3g}",
        lambda b, step_size: optax.sgd(step_size, momentum=b),
        lambda b: 2 * (1 + b),
        lambda b: 2 * (1 + b) / (1 - b),
    ),
    "nesterov": Method(
        "Nesterov, b = {b:.3g}",
        lambda b, step_size: optax.sgd(step_size, momentum=b, nesterov=True),
        lambda b: 2 * (1 + b) / (1 + 2 * b),
        # From z^2 - (1 + b) (1 - a) z + b (1 - a) = 0 at z = -1, with a = step_size * curvature.
        lambda b: 2 * (1 + b) * (1 + 2 * b) / (1 + 3 * b),
    ),
}


@functools.cache
def _derivatives(loss):
    """Value, gradient and Hessian, compiled once for all rows."""

    def look(w, p):
        return loss(w, p), jax.grad(loss)(w, p), jax.hessian(loss)(w, p)

    return jax.jit(look)


def minimum_of(loss: Callable[[Any, Any], Any], p: Any) -> tuple[Any, Any]:
    """Find the minimum next to the start, by a damped Newton's method.

    Parameters
    ----------
    loss
        `loss(w [D], p)`.
    p
        Numbers of a row.

    Returns
    -------
    minimum, hessian
        [D] and [D, D].
    """
    w = p["start"]
    look, numbers = _derivatives(loss), jax.tree.map(jnp.asarray, p)
    here = look(w, numbers)
    for _ in range(30):
        step = np.linalg.lstsq(np.asarray(here[2]), np.asarray(here[1]), rcond=1e-9)[0]
        share = 1.0
        while (there := look(w - share * step, numbers))[0] > here[0] and share > 1e-3:
            share /= 2
        w, here = w - share * step, there
    return w, np.asarray(here[2])


def is_plain(loss: Callable[[Any, Any], Any], p: Any) -> bool:
    """Say whether a run from nearby goes on coming to rest at the minimum right up to its edge, within the horizon.

    Small cycles have to grow out of the minimum there, as the flip coefficient says; where it is negative the basin
    shrinks to nothing at the edge, and any start leaves it before. And no direction may be flat, or a saddle's.

    Parameters
    ----------
    loss, p
        As in `minimum_of`.

    Returns
    -------
    bool
    """
    w, hessian = minimum_of(loss, p)
    look, numbers = _derivatives(loss), jax.tree.map(jnp.asarray, p)
    values, vectors = np.linalg.eigh(hessian)
    v = vectors[:, -1]
    above, below = (np.asarray(look(w + side * NUDGE * v, numbers)[2]) @ v for side in (1, -1))
    third, fourth = (above - below) / (2 * NUDGE), v @ (above + below - 2 * hessian @ v) / NUDGE**2
    held, pushed = 0.5 * third @ np.linalg.pinv(hessian, rcond=1e-9) @ third, fourth / 6
    return held - pushed > CLEAR * (held + abs(pushed)) and values[0] > FLAT * values[-1]


def first_road(made: Loss, p: Any) -> float:
    """The edge by closed form, or by the eigenvalue at the minimum."""
    gain = METHODS[made.method].gain(p["b"])
    return gain / (made.curvature or functools.partial(_by_hessian, made.loss))(p)


def _by_hessian(loss, p):
    return float(np.linalg.eigvalsh(minimum_of(loss, p)[1])[-1])


def other_roads(made: Loss, points: Any) -> list[float]:
    """The estimates, where they are within their bars of the first road, and that within the bracket."""
    found = []
    for row in range(len(points["b"])):
        p = {name: values[row] for name, values in points.items()}
        truth = first_road(made, p)
        edge: Any = critical_step_size(
            problem(p["start"], _alone(made.loss, jax.tree.map(jnp.asarray, p))),
            functools.partial(METHODS[made.method].family, p["b"]),
            keys=jax.random.split(jax.random.key(0), 1),
            num_steps=HORIZON,
            criterion="converged",
            tolerance=TOLERANCE,
            # A factor of 6, so that the search and not the scan finds the edge.
            bracket=(truth / 3, truth * 2),
        )
        agree(edge.estimate, bracket_of(edge), truth, METHODS[made.method].slope(p["b"]))
        found.append(edge.estimate.value)
    return found


def _alone(loss, p):
    return lambda w: loss(w, p)


def bracket_of(edge: Any) -> tuple[float, float]:
    """Last success of a single start before its first failure, and that failure; between them runs are undecided.

    Parameters
    ----------
    edge
        As measured.

    Returns
    -------
    lower, upper
    """
    upper = edge.first_failure.upper
    met = (edge.answers[:, 0] == Answer.MET) & (edge.step_sizes < upper)
    return float(np.max(edge.step_sizes, where=met, initial=0.0)), upper


def agree(estimate: Any, bracket: tuple[float, float], truth: float, slope: float) -> None:
    """Raise in one sentence where the bracket or the estimate's bar leaves out the truth.

    Parameters
    ----------
    estimate, bracket
        As measured.
    truth
        A step size.
    slope
        |d rate / d ln step_size| at the edge, which says how far a horizon shifts it.

    Raises
    ------
    ArithmeticError
        Where roads part, or there is no estimate.
    """
    if not np.isfinite(estimate.value):
        raise ArithmeticError(f"no estimate of {truth:.9g}: {estimate.reason}")
    if abs(estimate.value - truth) > estimate.error + POLISHED * truth:
        raise ArithmeticError(f"the estimate {estimate.value:.12g} +- {estimate.error:.0e} leaves out {truth:.12g}")
    # Below the edge a run may be unfinished; beyond it, what grows may begin at rounding and be seen too late.
    too_low, too_high = (np.log(1 / small) / (HORIZON * slope) for small in (TOLERANCE, np.finfo(float).eps))
    lower, upper = bracket
    if not lower * (1 - too_high) <= truth <= upper * (1 + 1.5 * too_low):
        raise ArithmeticError(f"the bracket [{lower:.6g}, {upper:.6g}] leaves out {truth:.6g} by more than the horizon")


def check_of(name: str, made: Loss) -> Check:
    """Make the check of one loss, a row.

    Parameters
    ----------
    name, made
        The loss.

    Returns
    -------
    Check
    """
    law = made.law or "the Hessian's largest eigenvalue at the minimum"
    gain = {"descent": "2", "heavy ball": "2 (1 + b)", "nesterov": "2 (1 + b) / (1 + 2 b)"}[made.method]
    return Check(
        f"well-{name}",
        "edge",
        f"{made.words}; {METHODS[made.method].words}: eta_c = {gain} / ({law}); by the bracket and the estimate",
        "linear stability of a minimum",
        functools.partial(_draw, made),
        functools.partial(first_road, made),
        functools.partial(other_roads, made),
        AGREES,
        1,
        fast=int(name == "exp"),
    )


def _draw(made, rng):
    while True:
        # Above 0.6 runs may overshoot out of a basin before they come near its minimum.
        p = {"b": rng.uniform(0.2, 0.6)} | made.draw(rng)
        if made.curvature is not None or is_plain(made.loss, p):
            return p
