"""What an estimate of an edge holds."""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

from gdx.records import legend, record
from gdx.wording import with_bar


@legend
class EstimateKind(enum.Enum):
    """What ends convergence at an edge; it belongs to a problem and a start, not to the problem.

    Examples
    --------
    Continues the example of `gdx`.

    >>> edge.estimate.kind.value
    'linear'
    """

    LINEAR = "linear"
    """The minimum loses its stability on a loss that is quadratic all the way: beyond it the run grows without
    end, at a constant rate."""
    SOFT = "soft"
    """The minimum loses its stability to a cycle that grows out of it: the gradient norm rises from zero."""
    HARD = "hard"
    """The minimum loses its stability and nothing catches the run: beyond the edge it escapes."""
    BASIN = "basin"
    """The minimum is still stable, but this start leaves its basin and escapes; another start may have another edge."""
    JUMP = "jump"
    """Beyond the edge this start goes on moving at a finite distance, in a cycle mostly, whether the minimum is still
    stable or not."""
    NONE = "none"
    """No estimator applies; `Estimate.reason` says why."""


@record
class Estimate(NamedTuple):
    """The edge of one start, without the shift of a finite horizon.

    Where a minimum that stands alone loses its stability, it is the step size at which the largest eigenvalue of the
    whole step, linearised there, passes the unit circle; elsewhere it is extrapolated from the cycles above the edge,
    or bisected. It is given only where the sweep's own bracket, widened by what a finite horizon shifts it, holds it.

    Examples
    --------
    Continues the example of `gdx`.

    >>> round(edge.estimate.value, 6), edge.estimate.error < 1e-6, edge.estimate.kind.name
    (0.38, True, 'LINEAR')
    """

    value: float
    """A step size; NaN where no estimator applies."""
    error: float
    """Absolute error bar, to be read as |value - edge| <= error; NaN where no estimator applies."""
    kind: EstimateKind
    """What ends convergence there."""
    method: str
    """"eigenvalue", "growth rate", "oscillating side" or "two-sided search"; empty where none applies."""
    reason: str
    """One sentence for a person."""
    repeat: int
    """Index of the key whose start it belongs to, the one that went on meeting the criterion the longest before it
    first failed; -1 where none did both."""
    num_runs: int
    """Runs spent on the estimate alone, each over the whole horizon."""
    num_gradients: int
    """Gradients spent on it, those in derivatives of single steps included."""

    def __str__(self) -> str:
        """Write the value with its bar, or the reason why there is none."""
        if not math.isfinite(self.value):
            return f"none: {self.reason}"
        return f"{with_bar(self.value, self.error)} ({self.kind.value}, by {self.method})"


class Found(NamedTuple):
    """What one estimator hands back: a number, or the reason why there is none."""

    value: float
    error: float
    reason: str = ""

    @property
    def is_number(self) -> bool:
        """Whether there is a number."""
        return math.isfinite(self.value) and math.isfinite(self.error)


def nothing(reason: str) -> Found:
    """Say why an estimator gives no number.

    Parameters
    ----------
    reason
        One sentence for a person.

    Returns
    -------
    Found
    """
    return Found(math.nan, math.nan, reason)
