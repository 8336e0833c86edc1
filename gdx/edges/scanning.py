"""Where along the step-size axis the verdict changes: every crossing, refined, with a status."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdx.checks import check_count, check_number, own_rules
from gdx.edges.edge import NAMES_OF_FAILURE, Edge
from gdx.edges.endless.estimating import estimate_of
from gdx.edges.growing import grow
from gdx.edges.inputs import already_scanned, check_rtol, check_run, needed, within
from gdx.edges.reading import read_edge, worth_refining
from gdx.edges.starting import first_scan
from gdx.exploring import Along, Exploration, explore, hyperparams_at
from gdx.problems.base import Problem
from gdx.progress import Progress, shows_progress
from gdx.stepping import Family, resolve_problem
from gdx.sweeps import Interrupted, Runs, Sweep, sweep
from gdx.sweeps.inputs import check_keys
from gdx.verdicts import answers, check_criterion, choose_criterion, criterion_name

if TYPE_CHECKING:
    import chex

Criterion = str | Callable[[Runs], Any]
FINE, COARSE = 1e-4, 1e-2
"""Widest bracket accepted, relative: of an edge where runs turn unstable, and of one where training stops to pay, which
is a matter of degree."""
LANES = 32
"""Step sizes of a round, about: slots for more would stand empty."""
WORKERS = 2
"""How many are kept busy by a round that refines: a fixed number, so that an edge is the same on any machine."""
RAGGED, LOOKS, MAX_LOOKS = 1.5, 4, 3
"""Where success is a matter of degree a boundary is ragged: the factor below its first failure within which others are
looked for, at so many step sizes, and how often where some are found."""


class Search(NamedTuple):
    """What an edge is looked for with."""

    criterion: Criterion | None
    tolerance: float
    rtol: float | None
    grows: bool
    """Whether the scan may grow until it has seen both ends."""
    each_start: bool = False
    """Whether every start's own edges are refined, or the outermost alone."""
    chosen_because: str = ""
    """Why it is this criterion, where nobody asked for one."""


