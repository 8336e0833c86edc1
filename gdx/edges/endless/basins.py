"""Where a start leaves its basin, or jumps: bisected, and held against runs on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np

from gdx.edges.endless.bisection import two_sided
from gdx.edges.endless.choice import COARSEST, Choice, Start, no_number, worth
from gdx.edges.endless.estimates import EstimateKind, nothing
from gdx.edges.endless.probing import WIDTH
from gdx.edges.endless.traces import Traces

AFTERMATH = np.geomspace(1e-9, 3e-2, 4 * WIDTH)
"""Relative distances from an edge of a basin at which runs must not succeed again above it, nor fail below. Where
answers alternate nine runs in ten may fail, and so many must be tried for one that does not."""
FAR_BELOW, ROUNDING = 1e-6, 1e-14
"""Share of the bound of blow-up that a run which stays bounded keeps away from it, and the least relative distance from
an edge at which that is asked."""
LONGER = 3
"""Horizons for which a run that wanders just beyond an edge has to go on doing so."""


def leave_basin(start: Start, above: Traces, beyond: Any, place: tuple[bool, bool]) -> Choice:
    """Bisect where a start leaves its basin, or jumps.

    Parameters
    ----------
    start
        Whose edge, and its bracket.
    above
        Runs at and beyond the last success.
    beyond
        Which of them lie beyond it and do not succeed, bool.
    place
        Whether a loss of stability is near, and whether it is known to lie beyond.

    Returns
    -------
    Choice
        Its bar holds the zone in which success and failure of this start alternate.
    """
    sides, (is_local, is_beyond) = start.sides, place
    gone = sides.failed(above) & beyond
    lower, upper = start.lower, start.upper
    first_escapes, falls = True, False
    if gone.any():
        at = int(np.argmax(gone))
        first_escapes = bool(above.escaped[at])
        upper = min(upper, float(above.step_sizes[at]))
        cycles = above.levels[above.cycles & beyond]
        falls = cycles.size > 1 and bool(cycles[0] < 0.5 * cycles[-1])
    # A run of the ladder may converge beyond the one that was the last so far.
    inside = sides.met(above) & (above.step_sizes < upper)
    lower = max([lower, *above.step_sizes[inside]])
    found = two_sided(start.probe, start.key, lower, upper, sides)
    if is_local:
        # Just above a loss of stability what grows may begin at rounding, and a run arrives before it is seen.
        found = found._replace(error=found.error + start.unseen * found.value)
    found = _with_zone(start, found)
    if found.is_number and sides.criterion != "bounded" and _only_lingers(start, found):
        return no_number("just beyond it runs wander within the horizon, and still come to rest after a longer one")
    if sides.criterion == "bounded" and found.is_number and _is_on_its_way(start, found):
        return no_number(
            "just below it a run has grown to near the bound of blow-up, which it passes at a longer horizon"
        )
    if first_escapes:
        kind = EstimateKind.HARD if is_local else EstimateKind.BASIN
        reason = "runs escape beyond it" if is_local else "beyond it this start leaves its basin and escapes"
    elif is_local and falls:
        kind, reason = EstimateKind.SOFT, "runs cycle beyond it, too few of them stationary for a fit"
    elif is_local:
        kind, reason = EstimateKind.JUMP, "runs cycle beyond it, at once at a finite gradient norm"
    else:
        still = "; the minimum is still stable" if is_beyond else ""
        kind, reason = EstimateKind.JUMP, f"beyond it this start goes on moving at a finite distance{still}"
    return worth(kind, "two-sided search", found, reason)


def _is_on_its_way(start, found):
    """Whether a run just below the edge of staying bounded is so by the horizon, or by the bound, alone."""
    below = start.probe([found.value - max(found.error, ROUNDING * found.value)], start.key)
    grown = abs(below.losses[1, 0] - below.first_loss[0])
    return bool(below.grows[0]) or not grown <= FAR_BELOW * below.loss_bound[0]


def _only_lingers(start, found):
    """Whether the run just beyond an edge, which does not escape, comes to rest when it goes on for longer."""
    step_size = [found.value + max(2 * found.error, ROUNDING * found.value)]
    traces = start.probe(step_size, start.key)
    for _ in range(LONGER):
        if traces.escaped[0] or start.sides.met(traces)[0]:
            break
        traces = start.probe.go_on(traces)
    return bool(start.sides.met(traces)[0])


def _with_zone(start, found):
    """Widen the bar to the zone around a basin's edge in which success and failure of this start alternate."""
    if not found.is_number:
        return found
    step_sizes = found.value * (1 + np.concatenate([AFTERMATH, -AFTERMATH]))
    highest, lowest = _zone(start, found, step_sizes)
    highest = max(highest, start.last)
    if highest > found.value:
        # As far as success comes back above it may have been interrupted below, by intervals of any width.
        reach = 2 * min(highest / found.value - 1, COARSEST)
        below = found.value * (1 - np.linspace(reach, 0, 4 * WIDTH, endpoint=False))
        earliest = _zone(start, found, below)[1]
        if earliest < found.value:
            lowest = min(lowest, earliest - (below[1] - below[0]))
    if highest - lowest > found.value * COARSEST:
        return nothing(
            f"from {lowest:.6g} to {highest:.6g} success and failure of this start alternate, so that its first "
            "crossing is no edge"
        )
    return found._replace(error=max(found.error, highest - found.value, found.value - lowest))


def _zone(start, found, step_sizes):
    """Largest step size at which the start succeeds again above a number, and smallest at which it fails below."""
    highest = lowest = found.value
    for part in np.split(step_sizes, step_sizes.size // WIDTH):
        traces = start.probe(part, start.key)
        again = part[start.sides.met(traces) & (part > found.value + found.error)]
        before = part[start.sides.failed(traces) & (part < found.value - found.error)]
        highest, lowest = max([highest, *again]), min([lowest, *before])
    return highest, lowest
