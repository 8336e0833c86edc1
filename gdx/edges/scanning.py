"""Where along the step-size axis the verdict changes: every crossing, refined, with a status."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from gdx.checks import own_rules
from gdx.edges.estimates import Estimate
from gdx.edges.estimating import estimate_edge, no_estimate, unsuited
from gdx.edges.probing import Probe
from gdx.problems.base import Problem
from gdx.stepping import Family
from gdx.sweeps import Runs, Sweep, sweep
from gdx.sweeps.inputs import check_count, check_keys
from gdx.verdicts import Answer, answers, check_criterion

if TYPE_CHECKING:
    import chex
    from jaxtyping import Float, Int8

WIDE_SCAN = (1e-8, 1e4, 97)
"""Lowest and highest step size and number of points, geometric, where nobody says where to look."""
BRACKET_POINTS = 17
MAX_STEPS = 20_000
"""Longest horizon of the runs behind an estimate, which are kept step by step; more adds nothing but time."""
MAX_CROSSINGS = 16
"""Crossings refined beside the two outermost; a boundary with more is fractal, and finer points only find more."""


class Bracket(NamedTuple):
    """Two step sizes with a change between them; NaN where there is none, 0 or infinity where the scan ended."""

    lower: float
    upper: float


class EdgeStatus(enum.Enum):
    """What the answers along the axis look like."""

    BRACKETED = "bracketed"
    """One first failure and one last success, nothing else."""
    NOT_MONOTONE = "not monotone"
    """Failures and successes alternate, or the scan ended before the last success did."""
    ALL_MEET = "all meet it"
    """No run failed the criterion."""
    NONE_MEETS = "none meets it"
    """No run met the criterion."""


class Edge(NamedTuple):
    """Where runs stop meeting a criterion, with what it takes to repeat the measurement."""

    first_failure: Bracket
    """Of the smallest step size at which some run fails."""
    last_success: Bracket
    """Of the largest step size at which some run succeeds; beyond it none does."""
    crossings: tuple[Bracket, ...]
    """Every place where "some run fails" or, above the first success, "some run succeeds" changes, ascending."""
    too_slow_below: float
    """Smallest step size tested at which some run succeeds, if smaller ones are merely unfinished; else NaN."""
    status: EdgeStatus
    criterion: str
    tolerance: float
    horizon: int
    repeats: int
    slots: int
    step_sizes: Float[np.ndarray, " P"]
    """All step sizes tested, ascending."""
    answers: Int8[np.ndarray, "P R"]
    """`Answer` codes there."""
    estimate: Estimate | None = None
    """Of the start that goes on succeeding the longest before it first fails, without the shift of a finite horizon;
    None where none was asked for, or the criterion has none."""


@own_rules()
def critical_step_size(
    problem: Problem | Callable[[Any], Problem],
    family: Family,
    *,
    keys: chex.PRNGKey,
    num_steps: int | None = None,
    criterion: str = "converged",
    tolerance: float | None = None,
    rtol: float = 1e-4,
    bracket: tuple[float, float] | None = None,
    run: Sweep | None = None,
    scanned: tuple[Any, Runs] | None = None,
    progress: Callable[[int, int], None] | None = None,
    estimate: bool = True,
) -> Edge:
    """Find every step size at which the answer to a criterion changes.

    A geometric scan is refined at each change by multisection until its bracket is narrower than `rtol`, all
    through one compiled sweep. The boundary is often not monotone, so nothing is bisected on the assumption that
    it is; islands narrower than the scan's spacing can still be missed. Undecided runs never count as failures.

    Parameters
    ----------
    problem, family
        As in `sweep`; the family takes a step size.
    keys
        Typed random keys [R], one a start.
    num_steps
        The horizon T, steps; may be left out with `run`.
    criterion
        "converged", "stable", "bounded" or "improved", see `gdx.answers`.
    tolerance
        Of convergence, relative to the first gradient norm; by default 1e-6, or that of `run`.
    rtol
        Widest bracket accepted, relative. A bracket's width is not its accuracy: a finite run sees an edge
        that is shifted, by about -ln(1/tolerance) / (2 num_steps) for gradient descent; upwards, too, where a run
        comes close to a minimum before its one unstable direction has grown.
    bracket
        Where to look, two step sizes; by default from 1e-8 to 1e4.
    run
        A sweep of this problem and family to use, compiled or not.
    scanned
        Step sizes and the runs of these keys there, `(step_sizes [P], Runs [P, R])`, to start from.
    progress
        As in `Sweep.__call__`, for one round at a time.
    estimate
        Whether to estimate, beside the brackets, the edge that an endless run from one start would see, with an error
        bar; see `Estimate`. It costs a compilation and some 60 to 250 runs over the horizon. There is none of
        "improved".

    Returns
    -------
    Edge

    Raises
    ------
    ValueError
        If an argument is out of range, or `rtol` is finer than the precision in use can resolve.
    """
    check_criterion(criterion)
    keys = check_keys(keys)
    _check_rtol(rtol)
    if run is None:
        steps = check_count("num_steps", num_steps, "pass the horizon in steps")
        run = sweep(problem, family, num_steps=steps, tolerance=1e-6 if tolerance is None else tolerance)
    elif num_steps not in (None, run.num_steps):
        raise ValueError(f"num_steps: {num_steps} is not the {run.num_steps} of the sweep passed as run; leave it out")
    judged_at = run.tolerance if tolerance is None else tolerance
    if judged_at < run.tolerance:
        raise ValueError(
            f"tolerance: {judged_at} is tighter than the sweep's {run.tolerance}, at which runs retire; "
            "make the sweep with the tighter one"
        )
    sweep_once = run

    def answers_at(step_sizes):
        runs = sweep_once(step_sizes, keys, progress=progress)
        return np.asarray(answers(runs, criterion, judged_at))

    if scanned is None:
        step_sizes = _first_scan(bracket)
        found = answers_at(step_sizes)
    else:
        step_sizes, found = _already_scanned(scanned, keys, criterion, judged_at)
    step_sizes, found = _refine(step_sizes, found, answers_at, rtol, run.slots or 1)
    edge = _read_edge(step_sizes, found)._replace(
        criterion=criterion, tolerance=float(judged_at), horizon=run.num_steps, slots=run.slots or 0
    )
    if not estimate or criterion == "improved":
        return edge
    return edge._replace(estimate=_estimate(run, keys, edge))


def _estimate(run, keys, edge):
    """Of the start that goes on meeting the criterion the longest before it first fails."""
    brackets = [_first_crossing(edge.step_sizes, column) for column in edge.answers.T]
    repeat = int(np.argmax([-math.inf if math.isnan(pair.lower) else pair.lower for pair in brackets]))
    lower, upper = brackets[repeat]
    if math.isnan(lower):
        return no_estimate(f"no start fails above step sizes at which it succeeds: {edge.status.value}")
    why_not = unsuited(run.problem, run.family, lower, keys[repeat])
    if why_not:
        return no_estimate(why_not)._replace(repeat=repeat)
    probe = Probe(run.problem, run.family, min(run.num_steps, MAX_STEPS))
    return estimate_edge(probe, keys[repeat], lower, upper, edge.tolerance)._replace(repeat=repeat)


def _first_crossing(step_sizes, found):
    """One start's last success before its first failure above a success, and that failure.

    Beyond it islands may follow where the start succeeds again, by way of another minimum or a saddle.
    """
    met = np.flatnonzero(found == Answer.MET)
    failed = np.flatnonzero((found == Answer.FAILED) & (np.arange(found.size) > (met[0] if met.size else found.size)))
    if failed.size == 0:
        return Bracket(math.nan, math.nan)
    return Bracket(float(step_sizes[met[met < failed[0]][-1]]), float(step_sizes[failed[0]]))


def _refine(step_sizes, found, answers_at, rtol, slots):
    """Put points between neighbours whose answers differ, until every such pair is close."""
    while True:
        wide = [pair for pair in _changes(step_sizes, found) if _is_wide(pair, rtol)]
        if not wide:
            return step_sizes, found
        # As many points as keep the slots busy; where lanes are dear, bisection wastes the fewest.
        num_points = int(np.clip(slots // (found.shape[1] * len(wide)), 1, 63))
        new = np.concatenate([np.geomspace(*pair, num_points + 2)[1:-1] for pair in wide])
        new = np.setdiff1d(new, step_sizes)
        if new.size == 0:
            return step_sizes, found
        order = np.argsort(np.concatenate([step_sizes, new]), kind="stable")
        step_sizes, found = (
            np.concatenate([step_sizes, new])[order],
            np.concatenate([found, answers_at(new)])[order],
        )


def _changes(step_sizes, found):
    """The pairs worth refining: the outermost, and all others as long as they are few."""
    edge = _read_edge(step_sizes, found)
    outermost = [edge.first_failure, edge.last_success]
    inner = list(edge.crossings) if len(edge.crossings) <= MAX_CROSSINGS else []
    return sorted({pair for pair in outermost + inner if not math.isnan(pair.lower)})


def _is_wide(pair, rtol):
    return pair.lower > 0 and math.isfinite(pair.upper) and pair.upper > pair.lower * (1 + rtol)


def _read_edge(step_sizes, found):
    fails, meets = np.any(found == Answer.FAILED, axis=1), np.any(found == Answer.MET, axis=1)
    first_met = int(np.argmax(meets)) if meets.any() else 0
    flips = fails[1:] != fails[:-1]
    meets_above = meets.copy()
    meets_above[:first_met] = meets_above[first_met]
    flips_met = meets_above[1:] != meets_above[:-1]
    crossings = tuple(_between(step_sizes, i + 1) for i in np.flatnonzero(flips | flips_met))
    nothing = Bracket(math.nan, math.nan)
    first_failure = _between(step_sizes, int(np.argmax(fails))) if fails.any() else nothing
    last_met = len(meets) - 1 - int(np.argmax(meets[::-1]))
    last_success = _between(step_sizes, last_met + 1) if meets.any() else nothing
    unfinished_below = first_met > 0 and not fails[:first_met].any()
    if not meets.any():
        status = EdgeStatus.NONE_MEETS
    elif not fails.any():
        status = EdgeStatus.ALL_MEET
    elif flips.sum() == 1 and flips_met.sum() == 1 and fails[-1]:
        status = EdgeStatus.BRACKETED
    else:
        status = EdgeStatus.NOT_MONOTONE
    return Edge(
        first_failure=first_failure,
        last_success=last_success,
        crossings=crossings,
        too_slow_below=float(step_sizes[first_met]) if meets.any() and unfinished_below else math.nan,
        status=status,
        criterion="",
        tolerance=math.nan,
        horizon=0,
        repeats=found.shape[1],
        slots=0,
        step_sizes=step_sizes,
        answers=found,
    )


def _between(step_sizes, upper):
    """Bracket whose upper end has this index; the axis ends at 0 and at infinity."""
    low = float(step_sizes[upper - 1]) if upper > 0 else 0.0
    return Bracket(low, float(step_sizes[upper]) if upper < len(step_sizes) else math.inf)


def _first_scan(bracket):
    if bracket is None:
        return np.geomspace(*WIDE_SCAN)
    lower, upper = (float(end) for end in bracket)
    if not 0 < lower < upper < math.inf:
        raise ValueError(
            f"bracket: {bracket} is not two step sizes with 0 < lower < upper; leave it out for a wide scan"
        )
    return np.geomspace(lower, upper, BRACKET_POINTS)


def _already_scanned(scanned, keys, criterion, tolerance):
    step_sizes, runs = np.asarray(scanned[0], float), scanned[1]
    shape = np.shape(runs.stopped)
    if step_sizes.ndim != 1 or shape != (step_sizes.size, keys.shape[0]):
        raise ValueError(
            f"scanned: {step_sizes.shape} step sizes and runs {shape} do not fit {keys.shape[0]} keys; "
            "pass [P] and [P, R]"
        )
    order = np.argsort(step_sizes)
    return step_sizes[order], np.asarray(answers(runs, criterion, tolerance))[order]


def _check_rtol(rtol):
    wide = jax.dtypes.canonicalize_dtype(float) == np.float64
    finest = 1e-14 if wide else 1e-6
    if not (finest <= rtol < 1):
        remedy = "ask for less" if wide else 'ask for less, or call jax.config.update("jax_enable_x64", True)'
        raise ValueError(f"rtol: {rtol} is outside [{finest:g}, 1) of {'float64' if wide else 'float32'}; {remedy}")
