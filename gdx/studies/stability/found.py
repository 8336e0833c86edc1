"""What `gdx.stability` finds, as values."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, NamedTuple

from gdx.edges import Bracket
from gdx.records import legend, record

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int, Int8

    from gdx.sweeps import Runs


@legend
class StepVerdict(enum.Enum):
    """Of the step size that a job is run with.

    Examples
    --------
    Continues the example of `gdx.stability`.

    >>> found.verdict.value
    'safe'
    """

    SAFE = "safe"
    """Every start trains, also at step sizes half as large again."""
    AT_THE_EDGE = "at the edge"
    """Every start trains, and at a step size not half as large again one does not."""
    BEYOND = "beyond"
    """Some start does not train, and smaller step sizes do."""
    TOO_SLOW = "too slow"
    """Some start does not train, and larger step sizes do."""
    UNKNOWN = "unknown"
    """Nobody said which it is, or nothing trains, or the two roads disagree."""


@legend
class Reached(enum.Enum):
    """How far the budget went.

    Examples
    --------
    Continues the example of `gdx.stability`.

    >>> found.reached.value
    'runs over the whole horizon'
    """

    CURVATURE = "curvature of one batch"
    """Nothing was trained."""
    SHORT_RUNS = "runs over a part of the horizon"
    """Their edge may not be that of the whole."""
    FULL_RUNS = "runs over the whole horizon"
    """Of as many steps as were asked for."""


@record
class Curve(NamedTuple):
    """Loss against step size, as a learning-rate finder's user knows it, but of whole runs.

    Examples
    --------
    Continues the example of `gdx.stability`.

    >>> found.curve.losses.shape[0] == len(found.curve.step_sizes), found.curve.halfway < found.curve.chance
    (True, True)
    """

    step_sizes: Float[np.ndarray, " P"]
    """All that were run, ascending."""
    losses: Float[np.ndarray, "P R"]
    """Mean of the loss that is trained on over the last tenth of every run; NaN where it blew up."""
    codes: Int8[np.ndarray, "P R"]
    """`gdx.TrainingVerdict` codes."""
    start: float
    """Median loss at the start."""
    chance: float
    """Loss of a run that learns nothing."""
    halfway: float
    """Between that and the best; below it a run trains."""


@record
class RangeTest(NamedTuple):
    """One run of which the step size grows at every step, and where the usual rules would point.

    Examples
    --------
    Continues the example of `gdx.stability`.

    >>> sorted(found.range_test.suggestions)
    ['minimum / 10', 'steepest', 'valley']
    """

    step_sizes: Float[np.ndarray, " N"]
    """At every step, ascending."""
    losses: Float[np.ndarray, " N"]
    """Smoothed, of the batch at every step; up to where it was four times the best."""
    suggestions: dict[str, float]
    """"steepest", "valley", "minimum / 10": step sizes, NaN where a rule finds none."""
    ranges: dict[str, tuple[float, float]]
    """Smallest and largest of the same over the starts: what one such run hangs on."""


@record
class Margin(NamedTuple):
    """Curvature's view of one run: step size times sharpness over threshold, which is 1 at the edge of stability.

    Examples
    --------
    Continues the example of `gdx.stability`.

    >>> found.margin.margins.shape == found.margin.steps.shape
    True
    """

    step_size: float
    """Of the run."""
    steps: Int[np.ndarray, " M"]
    """At which it was measured."""
    margins: Float[np.ndarray, " M"]
    """There, of the mean loss of a few of the batches that are trained on."""
    sharpness: Float[np.ndarray, " M"]
    """Largest eigenvalue of the Hessian, preconditioned where the optimizer is."""
    losses: Float[np.ndarray, " M"]
    """There."""
    shares: dict[str, float]
    """Of every group of parameters in the top curvature direction at the last of them; they sum to 1."""
    note: str
    """Why there is none, where there is none."""
    first: float = math.nan
    """At `first_step`; NaN where measuring the curvature anew, by Lanczos, does not find what was followed."""
    late: float = math.nan
    """Median over the last third of the run; NaN where the same holds at its end."""
    first_step: int = 0
    """The first look at which a schedule lets the whole step size through, and second moments, where the optimizer
    divides by such, have seen ten gradients."""


@record
class Cause(NamedTuple):
    """One thing changed, and what that did to the edge.

    Examples
    --------
    Continues the example of `gdx.stability`.

    >>> all(cause.factor > 0 for cause in found.causes if cause.is_sure)
    True
    """

    name: str
    """What was changed."""
    factor: float
    """By which the largest step size that trains moves; NaN where that could not be told."""
    largest_step: Bracket
    """With the change."""
    saves: bool | None
    """Whether every start trains at the present step size with it; None where that was not tried, or where every start
    of the control does so, too."""
    best_loss: float
    """Smallest median late loss with it, at the step sizes that were tried."""
    num_runs: int
    """Made to tell."""
    note: str = ""
    """Why it was not measured, where it was not."""
    is_sure: bool = False
    """Whether it moves the edge by more than chance does: out of the range in which starts train and fail in turns
    without it, and by two points of the grid."""
    between: Bracket = Bracket(math.nan, math.nan)
    """What the factor lies between, as far as both edges' brackets prove it."""


