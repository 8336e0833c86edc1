"""What a search along the step-size axis found: brackets, and what the answers look like."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from gdx.edges.estimates import Estimate

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int8


class Bracket(NamedTuple):
    """Two step sizes with a change between them; NaN where there is none, 0 or infinity where the scan ended."""

    lower: float
    upper: float


class EdgeStatus(enum.Enum):
    """What the answers along the axis look like."""

    BRACKETED = "bracketed"
    """One first failure and one last success, nothing else."""
    NOT_MONOTONE = "not monotone"
    """Failures and successes alternate, or the scan ended before the last success did."""
    ALL_MEET = "all meet it"
    """No run failed the criterion."""
    NONE_MEETS = "none meets it"
    """No run met the criterion."""


class Edge(NamedTuple):
    """Where runs stop meeting a criterion, with what it takes to repeat the measurement."""

    first_failure: Bracket
    """Of the smallest step size at which some run fails."""
    last_success: Bracket
    """Of the largest step size at which some run succeeds; beyond it none does."""
    crossings: tuple[Bracket, ...]
    """Every place where "some run fails" or, above the first success, "some run succeeds" changes, ascending."""
    too_slow_below: float
    """Smallest step size tested at which some run succeeds, if smaller ones are merely unfinished; else NaN."""
    status: EdgeStatus
    criterion: str
    tolerance: float
    horizon: int
    repeats: int
    slots: int
    step_sizes: Float[np.ndarray, " P"]
    """All step sizes tested, ascending."""
    answers: Int8[np.ndarray, "P R"]
    """`Answer` codes there."""
    estimate: Estimate | None = None
    """Of the start that goes on succeeding the longest before it first fails, without the shift of a finite horizon;
    None where none was asked for, or the criterion has none."""
