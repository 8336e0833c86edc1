"""Whose edge is looked for, and what was decided about it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.edges.endless.estimates import EstimateKind, Found, nothing
from gdx.edges.endless.probing import Probe
from gdx.edges.endless.traces import Sides

if TYPE_CHECKING:
    import chex

COARSEST = 1e-2
"""Largest relative error that is still worth a number."""


class Choice(NamedTuple):
    """What was decided, and by which method."""

    kind: EstimateKind
    method: str
    found: Found
    reason: str
    """One sentence for a person."""

    @property
    def is_local(self) -> bool:
        """Whether a minimum loses its stability there, rather than a start its basin."""
        return self.kind in (EstimateKind.LINEAR, EstimateKind.SOFT, EstimateKind.HARD)


class Start(NamedTuple):
    """Whose edge is looked for, and what a finite sweep saw of it."""

    probe: Probe
    key: chex.PRNGKey
    sides: Sides
    lower: float
    """Largest step size below the first failure at which the start met the criterion."""
    upper: float
    """The first failure; of a narrowed bracket, the nearest certain one."""
    first: float
    """The first failure that the sweep saw, certain or not."""
    last: float
    """Where answers alternate, the step size beyond which it never succeeded; else 0."""
    depth: float = 0.0
    """Logarithm of how far below its first gradient norm a run got: far beyond rounding where a minimum lies at 0."""

    @property
    def resolution(self) -> float:
        """What the horizon leaves open of a multiplier that passes 1."""
        return math.log(1 / self.sides.tolerance) / self.probe.num_steps

    @property
    def unseen(self) -> float:
        """The same for a mode that must first grow from where the run came closest to rest."""
        return max(self.depth, math.log(1 / np.finfo(float).eps)) / self.probe.num_steps


def worth(kind: EstimateKind, method: str, found: Found, reason: str) -> Choice:
    """Decide for a number, if it is known well enough to be one.

    Parameters
    ----------
    kind, method, reason
        As in a `Choice`.
    found
        The number, or why there is none.

    Returns
    -------
    Choice
        Of kind `NONE` where there is no number, or its bar is too wide.
    """
    if not found.is_number:
        return no_number(found.reason)
    if not found.error <= COARSEST * found.value:
        return no_number(f"the best estimate, {found.value:.3g} +- {found.error:.1g}, is too coarse")
    return Choice(kind, method, found, reason)


def no_number(reason: str) -> Choice:
    """Decide that there is no number.

    Parameters
    ----------
    reason
        One sentence for a person.

    Returns
    -------
    Choice
    """
    return Choice(EstimateKind.NONE, "", nothing(reason), reason)
