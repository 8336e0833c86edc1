"""What would help, measured: the same runs with one thing changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from gdx.edges import Bracket
from gdx.problems.base import Problem
from gdx.studies.stability.changes import Change, Changes
from gdx.studies.stability.clock import Clock
from gdx.studies.stability.found import Cause
from gdx.studies.stability.scanning import Reading
from gdx.studies.stability.seconding import Again
from gdx.sweeps import Interrupted, Runs, Stop, Sweep, sweep
from gdx.trees import rows

SPACING = math.sqrt(2.0)
"""Between the step sizes that a change is tried at: no finer than starts agree."""
FIRST = (-1, 1, 3)
"""Where a change is tried at first, in spacings from the largest step size that trains."""
NOTABLE, NARROW = 1.9, 1.2
"""Factor from which a change may be said to move the edge, two points of the grid, and one that a bracket is wide."""
FARTHEST = 40
"""Spacings from there within which its edge is looked for: unscaled features cost factors of 1e5."""
MOST_ROUNDS = 9
CONTROL = "nothing changed"
NO_TIME, AT_LEAST, NEVER = "no time was left", "at least", "no step size that was tried trains with it"
UNSECONDED = "no time was left to make its runs again"
DISAGREE = "plain optax runs say otherwise"
MEASURE = 0.7
"""Share of the time that goes into the sweeps; the rest is for the second road."""


class _Tried(NamedTuple):
    """Runs of several changes, as many rows as were tried."""

    which: np.ndarray
    """Index of the change, [N]."""
    spacings: np.ndarray
    """Step sizes, in spacings from the largest one that trains, [N]; NaN for the present one."""
    trains: np.ndarray
    """Whether every start did, [N]."""
    losses: np.ndarray
    """Median late losses, [N]."""


def measure_causes(
    run: Sweep,
    keys: Any,
    changes: Changes,
    others: Mapping[str, Callable[[], Problem]],
    edge: float,
    found: Reading,
    step_size: float | None,
    clock: Clock,
    progress: Any,
) -> tuple[tuple[Cause, ...], int]:
    """Run a job with one thing changed at a time, around its edge, for as long as the budget lasts.

    Parameters
    ----------
    run, keys
        The sweep of the job without a change, and its starts.
    changes
        Those that are numbers of the same program.
    others
        Functions that make problems which stand for a change, by name, each a program of its own.
    edge
        Largest step size that trains without a change.
    found
        What runs without a change say, which others are held against.
    step_size
        The present one, where every start trains with some change it is told that it saves the job.
    clock, progress
        As in `scan`.

    Returns
    -------
    tuple of Cause, int
        Those first that raise the edge the most, and what could not be measured last; and how many runs were made. A
        factor is over the edge of runs with nothing changed that were made and judged beside them. What is said to move
        the edge, or to save the present step size, was made again by plain optax loops that say the same.
    """
    unchanged = Change(CONTROL, {})
    listed = (unchanged, *changes.changes)
    control, causes, num_runs, made_of = None, [], 0, {}
    clock.spend(MEASURE)
    for make, several in ((None, listed), *((make, (Change(name, {}),)) for name, make in others.items())):
        # Another program takes about as long to compile as the first one did, and nothing ends a compilation.
        if clock.left < (0 if make is None else run.compile_seconds):
            causes += [_unmeasured(one.name, NO_TIME) for one in several if one.name != CONTROL]
            continue
        try:
            num_lanes = len(FIRST) * keys.shape[0]
            problem = run.problem if make is None else make()
            own = run if make is None else sweep(problem, run.family, num_steps=run.num_steps, num_runs=num_lanes)
            tried, made = _try_out(own, keys, changes, several, edge, found.level, step_size, clock, progress)
        except ValueError as error:
            causes += [_unmeasured(one.name, str(error)) for one in several if one.name != CONTROL]
            continue
        num_runs += made
        made_of |= {one.name: (problem, one) for one in several}
        if make is None:
            control = _cause_of(tried, 0, CONTROL, edge, None, keys.shape[0])
        measured = [_cause_of(tried, i, one.name, edge, control, keys.shape[0]) for i, one in enumerate(several)]
        causes += measured[1:] if make is None else measured
    if control is not None:
        causes = [cause._replace(is_sure=_is_sure(cause, control, edge, found.none_beyond)) for cause in causes]
    if control is None or control.saves:
        # Where runs train or fail by chance, a change that trains proves nothing.
        causes = [cause._replace(saves=None) for cause in causes]
    causes = sorted(causes, key=lambda cause: (math.isnan(cause.factor), -cause.factor))
    again = Again(run.family, run.num_steps, keys, float(found.level.halfway))
    clock.spend(1.0)
    if control is not None:
        causes = [_seconded(cause, control, again, made_of, changes, step_size, clock) for cause in causes]
    causes = sorted(causes, key=lambda cause: (math.isnan(cause.factor), -cause.factor))
    return tuple(causes), num_runs + again.num_runs


def _seconded(cause, control, again, made_of, changes, step_size, clock):
    """What is left of a cause that is said to do something after plain runs."""
    if not (cause.is_sure or cause.saves):
        return cause
    if clock.left < 0:
        return cause._replace(factor=math.nan, note=UNSECONDED, saves=None, is_sure=False)
    problem, change = made_of[cause.name]
    same, along, unchanged = made_of[CONTROL][0], changes.along(change), changes.along()
    if cause.saves and not again.all_train(problem, along(step_size)):
        cause = cause._replace(saves=None)
    if cause.is_sure and cause.factor > 1:
        at = cause.largest_step.lower
        holds = again.all_train(problem, along(at)) and not again.all_train(same, unchanged(at))
    elif cause.is_sure:
        at = cause.largest_step.upper
        holds = not again.all_train(problem, along(at)) and again.all_train(same, unchanged(control.largest_step.lower))
    else:
        return cause
    return cause if holds else cause._replace(factor=math.nan, note=DISAGREE, is_sure=False)


def _try_out(run, keys, changes, several, edge, level, step_size, clock, progress):
    """Rounds of runs: in each, all changes side by side at what their edges are still looked for with."""
    none = np.zeros(0)
    tried = _Tried(none.astype(int), none, none.astype(bool), none)
    asked = [(i, float(at)) for i in range(len(several)) for at in FIRST]
    if step_size is not None:
        asked += [(i, math.nan) for i in range(len(several))]
    num_runs = 0
    for _ in range(MOST_ROUNDS):
        which, spacings = np.array([i for i, _ in asked]), np.array([at for _, at in asked])
        sizes = np.where(np.isnan(spacings), step_size or math.nan, edge * SPACING**spacings)
        points = [changes.along(several[i])(float(size)) for i, size in zip(which, sizes, strict=True)]
        stacked = jax.tree.map(lambda *leaves: np.asarray(leaves, float), *points)
        try:
            runs = run(stacked, keys, progress=clock.watching(progress, "what would help"))
        except Interrupted as interrupted:
            if not clock.is_over:
                clock.stop()
            runs = interrupted.runs
        whole = np.all(np.asarray(runs.stopped) != Stop.UNFINISHED, axis=1)
        num_runs += int(np.count_nonzero(np.asarray(runs.stopped) != Stop.UNFINISHED))
        new = _judged(rows(runs, whole), which[whole], spacings[whole], level)
        tried = _Tried(*(np.concatenate(pair) for pair in zip(tried, new, strict=True)))
        asked = [(i, at) for i in range(len(several)) for at in _next(tried, i)]
        if not whole.all() or not asked or clock.left < 0:
            break
    return tried, num_runs


def _judged(runs: Runs, which, spacings, level):
    losses = np.where(np.isfinite(runs.late_loss), runs.late_loss, np.inf)
    return _Tried(which, spacings, np.all(losses <= level.halfway, axis=1), np.median(losses, axis=1))


def _edge_of(tried, i):
    """Last spacing from the best one up to which all train, and the first that does not; infinite where none was seen.

    Below the best, runs may be too slow: where none trains it is not known on which side the edge is.
    """
    own = (tried.which == i) & np.isfinite(tried.spacings)
    order = np.argsort(tried.spacings[own])
    at, trains, losses = (column[own][order] for column in (tried.spacings, tried.trains, tried.losses))
    if not at.size:
        return math.nan, math.nan
    if not trains.any():
        return -math.inf, math.inf
    best = int(np.argmin(np.where(trains, losses, np.inf)))
    fails = best + np.flatnonzero(~trains[best:])
    return (at[fails[0] - 1], at[fails[0]]) if fails.size else (at[-1], math.inf)


def _next(tried, i) -> Sequence[float]:
    """Where to try a change next."""
    lower, upper = _edge_of(tried, i)
    if math.isnan(lower):
        return []
    if math.isinf(lower):
        own = tried.spacings[(tried.which == i) & np.isfinite(tried.spacings)]
        low, high = float(own.min()), float(own.max())
        return [at for at in (low - (high - low), high + (high - low)) if abs(at) <= FARTHEST]
    if math.isinf(upper):
        stride = max(lower, 2)
        return [lower + stride, lower + 2 * stride] if lower + stride <= FARTHEST else []
    return [(lower + upper) // 2] if upper - lower > 1 else []


def _cause_of(tried, i, name, edge, control, num_starts):
    lower, upper = _edge_of(tried, i)
    own = tried.which == i
    present = own & np.isnan(tried.spacings)
    saves = bool(tried.trains[present][0]) if present.any() else None
    bracket = Bracket(edge * SPACING**lower, edge * SPACING**upper)
    note, factor, between = "", math.nan, Bracket(math.nan, math.nan)
    if math.isnan(lower):
        note = NO_TIME
    elif math.isinf(lower):
        note = NEVER
    elif control is not None and control.largest_step.lower > 0:
        beside = control.largest_step
        factor = bracket.lower / beside.lower
        between = Bracket(bracket.lower / beside.upper, bracket.upper / beside.lower)
    if math.isinf(upper) and not math.isnan(factor):
        # Where its failures were not seen, a change is only known to be as good as that.
        note, factor = (AT_LEAST, factor) if factor >= 1 else (NO_TIME, math.nan)
    best = float(np.min(tried.losses[own])) if own.any() else math.nan
    return Cause(name, factor, bracket, saves, best, int(np.count_nonzero(own)) * num_starts, note, False, between)


def _is_sure(cause, control, edge, none_beyond):
    """Whether a change moves the edge out of the range in which starts train and fail in turns without it."""
    highest = max(none_beyond, control.largest_step.lower)
    lowest = min(edge, control.largest_step.lower)
    rises = cause.factor >= NOTABLE and cause.largest_step.lower * NARROW >= highest
    # A single start that fails by chance makes any edge a low one.
    sinks = cause.factor <= 1 / NOTABLE and cause.largest_step.upper <= lowest and highest <= NOTABLE * lowest
    return bool(rises or sinks)


def _unmeasured(name, note):
    nothing = Bracket(math.nan, math.nan)
    return Cause(name, math.nan, nothing, None, math.nan, 0, note)
