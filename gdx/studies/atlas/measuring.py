"""One optimizer on one problem: a scan that grows until it has seen both ends of what works, and what it says."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gdx.checks import first_line
from gdx.edges import Edge, EdgeStatus
from gdx.edges.scanning import Search, edge_of, find_edge
from gdx.edges.starting import LIMITS, SPACING
from gdx.exploring import Exploration, explore
from gdx.problems import Problem
from gdx.stepping import Family
from gdx.studies.atlas.found import NOTHING, Cell
from gdx.studies.atlas.problems import AtlasProblem
from gdx.studies.stability.answering import good_range
from gdx.studies.stability.clock import Clock
from gdx.studies.stability.scanning import Reading, read
from gdx.sweeps import Interrupted, sweep

GRID = (1e-6, 1e3, 31)
"""Lowest and highest step size and number of points of the scan to begin with: factors of 2."""
RTOL = 0.2
"""Widest bracket of an edge accepted, relative: starts hardly agree any better."""
NEAR = 2.0
"""Factor between neighbours at the ends of the good range and at the best step size."""
BLOCK_POINTS = 4
"""By which the scan grows where it has not seen the end of the good range."""
ROUNDS = 12
"""Of looking for the ends of the good range."""
TOLERANCE = 1e-6
"""Of convergence."""
MOST_BYTES = 1e10
"""That one run may compute: a hundred times what one of Adam on the largest problem does, ten of them take a minute."""
APART = 2.0
"""Factor between a last success and a first failure that asks for a remark."""
SHIFT = 0.02
"""By which a finite horizon may shift an edge, relative: ln(1/tolerance) / (2 T) is .0035, momentum's is larger."""


class Measured(NamedTuple):
    """A cell, and what its second road needs."""

    cell: Cell
    found: Reading | None
    """None where nothing was run."""


def measure(
    cell: Cell, what: AtlasProblem, problem: Problem, family: Family, keys: Any, num_steps: int, seconds: float
) -> Measured:
    """Run one optimizer on one problem.

    Parameters
    ----------
    cell
        With what is known before.
    what, problem
        The problem's row, and the problem.
    family
        `step_size -> optax transformation`.
    keys
        Typed random keys [R].
    num_steps
        The horizon.
    seconds
        After which it is given up.

    Returns
    -------
    Measured

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C.
    """
    clock = Clock(seconds)
    run = sweep(
        problem,
        family,
        num_steps=num_steps,
        tolerance=TOLERANCE,
        slots=what.slots,
        num_runs=GRID[2] * keys.shape[0],
    )
    explored = Exploration(run, keys)
    wanted = Search(what.criterion, TOLERANCE, RTOL, grows=True)
    try:
        run.check(np.ones(1), keys)
        cost = (run.step_bytes or 0) * num_steps / MOST_BYTES
        if cost > 1:
            return Measured(_without(cell, f"not run: its steps cost {cost:.2g} times what is allowed here"), None)
        find_edge(explored, np.geomspace(*GRID), wanted, progress=clock.watching(None, ""))
        explore(explored, _ends_of_good, clock.watching(None, ""), rounds=ROUNDS)
    except ValueError as error:
        return Measured(_without(cell, f"it cannot be run: {first_line(error)}"), None)
    except Interrupted:
        if not clock.is_over:
            raise
        return Measured(_without(cell, f"given up: its runs were not over within {seconds:.0f} s"), None)
    found = read(explored)
    cell = _with_edge(cell, edge_of(explored, wanted), what.is_quadratic)
    cell = reconciled(_with_good(cell, found))
    return Measured(cell._replace(num_runs=int(found.losses.size), seconds=clock.seconds), found)


def _without(cell, note):
    return cell._replace(edge_note=note, good_note=note)


def _with_edge(cell: Cell, edge: Edge, is_quadratic: bool) -> Cell:
    low, high = float(edge.step_sizes[0]), float(edge.step_sizes[-1])
    verb = {"converged": ("converges", "converge"), "trains": ("trains", "train")}[edge.criterion]
    if edge.status is EdgeStatus.NONE_MEETS:
        note = f"no start {verb[0]} at any step size from {low:.1g} to {high:.1g}"
        return cell._replace(criterion=edge.criterion, edge_note=note)
    if edge.status is EdgeStatus.UNDECIDED and not math.isfinite(edge.last_success.lower):
        note = f"no start {verb[0]} or fails from {low:.1g} to {high:.1g}"
        return cell._replace(criterion=edge.criterion, edge_note=note)
    if math.isnan(edge.first_failure.upper):
        return cell._replace(criterion=edge.criterion, edge_note=f"no failure up to {high:.1g}")
    note = "failures and successes alternate" if edge.status is EdgeStatus.NOT_MONOTONE else ""
    cell = cell._replace(
        criterion=edge.criterion, last_success=edge.last_success, first_failure=edge.first_failure, edge_note=note
    )
    return cell._replace(agrees=agreement(cell, is_quadratic))


