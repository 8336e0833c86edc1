"""An optimizer seen from outside: the updates that follow one gradient, its preconditioner held fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdx.curvature.parities import EvaluatesLossError, Parity, change, counters, hold, parities, update_of

if TYPE_CHECKING:
    from jaxtyping import Float

BURN_IN = 2048
"""Fewest steps before the impulse, so that bias corrections and warm-ups have settled."""
LATE = 1 << 20
"""Count of updates at which no bias correction of a preconditioner is left; filling it so long would be a waste."""
MAX_MEMORY = 1 << 17
"""Longest impulse response followed, in steps: enough for a momentum coefficient of 0.9997."""
FIRST_LENGTH = 1 << 9
BACKGROUND = 1.0
"""Size of the gradients that fill a second moment before it is held fixed."""
_STAND_IN = np.zeros((2, 2))
"""Small parameters: a matrix, since some methods treat those in a way of their own, and couplings show in it."""
FAINT = 1e-8
"""Impulse beside the background: its square vanishes beside the second moment in float64."""


class Response(NamedTuple):
    """What an optimizer that is linear in the gradients, its preconditioner held fixed, makes of the past."""

    gradient: Float[np.ndarray, " J"]
    """h_0, h_1, ...: P times the update that follows a unit gradient, over minus the step size, float64."""
    params: Float[np.ndarray, " J"]
    """d_0, d_1, ...: the update that follows parameters of 1, over minus the step size: weight decay; else zeros."""
    is_preconditioned: bool
    """Whether the optimizer divides by something that it learns from the gradients' size."""


def impulse_response(family: Callable[[Any], optax.GradientTransformation]) -> Float[np.ndarray, " J"]:
    """Measure the update that follows one unit gradient, over minus the step size, after a burn-in.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.

    Returns
    -------
    array
        h_0, h_1, ... until they stay below 1e-16 of the largest, float64, [J]. Of an optimizer that divides by
        running second moments: the response times its preconditioner P, held fixed, see `measure_response`.

    Raises
    ------
    ValueError
        As `curvature_threshold`.
    """
    return of_gradients_alone(measure_response(family))


def of_gradients_alone(response: Response) -> Float[np.ndarray, " J"]:
    """Give the response to gradients, of an optimizer that leaves the parameters out of account.

    Parameters
    ----------
    response
        As `measure_response` gives it.

    Returns
    -------
    array
        [J].

    Raises
    ------
    ValueError
        If the updates depend on the parameters.
    """
    if np.any(response.params):
        raise ValueError(
            "family: its updates depend on the parameters (weight decay), so its threshold depends on the "
            "curvature; gdx.critical_step(family, sharpness) solves for the step size"
        )
    return response.gradient


def measure_response(family: Callable[[Any], optax.GradientTransformation]) -> Response:
    """Measure what an optimizer makes of a gradient, and of the parameters, as a black box.

    The state's leaves that depend on the gradients' size but not on their sign are the preconditioner's: they are
    filled by gradients of size 1 and then held. The leaves that change sign with the gradients are the memory: they are
    emptied. What follows a faint gradient is then linear in it.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.

    Returns
    -------
    Response

    Raises
    ------
    ValueError
        If the updates are not proportional to the step size, not linear in the gradients even so, use the loss or its
        value, climb, couple parameters, are noisy, keep changing with the step number, depend on the parameters
        otherwise than by a weight decay that no preconditioner divides, or remember more than `MAX_MEMORY` steps.

    Notes
    -----
    A black box shows h / P but not where the one ends and the other begins. The scale is set so that the response sums
    to 1, as a running mean's does, or begins with 1, as heavy ball's does, whichever leaves a P closer to the size of
    the gradients that it was filled with.
    """
    _check_family(family)
    # Concrete even where the caller is being traced: families close over numbers, not tracers.
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        try:
            return _measured(family)
        except EvaluatesLossError:
            raise ValueError(
                "family: it evaluates the loss (a line search or Newton's method), so its updates are not linear in "
                "the gradients and no threshold holds"
            ) from None


