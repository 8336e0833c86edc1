"""The step sizes that go by the name of the largest stable one, side by side."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdx.checks import check_count, own_rules
from gdx.edges import Edge, critical_step_size
from gdx.edges.edge import tolerance_of
from gdx.problems.base import Epochs, Problem, check_problem
from gdx.progress import Progress, shows_progress
from gdx.records import record
from gdx.responses.families import measured_once
from gdx.stepping import Family
from gdx.studies.step_reading import StepRow, reading
from gdx.studies.step_theory import known_rows, missing, share_of, theory_rows
from gdx.sweeps import Interrupted, Sweep, sweep
from gdx.sweeps.building import EVALUATIONS
from gdx.sweeps.sizing import choose_blocks
from gdx.wording import aligned

if TYPE_CHECKING:
    import chex

WIDTH = 100
"""Columns of text that is printed."""


@record
class StepTable(NamedTuple):
    """All of them, and how to read where they disagree.

    Examples
    --------
    Continues the example of `gdx.step_table`.

    >>> len(table.rows), table.edge.criterion, table.num_steps
    (7, 'converged', 2000)
    """

    rows: tuple[StepRow, ...]
    """One a step size; those that could not be had are there with the reason."""
    edge: Edge
    """What was measured, with every run."""
    reading: str
    """How the rows compare, in one short paragraph."""
    num_steps: int
    """The horizon T of every run, steps."""
    unit: str
    """Of the costs."""

    def __str__(self) -> str:
        """Write the rows below each other, with their reading."""
        heading = ("", "step size", "+-", "cost", "what it means")
        rows = [(row.name, *row.numbers, f"{row.cost:.3g}", row.meaning) for row in self.rows]
        judged = f"{self.edge.criterion}{tolerance_of(self.edge)} within {self.num_steps} steps"
        told = textwrap.fill(self.reading, WIDTH, break_long_words=False, break_on_hyphens=False)
        return f"Step sizes, {judged}; cost in {self.unit}\n{aligned([heading, *rows], right=(1, 2, 3))}\n{told}"


class InterruptedTable(Interrupted):
    """Ctrl-C during a step table; beside the runs and the edge of `gdx.Interrupted`, the rows so far.

    Attributes
    ----------
    table : StepTable or None
        None where nothing can be read off the runs yet.

    Examples
    --------
    >>> import gdx
    >>> try:
    ...     raise gdx.studies.InterruptedTable(None, None, None, None)  # step_table raises it on Ctrl-C
    ... except gdx.Interrupted as interrupted:
    ...     interrupted.table is None
    True
    """

    def __init__(self, runs: Any, step_sizes: Any, edge: Edge | None, table: StepTable | None):
        super().__init__(runs, step_sizes, edge)
        self.table = table


@own_rules()
@measured_once()
@shows_progress("edges")
def step_table(
    problem: Problem,
    family: Family,
    key: chex.PRNGKey,
    *,
    num_steps: int,
    criterion: str | None = None,
    tolerance: float = 1e-6,
    rtol: float | None = None,
    progress: Progress = None,
) -> StepTable:
    """Set curvature's bounds, the one-step edge, the measured edges and the closed form side by side, for one start.

    Parameters
    ----------
    problem
        A Problem, not a callable.
    family
        `step_size -> optax transformation`.
    key
        One typed random key: it draws the start.
    num_steps
        The horizon T of every run, steps.
    criterion, tolerance, rtol, progress
        As in `gdx.critical_step_size`.

    Returns
    -------
    StepTable
        Rows "curvature at the start", "one-step edge", "curvature at the minimum", "measured: first failure",
        "measured: last success", "measured: endless run" and "closed form", the last where the problem knows its
        flattest minimum.

    Raises
    ------
    ValueError
        If an argument is out of range, or the problem or family cannot be run.
    InterruptedTable
        On Ctrl-C, with the rows so far in its `table`.

    Notes
    -----
    The curvature of an optimizer that divides by a preconditioner is that of the preconditioned Hessian. At the start
    that preconditioner is what one update leaves, little more than the size of the first gradient, entry by entry; so
    the Hessian is of the same loss, that of the first batch. It belongs to the first few steps alone, and often lies
    far from every other row. At the minimum the preconditioner is the one that the run ended with, and the Hessian that
    of the whole loss. Where that run has not trained, the row says so, and has no number where the loss is back at that
    of learning nothing: the flat place where a network died is stable at any step size.

    Examples
    --------
    >>> import jax, optax, gdx
    >>> table = gdx.step_table(gdx.problems.quartic(), optax.sgd, jax.random.key(0), num_steps=2_000)
    >>> for row in table.rows[2:]:
    ...     print(f"{row.name}: {row.value:.2f}")
    curvature at the minimum: 1.00
    measured: first failure: 1.00
    measured: last success: 1.00
    measured: endless run: 1.00
    closed form: 1.00
    """
    num_steps = check_count("num_steps", num_steps, "pass the horizon in steps")
    if getattr(key, "shape", None) != ():
        raise ValueError("key: it is not one typed key; pass jax.random.key(0)")
    if not isinstance(problem, Problem):
        raise ValueError(f"problem: {type(problem).__name__} is no gdx.Problem; make one with gdx.problem(init, loss)")
    check_problem(problem, key)
    run = sweep(problem, family, num_steps=num_steps, tolerance=tolerance)
    rows: list[StepRow] = []
    edge = None
    try:
        edge = critical_step_size(keys=key[None], run=run, criterion=criterion, rtol=rtol, progress=progress)
        for row in theory_rows(problem, family, key, edge):
            rows.append(row)
        return _table([*rows, *_measured_rows(edge, run), *known_rows(problem, family, key)], edge, num_steps, problem)
    except Interrupted as interrupted:
        edge = getattr(interrupted, "edge", None)
        table = None if edge is None else _table([*rows, *_measured_rows(edge, run)], edge, num_steps, problem)
        raise InterruptedTable(interrupted.runs, interrupted.step_sizes, edge, table) from interrupted
    except KeyboardInterrupt as interrupted:
        if edge is None or edge.runs is None:
            raise
        table = _table([*rows, *_measured_rows(edge, run)], edge, num_steps, problem)
        raise InterruptedTable(edge.runs, edge.step_sizes, edge, table) from interrupted


def _table(rows, edge, num_steps, problem):
    counts = problem.batches is None or isinstance(problem.batches, Epochs)
    unit = "gradients over all data" if counts else "gradients, of batches whose share of the data is not known"
    return StepTable(tuple(rows), edge, reading(rows, edge), num_steps, unit)


def _measured_rows(edge, run: Sweep):
    """What runs show: brackets of one horizon, and an estimate without one."""
    spent = _runs_cost(edge, run)
    what = f"{edge.criterion}{tolerance_of(edge)} within {edge.horizon} steps"
    rows = []
    ends = (
        ("measured: first failure", edge.first_failure, 1, "smallest step size that fails"),
        ("measured: last success", edge.last_success, 0, "largest step size that succeeds"),
    )
    for name, pair, end, meaning in ends:
        value = pair[end]
        if not (math.isfinite(value) and value > 0):
            rows.append(missing(name, meaning, f"{edge.status.value}: {what}")._replace(cost=spent))
        elif math.isfinite(pair.upper) and pair.lower > 0:
            rows.append(StepRow(name, value, pair.upper - pair.lower, spent, meaning, what))
        else:
            bound = "at most" if end else "at least"
            note = f"{what}; the search ends there, so this is a bound and no measurement"
            rows.append(StepRow(name, value, math.inf, spent, meaning, note, bound))
    meaning = "the edge that runs without a horizon would see"
    found = edge.estimate
    if found is None or not math.isfinite(found.value):
        reason = f'the criterion "{edge.criterion}" has none' if found is None else found.reason
        return [*rows, missing("measured: endless run", meaning, reason)]
    note = f"{found.kind.value}, by {found.method}: {found.reason}"
    cost = found.num_gradients * share_of(run.problem)
    return [*rows, StepRow("measured: endless run", found.value, found.error, cost, meaning, note)]


def _runs_cost(edge, run):
    """Steps made, each with its share of the data, and the full loss's gradients where that is what is judged."""
    problem, steps = run.problem, float(np.sum(edge.runs.steps))
    cost = steps * share_of(problem)
    if problem.batches is not None and problem.full_loss is not None:
        blocks = choose_blocks(run.num_steps, run.tail, spares_watching=True)
        cost += steps / run.num_steps * blocks.number * min(EVALUATIONS, blocks.watch)
    return cost
