"""What a search along the step-size axis found: brackets, and what the answers look like."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.edges.endless.estimates import Estimate
from gdx.records import legend, record
from gdx.verdicts.telling import IN_VAIN, searched_in_vain
from gdx.wording import aligned, counted, span

if TYPE_CHECKING:
    from jaxtyping import Float, Int8

    from gdx.sweeps import Runs

NAMES_OF_FAILURE = ("converged", "stable", "bounded")
"""Criteria by which a run fails by what it does; by all others it may fail by having done too little."""


@record
class Bracket(NamedTuple):
    """Two step sizes with a change between them; NaN where there is none, 0 or infinity where the scan ended.

    Examples
    --------
    Continues the example of `gdx`.

    >>> isinstance(edge.last_success, gdx.Bracket), edge.last_success.lower < edge.last_success.upper
    (True, True)
    """

    lower: float
    """The smaller step size; 0 where the scan began on the other side of the change."""
    upper: float
    """The larger one; infinite where the scan ended before the change."""


@legend
class EdgeStatus(enum.Enum):
    """What the answers along the axis look like.

    Examples
    --------
    Continues the example of `gdx`.

    >>> edge.status is gdx.EdgeStatus.BRACKETED
    True
    """

    BRACKETED = "bracketed"
    """One first failure and one last success, nothing else."""
    NOT_MONOTONE = "not monotone"
    """Failures and successes alternate, or the scan ended before the last success did."""
    ALL_MEET = "all meet it"
    """No run failed the criterion and most met it, up to the largest step size; the rest is merely unfinished."""
    NONE_MEETS = "none meets it"
    """Some run failed the criterion, and none met it."""
    UNDECIDED = "no run failed, most are undecided"
    """A longer horizon would tell; whatever met the criterion is no edge."""


@record
class Edge(NamedTuple):
    """Where runs stop meeting a criterion, with what it takes to repeat the measurement.

    Examples
    --------
    Continues the example of `gdx`.

    >>> edge.status.name, edge.criterion, edge.horizon, edge.repeats
    ('BRACKETED', 'converged', 1000, 2)
    >>> edge.last_success.lower < 0.38 < edge.first_failure.upper
    True
    >>> gdx.bounded(edge.runs).shape == (len(edge.step_sizes), 2)  # another criterion, of the same runs
    True
    """

    first_failure: Bracket
    """Of the smallest step size at which some run fails. Where a failure may be slowness ("trains", "improved", a
    criterion of your own), only failures above a start's own first success count."""
    last_success: Bracket
    """Of the largest step size tested at which some run succeeds; beyond it none of those tested does. Under "trains" a
    network may learn again far beyond, between the points of the scan."""
    crossings: tuple[Bracket, ...]
    """Every place where "some run fails" or, above the first success, "some run succeeds" changes, ascending."""
    too_slow_below: float
    """Smallest step size tested at which some run succeeds, if smaller ones are merely unfinished; else NaN."""
    status: EdgeStatus
    """What the answers along the axis look like."""
    criterion: str
    """Its name; the one that was chosen where none was asked for."""
    tolerance: float
    """Of convergence, relative to the first gradient norm."""
    horizon: int
    """Steps of every run, T."""
    repeats: int
    """Starts, R."""
    slots: int
    """Lanes computed at once, B, on which bits depend."""
    step_sizes: Float[np.ndarray, " P"]
    """All step sizes tested, ascending."""
    answers: Int8[np.ndarray, "P R"]
    """`Answer` codes there."""
    runs: Runs | None = None
    """Every run of the search, leaves [P, R], so that any other criterion can be asked of them."""
    by_start: tuple[Bracket, ...] = ()
    """Each start's own last success, [R]; only the outermost are refined, unless `each_start` asked for all."""
    estimate: Estimate | None = None
    """Of the start that goes on succeeding the longest before it first fails, without the shift of a finite horizon;
    None where none was asked for, or the criterion has none."""
    chosen_because: str = ""
    """Why it is this criterion, where none was asked for."""

    @property
    def spread(self) -> float:
        """Factor by which the starts' own last successes differ, as far as their brackets prove it.

        It is 1 where they agree, NaN where no start has one. Where it is large, an edge to many digits is that of one
        start alone.
        """
        known = [pair for pair in self.by_start if pair.lower > 0 and math.isfinite(pair.upper)]
        if not known:
            return math.nan
        return max(1.0, max(pair.lower for pair in known) / min(pair.upper for pair in known))

    def _endless(self):
        if self.estimate is not None:
            return str(self.estimate)
        if self.criterion in NAMES_OF_FAILURE:
            return "not estimated"
        return f"none: {self.criterion} is about a horizon; {', '.join(NAMES_OF_FAILURE)} have one"

    def __str__(self) -> str:
        """Say in a few lines what was found, and what it takes to find it again."""
        if not isinstance(self.status, EdgeStatus):
            return repr(self)
        judged = f"{self.criterion}{tolerance_of(self)} within {counted(self.horizon, 'step')}"
        rows = [("last success", span(self.last_success)), ("first failure", span(self.first_failure))]
        rows.append(("endless run", self._endless()))
        if math.isfinite(self.too_slow_below):
            rows.append(("too slow below", f"{self.too_slow_below:.5g}"))
        rows.append(("status", f"{self.status.value}, {counted(len(self.crossings), 'crossing')}"))
        if self.chosen_because:
            rows.append(("criterion", f"{self.criterion}, since {self.chosen_because}"))
        if self.spread > 1:
            rows.append(("starts", f"their own last successes differ by a factor of {self.spread:.4g}"))
        if self.runs is not None and self.runs.is_concrete and searched_in_vain(self.runs):
            rows.append(("searches", IN_VAIN))
        rows.append(("tested", f"{counted(np.size(self.step_sizes), 'step size')}, kept in step_sizes and runs"))
        return f"Edge: {judged}, {counted(self.repeats, 'start')}\n{aligned(rows)}"


def tolerance_of(edge: Edge) -> str:
    """Write the tolerance that a criterion was held to, in brackets.

    Parameters
    ----------
    edge
        What was measured.

    Returns
    -------
    str
        Empty for criteria that have none.
    """
    return f" (tolerance {edge.tolerance:g})" if edge.criterion in ("converged", "stable") else ""