def _check_family(family):
    if not callable(family) or isinstance(family, optax.GradientTransformation):
        raise ValueError(
            f"family: {type(family).__name__} is no callable step_size -> optax transformation; pass optax.sgd, not "
            "optax.sgd(0.1)"
        )
    made = family(1.0)
    if not isinstance(made, optax.GradientTransformation):
        raise ValueError(
            f"family: it returns {type(made).__name__}, no optax transformation; return one, as optax.sgd does"
        )


def _measured(family):
    kinds = parities(family(1.0), _STAND_IN)
    is_preconditioned = Parity.EVEN in kinds
    length = FIRST_LENGTH
    while True:
        measure = _measurement(family, kinds, length)
        response, decay = measure(), measure(amplitude=0.0, param=1.0)
        if not np.all(np.isfinite(response + decay)):
            raise ValueError(
                "family: its response to a unit gradient is not finite: it uses the value of the loss, or divides by "
                "0; it has no threshold"
            )
        if length == FIRST_LENGTH:
            _check_linear(measure, response, kinds)
        used = max(_used(response), _used(decay))
        if used <= length // 2:
            break
        if length >= MAX_MEMORY:
            raise ValueError(
                f"family: it remembers a gradient for more than {MAX_MEMORY} steps, so its threshold cannot be measured"
            )
        length *= 4
    if _used(response) == 0:
        raise ValueError("family: a unit gradient gives no update; it has no threshold")
    _check_step_size(measure, response)
    _check_time(measure, response, kinds)
    _check_params(measure, response, decay, kinds)
    if np.sum(response) < 0:
        raise ValueError("family: its updates climb the loss; change their sign, say with optax.scale(-1.0)")
    if is_preconditioned:
        response = response / _scale(measure, response)
    return Response(response[:used], decay[:used], is_preconditioned)


def _measurement(family, kinds, length):
    """Compile the response once, for any step size, size of the impulse and time of it."""
    # A bias correction fades as slowly as the memory it corrects.
    early = max(BURN_IN, length)
    is_preconditioned = Parity.EVEN in kinds
    unit = BACKGROUND * FAINT if is_preconditioned else 1.0
    counting = counters(family(1.0), _STAND_IN)

    @jax.jit
    def updates(step_size, amplitude, param, burn_in, standing, jump, background):
        transformation = family(step_size)
        update = update_of(transformation)
        signs = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], 2 * early + length))

        def step(state, time):
            impulse, is_after = jnp.where(time == burn_in, 1.0, 0.0), time >= burn_in
            filling = jnp.where(is_after, 0.0, background * signs[time]) if is_preconditioned else 0.0
            gradient = _everywhere(filling, in_first=amplitude * impulse)
            params = _everywhere(standing, in_first=param * impulse)
            if is_preconditioned:
                state = change(state, {Parity.ODD: lambda leaf: jnp.where(time == burn_in, 0.0, leaf)}, kinds)
            found, new = update(gradient, state, params)
            # Held fixed from the impulse on: the state's old leaf stays.
            return hold(new, state, kinds, is_after), found

        start = jax.tree.map(jnp.asarray, transformation.init(_everywhere(standing)))
        if is_preconditioned:
            structure = jax.tree.structure(start)
            start = jax.tree.map(lambda leaf, counts: leaf + jump * counts, start, structure.unflatten(counting))
        return jax.lax.scan(step, start, jnp.arange(2 * early + length))[1]

    def measure(step_size=1.0, amplitude=1.0, param=0.0, late=False, standing=0.0, jump=LATE, background=BACKGROUND):
        burn_in = 2 * early if late else early
        found = updates(step_size, amplitude * unit, param * unit, burn_in, standing * unit, jump, background)
        found = np.asarray(found)[burn_in : burn_in + length]
        if not standing:
            _check_alone(found)
        return -found[:, 0, 0] / (step_size * unit * (amplitude or param))

    return measure


