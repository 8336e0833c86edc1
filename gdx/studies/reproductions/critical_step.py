"""The asymptotic gradient norm against the step size: nothing converges above eta_crit, whatever the start.

Craciun and Ghoshdastidar, "On the Convergence of Gradient Descent for Large Learning Rates", arXiv 2402.13108.
"""

from __future__ import annotations

import itertools
import time
from typing import NamedTuple

import numpy as np

from gdx.progress import Progress, shown
from gdx.records import record
from gdx.studies.reproductions.base import check_precision, starts
from gdx.studies.reproductions.critical_claims import claims_of, notes_of
from gdx.studies.reproductions.critical_networks import (
    Control,
    DigitsPanel,
    LinearPanel,
    controls,
    digits_panel,
    linear_panel,
)
from gdx.studies.verification import Claim

MULTIPLES = (0.3, 0.5, 0.65, 0.8, 0.87, 0.92, 0.95, 0.97, 0.985, 1.01, 1.02, 1.04, 1.07, 1.11, 1.16, 1.22, 1.3)
QUICK_MULTIPLES = (0.5, 0.8, 0.92, 0.97, 1.01, 1.05, 1.16)
"""Of eta_crit; none is 1, where starts take for ever."""
WHITENED = tuple(itertools.product((2, 3, 4), (3, 8, 16)))
NOT_WHITENED = ((2, 3), (2, 5), (3, 3), (4, 3), (3, 16))
QUICK = ((2, 8, True), (3, 3, True), (2, 3, False))
"""Depth, width, whether inputs are whitened."""
ACTIVATIONS, LOSSES, DEPTHS = ("tanh", "relu", "gelu"), ("square", "cross-entropy"), (2, 3, 4)


@record
class CriticalStep(NamedTuple):
    """The picture of the critical step size, measured.

    Examples
    --------
    Continues the example of `gdx.studies.critical_step`.

    >>> found.claims[0].measured, all(claim.passed for claim in found.claims)
    (0.0, True)
    """

    linear: tuple[LinearPanel, ...]
    """Linear networks, whitened ones first."""
    digits: tuple[DigitsPanel, ...]
    """Networks on the digits."""
    controls: tuple[Control, ...]
    """Losses without one."""
    claims: tuple[Claim, ...]
    """Published figures beside measured ones."""
    notes: tuple[str, ...]
    """What else is to be known, networks without a check among it."""
    num_runs: int
    """Of all."""
    seconds: float
    """With compiling."""


def critical_step(
    *, repeats: int | None = None, quick: bool = False, seed: int = 0, progress: Progress = None
) -> CriticalStep:
    """Sweep linear networks across eta_crit, networks on the digits across theirs, and two losses that have none.

    eta_crit is 2 over the smallest sharpness of any minimum: in closed form where inputs are whitened, by
    `gdx.studies.flattest_minimum` where they are not. A linear network that is too large for that is run without a
    check.

    Parameters
    ----------
    repeats
        Starts of the linear networks, R; by default 200, or 100 where it is to be quick. The digits have six.
    quick
        Whether three linear networks and one on the digits will do.
    seed
        Of the starts, at least 0.
    progress
        Called as `progress(finished, total)`, networks; by default a bar on a terminal, False for none.

    Returns
    -------
    CriticalStep

    Raises
    ------
    ValueError
        If an argument is out of range, or JAX computes in float32.

    Examples
    --------
    >>> import gdx
    >>> found = gdx.studies.critical_step(repeats=20, quick=True)
    >>> found.linear[0].above.number  # of all runs above eta_crit
    0
    """
    check_precision()
    started = time.perf_counter()
    keys = starts(repeats, 100 if quick else 200, seed)
    few = starts(6, 6, seed)
    wanted = QUICK if quick else (*((*one, True) for one in WHITENED), *((*one, False) for one in NOT_WHITENED))
    multiples = np.asarray(QUICK_MULTIPLES if quick else MULTIPLES)
    kinds = list(itertools.product(ACTIVATIONS, LOSSES, DEPTHS))[: 1 if quick else None]
    total, linear, digits = len(wanted) + len(kinds) + 1, [], []
    with shown(progress, "networks") as told:

        def tell():
            if told is not None:
                told(len(linear) + len(digits), total)

        for depth, width, is_whitened in wanted:
            tell()
            linear.append(linear_panel(depth, width, is_whitened, multiples, keys))
        for kind in kinds:
            tell()
            digits.append(digits_panel(*kind, few))
        tell()
        flat = controls(few)
    sizes = [one.gradient_norm.size for one in (*linear, *digits, *flat)]
    return CriticalStep(
        linear=tuple(linear),
        digits=tuple(digits),
        controls=flat,
        claims=tuple(claims_of(linear, digits, flat)),
        notes=tuple(notes_of(linear, digits)),
        num_runs=sum(sizes),
        seconds=time.perf_counter() - started,
    )