@own_rules()
@shows_progress("edges")
def critical_step_size(
    problem: Problem | Callable[[Any], Problem] | None = None,
    family: Family | None = None,
    *,
    keys: chex.PRNGKey,
    num_steps: int | None = None,
    criterion: Criterion | None = None,
    tolerance: float | None = None,
    tail: int | None = None,
    rtol: float | None = None,
    bracket: tuple[float, float] | None = None,
    run: Sweep | None = None,
    scanned: Runs | tuple[Any, Runs] | None = None,
    along: Along | None = None,
    each_start: bool = False,
    progress: Progress = None,
    estimate: bool = True,
) -> Edge:
    """Find every step size at which the answer to a criterion changes.

    A scan is refined at each change by multisection, all through one compiled sweep. The boundary is often not
    monotone, so nothing is bisected on the assumption that it is; islands narrower than the scan's spacing can still be
    missed. Undecided runs never count as failures.

    Parameters
    ----------
    problem, family
        As in `sweep`; the family takes a step size. With `run`, those of the run, or None.
    keys
        Typed random keys [R], one a start.
    num_steps
        The horizon T, steps; may be left out with `run`.
    criterion
        A name or a function `runs -> answers`, see `gdx.answers`. By default "trains" or "converged", as
        `default_criterion` of `gdx.verdicts` says of the problem and its first runs.
    tolerance
        Of convergence, relative to the first gradient norm; by default 1e-6, or that of `run`.
    tail
        The window W at the end of a run that verdicts are about, as in `sweep`.
    rtol
        Widest bracket accepted, relative; by default 1e-4, and 1e-2 where the criterion is "trains". Where
        starts disagree by more than a tenth, or one start's answers alternate, a twentieth of that (in logarithms) is
        enough: finer digits would not hold for the next start. Pass one key for the edge of one start.
        A bracket's width is not its accuracy: a finite run sees an edge that is shifted, by about
        -ln(1/tolerance) / (2 num_steps) for gradient descent; upwards, too, where a run comes close to a minimum before
        its one unstable direction has grown.
    bracket
        Where to look, two step sizes. By default the scan begins at 1e-8 to 1e4 where steps cost next to nothing,
        else around threshold / sharpness at the first start, and grows, at most from 1e-10 to 1e10, until some run
        fails beyond the last success and none for too large a step below the first.
    run
        A sweep of this problem and family to use, compiled or not.
    scanned
        Runs of these keys to start from, leaves [P, R]; the scan then does not grow. Step sizes of your own may stand
        before them, `(step_sizes [P], runs)`; with `along` positions must, and the runs be of the sweep itself.
    along
        `position -> hyperparameters`, a line through the hyperparameters of a family that takes several: all that is
        said of step sizes is then said of positions on it, which are positive. It is called outside of any trace, with
        one number at a time. With one `run` for many lines, an edge at each of fifty momenta is compiled once.
    each_start
        Whether to refine every start's own changes to `rtol`, so that `Edge.by_start`, and `gdx.edge_of_start` of each,
        tell R edges; by default only the outermost of all starts.
    progress
        As in `Sweep.__call__`, for one round at a time; a bar by default, False for none.
    estimate
        Whether to estimate, beside the brackets, the edge that an endless run from one start would see, with an error
        bar; see `Estimate`. It costs a compilation and some 60 to 250 runs over the horizon. There is none of
        criteria that are about the loss.

    Returns
    -------
    Edge
        With every run that was made.

    Raises
    ------
    ValueError
        If an argument is out of range, or `rtol` is finer than the precision in use can resolve.
    Interrupted
        On Ctrl-C, with all step sizes that were run, their runs, and the edge as far as it can be read.

    Examples
    --------
    Continues the example of `gdx`; with a problem and a family instead of `run` it is compiled anew.

    >>> found = gdx.critical_step_size(run=run, keys=keys, criterion="bounded")
    >>> 0.38 < found.last_success.lower < 0.4
    True
    """
    if criterion is not None:
        check_criterion(criterion)
    keys = check_keys(keys)
    check_rtol(rtol)
    if run is None:
        steps = check_count("num_steps", num_steps, "pass the horizon in steps")
        make = sweep if tail is None else functools.partial(sweep, tail=tail)
        run = make(
            needed("problem", problem),
            needed("family", family),
            num_steps=steps,
            tolerance=1e-6 if tolerance is None else tolerance,
            num_runs=LANES * keys.shape[0],
        )
    else:
        check_run(run, problem, family, num_steps, tail)
    judged_at = run.tolerance
    if tolerance is not None:
        judged_at = check_number("tolerance", tolerance, 0, math.inf, "leave it out for the sweep's")
    if judged_at < run.tolerance:
        raise ValueError(
            f"tolerance: {judged_at} is tighter than the sweep's {run.tolerance}, at which runs retire; "
            "make the sweep with the tighter one"
        )
    if along is not None and not callable(along):
        raise ValueError(f"along: {along!r} is not callable; pass a function position -> hyperparameters")
    explored = Exploration(run, keys, along)
    step_sizes = None if bracket is None else within(bracket)
    if scanned is not None:
        explored.keep(*already_scanned(scanned, keys, along))
        step_sizes = explored.step_sizes
    wanted = Search(criterion, float(judged_at), rtol, step_sizes is None, each_start)
    return find_edge(explored, step_sizes, wanted, progress=progress, estimate=estimate)


