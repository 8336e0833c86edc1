"""A two-sided search: step sizes that certainly converge below, that certainly do not above."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gdx.edges.endless.estimates import Found, nothing
from gdx.edges.endless.probing import WIDTH, Probe
from gdx.edges.endless.traces import Sides

if TYPE_CHECKING:
    import chex

MAX_ROUNDS = 40
FLOOR = 4 * np.finfo(float).eps
"""Rounding moves an orbit on the boundary of a basin by this much of its step size."""


def two_sided(probe: Probe, key: chex.PRNGKey, lower: float, upper: float, sides: Sides) -> Found:
    """Narrow an edge from both sides, to the last bit where the horizon allows.

    Between a run that succeeds and one that certainly fails lie the undecided ones, which linger near
    the boundary of the basin; their interval shrinks exponentially with the horizon.

    Parameters
    ----------
    probe, key
        Whose runs.
    lower, upper
        Step sizes of a run that succeeds and of one that does not.
    sides
        What success and failure are.

    Returns
    -------
    Found
        The middle, with half the width as the error.
    """
    undecided: list[float] = []
    for _ in range(MAX_ROUNDS):
        points = _points(lower, upper, undecided)
        if points.size == 0:
            break
        traces = probe(points, key)
        arrived, left = sides.met(traces), sides.failed(traces)
        if np.any(arrived) and np.any(left) and points[arrived].max() > points[left].min():
            return nothing("success and failure alternate within the bracket, so that it holds no single edge")
        lower = max([lower, *points[arrived]])
        upper = min([upper, *points[left]])
        undecided = [p for p in {*undecided, *points[~arrived & ~left]} if lower < p < upper]
        width = (min(undecided, default=upper) - lower) + (upper - max(undecided, default=lower))
        if undecided and width <= 1e-3 * (upper - lower):
            break
    value = 0.5 * (lower + upper)
    return Found(value, 0.5 * (upper - lower) + FLOOR * value)


def _points(lower, upper, undecided):
    """New step sizes, all over the interval, or on both sides of what lies undecided in its middle."""
    inner = sorted(undecided)
    gaps = [(lower, inner[0]), (inner[-1], upper)] if inner else [(lower, upper)]
    each = WIDTH // len(gaps)
    points = np.concatenate([np.linspace(low, high, each + 2)[1:-1] for low, high in gaps])
    return np.setdiff1d(points, [lower, upper, *inner])
