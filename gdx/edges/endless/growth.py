"""The zero of the growth rate: where a linear recursion stops decaying."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.edges.endless.estimates import Found, nothing
from gdx.edges.endless.probing import WIDTH, Probe
from gdx.edges.endless.traces import Traces

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
GOOD, FINE, CLOSEST = 1e-14, 1e-9, 1e-10
"""Relative errors at which closer points are not worth their runs at all, and not if they did not help before; and the
relative distance below which rounding takes over."""
SAMPLES = (12, 10, 8)
"""Of a window's last half, for the rate itself and to see how far it can be trusted."""
RANK = 1e-12
"""Smallest singular value, relative, that is no rounding."""
SAFETY = 10.0
"""Agreement of a few interpolations may be luck."""
MAX_ROUNDS = 12


class Slopes(NamedTuple):
    """Growth per step of the logarithm of the gradient's change over parts of the valid window; NaN for no window."""

    half: Float[np.ndarray, " S"]
    """Over the last half."""
    third: Float[np.ndarray, " S"]
    """Over the third quarter."""
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


def _window(logs):
    first = logs[0]
    with np.errstate(invalid="ignore"):
        outside = ~((logs >= first - DECAY) & (logs <= first + GROWTH))
    end = int(np.argmax(outside)) if outside.any() else logs.size
    return logs[:end]


def _lane(logs):
    logs = _window(logs)
    end = logs.size
    if end < 4 * FEWEST:
        return (math.nan,) * 4
    third, fourth = (_slope(logs[low:high]) for low, high in itertools.pairwise((end // 2, 3 * end // 4, end)))
    return (_slope(logs[end // 2 :]), third, fourth, logs[end - 1] - logs[0])


def _slope(values):
    times = np.arange(values.size) - 0.5 * (values.size - 1)
    return float(times @ (values - values.mean()) / (times @ times))


def zero_of_growth(probe: Probe, key: chex.PRNGKey, lower: float, upper: float) -> Found:
    """Find the step size at which the growth rate passes zero.

    Multisection on the sign, since with momentum the rate is flat until just below the edge; then inverse cubic
    interpolation on the four nearest points, and closer points for as long as they help. The rate is that of the
    fastest mode alone, so that a second one, nearly as unstable and not faded by the end of the window, does no harm.

    Parameters
    ----------
    probe, key
        Whose runs.
    lower, upper
        Step sizes with decay at the first and growth at the second.

    Returns
    -------
    Found
        The error is ten times what the degree of the interpolation and the samples of the window change.
    """
    logs: dict[float, np.ndarray] = {}
    signs: dict[float, bool] = {}
    best = nothing("the growth rate does not change its sign")
    for _ in range(MAX_ROUNDS):
        traces = probe(np.linspace(lower, upper, WIDTH), key)
        for step_size, slope, column in zip(
            traces.step_sizes.tolist(), slopes(traces).half, traces.changes[1:].T, strict=True
        ):
            if math.isfinite(slope):
                logs[step_size] = _window(column)
                signs[step_size] = _grows(logs[step_size], slope)
        ordered = sorted(signs)
        decaying = [i for i, step_size in enumerate(ordered) if not signs[step_size]]
        if not decaying or decaying[-1] == len(ordered) - 1:
            break
        # Beyond the edge growth is plain to see; far below, what has decayed to rounding may seem to grow.
        at = decaying[-1]
        lower, upper = ordered[at], ordered[at + 1]
        if upper - lower > CLOSE * lower or not 1 <= at <= len(ordered) - 3:
            continue
        nearest = ordered[at - 1 : at + 3]
        found = _interpolated(np.array(nearest), [logs[step_size] for step_size in nearest])
        helped = not best.is_number or found.error < 0.5 * best.error
        best = found if not best.is_number or found.error < best.error else best
        spent = upper - lower <= CLOSEST * lower or (best.is_number and best.error <= FINE * best.value and not helped)
        if spent or best.error <= GOOD * best.value:
            break
    return best


def _grows(logs, slope):
    """Sign of the fastest mode's rate where that is clear; far below an edge momentum leaves too many modes."""
    rates = [leading_rate(logs, samples)[0] for samples in SAMPLES]
    return (rates[0] if max(rates) - min(rates) <= 1e-3 * abs(rates[0]) else slope) > 0


@np.errstate(divide="ignore", invalid="ignore")
def _interpolated(step_sizes, logs):
    """Root of the fastest mode's rate, and how far it can be trusted."""
    (rates, dropped), *others = (np.array([leading_rate(lane, samples) for lane in logs]).T for samples in SAMPLES)
    value = _inverse(step_sizes, rates)
    # Of the four nearest points the three nearest ones make the quadratic.
    nearest = np.sort(np.argsort(np.abs(rates))[:3])
    degree = abs(value - _inverse(step_sizes[nearest], rates[nearest]))
    window = max(abs(value - _inverse(step_sizes, other)) for other, _ in others)
    window += np.max(dropped) * abs((step_sizes[-1] - step_sizes[0]) / (rates[-1] - rates[0]))
    error = SAFETY * (degree + window) + FLOOR * abs(value)
    return (
        Found(float(value), float(error)) if np.isfinite(error) else nothing("the growth rate cannot be interpolated")
    )


def leading_rate(logs: Float[np.ndarray, " T"], samples: int) -> tuple[float, float]:
    """Rate of the fastest of the modes whose squares add up to a signal.

    Parameters
    ----------
    logs
        Logarithm of the signal's norm at every step.
    samples
        How many are taken, an even number; half as many modes can be told apart.

    Returns
    -------
    float, float
        Per step, and what the modes that were taken for rounding may amount to; NaN for a window that is too short.

    Notes
    -----
    The matrix pencil of Hua and Sarkar (1990): the Hankel matrices of the samples and of the samples shifted by one
    have the modes' factors as generalised eigenvalues; small singular values are rounding.
    """
    # Shifted by one, the Hankel matrices take one sample more than they have rows and columns.
    stride = (logs.size // 2) // samples
    if stride < 1:
        return math.nan, math.nan
    taken = logs[logs.size - 1 - stride * np.arange(samples)[::-1]]
    # The drift is taken out, so that decaying and growing signals are as well conditioned as steady ones.
    drift = (taken[-1] - taken[0]) / (samples - 1)
    values = np.exp(2 * (taken - taken[0] - drift * np.arange(samples)))
    half = samples // 2
    rows = np.arange(half)[:, None] + np.arange(half)[None, :]
    left, sizes, right = np.linalg.svd(values[rows])
    rank = int(np.sum(sizes > RANK * sizes[0]))
    reduced = (left[:, :rank].T @ values[rows + 1] @ right[:rank].T) / sizes[:rank]
    factor = np.max(np.abs(np.linalg.eigvals(reduced)))
    # A mode that fades within a sample or so fills one entry of the matrix, where the lasting one fills them all.
    dropped = half * (sizes[rank] / sizes[0] if rank < half else RANK)
    return float((0.5 * math.log(factor) + drift) / stride), float(0.5 * dropped / stride)


def _inverse(step_sizes, rates):
    """Step size as a polynomial in the rate, at rate 0 (Lagrange), relative to the middle to spare digits."""
    middle = step_sizes[len(step_sizes) // 2]
    total = 0.0
    for i, rate in enumerate(rates):
        others = np.delete(rates, i)
        total += (step_sizes[i] - middle) * np.prod(-others / (rate - others))
    return middle + total