def agreement(cell: Cell, is_quadratic: bool) -> bool | None:
    """Say whether a predicted edge lies within what was measured.

    Parameters
    ----------
    cell
        With its edge.
    is_quadratic
        Otherwise the prediction is of the flattest minimum, beyond which no run can rest; starts may fail before.

    Returns
    -------
    bool or None
        None where there is nothing to compare.
    """
    if not (math.isfinite(cell.predicted) and math.isfinite(cell.last_success.lower)):
        return None
    if not is_quadratic:
        return bool(cell.last_success.lower <= cell.predicted * (1 + SHIFT))
    reached = cell.first_failure.lower / (1 + SHIFT) <= cell.predicted <= cell.last_success.upper * (1 + SHIFT)
    return bool(reached)


def _with_good(cell: Cell, found: Reading) -> Cell:
    good = good_range(found, found.largest_step)
    if math.isnan(good.lower):
        return cell._replace(good_note=_why_none(found))
    sizes, best = found.step_sizes, found.best
    begins = best
    while begins > 0 and found.trains[begins - 1]:
        begins -= 1
    losses = found.losses[best]
    return cell._replace(
        trains_up_to=found.largest_step,
        trains_from=float(sizes[begins]),
        best_step=float(sizes[best]),
        best_loss=float(np.median(losses)),
        best_losses=(float(np.min(losses)), float(np.max(losses))),
        good=good,
        is_open=(bool(good.lower <= sizes[0]), math.isinf(found.largest_step.upper)),
        spread=found.spread,
    )


def reconciled(cell: Cell) -> Cell:
    """Take back a first failure below the best step size, where two ways to judge a run contradict each other.

    Where the first failure lies far beyond the last success, say that what lies between is neither.

    Parameters
    ----------
    cell
        As measured.

    Returns
    -------
    Cell
    """
    if cell.first_failure.lower > APART * cell.last_success.upper and not cell.edge_note:
        return cell._replace(edge_note="between the two, runs neither succeed nor fail within the horizon")
    if not cell.first_failure.upper < cell.best_step:
        return cell
    note = f"single runs fail from {cell.first_failure.upper:.2g} on, below the best step size, so it is no edge"
    return cell._replace(first_failure=NOTHING, agrees=None, edge_note=note)


def _why_none(found):
    some = np.flatnonzero(np.any(found.losses <= float(found.level.halfway), axis=1))
    if some.size:
        low, high = found.step_sizes[some[0]], found.step_sizes[some[-1]]
        return f"at no step size does every start train; single ones do from {low:.2g} to {high:.2g}"
    if not np.isfinite(found.losses).any():
        return "no run had a finite loss to its end"
    return "no run learned anything that can be told from chance, or the best ones are merely on their way"


def _ends_of_good(explored):
    """Points beyond the ends of a good range that have not been seen, and between neighbours that lie far apart."""
    found = read(explored)
    good = good_range(found, found.largest_step)
    if math.isnan(good.lower):
        return []
    sizes = found.step_sizes
    new = np.zeros(0)
    if good.lower <= sizes[0]:
        new = np.append(new, sizes[0] / SPACING ** np.arange(1.0, BLOCK_POINTS + 1))
    if math.isinf(found.largest_step.upper):
        new = np.append(new, sizes[-1] * SPACING ** np.arange(1.0, BLOCK_POINTS + 1))
    new = new[(new >= LIMITS[0]) & (new <= LIMITS[1])]
    ends = [int(np.searchsorted(sizes, end)) for end in good]
    pairs = [(ends[0] - 1, ends[0]), (ends[1], ends[1] + 1), (found.best - 1, found.best), (found.best, found.best + 1)]
    halves = [
        math.sqrt(sizes[low] * sizes[high])
        for low, high in pairs
        if low >= 0 and high < sizes.size and sizes[high] > NEAR * (1 + 1e-6) * sizes[low]
    ]
    return np.append(new, halves)
