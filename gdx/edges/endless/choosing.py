"""Which estimator applies to the edge of a start.

A number is given only where two roads lead to it that could disagree: the runs on both sides of the edge, and what is
known without them (the linearised step where runs come to rest, the growth rate, the cycles above).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gdx.edges.endless.basins import leave_basin
from gdx.edges.endless.choice import Choice, Start, no_number, worth
from gdx.edges.endless.estimates import EstimateKind, Found, nothing
from gdx.edges.endless.growth import slopes, zero_of_growth
from gdx.edges.endless.oscillation import NARROWEST, WIDEST, ladder, settled, zero_of_gradient
from gdx.edges.endless.probing import WIDTH
from gdx.edges.endless.resting import LocalEdge, local_edge, minimum_of_affine
from gdx.edges.endless.steps import find_period, is_affine
from gdx.edges.endless.traces import Traces
from gdx.trees import rows

SURVEY = (0.5, 0.7, 0.85, 0.95, 0.99, 1.01, 1.03, 1.07, 1.12, 1.2, 1.35, 1.55, 1.8, 2.2, 3.0, 4.0)
"""Multiples of the last success at which runs are looked at first."""
NEAR = 4.0
"""A run is near a loss of stability while its rate times the horizon is below this many times ln(1/tolerance)."""
ROUNDS = 3
SLOWEST = 2.0
"""How fast, at least, a multiplier passes 1 with the logarithm of the step size: gradient descent's does so."""
FLANK = 5
"""Runs below a loss of stability that must all succeed."""
VISIBLE = 0.1
"""Least change of a logarithm over a window that is decay or growth."""
AGREES = 1e-9
"""Relative difference between two roads that is rounding and nothing else."""


def choose(start: Start) -> Choice:
    """Find the estimator that applies, and hold its number against the runs.

    Parameters
    ----------
    start
        Whose edge, and its bracket.

    Returns
    -------
    Choice
        Of kind `NONE` with the reason where no number can be trusted.
    """
    survey = start.probe(start.lower * np.array(SURVEY), start.key)
    start.probe.period = find_period(start.probe, survey)
    if not start.probe.period:
        return no_number("a step depends on how many came before it (a schedule, or a bias correction)")
    start = start._replace(depth=_depth(survey))
    return _checked(start, _decide(start, survey))


def _depth(survey):
    with np.errstate(invalid="ignore", divide="ignore"):
        depths = np.log(survey.norms[0]) - np.log(np.min(survey.norms, axis=0))
    # Exact zeros are as deep as numbers go.
    return float(np.clip(np.max(depths, initial=0.0, where=~np.isnan(depths)), 0.0, -math.log(np.finfo(float).tiny)))


def _decide(start, survey):
    if is_affine(start.probe, start.key, start.lower):
        return _linear(start, survey)
    narrowed, below, why_not = _narrowed(start, survey)
    local = (
        LocalEdge(nothing("no run below the first failure comes to rest within the horizon"))
        if below is None
        else (local_edge(start.probe, start.probe.one_start(below.step_size, start.key), below.state, below.step_size))
    )
    found = _local(narrowed, local)
    if found is not None:
        return found
    if why_not:
        return no_number(why_not)
    return _from_runs(narrowed, local)


def _linear(start, survey):
    """Of a loss that is quadratic all the way: threshold over its largest curvature, or the zero of the growth rate."""
    place = minimum_of_affine(start.probe, start.key, start.lower)
    if place.found.is_number:
        found, method = place.found, "eigenvalue"
    else:
        seen = slopes(survey)
        # A gradient that neither decays nor grows, as of an optimizer that ignores it, has the rates of its rounding.
        rates = np.where(np.abs(seen.risen) > VISIBLE, seen.half, math.nan)
        # Beyond the edge growth is plain to see; far below, what has decayed to rounding may seem to grow.
        decays = survey.step_sizes[np.isfinite(rates) & (rates < 0)]
        below = float(decays.max(initial=0.0))
        grows = survey.step_sizes[np.isfinite(rates) & (rates > 0) & (survey.step_sizes > below)]
        if decays.size == 0 or grows.size == 0:
            return no_number("no run decays below the step sizes at which runs grow")
        found, method = zero_of_growth(start.probe, start.key, below, float(grows.min())), "growth rate"
    return worth(EstimateKind.LINEAR, method, found, "runs grow at a constant rate beyond it")