@record
class Trust(NamedTuple):
    """What the second road said: the same runs in a plain jitted optax loop, which shares nothing with the sweep.

    Examples
    --------
    Continues the example of `gdx.stability`.

    >>> found.trust.num_agree <= found.trust.num_runs
    True
    """

    num_runs: int
    """Made again."""
    num_agree: int
    """Of which as many came to the same verdict."""
    step_sizes: tuple[float, ...]
    """At which."""
    note: str
    """What was not tested, and what became of the number where the roads disagreed."""


@record
class Stability(NamedTuple):
    """How large the step of one job may be, how close it is, why it blows up and what would help.

    Examples
    --------
    Continues the example of `gdx.stability`.

    >>> found.largest_step.lower > 0.03, found.good.lower < found.best < found.good.upper
    (True, True)
    """

    step_size: float | None
    """The present one."""
    largest_step: Bracket
    """From the best step size up to the lower one every start trains; at the upper one some start does not. NaN where
    nothing trains or the roads disagree, and `trust` says why."""
    spread: float
    """Factor between the starts' own largest step sizes, over seeds and batch orders."""
    none_beyond: float
    """Smallest step size tested from which on no start trains; infinite where the scan ended before."""
    verdict: StepVerdict
    """Of the present step size."""
    headroom: float
    """Largest step size over the present one."""
    best: float
    """Step size at which the worst start reaches the lowest loss, among those at which every start trains."""
    best_loss: float
    """Median there."""
    good: Bracket
    """Smallest and largest step size around the best that is not at the edge, at which every start comes as close to it
    as a fiftieth of the way from there to the loss of learning nothing."""
    too_slow_below: float
    """Smallest step size tested at which every start trains; NaN where all smaller ones do, too."""
    dead_loss: float
    """Median late loss where no start trains any more, of the runs that stay finite; NaN where all blow up."""
    blows_up_from: float
    """Smallest step size from which every run tested blows up; infinite for none."""
    margin: Margin
    """Curvature's view of the present step size, or the best one."""
    causes: tuple[Cause, ...]
    """What was changed, one thing at a time, those first that raise the edge the most."""
    advice: tuple[str, ...]
    """Two sentences with their numbers."""
    curve: Curve
    """Loss against step size."""
    range_test: RangeTest
    """What a finder would have said."""
    trust: Trust
    """The second road."""
    reached: Reached
    """How far the budget went."""
    runs: Runs | None
    """All that were made without a change, leaves [P, R]; None where none was."""
    horizon: int
    """Steps of every run."""
    num_steps: int
    """Steps that were asked for; more than the horizon where the budget did not allow them."""
    num_trainings: int
    """Made in all."""
    seconds: float
    """All of it took."""
    interrupted: bool = False
    """Whether Ctrl-C ended it, so that the rest is of what was run."""

    @property
    def is_number(self) -> bool:
        """Whether there is a largest step size."""
        return math.isfinite(self.largest_step.lower)

    def __str__(self) -> str:
        """Say it in lines that can be acted on."""
        from gdx.studies.stability.words import lines

        return lines(self)