def _everywhere(value, in_first=0.0):
    return jnp.asarray(_STAND_IN + value).at[0, 0].add(in_first)


def _check_alone(found):
    """Refuse a response, [J, 2, 2], in which other entries move than the one that had a gradient."""
    found = found.reshape(len(found), -1)
    if np.all(np.isfinite(found)) and np.max(np.abs(found[:, 1:])) > 1e-9 * np.max(np.abs(found[:, 0])):
        raise ValueError(
            "family: entries without a gradient move too (it adds noise, or couples parameters), so no threshold of "
            "one curvature holds"
        )


def _used(response):
    large = np.abs(response) > 1e-16 * np.max(np.abs(response), initial=0.0)
    return int(np.flatnonzero(large)[-1]) + 1 if np.any(large) else 0


def _scale(measure, response):
    """1/P of a faint impulse, by the convention of `measure_response`."""
    # An impulse of the background's own size leaves a second moment as it is, and early counts are what its bias
    # correction is made for: there P is the background, or near it, and what it multiplies is h_0.
    first = BACKGROUND * measure(amplitude=1 / FAINT, jump=0)[0]
    candidates = [value for value in (1.0, response[0] / np.sum(response)) if value > 0]
    natural = min(candidates, key=lambda value: abs(np.log(value / first)), default=1.0) if first > 0 else 1.0
    return response[0] / natural if response[0] > 0 else np.sum(response)


def _check_step_size(measure, response):
    halved = measure(step_size=0.5)
    if _is_close(0.5 * halved, response):
        raise ValueError(
            "family: its updates are not proportional to the step size, they ignore it; use the argument, as in "
            "lambda step_size: optax.sgd(step_size)"
        )
    if not _is_close(halved, response):
        raise ValueError("family: its updates are not proportional to the step size, so no multiple of it is critical")


def _check_linear(measure, response, kinds):
    # Two amplitudes, one tiny: a clipped gradient or an eps under a root shows at only one of them.
    if not (_is_close(measure(amplitude=3.0), response) and _is_close(measure(amplitude=-1e-3), response)):
        even_so = ", not even with its preconditioner held fixed" if Parity.EVEN in kinds else ""
        raise ValueError(f"family: its updates are not linear in the gradients{even_so}; no threshold holds")


def _check_time(measure, response, kinds):
    late = measure(late=True)
    if Parity.EVEN in kinds:
        # An accumulator has grown meanwhile: the preconditioner is another one, the rest must not be.
        late, response = late / np.max(np.abs(late)), response / np.max(np.abs(response))
    if not _is_close(late, response):
        raise ValueError("family: its updates keep changing with the step number, so no one threshold holds")


def _check_params(measure, response, decay, kinds):
    doubled = measure(amplitude=0.0, param=-2.0)
    # Where the memory is emptied before the impulse, a decay that runs through it begins anew.
    steady = np.cumsum(decay) if Parity.EVEN in kinds else np.sum(decay)
    if not (_is_close(doubled, decay) and _is_close(measure(standing=1.0) - steady, response)):
        raise ValueError(
            "family: its updates depend on the parameters otherwise than by weight decay, so no one threshold holds"
        )
    if not _used(decay):
        return
    if not _is_close(measure(amplitude=0.0, param=1.0, step_size=0.5), decay):
        raise ValueError("family: its weight decay is not proportional to the step size, so it cannot be solved for")
    if Parity.EVEN in kinds and not _is_close(measure(amplitude=0.0, param=1.0, background=2 * BACKGROUND), decay):
        raise ValueError(
            "family: its weight decay is divided by the preconditioner too; put l2 into the loss, where it is curvature"
        )


def _is_close(found, expected):
    largest = max(float(np.max(np.abs(expected))), 1e-300)
    return np.allclose(found, expected, rtol=1e-6, atol=1e-9 * largest)
