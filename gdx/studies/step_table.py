"""The step sizes that go by the name of the largest stable one, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.checks import own_rules
from gdx.curvature import EigenStatus, OneStepStatus, measure_response, one_step_edge, sharpness, step_at
from gdx.curvature.preconditioners import make_reader
from gdx.curvature.scalings import own_scale
from gdx.edges import Edge, critical_step_size
from gdx.problems.base import Epochs, Problem, check_problem
from gdx.stepping import Family, train_step
from gdx.studies.predictions import judged_loss
from gdx.studies.step_reading import StepRow, reading, tolerance_of
from gdx.sweeps import Interrupted, Sweep, sweep
from gdx.sweeps.driver import EVALUATIONS
from gdx.sweeps.inputs import check_count
from gdx.sweeps.sizing import choose_blocks
from gdx.verdicts import Answer, training_level

if TYPE_CHECKING:
    import chex

PRODUCT_COST = 2.0
"""Gradients that a Hessian product is counted as."""
FORWARD_COST = 1 / 3
"""Gradients that an evaluation of the loss alone is counted as."""
BELOW_EDGE = 0.5
"""Share of the last success at which the minimum is looked for: well inside, and not so slow."""
LATE = 10
"""The last one of so many parts of a run says whether it has trained."""
DEAD = 0.1
"""Share of the way from chance to the best loss of the search that a dead run does not get beyond."""
RTOL = 1e-4
"""Of curvatures, relative residual."""


class StepTable(NamedTuple):
    """All of them, and how to read where they disagree."""

    rows: tuple[StepRow, ...]
    edge: Edge
    reading: str
    num_steps: int
    unit: str
    """Of the costs."""


class InterruptedTable(Interrupted):
    """Ctrl-C during a step table; beside the runs and the edge of `gdx.Interrupted`, the rows so far.

    Attributes
    ----------
    table : StepTable or None
        None where nothing can be read off the runs yet.
    """

    def __init__(self, runs: Any, step_sizes: Any, edge: Edge | None, table: StepTable | None):
        super().__init__(runs, step_sizes, edge)
        self.table = table


@own_rules()
def step_table(
    problem: Problem,
    family: Family,
    key: chex.PRNGKey,
    *,
    num_steps: int,
    criterion: str | None = None,
    tolerance: float = 1e-6,
    rtol: float | None = None,
    progress: Callable[[int, int], None] | None = None,
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
    >>> table = gdx.step_table(gdx.problems.quartic(), optax.sgd, jax.random.key(0), num_steps=2_000)
    >>> {row.name: row.value for row in table.rows}
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
        for row in _theory_rows(problem, family, key, edge):
            rows.append(row)
        return _table([*rows, *_measured_rows(edge, run), *_known_rows(problem, family, key)], edge, num_steps, problem)
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


def _theory_rows(problem, family, key, edge):
    """Curvature at both ends of a run, and the one-step edge between them, one after another."""
    names = ("curvature at the start", "one-step edge", "curvature at the minimum")
    meanings = (
        "stability, if curvature stayed as it is at the start",
        "largest first update that does not raise the loss",
        "stability of the minimum that a run reaches",
    )
    if problem.batches is not None and problem.full_loss is None:
        note = "the loss of a batch is not one loss; give the problem a full_loss"
        yield from (_missing(name, meaning, note) for name, meaning in zip(names, meanings, strict=True))
        return
    start, run = _runner(problem, family)
    (first, _), (half, _) = run(1.0, key, 1), run(0.5, key, 1)
    try:
        reader = make_reader(family, first.params)
    except ValueError as error:
        note = str(error).removeprefix("family: ")
        yield _missing(names[0], meanings[0], note)
        yield _one_step_row(names[1], meanings[1], problem, start(key), first, half)
        yield _missing(names[2], meanings[2], note)
        return
    yield _start_row(names[0], meanings[0], problem, reader, start(key), first)
    yield _one_step_row(names[1], meanings[1], problem, start(key), first, half)
    step_size = _well_inside(edge)
    if step_size is None:
        yield _missing(names[2], meanings[2], "no run succeeds, so no minimum is reached")
        return
    end, late_loss = run(step_size, key, edge.horizon)
    after = f"after {edge.horizon} steps of {step_size:.4g}"
    is_dead, remark = _trained(edge, float(late_loss))
    if is_dead:
        row = _missing(names[2], meanings[2], f"none was reached {after}: {remark}")
        yield row._replace(cost=edge.horizon * _share(problem))
        return
    row = _curvature_row(
        names[2], meanings[2], reader, judged_loss(problem, end.model_state), end.params, end.opt_state
    )
    note = f"{row.note}, {after}" + (f"; {remark}" if remark else "")
    yield row._replace(note=note, cost=row.cost + edge.horizon * _share(problem))


def _share(problem):
    """Of the data that one step sees; where that is not known, 1."""
    return 1 / problem.batches.num_steps if isinstance(problem.batches, Epochs) else 1.0


def _well_inside(edge):
    """Step size of a run that succeeded, as near as there is to the middle between nothing and the last success."""
    met = edge.step_sizes[np.any(edge.answers == Answer.MET, axis=1)]
    if met.size == 0:
        return None
    return float(met[np.argmin(np.abs(np.log(met / (BELOW_EDGE * met[-1]))))])


def _trained(edge, late_loss):
    """Whether a run is dead, and what is to be said of it; nothing where it has trained."""
    level = training_level(edge.runs)
    if not math.isfinite(level.best):
        return False, ""
    if not math.isfinite(level.halfway):
        return False, "no run of the search has learned more than its start knew, or not within this horizon"
    if late_loss <= level.halfway:
        return False, ""
    told = f"loss {late_loss:.4g} where learning nothing has {level.chance:.4g} and the best run {level.best:.4g}"
    if late_loss < level.chance - DEAD * (level.chance - level.best):
        return False, f"that run is worse than halfway trained, {told}"
    return True, f"that run has not trained, {told}"


def _runner(problem, family):
    """Make `(step size, key, steps) -> state, mean training loss of the last part`."""
    step = train_step(problem, family)

    @jax.jit
    def run(step_size, key, num_steps):
        length = jnp.maximum(num_steps // LATE, 1)

        def move(count, carry):
            state, total = carry
            state, view = step.update(state)
            return state, total + jnp.where(count >= num_steps - length, view.loss, 0).astype(total.dtype)

        start = step.init(step_size, key), jnp.zeros((), jnp.result_type(float))
        state, total = jax.lax.fori_loop(0, num_steps, move, start)
        return state, total / length

    return problem.init, lambda step_size, key, num_steps: run(
        jnp.asarray(step_size, jnp.result_type(float)), key, num_steps
    )


def _start_row(name, meaning, problem, reader, start, first):
    """Curvature at the start: of the whole loss, or of the first batch's where the preconditioner comes from that."""
    params, model_state = start
    loss, share, is_preconditioned = judged_loss(problem, model_state), 1.0, reader.response.is_preconditioned
    if is_preconditioned and problem.batches is not None:
        batch, share = problem.batches(first.key, jnp.zeros((), jnp.int32)), _share(problem)
        loss = lambda params: problem.loss(params, model_state, batch)[0]  # noqa: E731
    row = _curvature_row(name, meaning, reader, loss, params, first.opt_state, share)
    if is_preconditioned and math.isfinite(row.value):
        whose = "both of the first batch" if problem.batches is not None else "both of the first step"
        said = "that preconditioner is the size of one gradient, entry by entry, and soon another"
        return row._replace(note=f"{row.note}, {whose}; {said}")
    return row


