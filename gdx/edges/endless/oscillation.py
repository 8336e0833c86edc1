"""The edge of a soft transition from the oscillating side: the root of the squared gradient norm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gdx.edges.endless.estimates import Found, nothing
from gdx.edges.endless.probing import WIDTH, Probe
from gdx.edges.endless.traces import Traces
from gdx.trees import rows

if TYPE_CHECKING:
    import chex
    from jaxtyping import Bool

    from gdx.stepping import TrainState

WIDEST, NARROWEST = 0.12, 1e-3
"""Distances above the edge, relative, between which cycles are looked for."""
SPAN = 12.0
"""Ratio of the furthest to the nearest node of a fit."""
FEWEST = 6
"""Stationary points without which nothing is fitted."""
MAX_DEGREE = 7
PASSES = 4
MAX_LADDERS = 4
FLOOR = 1e-11
POWERS = (2, 1)
"""Of the gradient norm: squared it is smooth at an ordinary flip, as it is under a preconditioner with a floor."""


def ladder(probe: Probe, key: chex.PRNGKey, step_size: float, source: TrainState | None = None) -> Traces:
    """Run the start itself at step sizes spread geometrically above an edge.

    Parameters
    ----------
    probe, key
        Whose runs.
    step_size
        The edge as far as it is known; the first run is there.
    source
        A state of one run to begin with instead.

    Returns
    -------
    Traces
    """
    above = np.geomspace(NARROWEST, 1.25 * WIDEST, WIDTH - 1)
    return probe(step_size * (1 + np.concatenate([[0.0], above])), key, source)


def settled(probe: Probe, key: chex.PRNGKey, step_size: float, above: Traces, tolerance: float) -> Traces:
    """Go on from where the ladder's runs end, until some have settled into cycles.

    Along a valley of minima runs drift slowly towards the flattest one.

    Parameters
    ----------
    probe, key, step_size
        As for `ladder`.
    above
        What it gave.
    tolerance
        Of convergence, relative to the first gradient norm.

    Returns
    -------
    Traces
        The last ladder.
    """
    for _ in range(MAX_LADDERS):
        moving = np.flatnonzero(~above.escaped & ~above.arrived(tolerance) & np.isfinite(above.levels))
        if np.sum(above.cycles) >= FEWEST or moving.size < FEWEST:
            break
        at = moving[above.step_sizes[moving] <= (1 + WIDEST) * step_size][-1]
        again = ladder(probe, key, step_size, _state_of(above, at))
        if np.sum(again.cycles) < np.sum(above.cycles):
            break
        above = again
    return above


def longest_stretch(flags: Bool[np.ndarray, " S"]) -> slice:
    """Give the longest run of neighbours that are all true.

    Parameters
    ----------
    flags
        [S].

    Returns
    -------
    slice
        Empty where none is.
    """
    best, begin = slice(0, 0), None
    for i, flag in enumerate([*flags, False]):
        if flag and begin is None:
            begin = i
        elif not flag and begin is not None:
            best = slice(begin, i) if i - begin > best.stop - best.start else best
            begin = None
    return best


def zero_of_gradient(probe: Probe, key: chex.PRNGKey, seen: Traces) -> Found:
    """Extrapolate the gradient norm of stationary cycles down to zero.

    Parameters
    ----------
    probe, key
        Whose runs.
    seen
        Of `ladder`, with at least one stationary cycle of two among them.

    Returns
    -------
    Found
        The error is the sum of what the last degree of the polynomial and any one point change, at least
        1e-11 of the value. Points whose norm still drifts, or returns after more than two steps, are
        left out, without which the root is off by 1e-4 to 1e-2.
    """
    stretch = longest_stretch(seen.cycles)
    if stretch.stop - stretch.start < 1:
        return nothing("no run above the edge settles into a cycle of two")
    best, top = nothing("too few runs above the edge settle into a cycle of two"), stretch.stop - 1
    source, upper = _state_of(seen, top), float(seen.step_sizes[top])
    guess = _first_guess(seen, stretch)
    for number in range(PASSES):
        if not guess < upper:
            return nothing("the gradient norm of the cycles above the edge does not fall towards it")
        reach = min(upper / guess - 1, WIDEST) * (1 if number < 3 else 0.6)
        traces = probe(guess * (1 + _chebyshev(reach / SPAN, reach)), key, source)
        kept = longest_stretch(traces.cycles)
        if kept.stop - kept.start < FEWEST:
            # Much of the range lies below the edge, or beyond the next doubling: begin again from what is known.
            if kept.stop - kept.start >= 2:
                guess = _first_guess(traces, kept)
                source, upper = _state_of(traces, kept.stop - 1), float(traces.step_sizes[kept.stop - 1])
            continue
        source, upper = _state_of(traces, kept.stop - 1), float(traces.step_sizes[kept.stop - 1])
        found = min((_root(traces.step_sizes[kept], traces.levels[kept], power) for power in POWERS), key=_by_error)
        if not found.is_number:
            continue
        guess = found.value
        # The first fit reaches further down than it was meant to, or less: it only says where the others stand.
        if number > 0 and not best.error <= found.error:
            best = found
    return best


def _by_error(found):
    return found.error if found.is_number else math.inf


def _state_of(traces, lane) -> TrainState:
    return rows(traces.states, lane)


def _first_guess(traces, stretch):
    """Where a straight line through the squares of the two outermost cycles reaches zero."""
    step_sizes, levels = traces.step_sizes[stretch], traces.levels[stretch]
    if step_sizes.size < 2:
        return float(step_sizes[0] / (1 + WIDEST))
    slope = (levels[-1] - levels[0]) / (step_sizes[-1] - step_sizes[0])
    if not slope > 0:
        return math.inf
    return float(max(step_sizes[0] - levels[0] / slope, step_sizes[0] / (1 + 2 * WIDEST)))


def _chebyshev(lower, upper):
    angles = np.pi * (np.arange(WIDTH)[::-1] + 0.5) / WIDTH
    return 0.5 * (lower + upper) + 0.5 * (upper - lower) * np.cos(angles)


def _root(step_sizes, levels, power):
    """Root below the points, with the sum of what the last degree and any one point change."""
    values = levels if power == 2 else np.sqrt(levels)
    top = min(MAX_DEGREE, step_sizes.size - 2)
    roots = [_root_of_degree(step_sizes, values, degree) for degree in range(1, top + 1)]
    if not np.all(np.isfinite(roots[-2:])):
        return nothing("the fitted gradient norm has no root just below the points")
    changes = np.abs(np.diff(roots))
    best = nothing("the fitted gradient norm has no clear root")
    for degree in range(3, top + 1):
        value = roots[degree - 1]
        without = [
            _root_of_degree(np.delete(step_sizes, i), np.delete(values, i), degree) for i in range(step_sizes.size)
        ]
        # A degree at which little changed by luck is found out by the next one.
        change = np.max(changes[degree - 2 : degree])
        error = max(change + float(np.max(np.abs(np.asarray(without) - value))), FLOOR * abs(value))
        if np.isfinite(error) and not best.error <= error:
            best = Found(float(value), float(error))
    return best


def _root_of_degree(step_sizes, values, degree):
    """Largest real root below the points, within twice their span of the nearest one; NaN without one."""
    low, high = step_sizes[0], step_sizes[-1]
    # Scaled to [-1, 1], where a polynomial of this degree is well conditioned.
    scaled = (2 * step_sizes - low - high) / (high - low)
    fit = np.polynomial.Chebyshev.fit(scaled, values / values[-1], degree, domain=[-1, 1])
    roots = fit.roots()
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real < -1) & (roots.real > -3)]
    if real.size == 0:
        return math.nan
    return 0.5 * (low + high + real.max() * (high - low))
