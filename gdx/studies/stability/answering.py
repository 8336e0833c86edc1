"""From the runs of a scan to an answer."""

from __future__ import annotations

import math

import numpy as np

from gdx.edges import Bracket
from gdx.exploring import Exploration
from gdx.studies.stability.confirming import Confirmed
from gdx.studies.stability.found import Curve, Margin, RangeTest, Reached, Stability, StepVerdict, Trust
from gdx.studies.stability.scanning import NOTHING, Reading
from gdx.sweeps import Stop
from gdx.verdicts import TrainingVerdict

EDGE = 1.5
"""A step size within so many times the edge is at it, so that that multiple of the present one is run in any case."""
CLOSE = 0.02
"""Share of the way from the best loss to that of learning nothing within which a loss is as good."""
NOT_WATCHED = Margin(
    math.nan, np.zeros(0, int), np.zeros(0), np.zeros(0), np.zeros(0), {}, "no time was left to watch it"
)
NO_TEST = RangeTest(np.zeros(0), np.zeros(0), {}, {})


def answer_of(
    explored: Exploration, found: Reading, confirmed: Confirmed, step_size: float | None, num_steps: int
) -> Stability:
    """Say everything that is read off the runs of a scan.

    Parameters
    ----------
    explored, found
        The runs, and what they say.
    confirmed
        What the second road has left of it.
    step_size, num_steps
        As asked for.

    Returns
    -------
    Stability
        Without causes, margin, range test and advice.
    """
    runs, horizon = explored.runs, explored.run.num_steps
    assert runs is not None
    sizes, largest, found = found.step_sizes, confirmed.largest_step, found._replace(best=confirmed.best)
    with np.errstate(all="ignore"):
        middle = np.median(found.losses, axis=1)
    best = float(sizes[found.best]) if found.best >= 0 else math.nan
    blown = np.all(found.codes == TrainingVerdict.BLOWN_UP, axis=1)
    from_here = np.logical_and.accumulate(blown[::-1])[::-1]
    beyond = (sizes >= found.none_beyond)[:, None] & np.isfinite(found.losses)
    first = int(np.argmax(found.trains)) if found.trains.any() else 0
    start = float(np.median(np.asarray(runs.first_training_loss)))
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
        good=good_range(found, largest),
        too_slow_below=float(sizes[first]) if first else math.nan,
        dead_loss=float(np.median(found.losses[beyond])) if beyond.any() else math.nan,
        blows_up_from=float(sizes[np.argmax(from_here)]) if from_here.any() else math.inf,
        margin=NOT_WATCHED,
        causes=(),
        advice=(),
        curve=curve,
        range_test=NO_TEST,
        trust=confirmed.trust,
        reached=Reached.FULL_RUNS if horizon == num_steps else Reached.SHORT_RUNS,
        runs=runs,
        horizon=horizon,
        num_steps=num_steps,
        num_trainings=int(np.count_nonzero(np.asarray(runs.stopped) != Stop.UNFINISHED)) + confirmed.trust.num_runs,
        seconds=0.0,
    )


def good_range(found: Reading, largest: Bracket) -> Bracket:
    """Give the step sizes in a row around the best one below the edge at which every start comes close to it.

    Parameters
    ----------
    found
        What the runs of a scan say.
    largest
        Of the step sizes at which every start trains, the last one.

    Returns
    -------
    Bracket
        Both ends are step sizes that were run; NaN where there are none. Close is within `CLOSE` of the way from the
        best loss to that of learning nothing; what lies within `EDGE` times of the edge does not count.
    """
    if found.best < 0 or not math.isfinite(largest.lower):
        return NOTHING
    with np.errstate(invalid="ignore"):
        worst = np.where(found.trains, np.max(found.losses, axis=1), np.inf)
    # What lies at the edge is no advice, however low the loss.
    is_safe = EDGE * found.step_sizes <= largest.lower
    best = int(np.argmin(np.where(is_safe, worst, np.inf))) if np.any(is_safe & found.trains) else found.best
    fine = is_safe & (worst <= worst[best] + CLOSE * (float(found.level.chance) - worst[best]))
    fine[best] = True
    low = high = best
    while low > 0 and fine[low - 1]:
        low -= 1
    while high + 1 < fine.size and fine[high + 1]:
        high += 1
    return Bracket(float(found.step_sizes[low]), float(found.step_sizes[high]))


def _verdict(found, largest, step_size):
    if step_size is None or found.best < 0 or not math.isfinite(largest.lower):
        return StepVerdict.UNKNOWN
    here = int(np.argmin(np.abs(found.step_sizes - step_size)))
    if not np.isclose(found.step_sizes[here], step_size, rtol=1e-6, atol=0):
        return StepVerdict.UNKNOWN
    if not found.trains[here] or step_size > largest.lower:
        return StepVerdict.TOO_SLOW if here < found.best else StepVerdict.BEYOND
    return StepVerdict.AT_THE_EDGE if EDGE * step_size > largest.lower else StepVerdict.SAFE


def without_runs(
    step_size: float | None, guess: float, num_steps: int, seconds: float, *, interrupted: bool
) -> Stability:
    """Say what is left where no run came to its end.

    Parameters
    ----------
    step_size, num_steps
        As asked for.
    guess
        Where curvature, or habit, points to.
    seconds
        Spent.
    interrupted
        Whether Ctrl-C was the reason.

    Returns
    -------
    Stability
    """
    nan, nothing = math.nan, NOTHING
    note = f"no run ended within {seconds:.0f} s; curvature, or habit, points to a step size of {guess:.2g}"
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
        margin=NOT_WATCHED,
        causes=(),
        advice=(f"There is no largest step size to go by: {note}.",),
        curve=Curve(np.zeros(0), empty, empty.astype(np.int8), nan, nan, nan),
        range_test=NO_TEST,
        trust=Trust(0, 0, (), note),
        reached=Reached.CURVATURE,
        runs=None,
        horizon=0,
        num_steps=num_steps,
        num_trainings=0,
        seconds=seconds,
        interrupted=interrupted,
    )
