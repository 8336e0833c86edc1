"""What theory says of an edge before anything is swept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gdx.curvature import sharpness
from gdx.problems.base import Problem
from gdx.records import record
from gdx.responses import measure_response, threshold_of
from gdx.responses.scalings import own_scale
from gdx.stepping import Family
from gdx.stepping.keys import for_each

if TYPE_CHECKING:
    import chex
    from jaxtyping import Array, Float

DENSE_PARAMETERS = 700
"""Up to this many parameters a minimum is looked for with the dense Hessian."""
MAX_STARTS = 8
NUM_SIDES = 8
"""Directions in which a minimum is looked at for a kink."""
KINK = 0.1
"""Share of the largest eigenvalue by which the gradient may change otherwise than the Hessian says: over so short a way
third derivatives do far less, the jump at a kink far more."""
SETTLED = 1e-3
"""Relative change of the eigenvalue with one Newton step more, from which it is not that of the minimum yet."""


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


def predict(problem: Problem, family: Family, keys: chex.PRNGKey) -> Predictions:
    """Set a critical step size beside every curvature that can be had without training.

    Parameters
    ----------
    problem
        A Problem.
    family
        `step_size -> optax transformation`.
    keys
        Typed random keys [R]; the curvature at the start is taken at up to 8 of them.

    Returns
    -------
    Predictions
        "closed_form" where the problem knows its flattest minimum; "minimum" where it does not and a minimum can be
        found with Newton steps on a dense Hessian; "start" always, since it needs no minimum. None of them where
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
    why_not = ""
    try:
        values = np.asarray(measure(keys[:MAX_STARTS]), float)
    except ValueError as error:
        # Runs need one derivative of a loss, and curvature two.
        values, why_not = np.full(1, np.nan), str(error).strip().split("\n")[0]
    if known is not None and known.min_sharpness is not None:
        entry("closed_form", "last_success", known.min_sharpness, known.source)
    elif not why_not:
        optimum = minimum_sharpness(problem, keys[0], scale)
        if optimum is not None:
            entry("minimum", "last_success", optimum, "Hessian at the minimum that Newton's method finds")
    middle = float(np.median(values))
    spread = f"median of {values.size} starts, {values.min():.3g} to {values.max():.3g}"
    entry("start", "first_failure", middle, f"Lanczos at the start, {spread}")
    is_gradient_descent = response.gradient.shape == (1,) and bool(np.isclose(response.gradient[0], 1.0))
    law = known.tail_gradient_norm if known is not None and is_gradient_descent else None
    return Predictions(tuple(entries), law, why_not)


def minimum_sharpness(problem: Problem, key: chex.PRNGKey, scale: chex.ArrayTree | None = None) -> float | None:
    """Largest Hessian eigenvalue at the minimum that Newton's method with a trust region finds from a start.

    Parameters
    ----------
    problem
        A Problem with at most `DENSE_PARAMETERS` parameters, smooth.
    key
        One typed key, for the start.
    scale
        Gain of every parameter as a `Response` has it, or None: the eigenvalue is then that of G^1/2 H G^1/2, and
        parameters with a gain of 0 stay where they start.

    Returns
    -------
    float or None
        None where the problem is too large, or no minimum was found: a gradient that is not small after all
        steps, negative curvature there, an eigenvalue that sinks for as long as one steps nearer, as of a quartic, or
        a kink there, where the Hessian on one side says nothing of the other.

    Examples
    --------
    >>> import jax, gdx
    >>> round(gdx.studies.minimum_sharpness(gdx.problems.quartic(), jax.random.key(0)), 6)
    2.0
    """
    from scipy import optimize

    params, loss = _at_start(problem, key)
    start, unravel = ravel_pytree(params)
    if start.size > DENSE_PARAMETERS:
        return None
    roots = np.sqrt(np.asarray(ravel_pytree(_full(scale, params))[0], float))
    wide = jnp.promote_types(start.dtype, jnp.float32)
    moves = roots > 0

    def value(vector):
        # SciPy has no floats narrower than float32.
        return loss(unravel(start.at[moves].set(vector.astype(start.dtype))))

    gradient, hessian = jax.jit(jax.grad(value)), jax.jit(jax.hessian(value))
    end = np.asarray(start, wide)[moves]
    first = float(jnp.linalg.norm(gradient(end)))
    if not np.isfinite(first) or end.size == 0:
        return None
    if first > 0:
        end = optimize.minimize(
            lambda vector: float(value(vector)),
            end,
            jac=lambda vector: np.asarray(gradient(vector)),
            hess=lambda vector: np.asarray(hessian(vector)),
            method="trust-exact",
            options={"gtol": 1e-9 * first, "maxiter": 300},
        ).x
    here, slope = np.asarray(hessian(end)), float(jnp.linalg.norm(gradient(end)))
    if not (np.all(np.isfinite(here)) and slope <= 1e-6 * first):
        return None

    def spectrum(hessian):
        return np.linalg.eigvalsh(roots[moves, None] * np.asarray(hessian) * roots[moves])

    eigenvalues, nearer = spectrum(here), end - np.linalg.pinv(here, 1e-6, hermitian=True) @ np.asarray(gradient(end))
    is_minimum = eigenvalues[0] >= -1e-6 * abs(eigenvalues[-1])
    settled = abs(spectrum(hessian(nearer.astype(end.dtype)))[-1] - eigenvalues[-1]) <= SETTLED * eigenvalues[-1]
    return float(eigenvalues[-1]) if is_minimum and settled and _is_smooth(gradient, here, end) else None


def _is_smooth(gradient, hessian, end):
    """Whether the gradient's changes a little to either side of a place are those that its Hessian says."""
    largest = max(float(np.linalg.norm(hessian, 2)), np.finfo(end.dtype).tiny)
    eps = np.finfo(end.dtype).eps
    length = eps ** (1 / 3) * max(float(np.linalg.norm(end)), 1.0)
    for column in np.random.default_rng(0).normal(size=(NUM_SIDES, end.size)):
        step = (length * column / np.linalg.norm(column)).astype(end.dtype)
        found = np.asarray(gradient(end + step)) - np.asarray(gradient(end))
        if not np.linalg.norm(found - hessian @ step) <= KINK * largest * length:
            return False
    return True


def _full(scale, params):
    """Gains, one a number."""
    if scale is None:
        return jax.tree.map(jnp.ones_like, params)
    return jax.tree.map(lambda leaf, gain: jnp.broadcast_to(jnp.asarray(gain, leaf.dtype), leaf.shape), params, scale)


def judged_loss(problem: Problem, model_state: chex.ArrayTree) -> Callable[[chex.ArrayTree], jax.Array]:
    """Make the loss that verdicts are about, of the parameters alone.

    Parameters
    ----------
    problem
        A Problem without batches, or with a full loss.
    model_state
        Of the model; it stays as it is.

    Returns
    -------
    callable
        `params -> scalar`.
    """
    full_loss = problem.full_loss
    if full_loss is not None:
        return lambda params: full_loss(params, model_state)
    return lambda params: problem.loss(params, model_state, None)[0]


def _start_sharpness(problem, key, scale):
    params, loss = _at_start(problem, key)
    diagonal = None if scale is None else jax.tree.map(lambda leaf: 1 / leaf, _full(scale, params))
    return sharpness(*own_scale(loss, params, diagonal), rtol=1e-4).value


def _at_start(problem, key):
    params, state = problem.init(key)
    return params, judged_loss(problem, state)


def _first_line(error):
    return str(error).strip().split("\n")[0].removeprefix("family: ")
