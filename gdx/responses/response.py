"""An optimizer seen from outside: the updates that follow one gradient, its preconditioner held fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from gdx.checks import own_rules
from gdx.records import record
from gdx.responses.cycles import Cycle, cycle_of
from gdx.responses.experiments import findings, is_close
from gdx.responses.families import checked_family, concretely, remembered
from gdx.responses.impulses import (
    BACKGROUND,
    BURN_IN,
    FAINT,
    FIRST_LENGTH,
    LATE,
    Experiment,
    Setting,
    make_bench,
)
from gdx.responses.linearity import (
    check_alone,
    check_amplitudes,
    check_params,
    check_sums,
    check_time,
    entries_of,
    lasting_period,
)
from gdx.responses.parities import EvaluatesLossError, Parity, survey
from gdx.responses.scalings import differs_by_shape, entrywise, try_out

if TYPE_CHECKING:
    import chex
    import optax
    from jaxtyping import Float

MAX_MEMORY = 1 << 17
"""Longest impulse response followed, in steps: enough for a momentum coefficient of 0.9997."""
_STAND_IN = np.zeros((2, 2))
"""Small parameters: a matrix, since some methods treat those in a way of their own, and couplings show in it."""


@record
class Response(NamedTuple):
    """What an optimizer that is linear in the gradients, its preconditioner held fixed, makes of the past.

    Examples
    --------
    >>> import functools, optax, gdx
    >>> response = gdx.responses.measure_response(functools.partial(optax.sgd, momentum=0.5))
    >>> response.gradient[:4].round(6), response.is_preconditioned
    (array([1.   , 0.5  , 0.25 , 0.125]), False)
    """

    gradient: Float[np.ndarray, "... J"]
    """h_0, h_1, ...: P times the update that follows a unit gradient, over minus the step size, float64. Where it
    depends on the step number in a period of p steps, [p, J], cut off after 512 steps."""
    params: Float[np.ndarray, "... J"]
    """d_0, d_1, ...: the update that follows parameters of 1, over minus the step size: weight decay; else zeros."""
    is_preconditioned: bool
    """Whether the optimizer divides by something that it learns from the gradients' size."""
    cycle: Cycle | None = None
    """The maps of all phases, where there is a period."""
    scale: chex.ArrayTree | None = None
    """Gain of every parameter, a pytree as the parameters with one number for a leaf whose entries are alike: 1 where
    it is that of `gradient`, 0 where it is never moved. None where all are 1; with a preconditioner 0 or 1 only, since
    P contains the gains."""
    decay: chex.ArrayTree | None = None
    """Where weight decay is not the same for all parameters: the curvature that it adds to each, on the diagonal of
    P^-1/2 H P^-1/2, a pytree as `scale` is; `params` is then zeros. Else None."""


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

    Examples
    --------
    >>> import functools, optax, gdx
    >>> gdx.responses.impulse_response(functools.partial(optax.sgd, momentum=0.5))[:4].round(6)
    array([1.   , 0.5  , 0.25 , 0.125])
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
    if np.any(response.params) or response.decay is not None:
        raise ValueError(
            "family: its updates depend on the parameters (weight decay), so its threshold depends on the "
            "curvature; gdx.critical_step(family, sharpness) solves for the step size"
        )
    return response.gradient


