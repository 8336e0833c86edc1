"""The optimizer's side of the edge: how much curvature times step size it tolerates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

if TYPE_CHECKING:
    from jaxtyping import Float

BURN_IN = 2048
"""Fewest steps of zero gradient before the impulse, so that bias corrections and warm-ups have settled."""
MAX_MEMORY = 1 << 17
"""Longest impulse response followed, in steps: enough for a momentum coefficient of 0.9997."""


def curvature_threshold(family: Callable[[Any], optax.GradientTransformation]) -> float:
    """Critical step size times curvature, for an optimizer that is linear in the gradient history.

    The optimizer is a black box: its impulse response h_0, h_1, ... (the update that follows a unit gradient,
    over minus the step size) is measured in float64. On curvature lam the closed loop has a growing mode
    as soon as step_size * lam passes the smallest positive real value of (1 - z) / H(z) on the unit circle, where
    H(z) = sum_j h_j z^-j. For most optimizers that is z = -1, alternating gradients, but not for all.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.

    Returns
    -------
    float
        Infinite where no curvature destabilises the optimizer. 2 for gradient descent, 2 (1 + b) for heavy ball.

    Raises
    ------
    ValueError
        If the updates are not proportional to the step size, not linear in the gradients (Adam and others that
        divide by a running second moment: there the threshold belongs to the preconditioned Hessian), depend on
        the parameters (weight decay), keep changing with the step number, or remember more than `MAX_MEMORY` steps.

    Notes
    -----
    Any step size serves for measuring a linear optimizer; 1 is used, and 1/2 checks the proportionality.
    """
    response = impulse_response(family)
    return _smallest_real_gain(response)


def impulse_response(family: Callable[[Any], optax.GradientTransformation]) -> Float[np.ndarray, " J"]:
    """Measure the update that follows one unit gradient, over minus the step size, after a burn-in.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.

    Returns
    -------
    array
        h_0, h_1, ... until they stay below 1e-16 of the largest, float64, [J].

    Raises
    ------
    ValueError
        As `curvature_threshold`.
    """
    with jax.enable_x64(True):
        length = 1 << 9
        while True:
            measure = _measurement(family, length)
            response = measure()
            if not np.all(np.isfinite(response)):
                raise ValueError("family: its response to a unit gradient is not finite; it has no threshold")
            large = np.abs(response) > 1e-16 * np.max(np.abs(response), initial=0.0)
            used = int(np.flatnonzero(large)[-1]) + 1 if np.any(large) else 0
            if used <= length // 2:
                break
            if length >= MAX_MEMORY:
                raise ValueError(
                    f"family: it remembers a gradient for more than {MAX_MEMORY} steps, "
                    "so its threshold cannot be measured"
                )
            length *= 4
        _check_linear(measure, response)
    if used == 0:
        raise ValueError("family: a unit gradient gives no update; it has no threshold")
    return response[:used]


def _measurement(family, length):
    """Compile the response once, for any step size, amplitude, frozen parameter and time of the impulse."""
    # A bias correction fades as slowly as the memory it corrects.
    early = max(BURN_IN, length)

    @jax.jit
    def updates(step_size, amplitude, param, burn_in):
        transformation = optax.with_extra_args_support(family(step_size))
        # A vector of two, so that a method that couples parameters through a norm shows it.
        params = jnp.full(2, param)

        def step(state, time):
            gradient = jnp.where(time == burn_in, amplitude, 0.0) * jnp.array([1.0, 0.0])
            value = jnp.zeros(())
            extra = {"value": value, "grad": gradient, "value_fn": lambda params: value}
            update, new = transformation.update(gradient, state, params, **extra)
            new = jax.tree.map(lambda n, o: n.astype(o.dtype), new, state)
            return new, jnp.asarray(update)[0]

        start = jax.tree.map(jnp.asarray, transformation.init(params))
        return jax.lax.scan(step, start, jnp.arange(2 * early + length))[1]

    def measure(step_size=1.0, amplitude=1.0, param=0.0, late=False):
        burn_in = 2 * early if late else early
        after = np.asarray(updates(step_size, amplitude, param, burn_in))[burn_in : burn_in + length]
        return -after / (step_size * amplitude)

    return measure


def _check_linear(measure, response):
    scale = max(float(np.max(np.abs(response))), 1e-300)

    def differs(**changed):
        return not np.allclose(measure(**changed), response, rtol=1e-6, atol=1e-9 * scale)

    if differs(step_size=0.5):
        raise ValueError("family: its updates are not proportional to the step size, so no multiple of it is critical")
    # Two amplitudes, one tiny: a clipped gradient or an eps under a root shows at only one of them.
    if differs(amplitude=3.0) or differs(amplitude=-1e-3):
        raise ValueError(
            "family: its updates are not linear in the gradients, so its threshold needs a preconditioner; "
            "none exists before training has begun"
        )
    if differs(param=1.0):
        raise ValueError("family: its updates depend on the parameters, so its threshold depends on the curvature")
    if differs(late=True):
        raise ValueError("family: its updates keep changing with the step number, so no one threshold holds")


def _smallest_real_gain(response):
    """Smallest positive real value of (1 - z) / H(z) on the unit circle without z = 1."""
    powers = np.arange(len(response))

    def gain(angle):
        z = np.exp(1j * angle)
        transfer = np.sum(response * np.exp(-1j * angle * powers))
        return np.inf if transfer == 0 else (1 - z) / transfer

    size = max(1 << 14, 1 << (4 * len(response) - 1).bit_length())
    angles = 2 * np.pi * np.arange(1, size // 2 + 1) / size
    transfer = np.fft.rfft(response, size)[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (1 - np.exp(1j * angles)) / transfer
    candidates = [values[-1].real] if abs(transfer[-1]) > 1e-12 * np.max(np.abs(transfer)) else []
    # The last angle is pi itself, where the gain is real up to rounding: not a crossing but a candidate.
    imaginary = values.imag[:-1]
    for i in np.flatnonzero(np.sign(imaginary[1:]) * np.sign(imaginary[:-1]) < 0):
        low, high = angles[i], angles[i + 1]
        for _ in range(60):
            middle = 0.5 * (low + high)
            if np.sign(gain(middle).imag) == np.sign(gain(low).imag):
                low = middle
            else:
                high = middle
        candidates.append(gain(low).real)
    positive = [value for value in candidates if np.isfinite(value) and value > 0]
    return float(min(positive, default=np.inf))
