"""How large the step of one job may be, how close it is, why it blows up, and what would help."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gdx.checks import check_count, check_number, own_rules
from gdx.edges import Bracket
from gdx.problems.base import Problem, check_problem
from gdx.progress import shows_progress
from gdx.responses.families import measured_once
from gdx.stepping import Family
from gdx.studies.stability.causes import measure_causes
from gdx.studies.stability.changes import changes_of
from gdx.studies.stability.clock import Clock
from gdx.studies.stability.confirming import Confirmed, confirm, range_test
from gdx.studies.stability.found import Curve, Margin, RangeTest, Reached, Stability, StepVerdict, Trust
from gdx.studies.stability.plain import losses_of
from gdx.studies.stability.scanning import TWICE, Reading, read, scan
from gdx.studies.stability.variants import variants_of
from gdx.studies.stability.watching import margin_of
from gdx.studies.stability.words import advice
from gdx.sweeps import Stop
from gdx.sweeps.inputs import check_keys
from gdx.verdicts import TrainingVerdict

if TYPE_CHECKING:
    import chex

SCAN, CONFIRM, WATCH = 0.5, 0.65, 0.75
"""Shares of the budget by which the scan, the second road and the margin have to be done; the rest is for causes."""
NUM_STARTS = 3
SAME = 1e-3
"""Share of the loss of learning nothing below which one loss is as good as another."""
EDGE = 2.0
"""A step size within so many times the edge is at it."""


@own_rules()
@measured_once()
@shows_progress()
def stability(
    problem: Problem,
    family: Family,
    *,
    step_size: float | None = None,
    keys: chex.PRNGKey | None = None,
    num_steps: int = 400,
    budget: float = 60.0,
    progress: Any = None,
) -> Stability:
    """Say how large the step of a training job may be, how close it is, why it blows up and what would help.

    Parameters
    ----------
    problem
        A Problem, or what `gdx.problems.from_batches` makes of a loss, parameters and batches.
    family
        `step_size -> optax transformation`, with all that the job has: clipping, masks, decay, and a schedule as
        `lambda h: optax.adam(lambda count: h * unit(count))`.
    step_size
        The present one, if there is one.
    keys
        Typed random keys [R], one a start and order of batches; three by default.
    num_steps
        The horizon T, steps: a part of the job that is long enough to learn something.
    budget
        Seconds that all of it may take, about. What there is no time for is left out, and said to be.
    progress
        Called as `progress(stage, finished, total)`; by default a bar, as in `Sweep.__call__`, False for none.

    Returns
    -------
    Stability
        `print` it.

    Raises
    ------
    ValueError
        If an argument is out of range, or the problem or the family cannot be run.

    Notes
    -----
    A run trains where the mean loss of its last tenth is nearer to the best of the scan than to what a run that learns
    nothing reaches, see `gdx.trains`. All step sizes are runs of one sweep, begun around the threshold over the
    curvature of one batch and grown outwards; those around the edge are made again in a plain jitted optax loop, and
    where that one says otherwise there is no number. Causes are not asserted: every one of them is the same sweep with
    one thing changed, held against a control beside it.

    Examples
    --------
    >>> digits = gdx.problems.logistic_regression("digits", batch_size=64)
    >>> found = gdx.stability(digits, optax.adam, step_size=0.03, num_steps=100, budget=20.0)
    >>> print(found)
    """
    num_steps = check_count("num_steps", num_steps, "pass the horizon in steps")
    check_number("budget", budget, 0, math.inf, "pass seconds")
    if step_size is not None:
        step_size = check_number("step_size", step_size, 0, math.inf, "pass the present step size, or leave it out")
    if not isinstance(problem, Problem):
        raise ValueError(f"problem: {type(problem).__name__} is no gdx.Problem; make one with gdx.problem(init, loss)")
    keys = check_keys(jax.random.split(jax.random.key(0), NUM_STARTS) if keys is None else keys)
    check_problem(problem, keys[0])
    clock = Clock(budget)
    changes = changes_of(family, jax.eval_shape(problem.init, keys[0])[0], num_steps)
    clock.until(SCAN)
    own = [] if step_size is None else [step_size, EDGE * step_size]
    explored, guess = scan(problem, changes.family, changes.along(), keys, num_steps, clock, progress, own)
    if explored is None or explored.runs is None:
        return _without_runs(step_size, guess, num_steps, clock)
    found, horizon, is_cut = read(explored), explored.run.num_steps, clock.is_over
    clock.until(CONFIRM)
    train = losses_of(problem, family, horizon)
    confirmed = confirm(train, keys, found, clock)
    if is_cut:
        note = "; ".join(filter(None, [confirmed.trust.note, "the budget ended before the scan did"]))
        confirmed = confirmed._replace(trust=confirmed.trust._replace(note=note))
    tested = range_test(train, keys[0])
    clock.until(WATCH)
    watched = step_size or (float(found.step_sizes[found.best]) if found.best >= 0 else guess)
    # To compile it takes about as long as the sweep did.
    has_time = clock.left > explored.run.compile_seconds
    margin = (
        margin_of(problem, family, watched, keys[0], horizon, changes.groups) if has_time else _not_watched(watched)
    )
    clock.until(1.0)
    causes, more = (), 0
    if math.isfinite(confirmed.largest_step.lower):
        causes, more = measure_causes(
            explored.run,
            keys,
            changes,
            variants_of(problem, keys[0]),
            confirmed.largest_step.lower,
            found.level,
            step_size,
            clock,
            progress,
        )
    done = int(np.count_nonzero(np.asarray(explored.runs.stopped) != Stop.UNFINISHED))
    answer = _answer(explored.runs, found, confirmed, step_size, num_steps, horizon)._replace(
        margin=margin,
        causes=causes,
        range_test=tested,
        num_trainings=done + more + confirmed.trust.num_runs + 2,
    )
    answer = answer._replace(advice=advice(answer))
    return answer._replace(seconds=clock.seconds)


def _answer(runs, found: Reading, confirmed: Confirmed, step_size, num_steps, horizon):
    """Everything that is read off the scan."""
    sizes, largest = found.step_sizes, confirmed.largest_step
    with np.errstate(all="ignore"):
        middle = np.median(found.losses, axis=1)
    best = float(sizes[found.best]) if found.best >= 0 else math.nan
    blown = np.all(found.codes == TrainingVerdict.BLOWN_UP, axis=1)
    from_here = np.logical_and.accumulate(blown[::-1])[::-1]
    beyond = (sizes >= found.none_beyond)[:, None] & np.isfinite(found.losses)
    slow = np.flatnonzero(~found.trains[: max(found.best, 0)])
    start = float(np.median(runs.first_training_loss))
    curve = Curve(sizes, found.losses, found.codes, start, float(found.level.chance), float(found.level.halfway))
    return Stability(
        step_size=step_size,
        largest_step=largest,
        spread=found.spread,
        none_beyond=found.none_beyond,
        verdict=_verdict(found, largest, step_size),
        headroom=largest.lower / step_size if step_size else math.nan,
        best=best,
        best_loss=float(middle[found.best]) if found.best >= 0 else math.nan,
        good=_good(found, runs, largest),
        too_slow_below=float(sizes[slow[-1] + 1]) if slow.size else math.nan,
        dead_loss=float(np.median(found.losses[beyond])) if beyond.any() else math.nan,
        blows_up_from=float(sizes[np.argmax(from_here)]) if from_here.any() else math.inf,
        margin=_not_watched(math.nan),
        causes=(),
        advice=(),
        curve=curve,
        range_test=_no_test(),
        trust=confirmed.trust,
        reached=Reached.FULL_RUNS if horizon == num_steps else Reached.SHORT_RUNS,
        runs=runs,
        horizon=horizon,
        num_steps=num_steps,
        num_trainings=0,
        seconds=0.0,
    )


def _good(found, runs, largest):
    """Step sizes in a row around the best whose every start comes within twice its loss."""
    if found.best < 0 or not math.isfinite(largest.lower):
        return Bracket(math.nan, math.nan)
    floor = float(np.nanmax(np.asarray(runs.minimum))) if np.isfinite(np.asarray(runs.minimum)).any() else 0.0
    best = float(np.median(found.losses[found.best]))
    bound = floor + max(TWICE * (best - floor), SAME * (float(found.level.chance) - floor))
    with np.errstate(invalid="ignore"):
        middle = np.median(found.losses, axis=1)
        fine = found.trains & (middle <= bound) & (found.step_sizes <= largest.lower)
    fine[found.best] = True
    low = high = found.best
    while low > 0 and fine[low - 1]:
        low -= 1
    while high + 1 < fine.size and fine[high + 1]:
        high += 1
    return Bracket(float(found.step_sizes[low]), float(found.step_sizes[high]))


def _verdict(found, largest, step_size):
    if step_size is None or found.best < 0 or not math.isfinite(largest.lower):
        return StepVerdict.UNKNOWN
    here = int(np.argmin(np.abs(found.step_sizes - step_size)))
    if step_size > largest.lower or not found.trains[here]:
        return StepVerdict.TOO_SLOW if here < found.best else StepVerdict.BEYOND
    return StepVerdict.AT_THE_EDGE if EDGE * step_size > largest.lower else StepVerdict.SAFE


def _not_watched(step_size):
    nothing = np.zeros(0)
    return Margin(step_size, nothing.astype(int), nothing, nothing, nothing, {}, "no time was left to watch it")


def _no_test():
    return RangeTest(np.zeros(0), np.zeros(0), {})


def _without_runs(step_size, guess, num_steps, clock):
    """What is left where the budget does not even pay for short runs."""
    nan, nothing = math.nan, Bracket(math.nan, math.nan)
    note = f"no run ended within {clock.budget:g} s; curvature of one batch points to a step size of {guess:.2g}"
    empty = np.zeros((0, 1))
    return Stability(
        step_size=step_size,
        largest_step=nothing,
        spread=nan,
        none_beyond=nan,
        verdict=StepVerdict.UNKNOWN,
        headroom=nan,
        best=nan,
        best_loss=nan,
        good=nothing,
        too_slow_below=nan,
        dead_loss=nan,
        blows_up_from=nan,
        margin=_not_watched(nan),
        causes=(),
        advice=(f"There is no largest step size to go by: {note}.",),
        curve=Curve(np.zeros(0), empty, empty.astype(np.int8), nan, nan, nan),
        range_test=_no_test(),
        trust=Trust(0, 0, (), note),
        reached=Reached.CURVATURE,
        runs=None,
        horizon=0,
        num_steps=num_steps,
        num_trainings=0,
        seconds=clock.seconds,
    )
