"""What `gdx.studies.transfer` finds, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gdx.edges import Bracket
from gdx.records import record
from gdx.studies.stability.found import Curve, Trust

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float


@record
class Cell(NamedTuple):
    """One network of one parameterisation, width and depth; terms as in `gdx.Stability`.

    Examples
    --------
    Continues the example of `gdx.studies.transfer`.

    >>> found.cells[0].width, found.cells[0].edge.lower > found.cells[0].best
    (4, True)
    """

    parameterisation: str
    """"standard", "ntk" or "mup"."""
    width: int
    """Of every hidden layer."""
    depth: int
    """Hidden layers."""
    edge: Bracket
    """From the best step size up to the lower one every start trains; at the upper one some start does not, in a plain
    optax loop too. NaN where nothing trains or the two roads disagree, and `trust` says why."""
    spread: float
    """Factor between the starts' own largest step sizes that train."""
    best: float
    """Step size at which the worst start reaches the lowest loss, among those at which every start trains."""
    best_loss: float
    """Median there, of the mean loss over the last tenth."""
    bests: Float[np.ndarray, " R"]
    """Step size at which each start by itself reaches its lowest loss; NaN where it never trains."""
    good: Bracket
    """Smallest and largest step size around the best that is not at the edge and as good as it."""
    curve: Curve
    """Loss against step size."""
    trust: Trust
    """The second road: some of the runs again in a plain optax loop."""


@record
class LinearCell(NamedTuple):
    """A two-layer linear network of one input and one output, whose edge has a closed form for every start.

    Examples
    --------
    Continues the example of `gdx.studies.transfer`.

    >>> found.linear[0].deviation < 0.01
    True
    """

    parameterisation: str
    """As of the networks beside it."""
    width: int
    """Of the hidden layer."""
    predicted: Float[np.ndarray, " R"]
    """Closed form: each start converges at smaller step sizes and at none above, but for a set of measure zero."""
    measured: tuple[Bracket, ...]
    """Each start's own last success, [R]."""
    deviation: float
    """Largest |measured / predicted - 1| over the starts, of the middles of the brackets."""

    @property
    def edge(self) -> Bracket:
        """Measured bracket of the start that fails first."""
        return min(self.measured, key=lambda pair: pair.lower)


@record
class Law(NamedTuple):
    """How one step size depends on width or depth: as a power of it.

    Examples
    --------
    Continues the example of `gdx.studies.transfer`.

    >>> found.linear_laws[0].of, found.linear_laws[0].at
    ('linear edge', 1)
    """

    parameterisation: str
    """Of the networks."""
    of: str
    """"edge", "best", "linear edge", which is measured, or "closed form" beside it."""
    axis: str
    """"width" or "depth"."""
    at: int
    """The depth, or the width, at which the other one stays."""
    slope: float
    """d log(step size) / d log(axis), least squares; NaN where there are fewer than two numbers."""
    error: float
    """Standard error of it, of whichever is larger: the scatter about the line, or the brackets' widths and the spread
    of the starts carried over to the slope."""
    num_points: int
    """Widths, or depths, with a number."""
    verdict: str
    """"transfers", or "falls as width^-0.98", where the spread allows it; empty where it does not."""
    note: str
    """Why there is no verdict, where there is none."""


@record
class Transfer(NamedTuple):
    """Which parameterisations carry a step size over.

    Examples
    --------
    Continues the example of `gdx.studies.transfer`.

    >>> len(found.cells), found.optimizer, found.base_width
    (3, 'sgd', 4)
    """

    cells: tuple[Cell, ...]
    """Every network that was finished."""
    laws: tuple[Law, ...]
    """Of edges and best step sizes: against width at every depth if there are several widths, and against depth at
    every width if there are several depths."""
    linear: tuple[LinearCell, ...]
    """Two-layer linear networks of the same widths; empty where the closed form is not of this optimizer."""
    linear_laws: tuple[Law, ...]
    """Of those, predicted and measured."""
    linear_note: str
    """Why there are none, where there are none."""
    optimizer: str
    """Whose table of muP was used: "sgd" or "adam"."""
    base_width: int
    """Width at which all parameterisations are one and the same network."""
    repeats: int
    """Starts, R, each with its own order of batches."""
    num_steps: int
    """The horizon T of every training."""
    num_trainings: int
    """Made in all."""
    seconds: float
    """All of it took."""
    interrupted: bool = False
    """Whether Ctrl-C ended it, so that the rest is of what was finished."""

    def law(self, parameterisation: str, of: str = "edge", axis: str = "width") -> Law | None:
        """Give the first law of these names.

        Parameters
        ----------
        parameterisation, of, axis
            As in `Law`.

        Returns
        -------
        Law or None
        """
        wanted = parameterisation, of, axis
        return next((law for law in self.laws + self.linear_laws if (law[0], law[1], law[2]) == wanted), None)