@own_rules()
def measure_response(
    family: Callable[[Any], optax.GradientTransformation], params: chex.ArrayTree | None = None
) -> Response:
    """Measure what an optimizer makes of a gradient, and of the parameters, as a black box.

    The state's leaves that depend on the gradients' size but not on their sign are the preconditioner's: they are
    filled by gradients of size 1 and then held. The leaves that change sign with the gradients are the memory: they are
    emptied. What follows a faint gradient is then linear in it.

    Parameters
    ----------
    family
        `step_size -> optax transformation`.
    params
        Parameters that it is for: arrays, tracers or shapes, of which structure and shapes are used. Needed where the
        optimizer treats some of them otherwise than others. By default a small matrix stands in.

    Returns
    -------
    Response

    Raises
    ------
    ValueError
        If the updates are not proportional to the step size, not linear in the gradients even so, use the loss or its
        value, climb, couple parameters, are noisy, keep changing with the step number in no period, depend on the
        parameters otherwise than by a weight decay that no preconditioner divides, treat entries otherwise than by a
        factor or a decay of their own, or remember more than `MAX_MEMORY` steps.

    Notes
    -----
    A black box shows h / P but not where the one ends and the other begins. The scale is set so that the response sums
    to 1, as a running mean's does, or begins with 1, as heavy ball's does, whichever leaves a P closer to the size of
    the gradients that it was filled with.

    Everything is tried at 256 successive steps after a burn-in of 2048 or more, at steps beyond 10,000 and 1,000,000 if
    the state counts them, with impulses and with noise of three sizes, at rest and while the parameters move. What
    shows nowhere there, as a bound on gradients of 1e7, cannot be seen.

    Examples
    --------
    >>> import optax, gdx
    >>> gdx.responses.measure_response(optax.adam).is_preconditioned
    True
    """
    return remembered(_MEASURED, family, params, lambda: _measured(checked_family(family), params))


_MEASURED: dict[Any, Response] = {}
"""What was found of optax's and gdx's own families, which a study asks for again and again."""


def _measured(family, params):
    with concretely(), jax.enable_x64(True):
        try:
            return _of_all_alike(family) if params is None else entrywise(family, params, measured_on)
        except EvaluatesLossError:
            raise ValueError(
                "family: it evaluates the loss (a line search or Newton's method), so its updates are not linear in "
                "the gradients and no threshold holds"
            ) from None


def _of_all_alike(family):
    """The response where all entries are treated alike, or a refusal."""
    try_out(family, _STAND_IN, "if it is made for certain parameters, pass them as params=")
    found = measured_on(family, _STAND_IN)
    alike = [np.all(shares == shares[0]) or is_close(shares, shares[0]) for shares in (found.gains, found.decays)]
    if not all(alike) or differs_by_shape(family, found, _STAND_IN):
        raise ValueError(
            "family: it treats some parameters otherwise than others, so one number is not its answer; pass the "
            "parameters that it is for as params="
        )
    return found.response


class Measured(NamedTuple):
    """A response, and what the entries of the stand-in have of it."""

    response: Response
    gains: Float[np.ndarray, " D"]
    """Multiples of the response to gradients; 0 where an entry is never moved. With a preconditioner 0 or 1, since what
    an entry has more of is part of that."""
    decays: Float[np.ndarray, " D"]
    """Multiples of the response to parameters."""
    entry: int
    """The entry that `response.gradient` belongs to."""
    param_entry: int
    """The entry that `response.params` belongs to."""
    period: int
    rising: tuple[bool, ...]
    """Leaves of the state that count updates."""


@own_rules()
def measured_on(family: Callable[[Any], optax.GradientTransformation], stand_in: chex.ArrayTree) -> Measured:
    """Measure the response on parameters of few entries.

    Parameters
    ----------
    family
        Checked.
    stand_in
        Zeros, float64.

    Returns
    -------
    Measured

    Raises
    ------
    ValueError
        As `measure_response`.
    """
    watched = survey(family(1.0), stand_in)
    is_preconditioned = Parity.EVEN in watched.kinds
    if not watched.has_memory:
        raise ValueError(
            "family: it divides by the size of the last gradient alone, so its updates do not shrink with the "
            "gradients (sign descent); no threshold holds"
        )
    bench = make_bench(family, stand_in, watched)
    found, period, setting, (entry, param_entry) = _settled(bench, is_preconditioned)
    gains, decays = entries_of(found)
    check_sums(bench, found, gains, decays, is_preconditioned)
    check_params(found, period, decays[entry], is_preconditioned)
    rows, cycle = found._replace(gradient=found.gradient[:period], params=found.params[:period]), None
    if period == 1:
        gradient, params = _followed(bench, rows, setting, entry, param_entry)
    else:
        gradient, params, cycle = rows.gradient, rows.params, cycle_of(bench, watched.kinds, setting, entry, rows)
    if np.sum(gradient) < 0:
        raise ValueError("family: its updates climb the loss; change their sign, say with optax.scale(-1.0)")
    if is_preconditioned:
        scale = _scale(found, gradient)
        gradient = gradient / scale
        cycle = cycle and cycle._replace(from_gradient=cycle.from_gradient / scale, gradient=cycle.gradient / scale)
        gains = np.sign(gains)
    response = Response(gradient, params, is_preconditioned, cycle)
    return Measured(response, gains, decays, entry, param_entry, period, watched.rising)


