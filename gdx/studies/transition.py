"""Where training stops converging: one family, many step sizes, many starts."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdx.checks import own_rules
from gdx.edges import WIDE_SCAN, Edge, EdgeStatus, critical_step_size
from gdx.problems.base import Problem
from gdx.stepping import Family
from gdx.studies.predictions import Predictions, predict
from gdx.sweeps import Interrupted, Runs, sweep
from gdx.verdicts import Verdict, verdicts

if TYPE_CHECKING:
    import chex
    from jaxtyping import Float


COARSE = 1e-2
"""Width at which edges under other criteria than the one asked for are good enough, relative."""


class Transition(NamedTuple):
    """Everything that a picture and a report of a transition need."""

    step_sizes: Float[np.ndarray, " S"]
    runs: Runs
    """Leaves [S, R]."""
    edge: Edge | None
    """None where the search was interrupted."""
    others: dict[str, Edge]
    """Edges under other criteria, by name: where nothing meets the one that was asked for, where it settles and
    where it stays bounded."""
    predictions: Predictions
    slots: int
    compile_seconds: float
    run_seconds: float


@own_rules()
def transition(
    problem: Problem,
    family: Family,
    *,
    keys: chex.PRNGKey,
    num_steps: int,
    step_sizes: Any = None,
    num_points: int = 64,
    criterion: str = "converged",
    tolerance: float = 1e-6,
    rtol: float = 1e-4,
    progress: Callable[[str, int, int], None] | None = None,
) -> Transition:
    """Sweep a family across its transition, find the edges, and set the predictions beside them.

    Parameters
    ----------
    problem, family
        As in `gdx.sweep`; the family takes a step size.
    keys
        Typed random keys [R], one a start.
    num_steps
        The horizon T, steps.
    step_sizes
        The grid [S]; by default `num_points` geometric ones, around the predictions where there are some, else
        wherever a wide scan finds a change.
    num_points
        Size of the default grid, S.
    criterion, tolerance, rtol
        As in `gdx.critical_step_size`.
    progress
        Called as `progress(stage, finished, total)`.

    Returns
    -------
    Transition
        After Ctrl-C with whatever was finished, `edge` being None.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    started = time.perf_counter()
    run = sweep(problem, family, num_steps=num_steps, tolerance=tolerance)

    def staged(stage):
        return None if progress is None else functools.partial(progress, stage)

    def find(criterion, rtol=rtol, scanned=None):
        return critical_step_size(
            problem,
            family,
            keys=keys,
            criterion=criterion,
            rtol=rtol,
            run=run,
            scanned=scanned,
            progress=staged("edges"),
            estimate=False,
        )

    run.check(np.ones(1) if step_sizes is None else step_sizes, keys)
    predictions = predict(problem, family, keys)
    edge, others = None, {}
    try:
        if step_sizes is None:
            step_sizes = default_step_sizes(predictions, num_points)
        if step_sizes is None:
            step_sizes = _around(find(criterion, rtol=0.5), num_points)
        step_sizes = np.asarray(step_sizes, float)
        runs = run(step_sizes, keys, progress=staged("sweep"))
    except Interrupted as interrupted:
        runs = interrupted.runs
    else:
        try:
            edge = find(criterion, scanned=(step_sizes, runs))
            if edge.status is EdgeStatus.NONE_MEETS:
                for other in ("stable", "bounded"):
                    if other != criterion:
                        others[other] = find(other, max(rtol, COARSE), scanned=(step_sizes, runs))
        except Interrupted:
            pass
    seconds = time.perf_counter() - started - run.compile_seconds
    return Transition(
        np.asarray(step_sizes), runs, edge, others, predictions, run.slots or 0, run.compile_seconds, seconds
    )


def default_step_sizes(predictions: Predictions, num_points: int) -> Float[np.ndarray, " S"] | None:
    """Choose a grid around the predictions.

    Parameters
    ----------
    predictions
        As `predict` gives them.
    num_points
        Size of the grid, S.

    Returns
    -------
    array or None
        From 0.4 to 1.6 times a closed form; otherwise from a tenth of the smallest to ten times the largest
        prediction; None without predictions.
    """
    values = {entry.name: entry.value for entry in predictions.entries}
    if not values:
        return None
    if "closed_form" in values:
        # Points at round multiples would sit on exact bifurcations; the ends are chosen off them.
        return values["closed_form"] * np.geomspace(0.4007, 1.5989, num_points)
    return np.geomspace(min(values.values()) / 10, max(values.values()) * 10, num_points)


def verdict_counts(runs: Runs) -> dict[str, list[int]]:
    """Count the runs of each verdict.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].

    Returns
    -------
    dict
        Lower-case name of the verdict to its counts, one a step size.
    """
    codes = np.asarray(verdicts(runs))
    return {verdict.name.lower(): np.sum(codes == verdict, axis=1).tolist() for verdict in Verdict}


def limit_of(edge: Edge) -> str:
    """Say what limits the first failure.

    Parameters
    ----------
    edge
        As `gdx.critical_step_size` gives it.

    Returns
    -------
    str
    """
    first, last = edge.first_failure, edge.last_success
    if math.isnan(first.upper):
        return "no run failed"
    if math.isnan(last.lower):
        return "no run succeeded"
    if first.upper < last.lower:
        return "the start, or the batches: some run leaves the basin of its minimum, while some succeed beyond"
    return "the horizon: no run fails before the last success, and between the two runs are unfinished"


def _around(edge, num_points):
    ends = [end for pair in (edge.first_failure, edge.last_success) for end in pair if 0 < end < math.inf]
    low, high = (min(ends) / 10, max(ends) * 10) if ends else WIDE_SCAN[:2]
    return np.geomspace(low, high, num_points)
