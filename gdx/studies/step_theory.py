"""The rows of a step table that theory gives: curvature at both ends of a run, and the one-step edge."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.curvature import EigenStatus, OneStepStatus, one_step_edge, sharpness
from gdx.edges import Edge
from gdx.problems.base import Epochs, Problem
from gdx.responses import measure_response, step_at
from gdx.responses.preconditioners import make_reader
from gdx.responses.scalings import own_scale
from gdx.stepping import Family
from gdx.studies.beyond import beyond
from gdx.studies.minima import judged_loss
from gdx.studies.resting import look_at, run_of
from gdx.studies.step_reading import StepRow
from gdx.verdicts import Answer, training_level

if TYPE_CHECKING:
    import chex

PRODUCT_COST = 2.0
"""Gradients that a Hessian product is counted as."""
FORWARD_COST = 1 / 3
"""Gradients that an evaluation of the loss alone is counted as."""
BELOW_EDGE = 0.5
"""Share of the last success at which the minimum is looked for: well inside, and not so slow."""
DEAD = 0.1
"""Share of the way from chance to the best loss of the search that a dead run does not get beyond."""
RTOL = 1e-4
"""Of curvatures, relative residual."""


def theory_rows(problem: Problem, family: Family, key: chex.PRNGKey, edge: Edge) -> Iterator[StepRow]:
    """Give curvature at both ends of a run, and the one-step edge between them, one after another.

    Parameters
    ----------
    problem, family, key
        As in `step_table`, checked.
    edge
        What was measured, with its runs.

    Yields
    ------
    StepRow
    """
    names = ("curvature at the start", "one-step edge", "curvature at the minimum")
    meanings = (
        "stability, if curvature stayed as it is at the start",
        "largest first update that does not raise the loss",
        "stability of the minimum that a run reaches",
    )
    if problem.batches is not None and problem.full_loss is None:
        note = "the loss of a batch is not one loss; give the problem a full_loss"
        yield from (missing(name, meaning, note) for name, meaning in zip(names, meanings, strict=True))
        return
    start, run = problem.init, jax.jit(run_of(problem, family))
    (first, _), (half, _) = (run(jnp.asarray(share, jnp.result_type(float)), key, 1) for share in (1.0, 0.5))
    try:
        reader = make_reader(family, first.params)
    except ValueError as error:
        note = str(error).removeprefix("family: ")
        yield missing(names[0], meanings[0], note)
        yield _one_step_row(names[1], meanings[1], problem, start(key), first, half)
        yield missing(names[2], meanings[2], note)
        return
    yield _start_row(names[0], meanings[0], problem, reader, start(key), first)
    yield _one_step_row(names[1], meanings[1], problem, start(key), first, half)
    step_size = _well_inside(edge)
    if step_size is None:
        yield missing(names[2], meanings[2], "no run succeeds, so no minimum is reached")
        return
    end, late_loss = run(jnp.asarray(step_size, jnp.result_type(float)), key, edge.horizon)
    after = f"after {edge.horizon} steps of {step_size:.4g}"
    is_dead, remark = _trained(edge, float(late_loss))
    if is_dead:
        row = missing(names[2], meanings[2], f"none was reached {after}: {remark}")
        yield row._replace(cost=edge.horizon * share_of(problem))
        return
    loss = judged_loss(problem, end.model_state)
    row = _curvature_row(names[2], meanings[2], reader, loss, end.params, end.opt_state)
    note = f"{row.note}, {after}" + (f"; {remark}" if remark else "")
    if math.isfinite(row.value):
        # What a run has come near to is told by its loss, and by the sign of the smallest curvature there.
        look = look_at(loss, end.params)
        kind = look.kind if _is_at_rest(loss, start(key)[0], end.params, edge.tolerance) else "not at rest"
        span = f"curvature from {look.smallest:.4g} to {look.largest:.4g}"
        note += f"; loss {float(loss(end.params)):.4g} there, {kind}: {span}"
        told = beyond(loss, end.params, family) if look.is_stable and kind != "not at rest" else ""
        note += f"; {told}" if told else ""
    yield row._replace(note=note, cost=row.cost + edge.horizon * share_of(problem))


def share_of(problem: Problem) -> float:
    """Share of the data that one step sees.

    Parameters
    ----------
    problem
        A Problem.

    Returns
    -------
    float
        1 where it is not known.
    """
    return 1 / problem.batches.num_steps if isinstance(problem.batches, Epochs) else 1.0


def _well_inside(edge):
    """Step size of a run that succeeded, as near as there is to the middle between nothing and the last success."""
    met = edge.step_sizes[np.any(edge.answers == Answer.MET, axis=1)]
    if met.size == 0:
        return None
    return float(met[np.argmin(np.abs(np.log(met / (BELOW_EDGE * met[-1]))))])


def _is_at_rest(loss, start, end, tolerance):
    first, last = (float(optax.tree.norm(jax.grad(loss)(params))) for params in (start, end))
    return last <= tolerance * first


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


def _start_row(name, meaning, problem, reader, start, first):
    """Curvature at the start: of the whole loss, or of the first batch's where the preconditioner comes from that."""
    params, model_state = start
    loss, share, is_preconditioned = judged_loss(problem, model_state), 1.0, reader.response.is_preconditioned
    if is_preconditioned and problem.batches is not None:
        batch, share = problem.batches(first.key, jnp.zeros((), jnp.int32)), share_of(problem)
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
        return missing(name, meaning, str(error).removeprefix("family: ").removeprefix("loss: "))
    curvature, residual = float(found.value), float(found.residual)
    spent = PRODUCT_COST * share * int(found.num_products)
    if int(found.status) == EigenStatus.NONFINITE:
        return missing(name, meaning, "the curvature there is not finite")._replace(cost=spent)
    if curvature <= 0:
        note = f"the largest curvature there is {curvature:.3g}, not positive"
        return missing(name, meaning, note)._replace(cost=spent)
    value = step_at(response, curvature)
    if not math.isfinite(value):
        note = f"no step size is too large for a curvature of {curvature:.6g}"
        return missing(name, meaning, note)._replace(cost=spent)
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
        return missing(name, meaning, "the first update is not proportional to the step size")
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
        return missing(name, meaning, reason)._replace(cost=spent)
    lower, upper = float(found.lower), float(found.upper)
    return StepRow(
        name, lower, upper - lower, spent, meaning, "along the first update, by evaluations of the loss alone"
    )


def known_rows(problem: Problem, family: Family, key: chex.PRNGKey) -> list[StepRow]:
    """Give the closed form, where there is one.

    Parameters
    ----------
    problem, family, key
        As in `step_table`.

    Returns
    -------
    list of StepRow
    """
    known = problem.known
    if known is None or known.min_sharpness is None:
        return []
    name, meaning = "closed form", "beyond it no minimum is stable"
    try:
        response = measure_response(family, jax.eval_shape(problem.init, key)[0])
    except ValueError as error:
        return [missing(name, meaning, str(error).removeprefix("family: "))]
    if response.is_preconditioned or response.scale is not None or response.decay is not None:
        return [missing(name, meaning, "it is known of the Hessian as it is, which this optimizer bends")]
    return [StepRow(name, step_at(response, known.min_sharpness), 0.0, 0.0, meaning, known.source)]


def missing(name: str, meaning: str, note: str) -> StepRow:
    """Make a row without a number.

    Parameters
    ----------
    name, meaning, note
        As a row has them.

    Returns
    -------
    StepRow
    """
    return StepRow(name, math.nan, math.nan, 0.0, meaning, note)
