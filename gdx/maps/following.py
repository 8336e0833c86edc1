"""The edge as a curve: the critical step size at each value of another parameter, each found from its neighbour's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gdx.checks import check_count, own_rules
from gdx.edges import Bracket, Edge, EdgeStatus
from gdx.maps.axes import Axis, at_coordinate, check_axis, coordinate
from gdx.maps.branches import STEP_SIZE, Following, is_found
from gdx.maps.programs import Programs, check_at
from gdx.problems.base import Problem
from gdx.progress import Progress, shows_progress
from gdx.records import record
from gdx.stepping import Family
from gdx.sweeps import Runs, Sweep
from gdx.sweeps.inputs import check_keys
from gdx.verdicts import check_criterion
from gdx.wording import aligned, counted, span, with_bar

if TYPE_CHECKING:
    import chex
    from jaxtyping import Float


@record
class EdgeCurve(NamedTuple):
    """Critical step sizes along another parameter.

    Examples
    --------
    Continues the example of `gdx.edge_curve`.

    >>> isinstance(curve, gdx.EdgeCurve), curve.positions.tolist(), curve.turning_points
    (True, [0.0, 0.25, 0.5], ())
    """

    axis: Axis
    """The parameter."""
    positions: Float[np.ndarray, " P"]
    """Its values, ascending; more of them where the edge turns back."""
    step_sizes: Float[np.ndarray, " P"]
    """Critical step size: the estimate, without the shift of a finite horizon; NaN where there is none, and
    `edges[p].estimate.reason` says why. Where no point of the curve has one, as with batches, the middle of the bracket
    of the last success instead, at this horizon: the two are never mixed."""
    errors: Float[np.ndarray, " P"]
    """Absolute bar of each: that of the estimate, or half the bracket's width, which says nothing of the horizon."""
    lower: Float[np.ndarray, " P"]
    """Where success begins, where smaller step sizes fail, down to a thousandth: the other branch of a curve that turns
    back; NaN elsewhere. The middle between the last that fails and the first that succeeds."""
    lower_errors: Float[np.ndarray, " P"]
    """Half the way between these two."""
    turning_points: tuple[Bracket, ...]
    """Values of the parameter between which the two branches meet, so that no step size succeeds beyond within this
    horizon. Where branches meet runs are slow to decide, and an endless run's turning point lies further on, by about
    the inverse of the horizon: compare two horizons."""
    edges: tuple[Edge, ...]
    """All that was found at each value, [P]."""
    at: dict[str, Any]
    """Further hyperparameters."""
    num_runs: int
    """That were made, but for those of estimates."""
    seconds: float
    """Of it all."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""

    def __str__(self) -> str:
        """Say the edge at a few values."""
        edge = self.edges[0]
        shown = np.unique(np.linspace(0, len(self.positions) - 1, 9).astype(int))
        rows = [(f"{self.axis.name} {self.positions[at]:.5g}", self._told(at)) for at in shown]
        rows += [
            ("turns back", f"at {self.axis.name} {span(pair)} within this horizon") for pair in self.turning_points
        ]
        if self.interrupted:
            rows.append(("interrupted", f"after {counted(len(self.positions), 'point')}"))
        judged = f"{edge.criterion} within {counted(edge.horizon, 'step')}, {counted(edge.repeats, 'start')}"
        return f"EdgeCurve along {self.axis.name}: {judged}\n{aligned(rows)}"

    def _told(self, at):
        value, error = float(self.step_sizes[at]), float(self.errors[at])
        if not math.isnan(value):
            return with_bar(value, error)
        edge = self.edges[at]
        if is_found(edge) and edge.estimate is not None and edge.estimate.reason:
            return f"none: {edge.estimate.reason}"
        return edge.status.value


@own_rules()
@shows_progress("edges")
def edge_curve(
    problem: Problem | Callable[[Any], Problem] | None = None,
    family: Family | None = None,
    *,
    along: Axis,
    keys: chex.PRNGKey,
    num_steps: int | None = None,
    num_points: int = 33,
    at: Mapping[str, float] | None = None,
    criterion: str | Callable[[Runs], Any] | None = None,
    tolerance: float | None = None,
    rtol: float | None = None,
    run: Sweep | None = None,
    estimate: bool = True,
    progress: Progress = None,
    **options: Any,
) -> EdgeCurve:
    """Follow the critical step size along another parameter of the optimizer or the problem.

    The first is looked for everywhere, each further one around its neighbour's, and everywhere where it is not found
    there. Where step sizes that fail lie below those that succeed as well, both branches are followed, and where they
    meet the parameter is bisected.

    Parameters
    ----------
    problem, family
        As in `gdx.phase_map`, of {"step_size": ..., along.name: ..., **at}. With `run`, those of the run, or None.
    along
        The parameter, a `gdx.Axis`, not static; both its ends are among the points.
    keys
        Typed random keys [R], one a start.
    num_steps
        The horizon T, steps; may be left out with `run`.
    num_points
        Values of the parameter, P; of an axis with values it is their number.
    at
        Further hyperparameters, the same at all points.
    criterion, tolerance, rtol, estimate, progress
        As in `gdx.critical_step_size`.
    run
        A sweep that takes a dict of all hyperparameters.
    **options
        Of `gdx.sweep`.

    Returns
    -------
    EdgeCurve
        After Ctrl-C with the points so far, and `interrupted` set.

    Raises
    ------
    ValueError
        If an argument is out of range, or nobody asks for a hyperparameter.
    KeyboardInterrupt
        On Ctrl-C before any edge was found.

    Examples
    --------
    Gradient descent with momentum b stands (1 + b) times the step.

    >>> import jax, optax, gdx
    >>> curve = gdx.edge_curve(
    ...     gdx.problems.quadratic([1.0, 10.0]),
    ...     lambda h: optax.sgd(h["step_size"], momentum=h["momentum"]),
    ...     along=gdx.Axis("momentum", 0.0, 0.5),
    ...     keys=jax.random.split(jax.random.key(0), 1),
    ...     num_steps=500,
    ...     num_points=3,
    ... )
    >>> curve.step_sizes.round(9)
    array([0.2 , 0.25, 0.3 ])
    """
    started = time.perf_counter()
    along = check_axis("along", along)
    if along.static or along.name == STEP_SIZE:
        raise ValueError(f"along: {along} changes shapes or is the step size itself; pass another number")
    if criterion is not None:
        check_criterion(criterion)
    fixed, keys = check_at(at, (along.name, STEP_SIZE)), check_keys(keys)
    programs = Programs(problem, family, (Axis(STEP_SIZE), along), fixed, num_steps, tolerance, run, options)
    wanted = {"criterion": criterion, "tolerance": tolerance, "rtol": rtol, "estimate": estimate, "progress": progress}
    curve = Following(programs, along.name, keys, wanted)
    interrupted = False
    try:
        for position in _positions(along, num_points):
            curve.add(position)
        turning = curve.turn()
    except KeyboardInterrupt:
        if not curve.edges:
            raise
        turning, interrupted = (), True
    return _described(curve, along, turning, fixed, time.perf_counter() - started, interrupted)


def _positions(along, num_points):
    if along.values is not None:
        return [float(value) for value in along.values]
    count = check_count("num_points", num_points, "pass how many values of the parameter", 2)
    places = np.linspace(coordinate(along, along.low), coordinate(along, along.high), count)
    inner = at_coordinate(along, places)
    return [along.low, *inner[1:-1].tolist(), along.high]


def _has_estimate(edge):
    return edge.estimate is not None and math.isfinite(edge.estimate.value)


def _value_of(edge, by_estimate):
    """Critical step size and its bar."""
    if by_estimate:
        return (edge.estimate.value, edge.estimate.error) if _has_estimate(edge) else (math.nan, math.nan)
    low, high = edge.last_success
    if not (is_found(edge) and edge.status is not EdgeStatus.NONE_MEETS):
        return math.nan, math.nan
    return (low + high) / 2, (high - low) / 2


def _described(curve, along, turning, fixed, seconds, interrupted):
    by_estimate = any(_has_estimate(edge) for edge in curve.edges)
    pairs = np.array([_value_of(edge, by_estimate) for edge in curve.edges])
    begins = [(math.nan, math.nan) if one is None else one for one in curve.begins]
    low, high = np.transpose(begins)
    return EdgeCurve(
        axis=along,
        positions=np.array(curve.positions),
        step_sizes=pairs[:, 0],
        errors=pairs[:, 1],
        lower=(low + high) / 2,
        lower_errors=(high - low) / 2,
        turning_points=turning,
        edges=tuple(curve.edges),
        at=fixed,
        num_runs=curve.num_runs,
        seconds=seconds,
        interrupted=interrupted,
    )