def _curvature_row(name, meaning, reader, loss, params, opt_state, share=1.0):
    """Critical step size of the quadratic that a loss looks like at one place."""
    response = reader.response
    is_bent = response.is_preconditioned or response.scale is not None

    @jax.jit
    def measured(params, opt_state):
        diagonal = reader.read(opt_state, params) if is_bent else None
        return sharpness(*own_scale(loss, params, diagonal, response.decay), rtol=RTOL)

    try:
        found = measured(params, opt_state)
    except ValueError as error:
        return _missing(name, meaning, str(error).removeprefix("family: ").removeprefix("loss: "))
    curvature, residual = float(found.value), float(found.residual)
    spent = PRODUCT_COST * share * int(found.num_products)
    if int(found.status) == EigenStatus.NONFINITE:
        return _missing(name, meaning, "the curvature there is not finite")._replace(cost=spent)
    if curvature <= 0:
        note = f"the largest curvature there is {curvature:.3g}, not positive"
        return _missing(name, meaning, note)._replace(cost=spent)
    value = step_at(response, curvature)
    if not math.isfinite(value):
        note = f"no step size is too large for a curvature of {curvature:.6g}"
        return _missing(name, meaning, note)._replace(cost=spent)
    # A larger curvature by the residual, within which an eigenvalue is sure to lie.
    error = value - step_at(response, curvature + residual)
    hessian = "preconditioned Hessian" if response.is_preconditioned else "Hessian"
    if response.decay is not None or (response.scale is not None and not response.is_preconditioned):
        hessian += " under the parameters' own step sizes and decays"
    note = f"largest eigenvalue {curvature:.6g} of the {hessian}"
    if found.status == EigenStatus.NOT_CONVERGED:
        note += f", not converged: a residual of {residual:.2g} is left"
    return StepRow(name, value, error, spent, meaning, note)


