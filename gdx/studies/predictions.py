"""What theory says of an edge before anything is swept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gdx.curvature import measure_response, sharpness, threshold_of
from gdx.problems.base import Problem
from gdx.stepping import Family
from gdx.stepping.keys import for_each

if TYPE_CHECKING:
    import chex
    from jaxtyping import Array, Float

DENSE_PARAMETERS = 700
"""Up to this many parameters a minimum is looked for with the dense Hessian."""
MAX_STARTS = 8


class Prediction(NamedTuple):
    """One predicted step size."""

    name: str
    """ "closed_form", "minimum" or "start"."""
    predicts: str
    """Which measured edge it stands beside: "last_success" or "first_failure"."""
    value: float
    threshold: float
    """Critical step size times curvature of the optimizer."""
    curvature: float
    """Largest Hessian eigenvalue that it is about."""
    source: str


class Predictions(NamedTuple):
    """All predictions of one problem and optimizer, and why there are no more."""

    entries: tuple[Prediction, ...]
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
    """
    if problem.batches is not None and problem.full_loss is None:
        return Predictions((), None, "the curvature of a loss over batches is not one number")
    try:
        response = measure_response(family)
        threshold = threshold_of(response)
    except ValueError as error:
        return Predictions((), None, str(error).removeprefix("family: "))
    if response.is_preconditioned:
        note = f"threshold {threshold:.6g} belongs to the preconditioned Hessian; before training is no preconditioner"
        return Predictions((), None, note)
    known, entries = problem.known, []

    def entry(name, predicts, curvature, source):
        if np.isfinite(curvature) and curvature > 0 and np.isfinite(threshold):
            value = threshold / curvature
            entries.append(Prediction(name, predicts, float(value), threshold, float(curvature), source))

    if known is not None and known.min_sharpness is not None:
        entry("closed_form", "last_success", known.min_sharpness, known.source)
    else:
        optimum = minimum_sharpness(problem, keys[0])
        if optimum is not None:
            entry("minimum", "last_success", optimum, "Hessian at the minimum that Newton's method finds")
    at_start = jax.jit(functools.partial(for_each, lambda key: _start_sharpness(problem, key)))(keys[:MAX_STARTS])
    values = np.asarray(at_start, float)
    middle = float(np.median(values))
    spread = f"median of {values.size} starts, {values.min():.3g} to {values.max():.3g}"
    entry("start", "first_failure", middle, f"Lanczos at the start, {spread}")
    is_gradient_descent = response.gradient.shape == (1,) and bool(np.isclose(response.gradient[0], 1.0))
    law = known.tail_gradient_norm if known is not None and is_gradient_descent else None
    return Predictions(tuple(entries), law, "")


def minimum_sharpness(problem: Problem, key: chex.PRNGKey) -> float | None:
    """Largest Hessian eigenvalue at the minimum that Newton's method with a trust region finds from a start.

    Parameters
    ----------
    problem
        A Problem with at most `DENSE_PARAMETERS` parameters, smooth.
    key
        One typed key, for the start.

    Returns
    -------
    float or None
        None where the problem is too large, or no minimum was found: a gradient that is not small after all
        steps, or negative curvature there.
    """
    from scipy import optimize

    params, loss = _at_start(problem, key)
    flat, unravel = ravel_pytree(params)
    if flat.size > DENSE_PARAMETERS:
        return None

    def value(vector):
        # SciPy has no floats narrower than float32.
        return loss(unravel(vector.astype(flat.dtype)))

    gradient, hessian = jax.jit(jax.grad(value)), jax.jit(jax.hessian(value))
    end = np.asarray(flat, jnp.promote_types(flat.dtype, jnp.float32))
    first = float(jnp.linalg.norm(gradient(end)))
    if first > 0:
        end = optimize.minimize(
            lambda vector: float(value(vector)),
            end,
            jac=lambda vector: np.asarray(gradient(vector)),
            hess=lambda vector: np.asarray(hessian(vector)),
            method="trust-exact",
            options={"gtol": 1e-9 * first, "maxiter": 300},
        ).x
    eigenvalues = np.linalg.eigvalsh(np.asarray(hessian(end)))
    is_flat = float(jnp.linalg.norm(gradient(end))) <= 1e-6 * first
    is_minimum = eigenvalues[0] >= -1e-6 * abs(eigenvalues[-1])
    return float(eigenvalues[-1]) if is_flat and is_minimum else None


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


def _start_sharpness(problem, key):
    params, loss = _at_start(problem, key)
    return sharpness(loss, params, rtol=1e-4).value


def _at_start(problem, key):
    params, state = problem.init(key)
    return params, judged_loss(problem, state)
