"""What is published of the critical step size, beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gdx.studies.reproductions.base import held, share_of
from gdx.studies.reproductions.critical_networks import (
    HELD_OUT,
    HORIZON,
    LARGEST,
    SMALLEST,
    WELL_BELOW,
    Control,
    DigitsPanel,
    LinearPanel,
    singular_values,
)
from gdx.studies.verification import Claim

SOURCE = "arXiv 2402.13108"
NEAR = 0.1
"""Distance of the last success from eta_crit that a finite run may see: below it gradient descent creeps along the
valley to minima that are flat enough."""
SECOND_DOUBLING = math.sqrt(5) - 1
"""Up to which a two-layer network, of top singular value 1, has a 2-cycle."""


def claims_of(
    linear: Sequence[LinearPanel], digits: Sequence[DigitsPanel], controls: Sequence[Control]
) -> Iterator[Claim]:
    """Hold all panels against what is published.

    Parameters
    ----------
    linear, digits, controls
        As they were measured.

    Yields
    ------
    Claim
    """
    yield from _of_linear(linear)
    yield from _of_digits(digits)
    yield from _of_controls(controls)


def notes_of(linear: Sequence[LinearPanel], digits: Sequence[DigitsPanel]) -> Iterator[str]:
    """Say what else is to be known: how it was measured, what has no check, the edges on the digits.

    Parameters
    ----------
    linear, digits
        As they were measured.

    Yields
    ------
    str
    """
    yield from _notes(linear)
    yield from _edges(digits)
    free = [one for one in digits if one.loss == "cross-entropy"]
    if free:
        number, total = _beyond(free)
        yield (
            "digits, cross-entropy: no eta_crit is expected where classes can be separated, and none is checked; "
            f"{number} of {total} runs train above {HELD_OUT:g} times the largest edge of other starts"
        )


def _of_linear(panels: Sequence[LinearPanel]):
    for one in panels:
        if math.isnan(one.eta_crit):
            continue
        kind = "whitened" if one.is_whitened else "not whitened"
        name = f"{'whitened' if one.is_whitened else 'raw'}-{one.depth}x{one.width}"
        what = f"linear, depth {one.depth}, width {one.width}, {kind}"
        above, below = one.above, one.below
        yield held(
            f"{name}-above",
            f"{what}: converge above eta_crit, of {above.total} runs",
            SOURCE,
            0.0,
            above.number,
            0.0,
            is_absolute=True,
        )
        yield held(
            f"{name}-below",
            f"{what}: most do below {WELL_BELOW:g} of it; share of {below.total}, at least half",
            SOURCE,
            1.0,
            below.value,
            0.5,
        )
        if one.is_whitened and one.depth == 2:
            yield from _of_cycle(one, name, what)
        yield held(
            f"{name}-last", f"{what}: largest step size at which any does", SOURCE, one.eta_crit, one.last_success, NEAR
        )


def _of_cycle(one: LinearPanel, name: str, what: str):
    """Beyond eta_crit a two-layer network cycles; its law holds while step size (s1 + s2) < 2."""
    first, second = singular_values(one.width)[:2]
    inside = (one.step_sizes > one.eta_crit) & (one.step_sizes < min(2 / (first + second), SECOND_DOUBLING))
    if inside.any():
        at = int(np.flatnonzero(inside)[-1])
        own = one.gradient_norm[at]
        measured = float(np.median(own[np.isfinite(own)])) if np.isfinite(own).any() else math.nan
        yield held(
            f"{name}-law",
            f"{what}: gradient norm at {one.step_sizes[at]:.3g}, median, by the law of its 2-cycle",
            SOURCE,
            float(two_layer_law(one.step_sizes[at])),
            measured,
            1e-4,
        )


def two_layer_law(step_size: Any) -> Any:
    """Gradient norm of the 2-cycle of a two-layer network on whitened inputs, top singular value 1.

    Parameters
    ----------
    step_size
        From 1 to sqrt(5) - 1.

    Returns
    -------
    number or array
    """
    step_size = np.asarray(step_size)
    return np.sqrt(2 * (step_size - 1)) / step_size**1.5


def _of_digits(panels: Sequence[DigitsPanel]):
    """Of squared loss alone: under cross-entropy, where classes can be separated, curvature has no least value."""
    mine = [one for one in panels if one.loss == "square"]
    if mine:
        number, total = _beyond(mine)
        yield held(
            "digits-square",
            f"digits, squared loss, {len(mine)} networks: train above {HELD_OUT:g} times the largest edge of other "
            f"starts, of {total} runs",
            SOURCE,
            0.0,
            number,
            0.0,
            is_absolute=True,
        )


def _beyond(panels):
    """How many runs train far beyond the edges of other starts, of all there."""
    return (sum(part) for part in zip(*(one.held_out for one in panels), strict=True))


def _of_controls(controls: Sequence[Control]):
    for one in controls:
        still = share_of(~(one.gradient_norm <= one.bound))
        yield held(
            f"control-{one.name.partition(' ')[0]}",
            f"{one.name}: no critical step size, {one.step_sizes[0]:g} to {one.step_sizes[-1]:g}; keep a "
            f"gradient norm over {one.bound:g}, of {still.total} runs",
            SOURCE,
            0.0,
            still.number,
            0.0,
            is_absolute=True,
        )


def _notes(linear):
    yield (
        f"{HORIZON} steps; converged is a gradient at most 1e-6 of the first over the last 64. Starts are normal, of "
        f"spread {SMALLEST:g} to {LARGEST:g} over sqrt(width); those that are far away may diverge below eta_crit, too."
    )
    for one in linear:
        if one.note:
            yield (
                f"linear, depth {one.depth}, width {one.width}, not whitened: without a check, since its flattest "
                f"minimum is unknown ({one.note}); the last of its step sizes at which any run converged is "
                f"{one.last_success:.4g} of up to {one.step_sizes[-1]:.4g}"
            )


def _edges(digits: Sequence[DigitsPanel]):
    """Edges and their spread over starts, a line for each loss and activation."""
    for loss, activation in dict.fromkeys((one.loss, one.activation) for one in digits):
        mine = [one for one in digits if (one.loss, one.activation) == (loss, activation)]
        yield f"digits, {loss}, {activation}, edges of {mine[0].edges.size} starts: " + "; ".join(map(_told, mine))


def _told(one: DigitsPanel):
    if not np.isfinite(one.edges).any():
        return f"depth {one.depth} none up to {one.step_sizes[-1]:g}"
    never = int(np.isnan(one.edges).sum())
    low, high = np.nanmin(one.edges), np.nanmax(one.edges)
    more = f", {never} none up to {one.step_sizes[-1]:g}" if never else ""
    return f"depth {one.depth} {low:.2g} to {high:.2g}{more}"