class Below(NamedTuple):
    """The run that is nearest to the edge among those that come to rest below it."""

    step_size: float
    state: Any


class Seen(NamedTuple):
    """What all rounds of runs so far say, arrays [P]."""

    step_sizes: Any
    ok: Any
    """Whether a run certainly succeeds."""
    gone: Any
    """Whether it certainly fails, above the last success of the sweep."""


def _narrowed(start, survey):
    """The nearest runs on both sides, one that succeeds and one that certainly fails; the first one's end; why not."""
    looked = [survey]
    lower, upper = start.lower, min(start.upper, 2 * start.lower)
    seen = _seen(start, looked)
    for _ in range(ROUNDS):
        looked.append(start.probe(np.linspace(lower, upper, WIDTH), start.key))
        seen = _seen(start, looked)
        # Beyond the first failure a start may come to rest again, by way of a saddle: those are no neighbours.
        limit = min(seen.step_sizes[seen.gone].min(initial=math.inf), start.upper)
        below = seen.ok & (seen.step_sizes < limit)
        if not below.any():
            return start, None, "no run below the first failure comes to rest within the horizon"
        lower = float(seen.step_sizes[below].max())
        upper = min(float(seen.step_sizes[seen.step_sizes > lower].min(initial=math.inf)), start.upper)
        # Closer than what the horizon resolves of a loss of stability there is nothing more to learn.
        if upper - lower <= lower * start.resolution:
            break
    at_rest = _nearest_at_rest(looked, start.sides, lower)
    if not seen.gone.any():
        why_not = "beyond the first failure runs neither escape nor settle into a cycle within the horizon"
        return start._replace(lower=lower), at_rest, why_not
    nearest = float(seen.step_sizes[seen.gone].min())
    narrowed = start._replace(lower=lower, upper=nearest)
    if np.any(seen.ok & (seen.step_sizes > lower) & (seen.step_sizes < nearest)):
        return narrowed, at_rest, "beyond the first failure runs come to rest again before any certainly does not"
    return narrowed, at_rest, ""


def _seen(start, looked: list[Traces]) -> Seen:
    step_sizes, ok, failed = (
        np.concatenate(columns)
        for columns in zip(*((t.step_sizes, start.sides.met(t), start.sides.failed(t)) for t in looked), strict=True)
    )
    return Seen(step_sizes, ok, failed & (step_sizes > start.lower))


def _nearest_at_rest(looked: list[Traces], sides, lower):
    """End of the run at the largest step size up to `lower` that has come to rest, in whichever round it was made."""
    best = None
    for traces in looked:
        for lane in np.flatnonzero(traces.arrived(sides.tolerance) & (traces.step_sizes <= lower)):
            step_size = float(traces.step_sizes[lane])
            if best is None or step_size > best.step_size:
                best = Below(step_size, rows(traces.states, lane))
    return best


def _local(start, local: LocalEdge):
    """The edge of the place where runs come to rest, if the runs on both sides of it agree; else None."""
    if not local.found.is_number or local.num_flat:
        return None
    resolution, unseen = start.resolution / local.slope, start.unseen / local.slope
    # A run that certainly fails stands above the edge; one that succeeds may have come close on its way out.
    highest = min(start.upper * (1 + AGREES), start.first * (1 + resolution))
    is_between = start.lower * (1 - unseen) <= local.found.value <= highest
    shift = max(local.drift, 0.0) / local.slope
    if not (is_between and shift <= resolution):
        return None
    flanks = start.probe(local.found.value * (1 + _flanks(resolution)), start.key)
    is_below = flanks.step_sizes < local.found.value
    met = start.sides.met(flanks)
    fails = ~is_below & ~met
    # Just above, a run may still be on its way out at the end; further off it may come to another minimum.
    nearby = local.found.value * (1 + max(2 * unseen, 3 * NARROWEST))
    if not (np.all(met[is_below]) and np.any(fails & (flanks.step_sizes <= nearby))):
        return None
    kind, reason = _kind_above(flanks, fails)
    if start.sides.criterion == "bounded" and kind is not EstimateKind.HARD:
        return None
    found = Found(local.found.value * (1 - shift), local.found.error + shift * local.found.value)
    return worth(kind, "eigenvalue", found, reason)


