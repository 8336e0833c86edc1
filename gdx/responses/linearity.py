"""What speaks against a threshold: experiments that do not add up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gdx.responses.experiments import NOISES, Findings, is_close, period_of, shares, superposed
from gdx.responses.impulses import HEAD, Bench

if TYPE_CHECKING:
    from jaxtyping import Float

COARSE = 1e-6
"""Share of the largest number by which sums of many may differ; some optimizers keep them in float32."""

DRIFT = 1e-2
"""Share by which a preconditioner may differ between an early and a late count of updates."""


def check_alone(found: Findings) -> None:
    """Refuse an optimizer of which other entries move than the one that had a gradient.

    Parameters
    ----------
    found
        Of the experiments.

    Raises
    ------
    ValueError
        If they do.
    """
    if found.aside > 1e-9:
        raise ValueError(
            "family: entries without a gradient move too (it adds noise, or couples parameters), so no threshold of "
            "one curvature holds"
        )


def check_amplitudes(found: Findings, is_preconditioned: bool) -> None:
    """Refuse an optimizer whose updates are not proportional to the gradient, or to the step size.

    Parameters
    ----------
    found
        Of the experiments.
    is_preconditioned
        Whether a preconditioner was held.

    Raises
    ------
    ValueError
        If they are not.
    """
    response, others = found.gradient[0], found.others
    if not (is_close(others["thrice"] / 3.0, response) and is_close(others["reversed"] / -1e-3, response)):
        raise ValueError(f"family: its updates are not linear in the gradients{_even_so(is_preconditioned)}")
    _check_all_scale(found, "everywhere")
    # Per step size, an update that ignores it is twice as large at half of it.
    if is_close(0.5 * others["halved"], response):
        raise ValueError(
            "family: its updates are not proportional to the step size, they ignore it; use the argument, as in "
            "lambda step_size: optax.sgd(step_size)"
        )
    if not is_close(others["halved"], response):
        raise ValueError("family: its updates are not proportional to the step size, so no multiple of it is critical")


def check_time(found: Findings, is_preconditioned: bool) -> int:
    """Give the period in which an optimizer's answer depends on the step number, 1 where it does not.

    Parameters
    ----------
    found
        Of the experiments.
    is_preconditioned
        Whether a preconditioner was held.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If there is no period, or a later answer belongs to none of its phases.
    """
    period = lasting_period(found, is_preconditioned)
    if period is None:
        raise ValueError(
            "family: its updates keep changing with the step number, in no period of "
            f"{len(found.gradient) // 2} steps or fewer, so no one threshold holds"
        )
    return period


def lasting_period(found: Findings, is_preconditioned: bool) -> int | None:
    """Give the period in which the answer depends on the step number, if it is the same much later.

    Parameters
    ----------
    found, is_preconditioned
        As for `check_time`.

    Returns
    -------
    int or None
    """
    period = period_of(found)
    for kind, rows in (("late", found.gradient), ("params late", found.params)):
        late = [series for name, series in found.others.items() if name.startswith(f"{kind} ")]
        is_known = [any(_is_late(one, row, is_preconditioned) for row in rows[:period]) for one in late]
        period = period if all(is_known) else None
    return period


def _is_late(late, row, is_preconditioned):
    """Whether a late response is an early one. A preconditioner's own clock goes on while the rest of it is held."""
    sizes = np.max(np.abs(late)), np.max(np.abs(row))
    is_drift = is_preconditioned and abs(sizes[0] - sizes[1]) < DRIFT * sizes[1]
    return is_close(late * sizes[1] / sizes[0], row) if is_drift else is_close(late, row)


def entries_of(found: Findings) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """What every entry has of the responses that were measured.

    Parameters
    ----------
    found
        Of the experiments.

    Returns
    -------
    tuple
        Multiples of the response to gradients, and of that to parameters; both [D].

    Raises
    ------
    ValueError
        If an entry's response has another shape.
    """
    gains = shares(found.heads["everywhere"], found.gradient)
    decays = shares(found.heads["params everywhere"], found.params)
    if gains is None:
        raise ValueError(
            "family: some parameters answer gradients by another memory than others (as with gradient descent on one "
            "leaf and Adam on another), so no one threshold holds; measure a family of each"
        )
    if decays is None:
        raise ValueError(
            "family: weight decay acts on some parameters by another memory than on others, so no one threshold holds"
        )
    return gains, decays


