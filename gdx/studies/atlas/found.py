"""What an atlas holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gdx.edges import Bracket
from gdx.records import record

if TYPE_CHECKING:
    from gdx.studies.atlas.problems import AtlasProblem

NOTHING = Bracket(math.nan, math.nan)


@record
class Cell(NamedTuple):
    """One optimizer on one problem. A number that is not there is NaN, and a note says why.

    All ends of brackets and ranges are step sizes that were run.

    Examples
    --------
    Continues the example of `gdx.studies.atlas`.

    >>> cell.criterion, cell.agrees
    ('converged', True)
    """

    optimizer: str
    problem: str
    criterion: str = ""
    """What the edge is about: "converged" or "trains"."""
    predicted: float = math.nan
    """Threshold over the problem's sharpness, where both are known before any run."""
    last_success: Bracket = NOTHING
    """As in `gdx.Edge`; NaN where there is no edge, see `edge_note`."""
    first_failure: Bracket = NOTHING
    """As in `gdx.Edge`."""
    edge_note: str = ""
    """Why there is no edge, or what is odd about it."""
    trains_up_to: Bracket = NOTHING
    """Largest step size, from the best one up, at which every start trains, and the next one; infinite where the scan
    ended first."""
    trains_from: float = math.nan
    """Smallest step size, from the best one down, at which every start trains."""
    best_step: float = math.nan
    """At which the worst start's late loss is the smallest."""
    best_loss: float = math.nan
    """Median over starts of the late loss there, the mean over the last tenth of the horizon."""
    best_losses: tuple[float, float] = (math.nan, math.nan)
    """Smallest and largest of the starts' there."""
    good: Bracket = NOTHING
    """Step sizes at which every start does as well, see `good_range`; ends are the smallest and the largest."""
    is_open: tuple[bool, bool] = (False, False)
    """Whether the good range goes on below or above, beyond all that was run."""
    good_note: str = ""
    """Why there is no good range."""
    spread: float = math.nan
    """Factor between the starts' own largest step sizes that train."""
    agrees: bool | None = None
    """Whether `predicted` lies within the measured bracket, or off quadratics whether no run succeeds beyond it; None
    where one of them is missing."""
    num_runs: int = 0
    """Made for it."""
    num_again: int = 0
    """Of them made again in a plain optax loop."""
    num_same: int = 0
    """Of those the ones that came out the same."""
    seconds: float = 0.0
    """That it took, compilation included."""

    @property
    def width(self) -> float:
        """Largest over smallest step size of the good range: how forgiving the optimizer is; a bound if it is open."""
        return self.good.upper / self.good.lower


@record
class Row(NamedTuple):
    """One optimizer.

    Examples
    --------
    Continues the example of `gdx.studies.atlas`.

    >>> found.rows[0].optimizer, round(found.rows[0].threshold, 6)
    ('sgd', 2.0)
    """

    optimizer: str
    group: str
    """Of the catalogue."""
    threshold: float
    """Critical step size times curvature, measured by probe; NaN where there is none."""
    is_preconditioned: bool
    """Whether it is of the Hessian as the optimizer's own preconditioner bends it, and none exists before training."""
    note: str
    """Why there is no threshold."""
    cells: tuple[Cell, ...]
    """One a problem."""

    @property
    def median_width(self) -> float:
        """Median over the problems that were run of the width of the good range; one without a range counts as 0."""
        widths = [cell.width if math.isfinite(cell.width) else 0.0 for cell in self.cells if cell.num_runs]
        return float(np.median(widths)) if widths else math.nan


@record
class Atlas(NamedTuple):
    """Optimizers x problems.

    Examples
    --------
    Continues the example of `gdx.studies.atlas`.

    >>> len(found.rows), found.num_steps["quadratic"], found.repeats
    (2, 500, 3)
    """

    problems: dict[str, AtlasProblem]
    """By name, in the order of the cells."""
    rows: tuple[Row, ...]
    """One an optimizer."""
    num_steps: dict[str, int]
    """The horizon of every problem."""
    repeats: int
    """Starts, R."""
    interrupted: bool
    """Whether some cells are empty because of Ctrl-C."""
    seconds: float
    """In all."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All of them, row after row."""
        return tuple(cell for row in self.rows for cell in row.cells)

    @property
    def disagreements(self) -> tuple[Cell, ...]:
        """Where what theory says lies outside of what was measured."""
        return tuple(cell for cell in self.cells if cell.agrees is False)
