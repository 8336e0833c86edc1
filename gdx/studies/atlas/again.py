"""The second road: some runs of a cell made again in a plain optax loop, and what becomes of it where they differ."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gdx.problems import Problem
from gdx.stepping import Family
from gdx.studies.atlas.found import NOTHING, Cell
from gdx.studies.atlas.measuring import SHIFT, Measured
from gdx.studies.stability.plain import late_loss, losses_of

FAR, BEYOND = 100.0, 1.5
"""Times the best step size from which a first failure looks odd, and times that where runs beyond it are looked at."""
NUM_ANYWHERE = 16
"""Runs made again at step sizes drawn from all, beside those that numbers rest on."""


def again(
    measured: Measured, problem: Problem, family: Family, keys: Any, num_steps: int, draw: np.random.Generator
) -> Cell:
    """Make some runs of a cell again: at its best step size, at both ends of its good range and of its edge, anywhere.

    Parameters
    ----------
    measured
        The cell, and what its runs say.
    problem, family, keys, num_steps
        As it was measured.
    draw
        Says which start is taken at each step size, and which others are.

    Returns
    -------
    Cell
        A run came out the same if both roads put it on the same side of halfway between chance and the best loss. Where
        one at the best step size or at an end of the good range did not, the cell has no best and no good range; where
        one at which every start trains, or none, did not, it has no edge of training.
    """
    cell, found = measured
    if found is None or not math.isfinite(found.level.halfway):
        return cell
    train = losses_of(problem, family, num_steps)
    learned = found.losses <= float(found.level.halfway)

    def is_same(at, start):
        loss = late_loss(train(found.step_sizes[at], keys[start]))
        return bool(loss <= float(found.level.halfway)) == bool(learned[at, start])

    said: dict[tuple[int, int], bool] = {}
    held = {size: int(np.searchsorted(found.step_sizes, size)) for size in (cell.best_step, *cell.good) if size > 0}
    runs = [(at, int(draw.integers(keys.shape[0]))) for at in held.values()]
    edge = [int(np.searchsorted(found.step_sizes, size)) for size in cell.trains_up_to if math.isfinite(size)]
    at_edge = [(at, int(np.argmin(learned[at]))) for at in edge]
    num_sizes, num_starts = learned.shape
    anywhere = [(int(draw.integers(num_sizes)), int(draw.integers(num_starts))) for _ in range(NUM_ANYWHERE)]
    for run in (*runs, *at_edge, *anywhere):
        said[run] = is_same(*run)
    cell = cell._replace(num_again=len(said), num_same=sum(said.values()))
    if not all(said[run] for run in at_edge):
        note = "plain optax runs at the edge say otherwise"
        cell = cell._replace(trains_up_to=NOTHING, spread=math.nan)
        if cell.criterion == "trains":
            cell = cell._replace(last_success=NOTHING, first_failure=NOTHING, agrees=None, edge_note=note)
    if not all(said[run] for run in runs):
        nan = math.nan
        cell = cell._replace(best_step=nan, best_loss=nan, best_losses=(nan, nan), good=NOTHING, trains_from=nan)
        cell = cell._replace(good_note="plain optax runs at its best step sizes say otherwise")
    return cell


def explain(cell: Cell, problem: Problem, family: Family, keys: Any, num_steps: int) -> Cell:
    """Look at plain runs, which know no blow-up bound, where an edge of convergence looks odd.

    Parameters
    ----------
    cell
        As measured.
    problem, family, keys, num_steps
        As it was measured.

    Returns
    -------
    Cell
        Where theory says otherwise, with what became of runs just below its edge: a linear method may be stable and
        yet rise beyond the bound first, and on a loss that is no quadratic a start may leave its basin. Where the first
        failure lies far above the best step size and runs beyond it end below their first loss all the same, without
        that edge: a method whose first step has the length of its step size passes the bound with it, and no more.
    """
    is_far = cell.criterion == "converged" and FAR * cell.best_step < cell.first_failure.upper < np.inf
    if cell.agrees is not False and not is_far:
        return cell
    step_size = cell.predicted * (1 - SHIFT) if cell.agrees is False else BEYOND * cell.first_failure.upper
    train = losses_of(problem, family, num_steps)
    losses = np.array([train(step_size, key) for key in keys])
    with np.errstate(all="ignore"):
        num_back = int(np.sum(losses[:, -1] < losses[:, 0]))
        peak = float(np.max(losses / losses[:, :1]))
    how_far = f", after up to {peak:.1g} times that" if np.isfinite(peak) and peak > 1 else ""
    told = f"at {step_size:.3g} {num_back} of {len(losses)} plain runs end below their first loss{how_far}"
    if cell.agrees is False:
        return _noted(cell, f"theory says {cell.predicted:.3g}: {told}")
    if num_back < len(losses):
        return cell
    cell = cell._replace(first_failure=NOTHING, last_success=NOTHING, edge_note="")
    return _noted(cell, f"fails by the blow-up bound alone, no edge: {told}")


def _noted(cell, note):
    return cell._replace(edge_note="; ".join(part for part in (cell.edge_note, note) if part))
