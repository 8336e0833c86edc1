"""Where training stops converging: one family, many step sizes, many starts."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdx.checks import own_rules
from gdx.edges import WIDE_SCAN, Edge, EdgeStatus
from gdx.edges.edge import NAMES_OF_FAILURE
from gdx.edges.scanning import Search, edge_of, find_edge
from gdx.exploring import Exploration
from gdx.problems.base import Problem
from gdx.progress import shows_progress
from gdx.records import record
from gdx.responses.families import measured_once
from gdx.stepping import Family
from gdx.studies.predictions import Predictions, predict
from gdx.studies.resting import Place, places_of_rest
from gdx.sweeps import Runs, sweep
from gdx.verdicts import TrainingVerdict, Verdict, check_criterion, training_verdicts, verdicts
from gdx.wording import number

if TYPE_CHECKING:
    import chex
    from jaxtyping import Float


COARSE = 1e-2
"""Width at which edges under other criteria than the one asked for are good enough, relative."""
MARGIN = 5.0
"""Factor around an edge beyond the grid that belongs into a picture."""
OTHERS = ("stable", "bounded")
"""What is measured too where nothing meets the criterion that was asked for, or most runs are undecided."""


@record
class Transition(NamedTuple):
    """Everything that a picture and a report of a transition need.

    Examples
    --------
    Continues the example of `gdx.studies.transition`.

    >>> found.grid.shape, found.runs.steps.shape, found.interrupted
    ((8,), (197, 2), False)
    """

    runs: Runs
    """Every run, leaves [P, R]: of the grid, of what it grew by, and of what was refined around the edges."""
    grid: Float[np.ndarray, " S"]
    """The grid alone, within which a picture is drawn; ascending."""
    edge: Edge | None
    """As far as it was found where the search was interrupted; None where nothing can be said."""
    others: dict[str, Edge]
    """Edges under other criteria, by name: where nothing meets the one that was asked for, where it settles and
    where it stays bounded."""
    predictions: Predictions
    """What theory says without training."""
    slots: int
    """Lanes computed at once, B, on which bits depend."""
    compile_seconds: float
    """Spent compiling."""
    run_seconds: float
    """Spent on all else."""
    interrupted: bool = False
    """Whether Ctrl-C ended the search, so that the rest is of the runs so far."""
    places: tuple[Place, ...] = ()
    """Where runs came to rest, ascending in loss."""

    def __str__(self) -> str:
        """Say in a few lines what was measured, what was predicted and what became of the runs."""
        lines = ["Transition, interrupted: of the runs so far" if self.interrupted else "Transition"]
        lines.append("no edge can be read yet" if self.edge is None else str(self.edge))
        for entry in self.predictions.entries:
            about = entry.predicts.replace("_", " ")
            lines.append(f"predicted for the {about}: {number(entry.value)} ({entry.name.replace('_', ' ')})")
        if self.predictions.note:
            lines.append(f"no prediction: {self.predictions.note}")
        if self.predictions.minimum_note:
            lines.append(f"no prediction at the minimum: {self.predictions.minimum_note}")
        return "\n".join([*lines, str(self.runs)])

    @property
    def step_sizes(self) -> Float[np.ndarray, " P"]:
        """All that were run, ascending."""
        return np.asarray(self.runs.step_sizes)

    @property
    def window(self) -> tuple[float, float]:
        """Step sizes worth drawing: the grid, and what lies around an edge that was found beyond it."""
        pairs = [self.edge.first_failure, self.edge.last_success] if self.edge else []
        ends = [end for pair in pairs for end in pair if 0 < end < math.inf]
        if self.edge and self.edge.criterion not in NAMES_OF_FAILURE and self.edge.too_slow_below > 0:
            ends.append(self.edge.too_slow_below)
        low, high = float(self.grid[0]), float(self.grid[-1])
        reached = [min([low, *(end / MARGIN for end in ends if end <= low)])]
        reached.append(max([high, *(end * MARGIN for end in ends if end >= high)]))
        inside = self.step_sizes[(self.step_sizes >= reached[0]) & (self.step_sizes <= reached[1])]
        return (float(inside[0]), float(inside[-1])) if inside.size > 1 else (low, high)


@own_rules()
@measured_once()
@shows_progress()
def transition(
    problem: Problem,
    family: Family,
    *,
    keys: chex.PRNGKey,
    num_steps: int,
    step_sizes: Any = None,
    num_points: int = 64,
    criterion: str | Callable[[Runs], Any] | None = None,
    tolerance: float = 1e-6,
    rtol: float | None = None,
    progress: Callable[[str, int, int], None] | bool | None = None,
    estimate: bool = True,
) -> Transition:
    """Sweep a family across its transition, find the edges, and set the predictions beside them.

    Parameters
    ----------
    problem, family
        As in `gdx.sweep`; the family takes a step size.
    keys
        Typed random keys [R], one a start.
    num_steps
        The horizon T, steps.
    step_sizes
        The grid [S]; by default `num_points` geometric ones, around the predictions where there are some, else
        wherever a scan finds a change, and more until both ends of the transition are seen.
    num_points
        Size of the default grid, S.
    criterion, tolerance, rtol, estimate
        As in `gdx.critical_step_size`.
    progress
        Called as `progress(stage, finished, total)`; by default a bar, as in `Sweep.__call__`, False for none.

    Returns
    -------
    Transition
        After Ctrl-C with whatever was finished, and `interrupted` set.

    Raises
    ------
    ValueError
        If an argument is out of range.
    KeyboardInterrupt
        On Ctrl-C before any run was finished.

    Examples
    --------
    >>> import jax, optax, gdx
    >>> problem, keys = gdx.problems.quadratic([1.0, 10.0]), jax.random.split(jax.random.key(0), 2)
    >>> found = gdx.studies.transition(problem, optax.sgd, keys=keys, num_steps=500, num_points=8)
    >>> round(found.edge.estimate.value, 6), round(found.predictions.entries[0].value, 6)
    (0.2, 0.2)
    """
    started = time.perf_counter()
    if criterion is not None:
        check_criterion(criterion)
    run = sweep(problem, family, num_steps=num_steps, tolerance=tolerance)

    def staged(stage):
        return functools.partial(progress, stage) if callable(progress) else None

    run.check(np.ones(1) if step_sizes is None else step_sizes, keys)
    predictions = predict(problem, family, keys, progress=staged("minimum"))
    explored, wanted = Exploration(run, keys), Search(criterion, float(tolerance), rtol, grows=step_sizes is None)
    grid = default_step_sizes(predictions, num_points) if step_sizes is None else np.sort(np.asarray(step_sizes, float))
    edge, others, interrupted, places = None, {}, False, ()
    try:
        if grid is None:
            grid = _around(find_edge(explored, None, wanted._replace(rtol=0.5), progress=staged("edges")), num_points)
        explored.add(grid, staged("sweep"))
        edge = find_edge(explored, grid, wanted, progress=staged("edges"), estimate=estimate)
        if edge.status in (EdgeStatus.NONE_MEETS, EdgeStatus.UNDECIDED):
            coarse = wanted._replace(rtol=max(rtol or 0.0, COARSE), grows=False)
            for other in OTHERS:
                if other != edge.criterion:
                    others[other] = find_edge(
                        explored, grid, coarse._replace(criterion=other), progress=staged("edges")
                    )
            edge = edge_of(
                explored, wanted._replace(criterion=criterion or edge.criterion, chosen_because=edge.chosen_because)
            )._replace(estimate=edge.estimate)
        if explored.runs is not None:
            places = places_of_rest(problem, family, keys, explored.step_sizes, explored.runs, run.num_steps)
    except KeyboardInterrupt as error:
        if explored.runs is None:
            raise
        interrupted, edge = True, edge or getattr(error, "edge", None)
    seconds = time.perf_counter() - started - run.compile_seconds
    if explored.runs is None:
        raise ValueError("step_sizes: there are none; pass at least one")
    return Transition(
        explored.runs,
        explored.step_sizes if grid is None else grid,
        edge,
        others,
        predictions,
        run.slots or 0,
        run.compile_seconds,
        seconds,
        interrupted,
        places,
    )


def default_step_sizes(predictions: Predictions, num_points: int) -> Float[np.ndarray, " S"] | None:
    """Choose a grid around the predictions.

    Parameters
    ----------
    predictions
        As `predict` gives them.
    num_points
        Size of the grid, S.

    Returns
    -------
    array or None
        From 0.4 to 1.6 times a closed form; otherwise from a tenth of the smallest to ten times the largest
        prediction; None without predictions.

    Examples
    --------
    Continues the example of `gdx.studies.predict`.

    >>> grid = gdx.studies.default_step_sizes(predictions, 16)
    >>> grid.shape, bool(grid[0] < 0.2 < grid[-1])
    ((16,), True)
    """
    values = {entry.name: entry.value for entry in predictions.entries}
    if not values:
        return None
    if "closed_form" in values:
        # Points at round multiples would sit on exact bifurcations; the ends are chosen off them.
        return values["closed_form"] * np.geomspace(0.4007, 1.5989, num_points)
    return np.geomspace(min(values.values()) / 10, max(values.values()) * 10, num_points)


def verdict_counts(runs: Runs, criterion: str = "converged") -> dict[str, list[int]]:
    """Count the runs of each verdict.

    Parameters
    ----------
    runs
        Facts, leaves [S, R].
    criterion
        With "trains" the verdicts are those of training.

    Returns
    -------
    dict
        Lower-case name of the verdict to its counts, one a step size.

    Examples
    --------
    Continues the example of `gdx`.

    >>> counts = gdx.studies.verdict_counts(runs)
    >>> counts["converged"], counts["diverged"]
    ([2, 2, 0, 0], [0, 0, 2, 2])
    """
    names = TrainingVerdict if criterion == "trains" else Verdict
    codes = np.asarray(training_verdicts(runs) if criterion == "trains" else verdicts(runs))
    return {verdict.name.lower(): np.sum(codes == verdict, axis=1).tolist() for verdict in names}


def limit_of(edge: Edge) -> str:
    """Say what limits the first failure.

    Parameters
    ----------
    edge
        As `gdx.critical_step_size` gives it.

    Returns
    -------
    str

    Examples
    --------
    Continues the example of `gdx`.

    >>> gdx.studies.limit_of(edge)
    'the horizon: no run fails before the last success, and between the two runs are unfinished'
    """
    first, last = edge.first_failure, edge.last_success
    if math.isnan(first.upper):
        return "no run failed"
    if math.isnan(last.lower):
        return "no run succeeded"
    if first.upper < last.lower:
        if edge.criterion not in NAMES_OF_FAILURE:
            return "the start, or chance: some run fails, while some succeed beyond"
        return "the start, or the batches: some run leaves the basin of its minimum, while some succeed beyond"
    if edge.criterion not in NAMES_OF_FAILURE:
        return "the optimizer: no run fails before the last success"
    return "the horizon: no run fails before the last success, and between the two runs are unfinished"


def _around(edge, num_points):
    ends = [end for pair in (edge.first_failure, edge.last_success) for end in pair if 0 < end < math.inf]
    low, high = (min(ends) / 10, max(ends) * 10) if ends else WIDE_SCAN[:2]
    return np.geomspace(low, high, num_points)
