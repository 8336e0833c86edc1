"""The optimizer's side of the edge: how much curvature times step size it tolerates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gdx.responses.cycles import critical_of
from gdx.responses.gains import smallest_real_gain
from gdx.responses.response import Response, measure_response, of_gradients_alone

if TYPE_CHECKING:
    import chex
    import optax


def curvature_threshold(
    family: Callable[[Any], optax.GradientTransformation], params: chex.ArrayTree | None = None
) -> float:
    """Critical step size times curvature, for an optimizer that is linear in the gradient history.

    The optimizer is a black box: its impulse response h_0, h_1, ... (the update that follows a unit gradient,
    over minus the step size) is measured in float64. On curvature lam the closed loop has a growing mode
    as soon as step_size * lam passes the smallest positive real value of (1 - z) / H(z) on the unit circle, where
    H(z) = sum_j h_j z^-j. For most optimizers that is z = -1, alternating gradients, but not for all.

    Optimizers that divide by what they learn from the gradients' size (Adam, RMSProp, AdaGrad, ...) are measured with
    their preconditioner P held fixed: the threshold is then of step_size times the largest eigenvalue of
    P^-1/2 H P^-1/2, with P from `preconditioner`.

    Where the answer depends on the step number in a period of up to 128 steps (accumulation over several batches,
    cyclic step sizes, restarts), the map of parameter and memory over one period takes the place of H(z).

    Parameters
    ----------
    family
        `step_size -> optax transformation`.
    params
        Parameters that it is for, of which structure and shapes are used; needed where it treats some otherwise than
        others. Where it gives them step sizes of their own, these are part of P.

    Returns
    -------
    float
        Infinite where no curvature destabilises the optimizer. 2 for gradient descent, 2 (1 + b) for heavy ball,
        2 (1 + b1) / (1 - b1) for Adam.

    Raises
    ------
    ValueError
        If the updates are not proportional to the step size, not linear in the gradients (signs, clipping, searches),
        depend on the parameters (weight decay: `critical_step` solves that), keep changing with the step number, or
        remember more than 131072 steps.

    Notes
    -----
    Any step size serves for measuring a linear optimizer; 1 is used, and 1/2 checks the proportionality. The
    thresholds of Adam and its kin are those of arXiv 2207.14484.

    Examples
    --------
    >>> import functools, optax, gdx
    >>> families = optax.sgd, functools.partial(optax.sgd, momentum=0.9), optax.adam
    >>> [round(gdx.curvature_threshold(family), 6) for family in families]
    [2.0, 3.8, 38.0]
    """
    return threshold_of(measure_response(family, params))


def threshold_of(response: Response) -> float:
    """Critical step size times curvature of an optimizer whose response has been measured.

    Parameters
    ----------
    response
        As `measure_response` gives it.

    Returns
    -------
    float
        As `curvature_threshold`.

    Raises
    ------
    ValueError
        If the updates depend on the parameters.

    Examples
    --------
    >>> import optax, gdx
    >>> round(gdx.responses.threshold_of(gdx.responses.measure_response(optax.sgd)), 6)
    2.0
    """
    of_gradients_alone(response)
    return step_at(response, 1.0)


def alternates(response: Response) -> bool:
    """Say whether an optimizer loses stability by updates that change sign at every step.

    Parameters
    ----------
    response
        As `measure_response` gives it.

    Returns
    -------
    bool
        Whether its threshold is 2 / h(-1), h(z) the sum of h_j / z^j, and it is linear in gradients as they are. Then
        `gdx.flip` says what runs do beyond.

    Examples
    --------
    >>> import optax, gdx
    >>> gdx.responses.alternates(gdx.responses.measure_response(optax.sgd))
    True
    """
    if response.is_preconditioned or response.cycle is not None or response.scale is not None:
        return False
    if np.ndim(response.gradient) != 1 or np.any(response.params) or response.decay is not None:
        return False
    gradient = np.asarray(response.gradient, float)
    at_minus_one = float(np.sum(gradient * (-1.0) ** np.arange(gradient.size)))
    return bool(np.isclose(threshold_of(response) * at_minus_one, 2.0, rtol=1e-6))


def critical_step(
    family: Callable[[Any], optax.GradientTransformation],
    sharpness: float,
    preconditioner: float = 1.0,
    params: chex.ArrayTree | None = None,
) -> float:
    """Step size at which an optimizer loses a minimum of given curvature, weight decay included.

    Without weight decay this is `curvature_threshold(family) * preconditioner / sharpness`. With it the parameters
    feed back besides the gradients, and the step size is no multiple of any curvature: with AdamW it is
    2 (1 + b1) / ((1 - b1) lam / P + (1 + b1) wd).

    Parameters
    ----------
    family
        `step_size -> optax transformation`, linear in the gradients, or so with its preconditioner held fixed.
    sharpness
        lam, largest Hessian eigenvalue of the loss without the decay; or of P^-1/2 H P^-1/2, with a preconditioner of
        1. At least 0.
    preconditioner
        P, a number above 0: what the optimizer divides by in that direction.
    params
        As in `curvature_threshold`.

    Returns
    -------
    float
        Infinite where no step size destabilises it.

    Raises
    ------
    ValueError
        As `curvature_threshold`, if a number is out of range, or if parameters have step sizes or decays of their own:
        then no one curvature of the bare Hessian decides.

    Notes
    -----
    With d_j the measured response to the parameters, it is the smallest positive real value of
    (1 - z) / (lam H(z) / P + D(z)) on the unit circle without z = 1.

    Examples
    --------
    >>> import functools, optax, gdx
    >>> round(gdx.critical_step(functools.partial(optax.adamw, weight_decay=0.1), 10.0), 6)  # 3.8 / (1 + 0.19)
    3.193277
    """
    if not (np.isfinite(sharpness) and sharpness >= 0):
        raise ValueError(f"sharpness: {sharpness} is outside [0, inf); where curvature is negative no step is stable")
    if not (np.isfinite(preconditioner) and preconditioner > 0):
        raise ValueError(f"preconditioner: {preconditioner} is outside (0, inf); leave it out for 1")
    response = measure_response(family, params)
    is_uneven = response.decay is not None or (response.scale is not None and not response.is_preconditioned)
    if is_uneven:
        raise ValueError(
            "family: its step sizes or weight decays differ between parameters, so no one curvature decides; "
            "gdx.edge_margin measures the right one, or divide gdx.curvature_threshold(family, params) by "
            "gdx.sharpness(loss, params, preconditioner=gdx.preconditioner(family, opt_state, params)).value"
        )
    return step_at(response, float(sharpness) / float(preconditioner))


def step_at(response: Response, sharpness: float) -> float:
    """Critical step size of an optimizer whose response has been measured, weight decay included.

    Parameters
    ----------
    response
        As `measure_response` gives it.
    sharpness
        Over the preconditioner, where there is one; at least 0.

    Returns
    -------
    float
        As `critical_step`.

    Examples
    --------
    >>> import optax, gdx
    >>> response = gdx.responses.measure_response(optax.sgd)
    >>> round(gdx.responses.step_at(response, 10.0), 6)
    0.2
    """
    if response.cycle is not None:
        return critical_of(response.cycle, sharpness)
    return smallest_real_gain(sharpness * response.gradient + response.params)
