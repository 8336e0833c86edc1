"""One scan of step sizes, begun where one batch's curvature points to, that all answers are read off."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdx.edges import Bracket
from gdx.edges.scanning import Search, find_edge
from gdx.edges.starting import first_scan
from gdx.exploring import Along, Exploration, explore, hyperparams_at
from gdx.studies.stability.clock import Clock
from gdx.sweeps import Interrupted, Sweep, sweep
from gdx.verdicts import TrainingVerdict, training_verdicts
from gdx.verdicts.training import TrainingLevel, training_level

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int8

RTOL = 0.2
"""Widest bracket accepted, relative: starts of one job hardly ever agree any better."""
NEAR_BEST = 1.5
"""Factor between neighbours around the best step size."""
USUAL_POINTS = 30
"""Step sizes that a scan takes, about."""
FEWEST_STEPS = 20
"""Of a run that is to say anything of training."""
SHARE = 0.5
"""Of what is left of the budget after the first runs, for all others."""


NOTHING = Bracket(math.nan, math.nan)


class Reading(NamedTuple):
    """What a scan says, over all starts; see `Stability`."""

    step_sizes: Float[np.ndarray, " P"]
    codes: Int8[np.ndarray, "P R"]
    losses: Float[np.ndarray, "P R"]
    trains: Bool[np.ndarray, " P"]
    """Whether every start does."""
    level: TrainingLevel
    best: int
    """Index of the best step size; -1 where nothing trains."""

    @property
    def largest_step(self) -> Bracket:
        """From the best step size up, as far as every start trains."""
        if self.best < 0:
            return NOTHING
        fails = np.flatnonzero(~self.trains[self.best :])
        if not fails.size:
            return Bracket(float(self.step_sizes[-1]), math.inf)
        at = self.best + int(fails[0])
        return Bracket(float(self.step_sizes[at - 1]), float(self.step_sizes[at]))

    @property
    def spread(self) -> float:
        """Factor between the starts' own largest step sizes that train, without gaps from the best up."""
        if self.best < 0:
            return math.nan
        own = self.codes[self.best :] == TrainingVerdict.TRAINED
        ends = [float(self.step_sizes[self.best + _first(~column) - 1]) for column in own.T]
        return max(ends) / min(ends)

    @property
    def none_beyond(self) -> float:
        """Smallest step size from which on no start trains."""
        some = np.flatnonzero(np.any(self.codes == TrainingVerdict.TRAINED, axis=1))
        if not some.size:
            return math.nan
        return float(self.step_sizes[some[-1] + 1]) if some[-1] + 1 < self.step_sizes.size else math.inf


def scan(
    problem: Any, family: Any, along: Along, keys: Any, num_steps: int, clock: Clock, progress: Any, extra: Any = ()
) -> tuple[Exploration | None, float]:
    """Find the edges of training within a budget, over a shorter horizon where the whole one costs too much.

    Parameters
    ----------
    problem, family
        As for a sweep.
    along
        `step size -> hyperparameters`.
    keys
        Typed random keys [R].
    num_steps
        The horizon that is wanted.
    clock
        Of the budget.
    progress
        `progress(stage, finished, total)`, or anything else for none.
    extra
        Step sizes to be run in any case.

    Returns
    -------
    Exploration or None, float
        With all runs that were finished, None where there is none; and the step size that one batch's curvature or
        habit points to.
    """
    run = sweep(problem, family, num_steps=num_steps, num_runs=USUAL_POINTS * keys.shape[0])
    run.check(hyperparams_at(along, np.ones(1)), keys)
    points = first_scan(run, keys, along)
    guess = float(points[points.size // 2])
    # To compile takes what it takes, and may take most of a small budget.
    clock.spend(1.0)
    explored, seconds = _first_round(run, along, keys, [guess, *extra], clock, progress)
    clock.spend(SHARE)
    lanes = max(keys.shape[0], (run.slots or 1) * run.workers)
    expected = seconds * max(1.0, USUAL_POINTS * keys.shape[0] / lanes)
    if expected > clock.left and not clock.was_stopped:
        # A shorter horizon is another program.
        horizon = int(num_steps * (clock.left - run.compile_seconds) / expected)
        if horizon >= FEWEST_STEPS:
            run = sweep(problem, family, num_steps=horizon, num_runs=USUAL_POINTS * keys.shape[0])
            explored = Exploration(run, keys, along)
    try:
        if clock.was_stopped:
            return (explored if explored.runs is not None else None), guess
        grid = np.concatenate([points, np.asarray(extra, float)])
        wanted = Search("trains", 1e-6, RTOL, grows=True)
        find_edge(explored, grid, wanted, progress=clock.watching(progress, "step sizes"))
        explore(explored, around_best, clock.watching(progress, "step sizes"))
    except Interrupted:
        if not clock.is_over:
            clock.stop()
        explored = explored.finished()
    return (explored if explored.runs is not None else None), guess


def read(explored: Exploration) -> Reading:
    """Say which step sizes train.

    Parameters
    ----------
    explored
        With runs.

    Returns
    -------
    Reading
    """
    runs = explored.runs
    assert runs is not None
    codes, level = np.asarray(training_verdicts(runs)), training_level(runs)
    losses = np.asarray(runs.late_loss, float)
    trains = np.all(codes == TrainingVerdict.TRAINED, axis=1)
    with np.errstate(invalid="ignore"):
        # Of the worst start: where single ones fail by chance, the median may be the best of all.
        worst = np.where(trains, np.max(losses, axis=1), np.inf)
    best = int(np.argmin(worst)) if trains.any() else -1
    return Reading(np.asarray(explored.step_sizes), codes, losses, trains, level, best)


def _first_round(run: Sweep, along, keys, points, clock, progress):
    """A few step sizes, to learn what runs cost that go on to the horizon."""
    explored, compiled, began = Exploration(run, keys, along), run.compile_seconds, time.perf_counter()
    try:
        explored.add(points, clock.watching(progress, "first runs"))
        runs = explored.runs
    except Interrupted as interrupted:
        if not clock.is_over:
            clock.stop()
        runs, explored = interrupted.runs, explored.finished()
    assert runs is not None
    seconds = time.perf_counter() - began - (run.compile_seconds - compiled)
    return explored, seconds * run.num_steps / max(float(np.max(runs.steps)), 1.0)


def around_best(explored: Exploration) -> Any:
    """Ask for points between wide neighbours of the best step size.

    Parameters
    ----------
    explored
        With runs.

    Returns
    -------
    array or list
        Step sizes, none where all neighbours are close.
    """
    found = read(explored)
    if found.best < 0:
        return []
    near = found.step_sizes[max(found.best - 1, 0) : found.best + 2]
    return np.sqrt(near[1:] * near[:-1])[near[1:] > NEAR_BEST * near[:-1] * (1 + 1e-9)]


def _first(mask):
    """Index of the first True, or the length."""
    return int(np.argmax(mask)) if mask.any() else mask.size
