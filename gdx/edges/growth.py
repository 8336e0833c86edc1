"""The zero of the growth rate: where a linear recursion stops decaying."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.edges.estimates import Found, nothing
from gdx.edges.probing import WIDTH, Probe, Traces

if TYPE_CHECKING:
    import chex
    from jaxtyping import Float

DECAY, GROWTH = 25.0, 300.0
"""How far the logarithm may fall below and rise above its first value: short of rounding, and of the overflow of a
square."""
FEWEST = 16
"""Steps of a window whose slope means anything."""
CLOSE = 1e-4
"""Relative width of the interval between a decaying and a growing run at which interpolation begins."""
FLOOR = 2e-15
MAX_ROUNDS = 12
RUNAWAY = 30.0
"""Logarithm of how much a run has to grow at a constant rate to show that its recursion is linear."""


class Slopes(NamedTuple):
    """Growth per step of the logarithm of the gradient's change, over parts of the valid window; NaN for no window."""

    half: Float[np.ndarray, " S"]
    """Over the last half."""
    second: Float[np.ndarray, " S"]
    """Over the second quarter."""
    third: Float[np.ndarray, " S"]
    fourth: Float[np.ndarray, " S"]
    risen: Float[np.ndarray, " S"]
    """What the logarithm gained from the first to the last step of the window."""


def slopes(traces: Traces) -> Slopes:
    """Measure growth rates by least squares.

    The gradient's change from step to step is free of the modes that hardly move. Its valid window goes from the
    first step until the logarithm leaves [first - 25, first + 300].

    Parameters
    ----------
    traces
        Of runs [S].

    Returns
    -------
    Slopes
    """
    return Slopes(*np.array([_lane(column) for column in traces.changes[1:].T]).T)


def _lane(logs):
    first = logs[0]
    with np.errstate(invalid="ignore"):
        outside = ~((logs >= first - DECAY) & (logs <= first + GROWTH))
    end = int(np.argmax(outside)) if outside.any() else logs.size
    if end < 4 * FEWEST:
        return (math.nan,) * 5
    cuts = [end // 4, end // 2, 3 * end // 4, end]
    quarters = [_slope(logs[low:high]) for low, high in itertools.pairwise(cuts)]
    return (_slope(logs[end // 2 : end]), *quarters, logs[end - 1] - first)


def _slope(values):
    times = np.arange(values.size) - 0.5 * (values.size - 1)
    return float(times @ (values - values.mean()) / (times @ times))


def is_linear(traces: Traces) -> bool:
    """Say whether some run grew by many orders of magnitude at one rate, as only a linear recursion does.

    Parameters
    ----------
    traces
        Of runs well beyond the edge.

    Returns
    -------
    bool
    """
    rates = slopes(traces)
    with np.errstate(invalid="ignore"):
        steady = np.abs(rates.third - rates.fourth) <= 1e-6 * np.abs(rates.half)
        return bool(np.any(steady & (rates.half > 0) & (rates.risen >= RUNAWAY)))


def zero_of_growth(probe: Probe, key: chex.PRNGKey, lower: float, upper: float) -> Found:
    """Find the step size at which the growth rate passes zero.

    Multisection on the sign, since with momentum the rate is flat until just below the edge; then inverse cubic
    interpolation on the four nearest points, and closer points for as long as they help.

    Parameters
    ----------
    probe, key
        Whose runs.
    lower, upper
        Step sizes with decay at the first and growth at the second.

    Returns
    -------
    Found
        The error is three times what the degree of the interpolation and the part of the window change, plus what
        a contamination that fades from quarter to quarter must still amount to.
    """
    points: dict[float, tuple[float, ...]] = {}
    best = nothing("the growth rate has no zero between the step sizes that were tried")
    for _ in range(MAX_ROUNDS):
        traces = probe(np.linspace(lower, upper, WIDTH), key)
        rates = slopes(traces)
        for i, step_size in enumerate(traces.step_sizes):
            if np.isfinite(rates.half[i]):
                points[float(step_size)] = tuple(row[i] for row in rates[:4])
        ordered = np.array(sorted(points))
        signs = np.array([points[step_size][0] > 0 for step_size in ordered])
        changes = np.flatnonzero(signs[1:] != signs[:-1])
        if changes.size != 1 or signs[0]:
            return best if best.is_number else nothing("the growth rate changes its sign more than once, or never")
        at = int(changes[0])
        lower, upper = float(ordered[at]), float(ordered[at + 1])
        if upper - lower > CLOSE * lower or not 1 <= at <= ordered.size - 3:
            continue
        nearest = ordered[at - 1 : at + 3]
        found = _interpolated(nearest, np.array([points[step_size] for step_size in nearest]).T)
        if best.is_number and not found.error < 0.5 * best.error:
            break
        best = found
        if found.error <= 1e-14 * found.value:
            break
    return best


def _interpolated(step_sizes, rates):
    """Root of the half-window's rates, and how far it can be trusted."""
    half, second, third, fourth = (_inverse(step_sizes, row) for row in rates)
    # Of the four nearest points the three nearest ones make the quadratic.
    nearest = np.sort(np.argsort(np.abs(rates[0]))[:3])
    degree = abs(half - _inverse(step_sizes[nearest], rates[0][nearest]))
    window = abs(half - fourth) + _left_over(second, third, fourth, FLOOR * half)
    return Found(float(half), float(3 * (degree + window) + FLOOR * half))


def _left_over(second, third, fourth, noise):
    """What is left of a contamination that fades by a constant factor from quarter to quarter.

    A second mode nearly as unstable as the first fades slowly: then successive quarters agree well and are all wrong.
    """
    before, last = abs(second - third), abs(third - fourth)
    if last <= 10 * noise:
        return last
    ratio = min(last / max(before, 1e-300), 0.999)
    return last * ratio / (1 - ratio)


def _inverse(step_sizes, rates):
    """Step size as a polynomial in the rate, at rate 0 (Lagrange), relative to the middle to spare digits."""
    middle = step_sizes[len(step_sizes) // 2]
    total = 0.0
    for i, rate in enumerate(rates):
        others = np.delete(rates, i)
        total += (step_sizes[i] - middle) * np.prod(-others / (rate - others))
    return middle + total