def _one_step_row(name, meaning, problem, start, first, half):
    params, model_state = start
    direction, halved = (jax.tree.map(jnp.subtract, state.params, params) for state in (first, half))
    apart = optax.tree.norm(jax.tree.map(lambda d, h: d - 2 * h, direction, halved))
    if not apart <= 1e-3 * optax.tree.norm(direction):
        return _missing(name, meaning, "the first update is not proportional to the step size")
    loss = judged_loss(problem, model_state)
    found = jax.jit(lambda params, direction: one_step_edge(loss, params, direction))(params, direction)
    status = OneStepStatus(int(found.status))
    spent = FORWARD_COST * int(found.num_evaluations)
    if status is not OneStepStatus.BRACKETED:
        reasons = {
            OneStepStatus.NEVER_RISES: "along the first update the loss never rises",
            OneStepStatus.RISES_AT_ONCE: "the first update raises the loss, however small",
        }
        reason = reasons.get(status, "the loss or the first update, at step size 1, is not finite")
        return _missing(name, meaning, reason)._replace(cost=spent)
    lower, upper = float(found.lower), float(found.upper)
    return StepRow(
        name, lower, upper - lower, spent, meaning, "along the first update, by evaluations of the loss alone"
    )


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
            rows.append(_missing(name, meaning, f"{edge.status.value}: {what}")._replace(cost=spent))
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
        return [*rows, _missing("measured: endless run", meaning, reason)]
    note = f"{found.kind.value}, by {found.method}: {found.reason}"
    cost = found.num_gradients * _share(run.problem)
    return [*rows, StepRow("measured: endless run", found.value, found.error, cost, meaning, note)]


def _runs_cost(edge, run):
    """Steps made, each with its share of the data, and the full loss's gradients where that is what is judged."""
    problem, steps = run.problem, float(np.sum(edge.runs.steps))
    cost = steps * _share(problem)
    if problem.batches is not None and problem.full_loss is not None:
        blocks = choose_blocks(run.num_steps, run.tail, spares_watching=True)
        cost += steps / run.num_steps * blocks.number * min(EVALUATIONS, blocks.watch)
    return cost


def _known_rows(problem, family, key):
    known = problem.known
    if known is None or known.min_sharpness is None:
        return []
    name, meaning = "closed form", "beyond it no minimum is stable"
    try:
        response = measure_response(family, jax.eval_shape(problem.init, key)[0])
    except ValueError as error:
        return [_missing(name, meaning, str(error).removeprefix("family: "))]
    if response.is_preconditioned or response.scale is not None or response.decay is not None:
        return [_missing(name, meaning, "it is known of the Hessian as it is, which this optimizer bends")]
    return [StepRow(name, step_at(response, known.min_sharpness), 0.0, 0.0, meaning, known.source)]


def _missing(name, meaning, note):
    return StepRow(name, math.nan, math.nan, 0.0, meaning, note)
