"""The step sizes that go by the name of the largest stable one, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdx.curvature import EigenStatus, OneStepStatus, measure_response, one_step_edge, sharpness, step_at
from gdx.curvature.preconditioners import make_reader
from gdx.edges import Edge, critical_step_size
from gdx.problems.base import Problem, check_problem
from gdx.stepping import Family, train_step
from gdx.studies.predictions import judged_loss
from gdx.sweeps.inputs import check_count

if TYPE_CHECKING:
    import chex

PRODUCT_COST = 2.0
"""Gradients that a Hessian product is counted as."""
FORWARD_COST = 1 / 3
"""Gradients that an evaluation of the loss alone is counted as."""
BELOW_EDGE = 0.5
"""Share of the last success at which the minimum is looked for: well inside, and not so slow."""
RTOL = 1e-4
"""Of curvatures, relative residual."""


class StepRow(NamedTuple):
    """One of the step sizes."""

    name: str
    value: float
    """A step size; NaN where there is none, and `note` says why."""
    error: float
    """How well the value is known for what it is, absolute: of a bracket its width, of an eigenvalue what its residual
    allows. Not its distance from any other row."""
    cost: float
    """What it took, in gradients over all data: a Hessian product counts as two, an evaluation of the loss as a third,
    and a run as its whole horizon."""
    meaning: str
    note: str
    """Where the number comes from, or why there is none."""


class StepTable(NamedTuple):
    """All of them, and how to read where they disagree."""

    rows: tuple[StepRow, ...]
    edge: Edge
    reading: str
    num_steps: int


def step_table(
    problem: Problem,
    family: Family,
    key: chex.PRNGKey,
    *,
    num_steps: int,
    criterion: str | None = "converged",
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

    Notes
    -----
    The curvature of an optimizer that divides by a preconditioner is that of the preconditioned Hessian: at the start
    with the preconditioner after one update, at the minimum with the one that the run ended with.

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
    edge = critical_step_size(
        problem,
        family,
        keys=key[None],
        num_steps=num_steps,
        criterion=criterion,
        tolerance=tolerance,
        rtol=rtol,
        progress=progress,
    )
    rows = [*_theory_rows(problem, family, key, edge), *_measured_rows(edge), *_known_rows(problem, family)]
    return StepTable(tuple(rows), edge, _reading(rows, edge), num_steps)


def _theory_rows(problem, family, key, edge):
    """Curvature at both ends of a run, and the one-step edge between them."""
    names = ("curvature at the start", "one-step edge", "curvature at the minimum")
    meanings = (
        "stability, if curvature stayed as it is at the start",
        "largest first update that does not raise the loss",
        "stability of the minimum that a run reaches",
    )
    if problem.batches is not None and problem.full_loss is None:
        note = "the loss of a batch is not one loss; give the problem a full_loss"
        return [_missing(name, meaning, note) for name, meaning in zip(names, meanings, strict=True)]
    start, run = _runner(problem, family)
    first, half = run(1.0, key, 1), run(0.5, key, 1)
    rows = [
        _curvature_row(names[0], meanings[0], problem, family, (*start(key), first.opt_state), 0),
        _one_step_row(names[1], meanings[1], problem, start(key), first, half),
    ]
    if not edge.last_success.lower > 0:
        note = "no run succeeds, so no minimum is reached"
        return [*rows, _missing(names[2], meanings[2], note)]
    step_size = BELOW_EDGE * edge.last_success.lower
    end = run(step_size, key, edge.horizon)
    row = _curvature_row(
        names[2], meanings[2], problem, family, (end.params, end.model_state, end.opt_state), edge.horizon
    )
    return [*rows, row._replace(note=f"{row.note}, after {edge.horizon} steps of {step_size:.4g}")]


def _runner(problem, family):
    step = train_step(problem, family)

    @jax.jit
    def run(step_size, key, num_steps):
        return jax.lax.fori_loop(0, num_steps, lambda _, state: step.update(state)[0], step.init(step_size, key))

    return problem.init, lambda step_size, key, num_steps: run(
        jnp.asarray(step_size, jnp.result_type(float)), key, num_steps
    )


def _curvature_row(name, meaning, problem, family, place, num_gradients):
    """Critical step size of the quadratic that a loss looks like at one place."""
    params, model_state, opt_state = place
    loss = judged_loss(problem, model_state)
    try:
        reader = make_reader(family, params)

        @jax.jit
        def measured(params, opt_state):
            return sharpness(loss, params, preconditioner=reader.read(opt_state, params), rtol=RTOL)

        found = measured(params, opt_state)
        curvature, residual = float(found.value), float(found.residual)
        if int(found.status) == EigenStatus.NONFINITE:
            return _missing(name, meaning, "the curvature there is not finite")
        if curvature <= 0:
            return _missing(name, meaning, f"the largest curvature there is {curvature:.3g}, not positive")
        value = step_at(reader.response, curvature)
        # A larger curvature by the residual, within which an eigenvalue is sure to lie.
        error = value - step_at(reader.response, curvature + residual)
    except ValueError as error:
        return _missing(name, meaning, str(error).removeprefix("family: ").removeprefix("loss: "))
    hessian = "preconditioned Hessian" if reader.response.is_preconditioned else "Hessian"
    spent = num_gradients + PRODUCT_COST * int(found.num_products)
    return StepRow(name, value, error, spent, meaning, f"largest eigenvalue {curvature:.6g} of the {hessian}")


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


def _measured_rows(edge):
    rows = []
    runs = len(edge.step_sizes) * edge.horizon
    what = f"{edge.criterion} (tolerance {edge.tolerance:g}) within {edge.horizon} steps"
    ends = (
        (
            "measured: first failure",
            edge.first_failure,
            edge.first_failure.upper,
            "smallest step size that fails",
        ),
        (
            "measured: last success",
            edge.last_success,
            edge.last_success.lower,
            "largest step size that succeeds",
        ),
    )
    for name, pair, value, meaning in ends:
        if not (math.isfinite(value) and value > 0):
            rows.append(_missing(name, meaning, f"{edge.status.value}: {what}")._replace(cost=runs))
        else:
            ended = "" if math.isfinite(pair.upper) else "; the scan ends there, and not the success"
            rows.append(StepRow(name, value, pair.upper - pair.lower, runs, meaning, what + ended))
    meaning = "the edge that runs without a horizon would see"
    found = edge.estimate
    if found is None or not math.isfinite(found.value):
        reason = f'the criterion "{edge.criterion}" has none' if found is None else found.reason
        return [*rows, _missing("measured: endless run", meaning, reason)]
    note = f"{found.kind.value}, by {found.method}: {found.reason}"
    return [*rows, StepRow("measured: endless run", found.value, found.error, found.num_gradients, meaning, note)]


def _known_rows(problem, family):
    known = problem.known
    if known is None or known.min_sharpness is None:
        return []
    name, meaning = "closed form", "beyond it no minimum is stable"
    try:
        response = measure_response(family)
    except ValueError as error:
        return [_missing(name, meaning, str(error).removeprefix("family: "))]
    if response.is_preconditioned:
        return [_missing(name, meaning, "it is known of the Hessian, not of the preconditioned one")]
    return [StepRow(name, step_at(response, known.min_sharpness), 0.0, 0.0, meaning, known.source)]


def _reading(rows, edge):
    """How to read disagreement, in one short paragraph about the numbers at hand."""
    values = {row.name: row.value for row in rows}
    measured = values["measured: endless run"]
    if not math.isfinite(measured):
        measured = values["measured: last success"]
    said = [
        "The rows answer different questions, so they may differ by orders of magnitude and all be right: train by the "
        "measured ones."
    ]
    if not math.isfinite(measured):
        said = ["No run succeeded, so the other rows stand unmeasured: a longer horizon or another criterion may tell."]
    for name, low, high in (
        (
            "curvature at the start",
            "the run leaves the place where it began for a flatter one",
            "the curvature grows on the way",
        ),
        (
            "curvature at the minimum",
            "beyond that minimum's edge flatter ones are in reach",
            "something else than the loss of that minimum stops the runs: the start's basin, or the horizon",
        ),
    ):
        is_known = math.isfinite(values[name]) and math.isfinite(edge.last_success.upper)
        ratio = measured / values[name] if is_known else 1.0
        if ratio > 1.05:
            said.append(f"The {name} is {ratio:.3g} times too cautious: {low}.")
        elif ratio < 0.95:
            said.append(f"The {name} promises {1 / ratio:.3g} times too much: {high}.")
    if edge.first_failure.upper < 0.95 * edge.last_success.lower:
        said.append("Some smaller steps fail already: between first failure and last success the start decides.")
    return " ".join(said)


def _missing(name, meaning, note):
    return StepRow(name, math.nan, math.nan, 0.0, meaning, note)