def check_sums(
    bench: Bench,
    found: Findings,
    gains: Float[np.ndarray, " D"],
    decays: Float[np.ndarray, " D"],
    is_preconditioned: bool,
) -> None:
    """Refuse an optimizer whose answer to many gradients at once is not the sum of its answers to each.

    Parameters
    ----------
    bench
        The optimizer.
    found
        Of the experiments.
    gains, decays
        As `entries_of` gives them.
    is_preconditioned
        Whether a preconditioner was held.

    Raises
    ------
    ValueError
        If they do not add up.
    """
    for kind, moving in (("noise", False), ("moving", True)):
        expected = superposed(found, gains, decays, bench, moving)
        for size in NOISES[is_preconditioned]:
            if is_close(found.heads[f"{kind} {size}"] / size, expected, share=COARSE):
                continue
            if moving:
                raise ValueError(PARAMS)
            raise ValueError(f"family: its updates are not linear in the gradients{_even_so(is_preconditioned)}")


CLIMBS = "family: it climbs the loss in some parameters and descends in others; no threshold holds"
PARAMS = "family: its updates depend on the parameters otherwise than by weight decay, so no one threshold holds"


def check_params(found: Findings, period: int, share: float, is_preconditioned: bool) -> None:
    """Refuse an optimizer whose answer to parameters is no weight decay.

    Parameters
    ----------
    found
        Of the experiments.
    period
        Steps after which it answers alike.
    share
        What the entry that had the gradient has of the response to parameters.
    is_preconditioned
        Whether a preconditioner was held.

    Raises
    ------
    ValueError
        If it is none, or one that is not proportional to the step size or is divided by the preconditioner.
    """
    decay, others = found.params[0], found.others
    if not is_close(others["params reversed"] / -2.0, decay):
        raise ValueError(PARAMS)
    standing = others["standing"][:HEAD] - share * _standing(found.params[:period], is_preconditioned)
    if not is_close(standing, found.gradient[0, :HEAD], share=COARSE):
        raise ValueError(PARAMS)
    if not np.any(found.params[:period]):
        return
    _check_all_scale(found, "params everywhere")
    if not is_close(others["params halved"], decay):
        raise ValueError("family: its weight decay is not proportional to the step size, so it cannot be solved for")
    if is_preconditioned and not is_close(others["params on more"], decay):
        raise ValueError(
            "family: its weight decay is divided by the preconditioner too; put l2 into the loss, where it is curvature"
        )


def _check_all_scale(found, kind):
    """Refuse an optimizer of which some entries go by the step size and others by a number of their own."""
    pairs = zip(found.heads[kind].T, found.heads[f"{kind} halved"].T, strict=True)
    scales = [is_close(halved, whole) for whole, halved in pairs if np.any(whole) or np.any(halved)]
    moving = [whole for whole in found.heads[kind].T if np.any(whole)]
    if any(scales) and not all(scales):
        if kind == "everywhere" and len({np.sign(whole[np.flatnonzero(whole)[0]]) for whole in moving}) > 1:
            raise ValueError(CLIMBS)
        what = "updates" if kind == "everywhere" else "weight decays"
        raise ValueError(
            f"family: not all of its {what} go by the step size, so that none is critical for all parameters; pass one "
            "that scales everything, as lambda scale: optax.chain(optimizer, optax.scale(scale))"
        )


def _standing(params, is_preconditioned):
    """Updates at rest, from parameters of 1 that have stood for ever, or since the memory was emptied."""
    period, length = params.shape
    times = np.arange(HEAD)
    total = np.zeros(HEAD)
    for delay in range(length):
        past = np.where(times >= delay, 1.0, 0.0) if is_preconditioned else 1.0
        total += past * params[(times - delay) % period, delay]
    return total


def _even_so(is_preconditioned):
    held = ", not even with its preconditioner held fixed" if is_preconditioned else " (signs, or clipping)"
    return f"{held}; no threshold holds"