def _flanks(resolution):
    """Relative distances on both sides of an edge, all but the nearest beyond what the horizon leaves open."""
    below = np.geomspace(2, 8, FLANK) * resolution
    return np.concatenate([-below[::-1], np.geomspace(NARROWEST, 1.25 * WIDEST, WIDTH - FLANK)])


def _kind_above(above, beyond):
    """What becomes of runs just above a loss of stability."""
    nearest = int(np.flatnonzero(beyond)[0])
    bounded = beyond & ~above.escaped
    if above.escaped[nearest]:
        return EstimateKind.HARD, "runs escape beyond it"
    levels = above.levels[bounded]
    if levels.size > 1 and levels[0] < 0.5 * levels[-1]:
        return EstimateKind.SOFT, "beyond it the gradient norm rises from zero"
    return EstimateKind.JUMP, "runs cycle beyond it, at once at a finite gradient norm"


def _from_runs(start, local):
    """Where the place of rest does not tell: from the cycles above, or from both sides."""
    above = ladder(start.probe, start.key, start.lower)
    rate = slopes(above).half[0]
    # A minimum that stands alone and is stable beyond a certain failure is not what ends there.
    is_beyond = local.found.is_number and local.num_flat == 0 and local.found.value > start.upper * (1 + AGREES)
    is_local = not is_beyond and start.sides.criterion != "bounded" and abs(rate) <= NEAR * start.resolution
    if is_local:
        above = settled(start.probe, start.key, start.lower, above, start.sides.tolerance)
    beyond = ~start.sides.met(above) & (above.step_sizes > start.lower)
    if np.sum(above.cycles & beyond) >= 2 and start.sides.criterion != "bounded":
        found = zero_of_gradient(start.probe, start.key, above)
        nearest = above.step_sizes[above.cycles & beyond].min()
        is_near = is_local or found.value - start.lower <= start.lower * start.resolution
        # The place of rest below the edge must still be stable there, and not much beyond.
        is_stable = not local.found.is_number or start.lower * (1 - start.unseen) <= local.found.value
        is_near &= is_stable
        if is_near and found.is_number and start.lower <= found.value + found.error and found.value < nearest:
            return worth(EstimateKind.SOFT, "oscillating side", found, "beyond it the gradient norm rises from zero")
    return leave_basin(start, above, beyond, (is_local, is_beyond))


def _checked(start, choice):
    """Hold a number against the bracket that the sweep's own runs have made."""
    found = choice.found
    is_held = choice.method == "eigenvalue" and choice.kind is not EstimateKind.LINEAR
    if choice.kind is EstimateKind.NONE or is_held:
        return choice
    # A basin's edge is the same at every horizon, and one of many crossings too; a loss of stability is seen too early
    # or too late.
    below = above = AGREES
    if choice.is_local and not start.last:
        below = math.log(1 / np.finfo(float).eps) / start.probe.num_steps / SLOWEST
        above = start.resolution / SLOWEST
    below, above = (part + found.error / found.value for part in (below, above))
    if start.lower * (1 - below) <= found.value <= start.upper * (1 + above):
        return choice
    runs = f"{start.lower:.6g} .. {start.upper:.6g}"
    if start.last:
        return no_number(
            f"this start fails within {runs} and succeeds again up to {start.last:.6g}, so that it has no edge"
        )
    return no_number(f"two roads disagree: the {choice.method} says {found.value:.6g}, the runs {runs}")