def _settled(bench, is_preconditioned):
    """Findings after a burn-in that is long enough, their period, the setting and the entry that they belong to."""
    entries, burn_in = (0, 0), BURN_IN
    while True:
        found = findings(bench, is_preconditioned, burn_in, LATE, *entries)
        if not np.all(np.isfinite([found.gradient, found.params])):
            raise ValueError(
                "family: its response to a unit gradient is not finite: it uses the value of the loss, or divides by "
                "0; it has no threshold"
            )
        speaking = _speaking(found, entries)
        if speaking != entries:
            entries = speaking
            continue
        if not np.any(found.gradient):
            raise ValueError(
                "family: a unit gradient gives no update, as where a schedule has come down to 0; it has no threshold "
                "(gdx.edge_margin takes a schedule as its step size)"
            )
        check_alone(found)
        check_amplitudes(found, is_preconditioned)
        is_over = max(_used(found.gradient), _used(found.params)) <= FIRST_LENGTH // 2
        period = lasting_period(found, is_preconditioned)
        # A bias correction fades as slowly as the memory that it corrects, so slowly that neighbours look alike.
        if is_over or burn_in >= MAX_MEMORY or period is not None:
            jump = LATE if is_preconditioned else 0
            return found, check_time(found, is_preconditioned), Setting(burn_in, jump=jump), entries
        burn_in *= 4


def _speaking(found, entries):
    """Entries that gradients and parameters move: others than those asked where these are silent."""
    speaking = []
    pairs = (("everywhere", found.gradient), ("params everywhere", found.params))
    for entry, (name, rows) in zip(entries, pairs, strict=True):
        moves = np.flatnonzero(np.any(found.heads[name] != 0, axis=0))
        speaking.append(entry if np.any(rows) or not moves.size else int(moves[0]))
    return tuple(speaking)


def _followed(bench, found, setting, entry, param_entry):
    """Both responses, [J], until they have faded."""
    gradient, params, length = found.gradient[0], found.params[0], FIRST_LENGTH
    while max(_used(gradient), _used(params)) > length // 2:
        if length >= MAX_MEMORY:
            raise ValueError(
                f"family: it remembers a gradient for more than {MAX_MEMORY} steps, so its threshold cannot be measured"
            )
        length *= 4
        both = [Experiment(entry=entry, impulse=1.0), Experiment(entry=param_entry, param=1.0)]
        gradient, params = bench.play([setting], both, length, 1, 0).series
        if not np.all(np.isfinite([gradient, params])):
            raise ValueError(
                "family: its memory of a gradient grows for ever, as with a momentum above 1, so no step size is stable"
            )
    used = max(_used(gradient), _used(params))
    return gradient[:used], params[:used]


def _used(response):
    size = np.max(np.abs(response), axis=tuple(range(np.ndim(response) - 1)))
    large = size > 1e-16 * np.max(size, initial=0.0)
    return int(np.flatnonzero(large)[-1]) + 1 if np.any(large) else 0


def _scale(found, gradient):
    """1/P of a faint impulse, by the convention of `measure_response`."""
    if gradient.ndim == 2:
        return np.sum(gradient)
    if gradient[0] <= 0:
        return np.sum(gradient)
    # Gradients of the background's own size leave a second moment as it is, and early counts are what its bias
    # correction is made for: there P is the background, or near it, and what it multiplies is h_0.
    firsts = FAINT * BACKGROUND * found.heads["first"][0]
    candidates = [value for value in (1.0, gradient[0] / np.sum(gradient)) if value > 0]
    # Of parameters with step sizes of their own, the one that fits best speaks.
    pairs = [(abs(np.log(value / first)), value) for value in candidates for first in firsts if first > 0]
    return gradient[0] / min(pairs, default=(0.0, 1.0))[1]