def find_edge(
    explored: Exploration,
    step_sizes: Any,
    wanted: Search,
    *,
    progress: Progress = None,
    estimate: bool = False,
) -> Edge:
    """Scan, grow, refine and read an edge, on top of what was explored already.

    Parameters
    ----------
    explored
        Runs so far, if only none; it keeps all that are added.
    step_sizes
        To begin with, [P]; None for the scan that suits.
    wanted
        What is looked for.
    progress, estimate
        As in `critical_step_size`.

    Returns
    -------
    Edge

    Raises
    ------
    Interrupted
        On Ctrl-C, with everything.
    """
    run, along = explored.run, explored.along
    edge = None
    try:
        if step_sizes is None:
            run.check(hyperparams_at(along, np.ones(1)), explored.keys)
            step_sizes = first_scan(run, explored.keys, along)
        explored.add(step_sizes, progress)
        wanted = _decided(explored, wanted)
        criterion = wanted.criterion
        assert criterion is not None
        refine = functools.partial(_between_changes, wanted=wanted)
        if wanted.grows:
            grow(explored, functools.partial(_answered, wanted=wanted), criterion, progress)
        explore(explored, refine, progress)
        if criterion not in NAMES_OF_FAILURE:
            _look_below(explored, wanted, refine, progress)
        edge = edge_of(explored, wanted)
        if estimate and wanted.criterion in NAMES_OF_FAILURE:
            edge = edge._replace(estimate=estimate_of(run, explored.keys, edge, along))
    except KeyboardInterrupt as interrupted:
        if explored.runs is None:
            raise
        finished = explored.finished()
        if edge is None and finished.runs is not None:
            edge = edge_of(finished, _decided(finished, wanted))
        raise Interrupted(explored.runs, explored.step_sizes, edge) from interrupted
    return edge


def edge_of(explored: Exploration, wanted: Search) -> Edge:
    """Read an edge off the runs so far.

    Parameters
    ----------
    explored, wanted
        As in `find_edge`; the criterion is decided.

    Returns
    -------
    Edge
    """
    criterion, run = wanted.criterion, explored.run
    assert criterion is not None
    return read_edge(explored.step_sizes, _answered(explored, wanted), criterion)._replace(
        criterion=criterion_name(criterion),
        chosen_because=wanted.chosen_because,
        tolerance=wanted.tolerance,
        horizon=run.num_steps,
        slots=run.slots or 0,
        runs=explored.runs,
    )


def _decided(explored, wanted):
    """With the criterion that the problem and its first runs ask for, where nobody did."""
    if wanted.criterion is not None:
        return wanted
    first = jax.tree.map(jnp.asarray, hyperparams_at(explored.along, explored.step_sizes[0]))
    problem = resolve_problem(explored.run.problem, first)
    criterion, reason = choose_criterion(problem, explored.runs, wanted.tolerance)
    return wanted._replace(criterion=criterion, chosen_because=reason)


def _answered(explored, wanted):
    """Of all runs together, since a criterion may compare each with the best of all."""
    return np.asarray(answers(explored.runs, wanted.criterion, wanted.tolerance))


def _between_changes(explored, wanted):
    """Points between neighbours whose answers differ, until every such pair is as close as is worth knowing."""
    rtol = wanted.rtol
    if rtol is None:
        rtol = FINE if wanted.criterion in NAMES_OF_FAILURE else COARSE
    repeats, lanes = explored.keys.shape[0], (explored.run.slots or 1) * WORKERS
    found = _answered(explored, wanted)
    wide = worth_refining(explored.step_sizes, found, wanted.criterion, rtol, each_start=wanted.each_start)
    if not wide:
        return []
    # As many points as keep all slots busy; where lanes are dear, bisection wastes the fewest.
    num_points = int(np.clip(lanes // (repeats * len(wide)), 1, 63))
    return np.concatenate([np.geomspace(*pair, num_points + 2)[1:-1] for pair in wide])


def _look_below(explored, wanted, refine, progress):
    """Look for failures just below the first one that was found, since a scan is coarse and some stand alone."""
    for _ in range(MAX_LOOKS):
        first = edge_of(explored, wanted).first_failure
        if not (first.lower > 0 and math.isfinite(first.upper)):
            return
        below = np.geomspace(first.lower / RAGGED, first.lower, LOOKS + 2)[1:-1]
        explored.add(below[below > explored.step_sizes[0]], progress)
        explore(explored, refine, progress)
        if edge_of(explored, wanted).first_failure.upper >= first.lower:
            return
