"""What theory says of an edge before anything is swept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from gdx.curvature import sharpness
from gdx.problems.base import Problem
from gdx.records import record
from gdx.responses import measure_response, threshold_of
from gdx.responses.scalings import own_scale
from gdx.stepping import Family
from gdx.stepping.keys import for_each
from gdx.studies.minima import flattest_minimum, gains, judged_loss

if TYPE_CHECKING:
    import chex
    from jaxtyping import Array, Float

MAX_STARTS = 8


@record
class Prediction(NamedTuple):
    """One predicted step size.

    Examples
    --------
    Continues the example of `gdx.studies.predict`.

    >>> entry = predictions.entries[0]
    >>> entry.name, round(entry.threshold, 6), round(entry.curvature, 6)
    ('closed_form', 2.0, 10.0)
    """

    name: str
    """ "closed_form", "minimum" or "start"."""
    predicts: str
    """Which measured edge it stands beside: "last_success" or "first_failure"."""
    value: float
    """A step size."""
    threshold: float
    """Critical step size times curvature of the optimizer."""
    curvature: float
    """Largest Hessian eigenvalue that it is about."""
    source: str
    """Where the curvature comes from."""


@record
class Predictions(NamedTuple):
    """All predictions of one problem and optimizer, and why there are no more.

    Examples
    --------
    Continues the example of `gdx.studies.predict`.

    >>> [entry.name for entry in predictions.entries]
    ['closed_form', 'start']
    """

    entries: tuple[Prediction, ...]
    """One a curvature; empty where none can be had."""
    law: Callable[[Any], Float[Array, " S"]] | None
    """Tail gradient norm as a function of the step size, for plain gradient descent on a problem that knows it."""
    note: str
    """Why the optimizer's side is missing, where it is."""
    minimum_note: str = ""
    """Why there is no prediction at a minimum, where one was looked for."""


def predict(
    problem: Problem, family: Family, keys: chex.PRNGKey, *, progress: Callable[[int, int], None] | None = None
) -> Predictions:
    """Set a critical step size beside every curvature that can be had without training.

    Parameters
    ----------
    problem
        A Problem.
    family
        `step_size -> optax transformation`.
    keys
        Typed random keys [R]; the curvature at the start is taken at up to 8 of them.
    progress
        As in `flattest_minimum`, which may take seconds.

    Returns
    -------
    Predictions
        "closed_form" where the problem knows its flattest minimum; "minimum" where it does not and starts agree on one,
        see `flattest_minimum`; "start" always, since it needs no minimum. None of them where
        the optimizer has no threshold before training, as Adam's preconditioner does not exist yet.

    Examples
    --------
    >>> import jax, optax, gdx
    >>> keys = jax.random.split(jax.random.key(0), 2)
    >>> predictions = gdx.studies.predict(gdx.problems.quadratic([1.0, 10.0]), optax.sgd, keys)
    >>> round(predictions.entries[0].value, 6)
    0.2
    """
    if problem.batches is not None and problem.full_loss is None:
        return Predictions((), None, "the curvature of a loss over batches is not one number")
    shapes = jax.eval_shape(problem.init, keys[0])[0]
    try:
        response = measure_response(family, shapes)
        threshold = threshold_of(response)
    except ValueError as error:
        return Predictions((), None, _first_line(error))
    if response.is_preconditioned:
        note = f"threshold {threshold:.6g} belongs to the preconditioned Hessian; before training is no preconditioner"
        return Predictions((), None, note)
    known, entries = problem.known, []
    # Step sizes of single parameters bend the Hessian, so that closed forms of the bare one are about something else.
    scale = response.scale
    if scale is not None:
        known = None

    def entry(name, predicts, curvature, source):
        if np.isfinite(curvature) and curvature > 0 and np.isfinite(threshold):
            value = threshold / curvature
            entries.append(Prediction(name, predicts, float(value), threshold, float(curvature), source))

    measure = jax.jit(functools.partial(for_each, lambda key: _start_sharpness(problem, key, scale)))
    why_not = why_no_minimum = ""
    try:
        values = np.asarray(measure(keys[:MAX_STARTS]), float)
    except ValueError as error:
        # Runs need one derivative of a loss, and curvature two.
        values, why_not = np.full(1, np.nan), str(error).strip().split("\n")[0]
    if known is not None and known.min_sharpness is not None:
        entry("closed_form", "last_success", known.min_sharpness, known.source)
    elif not why_not:
        found = flattest_minimum(problem, keys, scale, progress=progress)
        entry("minimum", "last_success", found.sharpness, _source(found))
        why_no_minimum = found.note
    middle = float(np.median(values))
    spread = f"median of {values.size} starts, {values.min():.3g} to {values.max():.3g}"
    entry("start", "first_failure", middle, f"Lanczos at the start, {spread}")
    is_gradient_descent = response.gradient.shape == (1,) and bool(np.isclose(response.gradient[0], 1.0))
    law = known.tail_gradient_norm if known is not None and is_gradient_descent else None
    return Predictions(tuple(entries), law, why_not, why_no_minimum)


def _source(found):
    starts = f"{len(found.by_start)} start" + "s" * (len(found.by_start) > 1)
    where = f"the flattest of a valley of minima of {found.num_flat} dimensions" if found.num_flat else "the minimum"
    return f"Hessian at {where}, by Newton's method from {starts}"


def _start_sharpness(problem, key, scale):
    params, state = problem.init(key)
    diagonal = None if scale is None else jax.tree.map(lambda leaf: 1 / leaf, gains(scale, params))
    return sharpness(*own_scale(judged_loss(problem, state), params, diagonal), rtol=1e-4).value


def _first_line(error):
    return str(error).strip().split("\n")[0].removeprefix("family: ")
